/** The guest in the box: the smallest way through the whole engine. */
import { describe, expect, it } from 'vitest';
import { GuestRun } from './harness';

const RUN = ['run', '--builtin', '--memory', '64', '--serial', 'stdio'];

describe('the built-in guest', () => {
  it('starts, answers on its serial line and powers off', async () => {
    const run = new GuestRun(RUN);
    await run.waitFor(/Lodge guest ready/, 20);
    run.type('echo one two\n');
    await run.waitFor(/^one two\r?$/m, 10);
    run.type('lspci\n');
    await run.waitFor(/8086:1237/, 10);
    await run.waitFor(/1234:1111/, 10);
    run.type('mem\n');
    await run.waitFor(/\d+/, 10);
    run.type('poweroff\n');
    const exit = await run.ended(10);
    expect(exit.code, exit.stderr).toBe(0);
    expect(exit.stderr).toBe('');
  });

  it('ends at once when it is told to', async () => {
    const run = new GuestRun(RUN);
    await run.waitFor(/Lodge guest ready/, 20);
    process.kill(run.pid, 'SIGTERM');
    const exit = await run.ended(5);
    expect(exit.code).toBe(143);
  });

  it('costs nothing while it waits for a key', async () => {
    const run = new GuestRun(RUN);
    await run.waitFor(/Lodge guest ready/, 20);
    const start = run.cpuSeconds();
    await new Promise((done) => setTimeout(done, 10_000));
    expect(((run.cpuSeconds() - start) / 10) * 100, 'percent of one core').toBeLessThan(3);
    run.kill();
  });
});
