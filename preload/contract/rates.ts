/** How fast a machine goes, from two readings of its counters. Pure. */
import type { VmCounters } from './performance';

export interface VcpuRates {
  /** Percent of one host processor. */
  readonly hostPercent: number;
  readonly haltedPercent?: number;
  readonly instructions?: number;
  readonly exits: VmCounters['vcpus'][number]['exits'];
  readonly doorbells: number;
  readonly interrupts?: number;
  readonly exceptions?: number;
  readonly blocksDecoded?: number;
  readonly tlbMisses?: number;
}

/** All a second, but for the percentages and residentBytes. */
export interface Rates {
  readonly seconds: number;
  readonly hostPercent: number;
  readonly residentBytes: number;
  readonly vcpus: readonly VcpuRates[];
  readonly disk: VmCounters['disk'];
  readonly frames: number;
}

/** Undefined when no time lies between them, or they are of different runs. */
export function ratesBetween(before: VmCounters, after: VmCounters): Rates | undefined {
  const seconds = after.atSeconds - before.atSeconds;
  if (!(seconds > 0) || before.vcpus.length !== after.vcpus.length || after.cpuSeconds < before.cpuSeconds) return undefined;
  const rate = (a: number, b: number): number => Math.max(0, (b - a) / seconds);
  const optional = (a: number | undefined, b: number | undefined): number | undefined =>
    a === undefined || b === undefined ? undefined : rate(a, b);
  const each = <K extends string>(a: Record<K, number>, b: Record<K, number>): Record<K, number> =>
    Object.fromEntries((Object.keys(b) as K[]).map((name) => [name, rate(a[name], b[name])])) as Record<K, number>;
  const vcpus = after.vcpus.map((now, i): VcpuRates => {
    const then = before.vcpus[i]!;
    const halted = optional(then.haltedSeconds, now.haltedSeconds);
    const rows = {
      haltedPercent: halted === undefined ? undefined : Math.min(100, halted * 100),
      instructions: optional(then.instructions, now.instructions),
      interrupts: optional(then.counters?.interrupts, now.counters?.interrupts),
      exceptions: optional(then.counters?.exceptions, now.counters?.exceptions),
      blocksDecoded: optional(then.counters?.blocksDecoded, now.counters?.blocksDecoded),
      tlbMisses: optional(then.counters?.tlbMisses, now.counters?.tlbMisses),
    };
    return {
      hostPercent: rate(then.cpuSeconds, now.cpuSeconds) * 100,
      exits: each(then.exits, now.exits),
      doorbells: rate(then.doorbells, now.doorbells),
      ...(Object.fromEntries(Object.entries(rows).filter(([, value]) => value !== undefined)) as Partial<VcpuRates>),
    };
  });
  return {
    seconds,
    hostPercent: rate(before.cpuSeconds, after.cpuSeconds) * 100,
    residentBytes: after.residentBytes,
    vcpus,
    disk: each(before.disk, after.disk),
    frames: rate(before.display.frames, after.display.frames),
  };
}
