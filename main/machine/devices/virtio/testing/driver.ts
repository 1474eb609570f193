/** For tests: the driver's side of a split queue. */
import type { FlatMemory } from '../../../memory/testing/flat-memory';
import type { QueueLayout } from '../virtqueue';

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
    readonly mem: FlatMemory,
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
