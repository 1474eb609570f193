/**
 * Address → owner, for ports and for MMIO. Two kinds of owner: *fixed* claims, made while the machine is built, where an overlap is
 * a bug and throws; and *overlays*, which the guest moves around (PCI BARs), where an overlap is the guest's own problem: fixed
 * claims win, then the earlier overlay. Changes rebuild a flat list without overlaps, so that a lookup is a cached hit or a binary
 * search.
 */
import type { Disposable } from '../../lib/disposable';

export interface Slot<T> {
  /** The part of the claim that is visible: `from` ≤ address < `to`. */
  readonly from: number;
  readonly to: number;
  /** Start of the whole claim, which offsets count from. */
  readonly base: number;
  readonly owner: T;
}

interface Range<T> {
  readonly start: number;
  readonly end: number;
  readonly name: string;
  readonly owner: T;
}

const hex = (value: number): string => `0x${value.toString(16)}`;

export class RangeMap<T> {
  private fixed: Range<T>[] = [];
  private overlays: Range<T>[] = [];
  private slots: Slot<T>[] = [];
  private last: Slot<T> | undefined;

  /** `limit` is the first address that does not exist. */
  constructor(private readonly limit: number) {}

  /** Throws when the range is already somebody's. */
  claim(start: number, length: number, owner: T, name: string): Disposable {
    const range = this.range(start, length, owner, name);
    if (!range) throw new Error(`${name} claims ${hex(start)}+${hex(length)}, which is not a valid range`);
    const other = this.fixed.find((r) => r.start < range.end && range.start < r.end);
    if (other)
      throw new Error(`${name} claims ${hex(start)}, which belongs to ${other.name} (${hex(other.start)}–${hex(other.end - 1)})`);
    this.fixed.push(range);
    this.rebuild();
    return {
      dispose: () => {
        this.fixed = this.fixed.filter((r) => r !== range);
        this.rebuild();
      },
    };
  }

  /** Never throws; a range that does not fit the address space is not decoded at all. */
  overlay(start: number, length: number, owner: T, name: string): Disposable {
    const range = this.range(start, length, owner, name);
    if (!range) return { dispose: () => undefined };
    this.overlays.push(range);
    this.rebuild();
    return {
      dispose: () => {
        this.overlays = this.overlays.filter((r) => r !== range);
        this.rebuild();
      },
    };
  }

  find(address: number): Slot<T> | undefined {
    const last = this.last;
    if (last && address >= last.from && address < last.to) return last;
    const slots = this.slots;
    let low = 0;
    let high = slots.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const slot = slots[middle]!;
      if (address < slot.from) high = middle;
      else if (address >= slot.to) low = middle + 1;
      else return (this.last = slot);
    }
    return undefined;
  }

  /** Every visible slot in address order, for listings. */
  list(): readonly Slot<T>[] {
    return this.slots;
  }

  private range(start: number, length: number, owner: T, name: string): Range<T> | undefined {
    if (!Number.isSafeInteger(start) || !(length > 0) || start < 0 || start + length > this.limit) return undefined;
    return { start, end: start + length, name, owner };
  }

  private rebuild(): void {
    this.last = undefined;
    const byPriority = [...this.fixed, ...this.overlays];
    const edges = [...new Set(byPriority.flatMap((r) => [r.start, r.end]))].sort((a, b) => a - b);
    const slots: Slot<T>[] = [];
    let previous: Range<T> | undefined;
    for (let i = 0; i + 1 < edges.length; i++) {
      const from = edges[i]!;
      const to = edges[i + 1]!;
      const range = byPriority.find((r) => r.start <= from && to <= r.end);
      const tail = slots[slots.length - 1];
      if (range && range === previous && tail) slots[slots.length - 1] = { ...tail, to };
      else if (range) slots.push({ from, to, base: range.start, owner: range.owner });
      previous = range;
    }
    this.slots = slots;
  }
}
