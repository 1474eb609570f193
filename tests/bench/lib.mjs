/** What the benchmarks that boot a Linux guest share: their options, the fixtures they need, static programs, medians. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { FIXTURES } from '../../resources/tools/lib/fixtures.mjs';

export const at = (path) => new URL(`../../${path}`, import.meta.url).pathname;
export const CLI = at('out/main/cli.cjs');

/** The value behind `--name`. */
export function option(name, otherwise) {
  const i = process.argv.indexOf(`--${name}`);
  return i < 0 ? otherwise : process.argv[i + 1];
}

/** Whether a program can be run at all. */
export const runs = (program) => spawnSync(program, ['--version'], { stdio: 'ignore' }).status === 0;

/** { kernel, initrd, busybox } as `npm test -- guest` left them, or undefined. */
export function guestOf(kernel) {
  const guest = existsSync(FIXTURES) && JSON.parse(readFileSync(FIXTURES, 'utf8'))[kernel];
  return guest?.kernel && existsSync(guest.kernel) ? { ...guest, busybox: join(dirname(FIXTURES), 'busybox') } : undefined;
}

/** Ends the process, without an error, when something that is needed is not there: [what, whether it is there]. */
export function needs(...things) {
  for (const [what, there] of things) {
    if (there) continue;
    console.log(`skipped: there is no ${what}`);
    process.exit(0);
  }
}

/** What every benchmark of a Linux guest needs. */
export const needsGuest = (guest) =>
  needs(['kernel (npm test -- guest sets it up)', guest], ['gcc', runs('gcc')], [CLI, existsSync(CLI)]);

export function compileStatic(source, program, ...flags) {
  const built = spawnSync('gcc', ['-O2', '-static', '-o', program, at(source), ...flags], { stdio: 'inherit' });
  if (built.status !== 0) process.exit(1);
}

/** Of an even number of values the mean of the two in the middle; of none, undefined. */
export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 || sorted.length === 0 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}
