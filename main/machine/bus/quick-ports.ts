/**
 * Ports whose accesses need not wait for their device. A device says what a read gives from now on, and which writes have no effect
 * that the guest could notice before its next access that waits. The engine answers such reads by itself, and keeps such writes until
 * something comes that waits: the device then gets them first, in their order, through its ordinary handler.
 *
 * Where the engine takes no more of them, or nothing is said, every access arrives as it always did: a device must not count on it.
 */
import type { NativeMachine } from '../../../native/addon/types';
import type { Disposable } from '../../lib/disposable';

/** The word of a port: the same as Quick in native/addon/types.ts, which this folder may not import. */
export const QuickWord = { READ: 1, WRITE: 2, VALUE_SHIFT: 8, MASK_SHIFT: 16, MATCH_SHIFT: 24 } as const;

/** Every access waits for the device. */
export const WAIT = 0;
/** Reads give this byte. */
export const gives = (value: number): number => QuickWord.READ | ((value & 0xff) << QuickWord.VALUE_SHIFT);
/** Writes of v may come later where (v & mask) is match, both of the low byte. */
export const takes = (mask: number, match: number): number =>
  (QuickWord.WRITE | (mask << QuickWord.MASK_SHIFT) | (match << QuickWord.MATCH_SHIFT)) >>> 0;
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

type QuickCalls = Pick<NativeMachine, 'addQuickPort' | 'removeQuickPort'>;

export class QuickPorts {
  private readonly free: number[];

  /** `words`: the engine's, one for each port there can be. */
  constructor(
    private readonly native: QuickCalls,
    private readonly words: Uint32Array,
  ) {
    this.free = Array.from(words, (_, i) => words.length - 1 - i);
  }

  /** At `port` until it is disposed of. */
  connect(quick: QuickPort, port: number): Disposable {
    const number = this.free.pop();
    if (number === undefined) return { dispose: () => undefined };
    try {
      this.native.addQuickPort(port, quick.width, number);
    } catch {
      // Another device's register is there already.
      this.free.push(number);
      return { dispose: () => undefined };
    }
    quick.place(this.words.subarray(number, number + 1));
    let placed = true;
    return {
      dispose: () => {
        if (!placed) return;
        placed = false;
        quick.place(undefined);
        this.native.removeQuickPort(number);
        this.free.push(number);
      },
    };
  }
}
