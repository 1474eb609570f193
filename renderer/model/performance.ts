/** What the Performance page shows, from readings of a machine's counters. Pure. */
import { ratesBetween, type Rates, type VmCounters } from '../../preload/contract';

export const PERFORMANCE_POINTS = 90;

export interface PerformanceHistory {
  readonly last: VmCounters | undefined;
  /** Oldest first. */
  readonly rates: readonly Rates[];
}

export const NO_HISTORY: PerformanceHistory = { last: undefined, rates: [] };

/** A reading of another run of the machine begins anew. */
export function withReading(history: PerformanceHistory, now: VmCounters): PerformanceHistory {
  const { last } = history;
  if (last === undefined) return { last: now, rates: [] };
  const restarted =
    now.uptimeSeconds < last.uptimeSeconds || now.vcpus.length !== last.vcpus.length || now.cpuSeconds < last.cpuSeconds;
  if (restarted) return { last: now, rates: [] };
  const rates = ratesBetween(last, now);
  return { last: now, rates: rates === undefined ? history.rates : [...history.rates, rates].slice(-PERFORMANCE_POINTS) };
}

export interface Series {
  readonly label: string;
  readonly values: readonly number[];
}

export const vcpuSeries = ({ rates }: PerformanceHistory): Series[] =>
  (rates.at(-1)?.vcpus ?? []).map((_, i) => ({ label: `vCPU ${i}`, values: rates.map((r) => r.vcpus[i]?.hostPercent ?? 0) }));

export const memorySeries = ({ rates }: PerformanceHistory): Series[] => [
  { label: 'Host memory', values: rates.map((r) => r.residentBytes) },
];

export const diskSeries = ({ rates }: PerformanceHistory): Series[] => [
  { label: 'Read', values: rates.map((r) => r.disk.readBytes) },
  { label: 'Written', values: rates.map((r) => r.disk.writtenBytes) },
];

const EXIT_KINDS = [
  ['portIn', 'Port in'],
  ['portOut', 'Port out'],
  ['mmioRead', 'Memory read'],
  ['mmioWrite', 'Memory write'],
] as const;

export const exitSeries = ({ rates }: PerformanceHistory): Series[] =>
  EXIT_KINDS.map(([kind, label]) => ({
    label,
    values: rates.map((r) => r.vcpus.reduce((sum, vcpu) => sum + vcpu.exits[kind], 0)),
  }));

export const frameSeries = ({ rates }: PerformanceHistory): Series[] => [{ label: 'Frames', values: rates.map((r) => r.frames) }];

/** 1, 2 or 5 times a power of ten, not below `value`. */
export function niceTop(value: number, least: number): number {
  const wanted = Math.max(value, least);
  if (!Number.isFinite(wanted) || wanted <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(wanted));
  return [1, 2, 5, 10].map((step) => step * power).find((top) => top >= wanted * 0.999)!;
}

/** The same for bytes: a power of two. */
export const niceBytes = (value: number, least: number): number => 2 ** Math.ceil(Math.log2(Math.max(value, least, 1)));

export interface EngineRow {
  readonly label: string;
  readonly tip: string;
  readonly value: string;
}

/** 1 234 567 → 1.2 M */
export function formatCount(value: number): string {
  const units = ['', ' k', ' M', ' G', ' T'];
  let unit = 0;
  let left = value;
  while (unit < units.length - 1 && left >= 999.5) {
    left /= 1000;
    unit++;
  }
  return `${unit === 0 || left >= 99.95 ? Math.round(left) : left.toFixed(1)}${units[unit]!}`;
}

/** What the engine says of itself; rows it cannot tell are left out. */
export function engineRows({ last, rates }: PerformanceHistory): EngineRow[] {
  const now = rates.at(-1);
  if (now === undefined || last === undefined) return [];
  const rows: EngineRow[] = [];
  const total = (values: readonly (number | undefined)[]): number | undefined =>
    values.some((value) => value === undefined) ? undefined : values.reduce<number>((sum, value) => sum + value!, 0);
  const add = (label: string, tip: string, values: readonly (number | undefined)[], unit = '/s'): void => {
    const value = total(values);
    if (value !== undefined) rows.push({ label, tip, value: `${formatCount(value)}${unit}` });
  };
  add(
    'Instructions',
    'Instructions of the guest that were executed.',
    now.vcpus.map((v) => v.instructions),
  );
  add(
    'Interrupts',
    'Interrupts that its processors took.',
    now.vcpus.map((v) => v.interrupts),
  );
  add(
    'Exceptions',
    'Page faults and other exceptions that the guest handled.',
    now.vcpus.map((v) => v.exceptions),
  );
  add(
    'TLB misses',
    'Accesses whose page had to be looked up.',
    now.vcpus.map((v) => v.tlbMisses),
  );
  add(
    'Doorbells',
    'Notifications of devices that did not hold the guest up.',
    now.vcpus.map((v) => v.doorbells),
  );
  add(
    'Blocks decoded',
    'Runs of instructions met for the first time.',
    now.vcpus.map((v) => v.blocksDecoded),
  );
  add(
    'Blocks kept',
    'Decoded runs that are ready for the next time.',
    last.vcpus.map((v) => v.counters?.blocksCached),
    '',
  );
  add(
    'Translated units',
    'Runs of code translated to this computer’s own, since the start.',
    last.vcpus.map((v) => v.translator?.units),
    '',
  );
  add(
    'Tier-ups',
    'Translated units whose code was interpreted before.',
    last.vcpus.map((v) => v.translator?.tierUps),
    '',
  );
  add(
    'Traces',
    'Paths through calls and returns that were translated as one unit, since the start.',
    last.vcpus.map((v) => v.translator?.traces),
    '',
  );
  add(
    'Units invalidated',
    'Translated units dropped because the guest changed their code.',
    last.vcpus.map((v) => v.translator?.invalidations),
    '',
  );
  add(
    'Code cache',
    'Memory that translated code takes now.',
    last.vcpus.map((v) => v.translator && v.translator.codeBytes / (1 << 20)),
    ' MiB',
  );
  add(
    'Code cache limit',
    'The most it may take; the machine’s settings say how much.',
    last.vcpus.map((v) => v.translator && v.translator.codeLimit / (1 << 20)),
    ' MiB',
  );
  add(
    'Code cache evictions',
    'Times that all translated code was dropped, most of all because the cache was full.',
    last.vcpus.map((v) => v.translator?.flushes),
    '',
  );
  add(
    'Translated code',
    'Time in translated code since the start, as far as a sample tells.',
    last.vcpus.map((v) => v.translator && v.translator.translatedNs / 1e9),
    ' s',
  );
  add(
    'Interpreter',
    'Time in the interpreter since the start, as far as a sample tells.',
    last.vcpus.map((v) => v.translator && v.translator.interpretedNs / 1e9),
    ' s',
  );
  return rows;
}
