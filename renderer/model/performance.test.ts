import { describe, expect, it } from 'vitest';
import type { VmCounters } from '../../preload/contract';
import {
  engineRows,
  exitSeries,
  formatCount,
  niceBytes,
  niceTop,
  NO_HISTORY,
  PERFORMANCE_POINTS,
  vcpuSeries,
  withReading,
} from './performance';

const reading = (t: number, more: Partial<VmCounters> = {}): VmCounters => ({
  atSeconds: 1000 + t,
  uptimeSeconds: t,
  cpuSeconds: t,
  residentBytes: 1e8,
  vcpus: [
    { cpuSeconds: t / 2, halted: false, haltedSeconds: t / 4, instructions: t * 1e6, exits: { portIn: t, portOut: 2 * t, mmioRead: 0, mmioWrite: 0 }, doorbells: 0 },
  ],
  disk: { readBytes: t * 4096, writtenBytes: 0, reads: t, writes: 0 },
  display: { frames: t * 30 },
  ...more,
}); // prettier-ignore

describe('withReading', () => {
  it('makes rates of differences, by the time that really passed', () => {
    let history = withReading(NO_HISTORY, reading(1));
    expect(history.rates).toEqual([]);
    history = withReading(history, reading(3));
    expect(history.rates[0]).toMatchObject({
      seconds: 2,
      hostPercent: 100,
      frames: 30,
      disk: { readBytes: 4096, reads: 1, writes: 0 },
    });
    expect(vcpuSeries(history)).toEqual([{ label: 'vCPU 0', values: [50] }]);
    expect(history.rates[0]!.vcpus[0]).toMatchObject({ haltedPercent: 25, instructions: 1e6 });
    expect(exitSeries(history).map(({ values }) => values[0])).toEqual([1, 2, 0, 0]);
    expect(engineRows(history).map(({ label, value }) => [label, value])).toEqual([
      ['Instructions', '1.0 M/s'],
      ['Doorbells', '0/s'],
    ]);
  });

  it('begins anew with another run, skips readings of the same instant, and forgets what is old', () => {
    let history = withReading(withReading(NO_HISTORY, reading(5)), reading(6));
    expect(withReading(history, reading(6)).rates.length).toBe(1);
    expect(withReading(history, reading(2)).rates).toEqual([]);
    expect(withReading(history, reading(7, { vcpus: [] })).rates).toEqual([]);
    for (let t = 7; t < 7 + 2 * PERFORMANCE_POINTS; t++) history = withReading(history, reading(t));
    expect(history.rates.length).toBe(PERFORMANCE_POINTS);
  });
});

it('axes end at round numbers', () => {
  expect([niceTop(0, 100), niceTop(101, 100), niceTop(430, 1), niceTop(1000, 1)]).toEqual([100, 200, 500, 1000]);
  expect([niceBytes(0, 1024), niceBytes(5000, 1), niceBytes(2 ** 20, 1)]).toEqual([1024, 8192, 2 ** 20]);
});

it('formatCount', () => {
  expect([0, 12.4, 999, 1000, 1234, 99_960, 1_250_000].map(formatCount)).toEqual([
    '0',
    '12',
    '999',
    '1.0 k',
    '1.2 k',
    '100 k',
    '1.3 M',
  ]);
});
