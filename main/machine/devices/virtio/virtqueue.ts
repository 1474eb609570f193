/**
 * Split virtqueues. VIRTIO 1.2 §2.7, indirect descriptors §2.7.5.3, event index §2.7.7–2.7.8.
 * The only code that walks rings. Everything in guest memory is hostile and may change while it is read: each value is fetched
 * once, checked, and used from the copy. A bad ring is a named fault; the transport answers it with DEVICE_NEEDS_RESET.
 */
import { err, ok, type Result } from '../../../lib/result';
import { gpa, type GuestMemory } from '../../memory/guest-memory';
import type { Ranges } from '../../memory/ranges';

export { addressOf, readRanges, sliceRanges, writeRanges, type Ranges } from '../../memory/ranges';

/** The queue's own size limits a direct chain; drivers of the field send at most 1024 in an indirect table. */
export const MAX_CHAIN_DESCRIPTORS = 1024;
/** VIRTIO 1.2 §2.7.5.2: a chain describes at most 2^32 bytes. */
const MAX_CHAIN_BYTES = 2 ** 32;
export const MAX_QUEUE_SIZE = 1024;

const DESCRIPTOR_BYTES = 16;
const NEXT = 1;
const WRITE = 2;
const INDIRECT = 4;
const AVAIL_NO_INTERRUPT = 1;

export type QueueFault =
  | 'ringNotInMemory'
  | 'ringMisaligned'
  | 'badQueueSize'
  | 'availIndexJumped'
  | 'tooManyInFlight'
  | 'headOutOfRange'
  | 'nextOutOfRange'
  | 'chainTooLong'
  | 'chainTooBig'
  | 'readableAfterWritable'
  | 'nestedIndirect'
  | 'badIndirectTable'
  | 'indirectNotNegotiated';

export interface Chain {
  readonly head: number;
  readonly readable: Ranges;
  readonly writable: Ranges;
  readonly readableBytes: number;
  readonly writableBytes: number;
}

export interface QueueLayout {
  readonly size: number;
  readonly descriptors: number;
  readonly driver: number;
  readonly device: number;
}

export interface QueueFeatures {
  readonly indirect: boolean;
  readonly eventIndex: boolean;
}

export function checkLayout(layout: QueueLayout): QueueFault | undefined {
  const { size, descriptors, driver, device } = layout;
  if (!(size >= 1 && size <= MAX_QUEUE_SIZE && (size & (size - 1)) === 0)) return 'badQueueSize';
  for (const at of [descriptors, driver, device])
    if (!(Number.isSafeInteger(at) && at >= 0 && at < 2 ** 52)) return 'ringNotInMemory';
  // §2.7: descriptor table 16, available ring 2, used ring 4.
  if (descriptors % 16 || driver % 2 || device % 4) return 'ringMisaligned';
  return undefined;
}

/** One full memory fence: a store before it is visible before a load after it happens (the x86 store buffer would allow else). */
const fenceCell = new Int32Array(new SharedArrayBuffer(4));
const fence = (): void => void Atomics.add(fenceCell, 0, 0);

export class Virtqueue {
  private lastAvail = 0;
  private used = 0;
  /** `used` when the driver was last asked whether it wants to know, and whether anything was pushed since. */
  private signalled = 0;
  private unsignalled = false;
  private inFlight = 0;
  private readonly entry = new Uint8Array(DESCRIPTOR_BYTES);
  private readonly view = new DataView(this.entry.buffer);
  private readonly usedEntry = new Uint8Array(8);
  private readonly usedView = new DataView(this.usedEntry.buffer);

  constructor(
    private readonly mem: GuestMemory,
    readonly layout: QueueLayout,
    private readonly features: QueueFeatures,
  ) {}

  get outstanding(): number {
    return this.inFlight;
  }

