/**
 * Ports whose accesses need not wait for their device. A device says what a read gives from now on, and which writes have no effect
 * that the guest could notice before its next access that waits. The engine answers such reads by itself, and keeps such writes until
 * something comes that waits: the device then gets them first, in their order, through its ordinary handler.
 *
 * Where the engine takes no more of them, or nothing is said, every access arrives as it always did: a device must not count on it.
 */
import type { Disposable } from '../../lib/disposable';

// What the engine finds in a port's word (native/addon/types.ts): reads give VALUE while READ is set; writes of v are posted while WRITE is
// set and (v & MASK) is MATCH.
const READ = 1;
const WRITE = 2;
const VALUE_SHIFT = 8;
const MASK_SHIFT = 16;
const MATCH_SHIFT = 24;

/** Every access waits for the device. */
export const WAIT = 0;
/** Reads give this byte. */
export const gives = (value: number): number => READ | ((value & 0xff) << VALUE_SHIFT);
/** Writes of v may come later where (v & mask) is match, both of the low byte. */
export const takes = (mask: number, match: number): number => (WRITE | (mask << MASK_SHIFT) | (match << MATCH_SHIFT)) >>> 0;
/** Any write may come later. */
export const TAKES_ALL = takes(0, 0);

/** A register of a device; what is said before it has an address holds as soon as it has one. */
export class QuickPort {
  private word = WAIT;
  private cell: Uint32Array | undefined;

  constructor(
    readonly offset: number,
    readonly width: 1 | 2 | 4 = 1,
  ) {}

  /** WAIT, or `gives` and `takes` combined. Before an interrupt that tells of the change. */
  set(word: number): void {
    if (word === this.word) return;
    this.word = word;
    if (this.cell) this.cell[0] = word;
  }

  place(cell: Uint32Array | undefined): void {
    if (this.cell) this.cell[0] = WAIT;
    this.cell = cell;
    if (cell) cell[0] = this.word;
  }
}

/** Gives registers their ports. */
export interface QuickPorts {
  /** At `port` until it is disposed of. */
  connect(quick: QuickPort, port: number): Disposable;
}
