/**
 * Exit record → bus access → answer in the record. Layout: Exit in native/addon/types.ts. Nothing is allocated per exit. A device
 * that throws here is a bug, which the run loop reports.
 */
import { Exit, ExitKind, Posted } from '../../native/addon/types';
import type { Bus } from '../machine/bus/bus';

export class ExitDispatcher {
  private readonly bytes: Uint8Array;
  private readonly words: Uint16Array;
  private readonly dwords: Uint32Array;

  constructor(
    buffer: ArrayBuffer,
    private readonly bus: Bus,
  ) {
    this.bytes = new Uint8Array(buffer);
    this.words = new Uint16Array(buffer);
    this.dwords = new Uint32Array(buffer);
  }

  dispatch(vcpu: number): void {
    const record = vcpu * Exit.STRIDE;
    const at = record >> 2;
    const { dwords, bus } = this;
    const kind = dwords[at + Exit.KIND / 4]!;
    const width = dwords[at + Exit.WIDTH / 4]!;
    const count = dwords[at + Exit.COUNT / 4]!;
    const low = dwords[at + Exit.ADDRESS_LOW / 4]!;
    const data = record + Exit.DATA;
    switch (kind) {
      case ExitKind.PORT_OUT:
        if (count === 1) bus.writePort(low, width, this.load(data, width));
        else bus.writePortString(low, width, count, this.bytes.subarray(data, data + count * width));
        break;
      case ExitKind.PORT_IN:
        if (count === 1) this.store(data, width, bus.readPort(low, width));
        else bus.readPortString(low, width, count, this.bytes.subarray(data, data + count * width));
        break;
      case ExitKind.MMIO_READ:
        this.mmio(low + dwords[at + Exit.ADDRESS_HIGH / 4]! * 2 ** 32, width, count, data, false);
        break;
      case ExitKind.MMIO_WRITE:
        this.mmio(low + dwords[at + Exit.ADDRESS_HIGH / 4]! * 2 ** 32, width, count, data, true);
        break;
      default:
        throw new Error(`vCPU ${vcpu} reports an exit of unknown kind ${kind}`);
    }
  }

  /** The writes of one Serve.POSTED. */
  deliverPosted(): void {
    const { words, dwords, bus } = this;
    const count = dwords[Posted.COUNT >> 2]!;
    for (let n = 0, at = Posted.FIRST; n < count; n++, at += Posted.BYTES) {
      bus.writePort(words[at >> 1]!, words[(at >> 1) + 1]!, dwords[(at >> 2) + 1]!);
    }
  }

  /** Elements lie side by side; 64-bit ones are two halves, the low one first. */
  private mmio(address: number, width: number, count: number, data: number, write: boolean): void {
    const step = Math.min(width, 4);
    const end = data + width * count;
    for (let at = data; at < end; at += step, address += step) {
      if (write) this.bus.writeMmio(address, step, this.load(at, step));
      else this.store(at, step, this.bus.readMmio(address, step));
    }
  }

  private load(at: number, width: number): number {
    return width === 1 ? this.bytes[at]! : width === 2 ? this.words[at >> 1]! : this.dwords[at >> 2]!;
  }

  private store(at: number, width: number, value: number): void {
    if (width === 1) this.bytes[at] = value;
    else if (width === 2) this.words[at >> 1] = value;
    else this.dwords[at >> 2] = value;
  }
}
