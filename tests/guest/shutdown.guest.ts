/** Leaving protected mode by a reset of the processor, as programs for the 286 do: see shutdown.S. About 3 s. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { bootSector, GuestRun, scratch, TIER } from './harness';

it('goes on where the program said, behind each kind of reset', async () => {
  const folder = scratch();
  const disk = join(folder, 'disk.img');
  writeFileSync(disk, Buffer.concat([bootSector('shutdown.S', folder), Buffer.alloc(1 << 20)]));
  const run = new GuestRun([
    ...['run', '--disk', disk, '--memory', '32', '--debug-exit', '--serial', 'stdio', '--accelerator', 'software', ...TIER],
  ]);
  const exit = await run.ended(60);
  expect(exit.stdout).toBe('ABCD\n');
  // isa-debug-exit makes (value << 1) | 1 of it.
  expect(exit.code, exit.stderr).toBe((5 << 1) | 1);
});
