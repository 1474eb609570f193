/**
 * MSI-X. PCI Local Bus 3.0 §6.8.2. Table and pending bits live in one memory BAR of their own; a masked vector pends and is sent
 * when its mask goes. The table is the guest's: a message to anywhere but the local APIC window is dropped and counted.
 */
import type { MmioHandler } from '../../bus/types';

const ENTRY_DWORDS = 4;
const ENTRY_BYTES = 16;
const VECTOR_MASKED = 1;
export const MSIX_CAPABILITY_ID = 0x11;
export const MSIX_ENABLE = 0x8000;
export const MSIX_FUNCTION_MASK = 0x4000;
/** In the BAR: the table at 0, the pending bits in its second half. Hence at most 128 vectors. */
export const MSIX_BAR_BYTES = 4096;
export const MSIX_PBA_OFFSET = 2048;

export class Msix implements MmioHandler {
  private readonly table: Uint32Array;
  private readonly pending: Uint32Array;
  private control = 0;
  /** Messages that went nowhere. */
  dropped = 0;

  constructor(
    readonly vectors: number,
    private readonly send: (address: number, data: number) => void,
  ) {
    if (!(vectors >= 1 && vectors <= MSIX_PBA_OFFSET / ENTRY_BYTES))
      throw new Error(`MSI-X with ${vectors} vectors does not fit`);
    this.table = new Uint32Array(vectors * ENTRY_DWORDS);
    this.pending = new Uint32Array((vectors + 31) >> 5);
    this.reset();
  }

  get enabled(): boolean {
    return (this.control & MSIX_ENABLE) !== 0;
  }

  reset(): void {
    this.control = 0;
    this.table.fill(0);
    this.pending.fill(0);
    for (let v = 0; v < this.vectors; v++) this.table[v * ENTRY_DWORDS + 3] = VECTOR_MASKED;
  }

  /** Message control, as the function's configuration space has it now. */
  setControl(value: number): void {
    this.control = value;
    if (this.enabled) for (let v = 0; v < this.vectors; v++) this.deliverPending(v);
  }

  /** Sends the vector's message, or remembers it while masked. Only when `enabled`; unknown vectors are ignored. */
  raise(vector: number): void {
    if (!this.enabled || !(vector >= 0 && vector < this.vectors)) return;
    if (this.masked(vector)) this.pending[vector >> 5]! |= 1 << (vector & 31);
    else this.deliver(vector);
  }

  read(offset: number, width: number): number {
    const shift = (offset & 3) * 8;
    return width === 4 && shift === 0 ? this.readDword(offset) : this.readDword(offset & ~3) >>> shift;
  }

  write(offset: number, width: number, value: number): void {
    const at = offset & ~3;
    const index = at >> 2;
    if (index >= this.table.length) return; // the pending bits are read-only
    if (width === 4 && (offset & 3) === 0) this.table[index] = value;
    else {
      const shift = (offset & 3) * 8;
      const mask = (width === 1 ? 0xff : 0xffff) << shift;
      this.table[index] = (this.table[index]! & ~mask) | ((value << shift) & mask);
    }
    if ((index & 3) === 3) this.deliverPending(index >> 2);
  }

  private readDword(at: number): number {
    if (at < MSIX_PBA_OFFSET) return this.table[at >> 2] ?? 0;
    return this.pending[(at - MSIX_PBA_OFFSET) >> 2] ?? 0;
  }

  private masked(vector: number): boolean {
    return (this.control & MSIX_FUNCTION_MASK) !== 0 || (this.table[vector * ENTRY_DWORDS + 3]! & VECTOR_MASKED) !== 0;
  }

  private deliverPending(vector: number): void {
    const bit = 1 << (vector & 31);
    const word = vector >> 5;
    if ((this.pending[word]! & bit) === 0 || !this.enabled || this.masked(vector)) return;
    this.pending[word]! &= ~bit;
    this.deliver(vector);
  }

  private deliver(vector: number): void {
    const low = this.table[vector * ENTRY_DWORDS]!;
    const high = this.table[vector * ENTRY_DWORDS + 1]!;
    if (high === 0 && low >>> 20 === 0xfee) this.send(low, this.table[vector * ENTRY_DWORDS + 2]!);
    else this.dropped++;
  }
}