  /** The next chain the driver made available; undefined when there is none. */
  pop(): Result<Chain | undefined, QueueFault> {
    const { size, driver } = this.layout;
    let available = this.mem.readU16(gpa(driver + 2));
    if (available === undefined) return err('ringNotInMemory');
    if (available === this.lastAvail && this.features.eventIndex) {
      // Ask for a notification at the next one, then look again: the driver may have added it in between.
      if (!this.mem.writeU16(gpa(this.layout.device + 4 + size * 8), this.lastAvail)) return err('ringNotInMemory');
      fence();
      available = this.mem.readU16(gpa(driver + 2));
      if (available === undefined) return err('ringNotInMemory');
    }
    const waiting = (available - this.lastAvail) & 0xffff;
    if (waiting === 0) return ok(undefined);
    if (waiting > size) return err('availIndexJumped');
    if (this.inFlight >= size) return err('tooManyInFlight');
    const head = this.mem.readU16(gpa(driver + 4 + (this.lastAvail & (size - 1)) * 2));
    if (head === undefined) return err('ringNotInMemory');
    if (head >= size) return err('headOutOfRange');
    const chain = this.walk(head);
    if (!chain.ok) return chain;
    this.lastAvail = (this.lastAvail + 1) & 0xffff;
    this.inFlight++;
    return chain;
  }

  /** Gives the chain back with the count of bytes written into it. */
  push(head: number, written: number): QueueFault | undefined {
    const { size, device } = this.layout;
    this.inFlight--;
    this.usedView.setUint32(0, head, true);
    this.usedView.setUint32(4, Math.min(written, 0xffffffff), true);
    if (!this.mem.write(gpa(device + 4 + (this.used & (size - 1)) * 8), this.usedEntry)) return 'ringNotInMemory';
    this.used = (this.used + 1) & 0xffff;
    this.unsignalled = true;
    if (!this.mem.writeU16(gpa(device + 2), this.used)) return 'ringNotInMemory';
    return undefined;
  }

  /** Whether the driver wants to hear of what was pushed since the last call (§2.7.7.2). */
  takeInterrupt(): boolean {
    if (!this.unsignalled) return false;
    const { size, driver } = this.layout;
    const old = this.signalled;
    this.signalled = this.used;
    this.unsignalled = false;
    fence();
    if (!this.features.eventIndex) return ((this.mem.readU16(gpa(driver)) ?? 0) & AVAIL_NO_INTERRUPT) === 0;
    const event = this.mem.readU16(gpa(driver + 4 + size * 2)) ?? 0;
    return ((this.used - event - 1) & 0xffff) < ((this.used - old) & 0xffff);
  }

  private walk(head: number): Result<Chain, QueueFault> {
    const readable: number[] = [];
    const writable: number[] = [];
    let readableBytes = 0;
    let writableBytes = 0;
    let table = this.layout.descriptors;
    let count = this.layout.size;
    let index = head;
    let insideIndirect = false;
    // Descriptors of the current table that may still follow; a loop runs into it.
    let left = count;
    for (;;) {
      if (left-- === 0) return err('chainTooLong');
      if (!this.mem.readInto(gpa(table + index * DESCRIPTOR_BYTES), this.entry)) return err('ringNotInMemory');
      const address = this.view.getUint32(0, true) + this.view.getUint32(4, true) * 2 ** 32;
      const length = this.view.getUint32(8, true);
      const flags = this.view.getUint16(12, true);
      const next = this.view.getUint16(14, true);
      if (flags & INDIRECT) {
        if (!this.features.indirect) return err('indirectNotNegotiated');
        if (insideIndirect || flags & NEXT) return err('nestedIndirect');
        if (length === 0 || length % DESCRIPTOR_BYTES !== 0) return err('badIndirectTable');
        insideIndirect = true;
        table = address;
        count = length / DESCRIPTOR_BYTES;
        index = 0;
        left = Math.min(count, MAX_CHAIN_DESCRIPTORS);
        continue;
      }
      if (length > 0) {
        if (flags & WRITE) {
          writable.push(address, length);
          writableBytes += length;
        } else {
          if (writable.length > 0) return err('readableAfterWritable');
          readable.push(address, length);
          readableBytes += length;
        }
        if (readableBytes + writableBytes > MAX_CHAIN_BYTES) return err('chainTooBig');
      }
      if (!(flags & NEXT)) return ok({ head, readable, writable, readableBytes, writableBytes });
      if (next >= count) return err('nextOutOfRange');
      index = next;
    }
  }
}
