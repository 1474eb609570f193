/** Memtest86+: every pattern on every word, and the processor's own arithmetic about them. */
import { expect, it } from 'vitest';
import { TIER } from './harness';
import { medium, ScreenRun } from './screen';

/** Three minutes on an idle host, nearly all of it the last test, which waits twice to see whether bits fade. */
const PASS_SECONDS = 1200;
const IMAGES = ['memtest-64.iso', 'memtest-32.iso'];

it('Memtest86+: a whole first pass over 64 MiB, in 64- and in 32-bit code', { timeout: 1_500_000 }, async (context) => {
  const runs = IMAGES.map((name) => new ScreenRun(['--disk', medium(context, name), '--memory', '64', ...TIER]));
  const screens = runs.map(async (run) => {
    await run.waitForScreen(/Memtest86\+ v6\.10/, 60);
    return run.waitForScreen(/Pass: +[1-9]/, PASS_SECONDS);
  });
  for (const screen of await Promise.all(screens)) expect(screen).toMatch(/Errors: 0/);
});
