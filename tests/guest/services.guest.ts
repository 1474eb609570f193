/** What the BIOS calls by itself, in a program that hooks it: see services.S. About 2 s. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { bootSector, scratch, TIER } from './harness';
import { ScreenRun } from './screen';

it('calls the hooks of Break, Print Screen and the alarm, and idles by APM', async () => {
  const folder = scratch();
  const disk = join(folder, 'disk.img');
  writeFileSync(disk, Buffer.concat([bootSector('services.S', folder), Buffer.alloc(1 << 20)]));
  const run = new ScreenRun(['--disk', disk, '--memory', '32', '--debug-exit', '--accelerator', 'software', ...TIER]);
  await run.waitFor(/AL\n/, 30);
  await run.keys('x<ctrl+pause>');
  await run.waitFor(/B/, 10);
  await run.keys('<print>');
  await run.waitFor(/Pa/, 10);
  await run.keys('<alt+numpad7>');
  const exit = await run.ended(30);
  expect(exit.stdout).toBe('AL\nBPah\n');
  // isa-debug-exit makes (value << 1) | 1 of it.
  expect(exit.code, exit.stderr).toBe((5 << 1) | 1);
});
