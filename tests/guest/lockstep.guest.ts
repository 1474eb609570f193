/**
 * Every instruction of an installed Debian's start, login and power-off by translator and interpreter, compared: about ten minutes of two
 * cores, so only when asked for: LODGE_LOCKSTEP_DEBIAN=1 npx vitest run -c tests/guest/vitest.config.ts lockstep.
 */
import { expect, it } from 'vitest';
import { DebianRun, debianDisk, expectCleanRoot } from './debian-disk';

/** Against the interpreter alone; an idle machine is at the login prompt after four minutes. */
const SLOWDOWN = 10;

it('an installed Debian in lockstep: no difference up to its power-off', { timeout: 3_600_000 }, async (context) => {
  if (!process.env['LODGE_LOCKSTEP_DEBIAN']) context.skip('takes ten minutes: LODGE_LOCKSTEP_DEBIAN=1');
  const disk = debianDisk(context);
  const run = new DebianRun(['--disk', `${disk},bus=virtio`, '--tier', 'lockstep']);
  await run.logIn(SLOWDOWN);
  await run.powerOff(SLOWDOWN);
  expectCleanRoot(disk);
  expect(run.text).not.toMatch(/Timed out|FAILED/);
});
