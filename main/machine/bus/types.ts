/** What a device is given, and what it gives. A device never sees the machine, the CPU or its own address. */

import type { QuickPort } from './quick-ports';

/** Registers of a device, as the bus sees them: `offset` from the start of the claimed range. Widths are bytes. */
export interface IoHandler {
  read(offset: number, width: number): number;
  write(offset: number, width: number, value: number): void;
  /** String I/O of `count` elements at one port (INS/OUTS); the bus falls back to read/write in a loop. */
  readString?(offset: number, width: number, count: number, into: Uint8Array): void;
  writeString?(offset: number, width: number, count: number, from: Uint8Array): void;
  /** Of ports only: registers that the engine may answer for. */
  readonly quick?: readonly QuickPort[];
}

/** 64-bit MMIO accesses are split by the bus into two 32-bit ones, low half first. */
export type MmioHandler = IoHandler;

export interface IrqLine {
  set(level: boolean): void;
}

/** Edge-triggered convenience: low → high → low. */
export function pulse(line: IrqLine): void {
  line.set(true);
  line.set(false);
}

/** A device that lives until the machine ends. `reset` is the machine's reset line. */
export interface Device {
  readonly name: string;
  reset(): void;
  dispose?(): void;
  /** Named, versioned, plain data; see restore. */
  save?(): unknown;
  /** Validates, migrates, applies; throws with a sentence when it does not fit. */
  restore?(state: unknown): void;
}
