/** Memtest86+ on the reference tier: every pattern on every word, and the processor's own arithmetic about them. */
import { describe, expect, it } from 'vitest';
import { medium, ScreenRun } from './screen';

/**
 * A pass ends with two waits of 80 seconds each, and a host that was busy while Memtest86+ measured its clock makes them longer.
 * Minutes of patience cost nothing when all goes well.
 */
const PASS_SECONDS = 840;

describe('Memtest86+', () => {
  it.for(['memtest-64.iso', 'memtest-32.iso'])('%s: a whole pass over 64 MiB', { timeout: 900_000 }, async (name, context) => {
    const run = new ScreenRun(['--disk', medium(context, name), '--memory', '64', '--tier', 'interpreter']);
    await run.waitForScreen(/Memtest86\+ v6\.10/, 30);
    const screen = await run.waitForScreen(/Pass: +[1-9]/, PASS_SECONDS);
    expect(screen).toMatch(/Errors: 0/);
    run.kill();
  });
});
