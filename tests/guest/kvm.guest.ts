/** The built-in BIOS on the computer's own virtualization, as far as a boot loader's menu. A few seconds. */
import { accessSync, constants } from 'node:fs';
import { expect, it, type TestContext } from 'vitest';
import { ownMedium, ScreenRun } from './screen';

function needKvm(context: TestContext): void {
  try {
    accessSync('/dev/kvm', constants.R_OK | constants.W_OK);
  } catch (error) {
    context.skip(`no KVM: ${(error as Error).message}`);
  }
}

it('KVM runs the BIOS, a boot manager that asks, and what it is told to start', async (context) => {
  needKvm(context);
  const run = new ScreenRun(['--accelerator', 'kvm', '--memory', '32', '--disk', ownMedium(context, 'manager.img')]);
  await run.waitForScreen(/^MBR$/m, 60);
  await run.keys('x');
  await run.waitForScreen(/^MBR 1FA:$/m, 30);
  await run.keys('1');
  const screen = await run.waitForScreen(/^MBR 1FA:\n+MBR$/m, 30);
  expect(screen, 'the first thing the BIOS wrote').toMatch(/^Lodge$/m);
  run.kill();
});
