/**
 * May a machine of this size start now? Guest memory is allocated as the guest touches it, so what running machines were
 * promised and have not touched yet counts as used. The host must never run out of memory because of a start.
 */
import { err, ok, type Result } from '../lib/result';

export interface HostMemory {
  readonly totalMiB: number;
  /** What can be had without swapping others out. */
  readonly availableMiB: number;
}

export interface RunningMachine {
  readonly memoryMiB: number;
  /** Resident size of its process; includes the part of its memory that it has touched. */
  readonly residentMiB: number;
}

/** A VM process beside guest RAM: runtime, code cache, 16 MiB of video memory. */
export const OVERHEAD_MIB = 128;

/** Left to the host: it must stay usable, and its page cache serves the disks. */
export const reserveMiB = (totalMiB: number): number => Math.min(1024, Math.max(128, Math.floor(totalMiB / 32)));

export interface Refusal {
  /** The most this machine could get now; 0 when nothing sensible fits. */
  readonly fitsMiB: number;
  readonly availableMiB: number;
  /** Of running machines, not touched yet. */
  readonly promisedMiB: number;
}

export function admit(wantedMiB: number, host: HostMemory, running: readonly RunningMachine[]): Result<void, Refusal> {
  const promisedMiB = running.reduce((sum, vm) => sum + Math.max(0, vm.memoryMiB + OVERHEAD_MIB - vm.residentMiB), 0);
  const fitsMiB = Math.max(0, Math.floor(host.availableMiB - promisedMiB - reserveMiB(host.totalMiB) - OVERHEAD_MIB));
  if (wantedMiB <= fitsMiB) return ok(undefined);
  return err({ fitsMiB, availableMiB: Math.floor(host.availableMiB), promisedMiB: Math.ceil(promisedMiB) });
}
