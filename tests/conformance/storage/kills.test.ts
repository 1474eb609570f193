/**
 * Processes that write images are killed at random points. What was flushed must be there, nothing may be torn or foreign,
 * qemu-img must find nothing corrupt, and the image must go on being of use.
 * LODGE_KILL_SEQUENCES: sequences of each kind (2,000 in a development run).
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { build } from 'vite';
import { checkDisk, openDisk } from '../../../main/storage';
import { hasQemu, KINDS, NO_QEMU, qemuCheck, QEMU_KINDS, QEMU_NAME, qemuImg, type Kind } from './images';
import { FakeMemory, life, Model, perform, random, wholeDisk } from './model';

const SEQUENCES = Number(process.env['LODGE_KILL_SEQUENCES'] ?? 8);
const FIRST_SEED = Number(process.env['LODGE_KILL_SEED'] ?? 1);
const TOGETHER = 8;
const STEPS = 600;
const SECTORS = 5 * 2048 + 8;
/** The last moment of a kill, from the first step on. */
const KILL_MS = 400;

let dir: string;
let writer: string;
beforeAll(async () => {
  dir = await mkdtemp(join(process.env['LODGE_KILL_DIR'] ?? tmpdir(), 'lodge-kills-'));
  await build({
    configFile: false,
    logLevel: 'silent',
    build: {
      ssr: join(__dirname, 'killed-writer.ts'),
      outDir: dir,
      emptyOutDir: false,
      target: 'node18',
      rollupOptions: { output: { entryFileNames: 'writer.mjs' } },
    },
  });
  writer = join(dir, 'writer.mjs');
}, 60_000);
afterAll(() => rm(dir, { recursive: true, force: true }));

async function killed(kind: Kind, firstSeed: number, count: number): Promise<{ leaks: number; steps: number; finished: number }> {
  const jobs = await Promise.all(
    Array.from({ length: count }, async (_, i) => {
      const seed = firstSeed + i;
      // Each in its own folder: VDI looks for parents among its neighbours. One that failed is left, to be looked at.
      const folder = join(dir, `${kind.name.replaceAll(' ', '-')}-${seed}`);
      await mkdir(folder);
      const path = join(folder, 'disk.img');
      await kind.make(path, SECTORS * 512, seed);
      await writeFile(`${path}.log`, '');
      return { folder, path, log: `${path}.log`, seed, sectors: SECTORS, steps: STEPS };
    }),
  );
  const child = spawn(process.execPath, [writer, JSON.stringify(jobs)], { stdio: ['ignore', 'pipe', 'pipe'] });
  let errors = '';
  child.stderr.on('data', (text: Buffer) => (errors += text));
  const ended = once(child, 'exit');
  const over = new Promise<void>((resolve) => child.stdout.once('data', () => resolve()));
  for (let waited = 0; waited < 5000 && child.exitCode === null && (await readFile(jobs[0]!.log)).length === 0; waited += 2) {
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  const delay = new Promise<void>((resolve) => setTimeout(resolve, random(firstSeed * 7919)() * KILL_MS));
  await Promise.race([delay, over, ended]);
  child.kill('SIGKILL');
  await ended;
  expect(errors).toBe('');

  let leaks = 0;
  let steps = 0;
  let finished = 0;
  for (const { folder, path, log, seed } of jobs) {
    const events = (await readFile(log, 'utf8')).length;
    const done = events >> 1;
    steps += done;
    if (done === STEPS) finished++;
    const all = life(seed, SECTORS, STEPS);
    const model = new Model(SECTORS);
    for (const step of all.slice(0, done)) model.done(step);
    if (events & 1) model.killedIn(all[done]!);

    const check = async (strict: boolean): Promise<void> => {
      const about = `${kind.name}, seed ${seed}, ${done} steps${strict ? ', reopened' : ''}`;
      const disk = await openDisk(path, { readOnly: true });
      const bytes = await wholeDisk(disk);
      await disk.close();
      expect(model.problem(bytes, strict), about).toBeUndefined();
      expect((await checkDisk(path)).errors, about).toEqual([]);
      if (!hasQemu || !kind.qemu) return;
      const report = await qemuCheck(path, kind.format);
      expect(report?.corruptions ?? 0, `${about}\n${report?.text}`).toBe(0);
      if (!strict && report?.leaks) leaks++;
      await writeFile(`${path}.raw`, bytes);
      expect(await qemuImg('compare', '-f', QEMU_NAME[kind.format], '-F', 'raw', path, `${path}.raw`), about).toContain(
        'identical',
      );
    };
    await check(false);

    // It goes on: what is there now, and more, ended in order.
    const memory = new FakeMemory(4 << 20);
    const before = await openDisk(path, { readOnly: true });
    const words = new Uint32Array((await wholeDisk(before)).buffer);
    await before.close();
    const model2 = new Model(SECTORS, (s) => [words[s * 128]!]).follow(model);
    const disk = await openDisk(path, { readOnly: false, native: memory });
    for (const step of life(seed + 1e6, SECTORS, 12, 1e6)) {
      await perform(disk, memory, step);
      model2.done(step);
    }
    await disk.close();
    const again = await openDisk(path, { readOnly: true });
    expect(model2.problem(await wholeDisk(again), true), `${kind.name}, seed ${seed}, reopened`).toBeUndefined();
    await again.close();
    if (hasQemu && kind.qemu) {
      const report = await qemuCheck(path, kind.format);
      expect(report?.corruptions ?? 0, `${kind.name}, seed ${seed}, reopened\n${report?.text}`).toBe(0);
    }
    await rm(folder, { recursive: true });
  }
  return { leaks, steps, finished };
}

describe('a killed writer', () => {
  for (const kind of [...KINDS, ...QEMU_KINDS]) {
    it(kind.name, { timeout: 120_000 + SEQUENCES * 2000 }, async ({ skip }) => {
      if (QEMU_KINDS.includes(kind) && !hasQemu) skip(NO_QEMU);
      const sum = { leaks: 0, steps: 0, finished: 0 };
      for (let seed = FIRST_SEED; seed < FIRST_SEED + SEQUENCES; seed += TOGETHER) {
        const one = await killed(kind, seed, Math.min(TOGETHER, FIRST_SEED + SEQUENCES - seed));
        sum.leaks += one.leaks;
        sum.steps += one.steps;
        sum.finished += one.finished;
      }
      // Else nothing was tried.
      expect(sum.steps).toBeGreaterThan(0);
      expect(sum.finished).toBeLessThan(SEQUENCES);
      if (SEQUENCES > 100)
        console.log(
          `${kind.name}: ${SEQUENCES} sequences, ${sum.steps} steps, ${sum.finished} ran to their end, ${sum.leaks} with leaks`,
        );
    });
  }
});
