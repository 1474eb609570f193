import { describe, expect, it } from 'vitest';
import { apportion, type CpuLoad } from './cpu-shares';

interface Demand {
  shares: number;
  processors: number;
  cap?: number;
  /** Processors that compute; may change from second to second. */
  busy: (second: number) => number;
}

/** A host that gives each thread that computes the same, as a fair scheduler does; `others`: threads of other programs. */
function simulate(demands: Demand[], { cores = 2, others = 0, seconds = 30 } = {}) {
  const quotas: (number | null)[] = demands.map(() => null);
  const history: number[][] = [];
  for (let second = 0; second < seconds; second++) {
    const threads = demands.map((d) => d.busy(second));
    const ceilings = demands.map((d, i) => Math.min((threads[i]! * (d.cap ?? 100)) / 100, quotas[i] ?? Number.POSITIVE_INFINITY));
    // Water-filling over threads: who wants less than an equal part leaves the rest to the others.
    const used = demands.map(() => 0);
    let left = cores;
    let open = [...demands.keys()].filter((i) => threads[i]! > 0);
    let foreign = others;
    for (;;) {
      const part = left / (open.reduce((sum, i) => sum + threads[i]!, 0) + foreign || 1);
      const satisfied = open.filter((i) => ceilings[i]! <= part * threads[i]!);
      if (foreign > 0 && part >= 1) {
        left -= foreign;
        foreign = 0;
        continue;
      }
      if (satisfied.length === 0) {
        for (const i of open) used[i] = Math.min(part, 1) * threads[i]!;
        left = Math.max(0, left - open.reduce((sum, i) => sum + used[i]!, 0) - part * foreign);
        break;
      }
      for (const i of satisfied) {
        used[i] = ceilings[i]!;
        left -= used[i]!;
      }
      open = open.filter((i) => !satisfied.includes(i));
    }
    history.push(used);
    const loads: CpuLoad[] = demands.map((d, i) => ({
      shares: d.shares,
      processors: d.processors,
      cap: d.cap ?? 100,
      used: used[i]!,
      // What the quota keeps from running does not queue.
      waited: Math.max(0, Math.min(threads[i]!, ceilings[i]!) - used[i]!),
      quota: quotas[i]!,
    }));
    quotas.splice(0, quotas.length, ...apportion(loads, left));
  }
  return history;
}
const average = (history: number[][], vm: number, from: number) =>
  history.slice(from).reduce((sum, used) => sum + used[vm]!, 0) / (history.length - from);
const always = (busy: number) => () => busy;

describe('shares of the processors', () => {
  it.each([0, 1, 3, 8])('three to one is that beside %i other programs', (others) => {
    const history = simulate(
      [
        { shares: 300, processors: 2, busy: always(2) },
        { shares: 100, processors: 2, busy: always(2) },
      ],
      { others },
    );
    expect(average(history, 0, 10) / average(history, 1, 10)).toBeCloseTo(3, 0);
    if (others === 0) expect(average(history, 0, 10) + average(history, 1, 10)).toBeGreaterThan(1.95);
  });

  it('a machine’s weight is that of all its processors', () => {
    const history = simulate([
      { shares: 100, processors: 1, busy: always(1) },
      { shares: 50, processors: 4, busy: always(4) },
    ]);
    // 100 to 200, and the first cannot have more than one processor anyhow.
    expect(average(history, 0, 10)).toBeGreaterThan(0.55);
    expect(average(history, 0, 10)).toBeLessThan(0.8);
  });

  it('holds nobody back while nobody waits', () => {
    expect(simulate([{ shares: 1, processors: 2, busy: always(2) }]).at(-1)).toEqual([2]);
    expect(
      simulate([
        { shares: 300, processors: 2, busy: always(1) },
        { shares: 1, processors: 2, busy: always(1) },
      ]).at(-1),
    ).toEqual([1, 1]);
  });

  it('gives back at once what the other one stops using', () => {
    const history = simulate(
      [
        { shares: 400, processors: 2, busy: (s) => (s < 20 ? 2 : 0) },
        { shares: 100, processors: 2, busy: always(2) },
      ],
      { seconds: 24 },
    );
    expect(history[19]![1]).toBeLessThan(0.5);
    expect(history[22]![1]).toBeGreaterThan(1.9);
  });

  it('gets out of a quota also where other programs take all that is idle', () => {
    const history = simulate(
      [
        { shares: 400, processors: 2, busy: (s) => (s < 20 ? 2 : 0) },
        { shares: 100, processors: 2, busy: always(2) },
      ],
      { seconds: 60, others: 2 },
    );
    expect(history[59]![1]).toBeGreaterThan(0.95);
  });

  it('never stops anybody', () => {
    const history = simulate(
      [
        { shares: 1000, processors: 2, busy: always(2) },
        { shares: 1, processors: 2, busy: always(2) },
      ],
      { others: 4 },
    );
    expect(history.at(-1)![1]).toBeGreaterThanOrEqual(0.02);
  });

  it('leaves what a cap keeps from one to the others', () => {
    const history = simulate([
      { shares: 300, processors: 2, cap: 25, busy: always(2) },
      { shares: 100, processors: 2, busy: always(2) },
    ]);
    expect(average(history, 0, 10)).toBeGreaterThan(0.45);
    expect(average(history, 1, 10)).toBeGreaterThan(1.3);
  });
});
