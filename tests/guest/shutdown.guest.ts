/** Leaving protected mode by a reset of the processor, as programs for the 286 do: see shutdown.S. About 3 s. */
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { GuestRun, ROOT, scratch, TIER } from './harness';

it('goes on where the program said, behind each kind of reset', async () => {
  const folder = scratch();
  const sector = join(folder, 'sector');
  const flags = ['-m32', '-nostdlib', '-static', '-no-pie', '-Wl,-Ttext=0x7c00,-N,--build-id=none,--oformat=binary'];
  const made = spawnSync('gcc', [...flags, '-o', sector, join(ROOT, 'tests/guest/shutdown.S')], { encoding: 'utf8' });
  expect(made.stderr).toBe('');
  const disk = join(folder, 'disk.img');
  writeFileSync(disk, Buffer.concat([readFileSync(sector), Buffer.alloc(1 << 20)]));
  const run = new GuestRun([
    ...['run', '--disk', disk, '--memory', '32', '--debug-exit', '--serial', 'stdio', '--accelerator', 'software', ...TIER],
  ]);
  const exit = await run.ended(60);
  expect(exit.stdout).toBe('ABCD\n');
  // isa-debug-exit makes (value << 1) | 1 of it.
  expect(exit.code, exit.stderr).toBe((5 << 1) | 1);
});
