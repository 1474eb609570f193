/** Memtest86+: every pattern on every word, and the processor's own arithmetic about them. */
import { describe, expect, it } from 'vitest';
import { TIER } from './harness';
import { medium, ScreenRun } from './screen';

/** All the patterns of a pass; generous, because a host that tests other things as well is slow. */
const PATTERNS_SECONDS = 600;

describe('Memtest86+', () => {
  // LODGE_TEST_FULL=1 waits for the end of the pass, and needs some minutes more for it.
  const full = Boolean(process.env['LODGE_TEST_FULL']);
  const timeout = full ? 1_500_000 : 700_000;
  it.for(['memtest-64.iso', 'memtest-32.iso'])('%s: all patterns over 64 MiB', { timeout }, async (name, context) => {
    const run = new ScreenRun(['--disk', medium(context, name), '--memory', '64', ...TIER]);
    await run.waitForScreen(/Memtest86\+ v6\.10/, 30);
    // Test #10, the last, only waits twice for 80 seconds to see whether bits fade: RAM on a host has no bits that do.
    const end = full ? /Pass: +[1-9]/ : /Test #10|Pass: +[1-9]/;
    const screen = await run.waitForScreen(end, full ? 2 * PATTERNS_SECONDS : PATTERNS_SECONDS);
    expect(screen).toMatch(/Errors: 0/);
    run.kill();
  });
});
