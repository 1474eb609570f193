/**
 * Zones of the memory and processor sliders, from what the host has right now. Green: comfortable. Amber: works, but the
 * host gets tight. Red: does not fit now; it can still be chosen, because memory may be free again when the machine starts.
 */
import { MEMORY_MIN_MIB } from './types';

export type Zone = 'green' | 'amber' | 'red';

export interface Zones {
  /** Inclusive upper ends; red goes to `max`. */
  readonly greenTo: number;
  readonly amberTo: number;
  readonly max: number;
}

/** Kept for the host in the green zone: a tenth of its memory, at least 512 MiB, at most 4 GiB. */
const hostReserveMiB = (memoryMiB: number): number => Math.min(4096, Math.max(512, memoryMiB / 10));

export function memoryZones(host: { memoryMiB: number; availableMiB: number }): Zones {
  const max = Math.max(MEMORY_MIN_MIB, host.memoryMiB);
  const amberTo = Math.min(max, Math.max(0, host.availableMiB));
  return { greenTo: Math.max(0, Math.floor(amberTo - hostReserveMiB(host.memoryMiB))), amberTo, max };
}

export function cpuZones(host: { logicalCpus: number }): Zones {
  const max = Math.max(1, host.logicalCpus);
  return { greenTo: Math.max(1, Math.floor(max / 2)), amberTo: max, max };
}

export const zoneOf = (zones: Zones, value: number): Zone =>
  value <= zones.greenTo ? 'green' : value <= zones.amberTo ? 'amber' : 'red';

/** Stops of the memory slider: powers of two with the half-way points from 1 GiB on, and the host's own size last. */
export function memoryStops(hostMemoryMiB: number): number[] {
  const stops: number[] = [];
  for (let mib = 64; mib <= hostMemoryMiB; mib *= 2) {
    stops.push(mib);
    const half = mib * 1.5;
    if (mib >= 1024 && half <= hostMemoryMiB) stops.push(half);
  }
  if (stops.length === 0 || stops[stops.length - 1] !== hostMemoryMiB) stops.push(hostMemoryMiB);
  return stops;
}

/** Position of a value among the stops, fractional between two of them; ends are clamped. Inverse of `valueAt`. */
export function positionOf(stops: readonly number[], value: number): number {
  if (value <= stops[0]!) return 0;
  for (let i = 1; i < stops.length; i++) {
    const low = stops[i - 1]!;
    const high = stops[i]!;
    if (value <= high) return i - 1 + (value - low) / (high - low);
  }
  return stops.length - 1;
}

export function valueAt(stops: readonly number[], position: number): number {
  const i = Math.min(stops.length - 1, Math.max(0, Math.floor(position)));
  const low = stops[i]!;
  const high = stops[Math.min(stops.length - 1, i + 1)]!;
  return Math.round(low + (high - low) * (position - i));
}

/** Default for a new machine: what the OS recommends, unless that would leave the green zone; never under its minimum. */
export function defaultMemoryMiB(recommended: number, minimum: number, zones: Zones): number {
  if (recommended <= zones.greenTo) return recommended;
  // Whole 64 MiB: a number a person would have typed.
  const fits = Math.floor(zones.greenTo / 64) * 64;
  return Math.max(minimum, Math.min(recommended, fits), MEMORY_MIN_MIB);
}

/** max(OS minimum, min(4, half of host)). */
export const defaultCpus = (osMinimum: number, logicalCpus: number): number =>
  Math.max(1, osMinimum, Math.min(4, Math.floor(logicalCpus / 2)));
