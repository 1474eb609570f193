/** For tests: flat guest memory, and the driver's side of a split queue. */
import type { GuestMemory } from '../../../memory/guest-memory';
import type { QueueLayout } from '../virtqueue';

export function flatMemory(bytes: number): GuestMemory & { data: Uint8Array; view: DataView } {
  const data = new Uint8Array(bytes);
  const view = new DataView(data.buffer);
  const inside = (at: number, n: number): boolean => at >= 0 && Number.isInteger(at) && at + n <= bytes;
  return {
    data,
    view,
    read: (at, n) => (inside(at, n) ? data.slice(at, at + n) : undefined),
    readInto: (at, into) => inside(at, into.length) && (into.set(data.subarray(at, at + into.length)), true),
    write: (at, from) => inside(at, from.length) && (data.set(from, at), true),
    readU16: (at) => (inside(at, 2) ? view.getUint16(at, true) : undefined),
    readU32: (at) => (inside(at, 4) ? view.getUint32(at, true) : undefined),
    readU64: (at) => (inside(at, 8) ? Number(view.getBigUint64(at, true)) : undefined),
    writeU16: (at, value) => inside(at, 2) && (view.setUint16(at, value, true), true),
    writeU32: (at, value) => inside(at, 4) && (view.setUint32(at, value, true), true),
    fill: (at, n, value) => inside(at, n) && (data.fill(value, at, at + n), true),
  };
}

export interface Descriptor {
  at: number;
  bytes: number;
  write?: boolean;
  indirect?: boolean;
  next?: number;
}

export class QueueDriver {
  available = 0;
  seen = 0;

  constructor(
    readonly mem: ReturnType<typeof flatMemory>,
    readonly layout: QueueLayout,
  ) {}

  describe(table: number, index: number, d: Descriptor): void {
    const at = table + index * 16;
    this.mem.view.setBigUint64(at, BigInt(d.at), true);
    this.mem.view.setUint32(at + 8, d.bytes, true);
    this.mem.view.setUint16(at + 12, (d.next === undefined ? 0 : 1) | (d.write ? 2 : 0) | (d.indirect ? 4 : 0), true);
    this.mem.view.setUint16(at + 14, d.next ?? 0, true);
  }

  /** Descriptors first, first + 1, …, chained. */
  chain(first: number, parts: readonly Descriptor[], table = this.layout.descriptors): void {
    parts.forEach((part, i) => this.describe(table, first + i, i + 1 < parts.length ? { ...part, next: first + i + 1 } : part));
  }

  offer(head: number): void {
    this.mem.view.setUint16(this.layout.driver + 4 + (this.available % this.layout.size) * 2, head, true);
    this.available = (this.available + 1) & 0xffff;
    this.mem.view.setUint16(this.layout.driver + 2, this.available, true);
  }

  setUsedEvent(value: number): void {
    this.mem.view.setUint16(this.layout.driver + 4 + this.layout.size * 2, value, true);
  }

  get usedIndex(): number {
    return this.mem.view.getUint16(this.layout.device + 2, true);
  }

  takeUsed(): { head: number; written: number } | undefined {
    if (this.seen === this.usedIndex) return undefined;
    const at = this.layout.device + 4 + (this.seen % this.layout.size) * 8;
    this.seen = (this.seen + 1) & 0xffff;
    return { head: this.mem.view.getUint32(at, true), written: this.mem.view.getUint32(at + 4, true) };
  }
}
