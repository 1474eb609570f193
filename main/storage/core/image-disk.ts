/**
 * A disk image of any format as a BlockBackend. Reads, and writes of what is there already, run side by side and touch no table.
 * All that changes a table (first writes, discards, write-back) runs one after the other: data first, then its table entry in
 * memory, then, at a flush or a while later, the tables on the host in the format's safe order. A process killed at any
 * moment leaves an image that is consistent and has everything that was flushed.
 */
import { HostIoError, SECTOR_BYTES, type BlockBackend, type GuestRanges } from '../../backend/block';
import type { Allocation, BlockMap, Extent } from './block-map';
import { GuestTransfer, HostTransfer, type BulkIo, type Transfer } from './transfer';

/** Longest time a table entry stays in memory only. */
const WRITE_BACK_MS = 2000;
const DIRTY_LIMIT_BYTES = 4 << 20;
/** Copies and zeroes go in pieces of this size. */
const PIECE_BYTES = 1 << 20;
const ZEROES = new Uint8Array(PIECE_BYTES);

export interface ImageDiskOptions {
  readonly path: string;
  readonly readOnly: boolean;
  /** Without: only host memory can be read and written. */
  readonly native?: BulkIo | undefined;
  readonly parent?: ImageDisk | undefined;
}

export class ImageDisk implements BlockBackend {
  readonly blockBytes = 4096;
  private readonly inFlight = new Set<Promise<unknown>>();
  private queue: Promise<unknown> = Promise.resolve();
  private timer: NodeJS.Timeout | undefined;
  private closed: Promise<void> | undefined;

  constructor(
    readonly map: BlockMap,
    private readonly options: ImageDiskOptions,
  ) {}

  get path(): string {
    return this.options.path;
  }
  get parent(): ImageDisk | undefined {
    return this.options.parent;
  }
  get bytes(): number {
    return this.map.bytes;
  }
  get readOnly(): boolean {
    return this.options.readOnly;
  }
  get discards(): boolean {
    return !this.readOnly && (this.map.discards || this.map.files.some((file) => file.givesBack));
  }

  // ---- requests ---------------------------------------------------------------------------------------------------

  read(offset: number, ranges: GuestRanges): void | Promise<void> {
    const transfer = this.guest(ranges);
    this.checkRange(offset, transfer.bytes);
    return this.track(this.readInto(offset, transfer));
  }

  write(offset: number, ranges: GuestRanges): void | Promise<void> {
    return this.writeFrom(offset, this.guest(ranges));
  }

  async readBytes(offset: number, into: Uint8Array): Promise<void> {
    this.checkRange(offset, into.length);
    await this.track(this.readInto(offset, new HostTransfer(into)));
  }

  async writeBytes(offset: number, from: Uint8Array): Promise<void> {
    await this.writeFrom(offset, new HostTransfer(from));
  }

  async flush(): Promise<void> {
    if (this.readOnly) return;
    if (this.map.dirtyBytes > 0) await this.exclusive(() => this.map.writeBack());
    for (const file of this.map.files) await file.sync();
  }

  async discard(offset: number, bytes: number): Promise<void> {
    this.checkWrite(offset, bytes);
    if (this.discards) await this.exclusive(() => this.clear(offset, bytes, false, true));
  }

  async writeZeroes(offset: number, bytes: number, giveBack: boolean): Promise<void> {
    this.checkWrite(offset, bytes);
    await this.exclusive(() => this.clear(offset, bytes, true, giveBack));
  }

  close(): Promise<void> {
    this.closed ??= (async () => {
      clearTimeout(this.timer);
      try {
        await this.drain();
        // Behind whatever still waits for its turn.
        if (!this.readOnly) await this.exclusive(() => this.map.writeBack());
        await this.flush();
      } finally {
        clearTimeout(this.timer);
        await Promise.all(this.map.files.map((file) => file.close()));
        await this.parent?.close();
      }
    })();
    return this.closed;
  }

  /** What is at `offset`, seen through all parents: for copies that skip what is empty. */
  async isZero(offset: number, bytes: number): Promise<{ zero: boolean; bytes: number }> {
    const extent = await this.map.lookup(offset, bytes);
    if (extent.kind === 'zero') return { zero: true, bytes: extent.bytes };
    if (extent.kind !== 'parent') return { zero: false, bytes: extent.bytes };
    const { parent } = this;
    if (!parent || offset >= parent.bytes) return { zero: true, bytes: extent.bytes };
    return parent.isZero(offset, Math.min(extent.bytes, parent.bytes - offset));
  }

  async drain(): Promise<void> {
    await Promise.allSettled([...this.inFlight]);
  }

  // ---- reading ----------------------------------------------------------------------------------------------------

  private readInto(offset: number, transfer: Transfer): void | Promise<void> {
    const pending: Promise<void>[] = [];
    try {
      for (let done = 0; done < transfer.bytes;) {
        const left = transfer.bytes - done;
        const extent = this.map.lookup(offset + done, left);
        if (extent instanceof Promise) {
          pending.push(this.readRest(extent, offset + done, transfer.slice(done, left)));
          break;
        }
        const work = this.readExtent(extent, offset + done, transfer.slice(done, extent.bytes));
        if (work) pending.push(work);
        done += extent.bytes;
      }
    } catch (e) {
      pending.push(Promise.reject(e as Error));
    }
    return all(pending);
  }

  private async readRest(lookup: Promise<Extent>, offset: number, transfer: Transfer): Promise<void> {
    const extent = await lookup;
    const rest = transfer.bytes - extent.bytes;
    const first = this.readExtent(extent, offset, transfer.slice(0, extent.bytes));
    const second = rest > 0 ? this.readInto(offset + extent.bytes, transfer.slice(extent.bytes, rest)) : undefined;
    await Promise.all([first, second]);
  }

  private readExtent(extent: Extent, offset: number, transfer: Transfer): void | Promise<void> {
    switch (extent.kind) {
      case 'data':
        return transfer.fromFile(extent.file, extent.at);
      case 'zero':
        return transfer.zero();
      case 'packed':
        return extent.unpack().then((bytes) => transfer.put(bytes.subarray(extent.skip, extent.skip + extent.bytes)));
      case 'parent': {
        const { parent } = this;
        const there = parent ? Math.min(transfer.bytes, Math.max(0, parent.bytes - offset)) : 0;
        if (there < transfer.bytes) transfer.slice(there, transfer.bytes - there).zero();
        return parent && there > 0 ? parent.readInto(offset, transfer.slice(0, there)) : undefined;
      }
    }
  }

  // ---- writing ----------------------------------------------------------------------------------------------------

  private writeFrom(offset: number, transfer: Transfer): void | Promise<void> {
    this.checkWrite(offset, transfer.bytes);
    const later: { offset: number; transfer: Transfer }[] = [];
    const inPlace = this.track(this.writeInPlace(offset, transfer, later));
    if (!inPlace && later.length === 0) return undefined;
    return Promise.resolve(inPlace).then(() => this.writeLater(later));
  }

  /** Overwrites what may be overwritten; the rest goes to `later`. */
  private writeInPlace(
    offset: number,
    transfer: Transfer,
    later: { offset: number; transfer: Transfer }[],
  ): void | Promise<void> {
    const pending: Promise<void>[] = [];
    const place = (extent: Extent, done: number): void => {
      const part = transfer.slice(done, extent.bytes);
      if (extent.kind !== 'data' || !extent.inPlace) later.push({ offset: offset + done, transfer: part });
      else {
        const work = part.toFile(extent.file, extent.at);
        if (work) pending.push(work);
      }
    };
    const rest = async (lookup: Promise<Extent>, from: number): Promise<void> => {
      let done = from;
      let extent = await lookup;
      for (;;) {
        place(extent, done);
        done += extent.bytes;
        if (done >= transfer.bytes) break;
        extent = await this.map.lookup(offset + done, transfer.bytes - done);
      }
      await all(pending.splice(0));
    };
    try {
      for (let done = 0; done < transfer.bytes;) {
        const extent = this.map.lookup(offset + done, transfer.bytes - done);
        if (extent instanceof Promise) {
          const begun = pending.splice(0);
          return all([...begun, rest(extent, done)]);
        }
        place(extent, done);
        done += extent.bytes;
      }
    } catch (e) {
      pending.push(Promise.reject(e as Error));
    }
    return all(pending);
  }

  private async writeLater(later: readonly { offset: number; transfer: Transfer }[]): Promise<void> {
    if (later.length === 0) return;
    await this.exclusive(async () => {
      for (const part of later) await this.writeAllocating(part.offset, part.transfer);
    });
  }

  private async writeAllocating(offset: number, transfer: Transfer): Promise<void> {
    for (let done = 0; done < transfer.bytes;) {
      const at = offset + done;
      const extent = await this.map.lookup(at, transfer.bytes - done);
      if (extent.kind === 'data' && extent.inPlace) {
        await transfer.slice(done, extent.bytes).toFile(extent.file, extent.at);
        done += extent.bytes;
        continue;
      }
      const room = await this.map.allocate(at, extent.bytes);
      const end = Math.min(room.start + room.bytes, offset + transfer.bytes);
      try {
        await this.keepOld(room, room.start, at);
        await transfer.slice(done, end - at).toFile(room.file, room.at + (at - room.start));
        await this.keepOld(room, end, room.start + room.bytes);
        await room.file.extendTo(room.at + room.bytes);
      } catch (e) {
        this.map.abandon(room);
        throw e;
      }
      await this.map.commit(room);
      this.changed();
      if (this.map.dirtyBytes > DIRTY_LIMIT_BYTES) await this.map.writeBack();
      done = end - offset;
    }
  }

  /** Copies what [from, to) of the disk is now into the room that will replace it. */
  private async keepOld(room: Allocation, from: number, to: number): Promise<void> {
    for (let offset = from; offset < to;) {
      const at = room.at + (offset - room.start);
      if (offset >= this.bytes) {
        // The disk ends inside its last unit.
        if (!room.fresh) await this.writeZeroBytes(room.file, at, to - offset);
        return;
      }
      const left = Math.min(to, this.bytes) - offset;
      const { zero, bytes } = await this.isZero(offset, Math.min(PIECE_BYTES, left));
      if (!zero) {
        const old = new Uint8Array(bytes);
        await this.readInto(offset, new HostTransfer(old));
        await room.file.write(at, old);
      } else if (!room.fresh) await room.file.write(at, ZEROES.subarray(0, bytes));
      offset += bytes;
    }
  }

  private async writeZeroBytes(file: Allocation['file'], at: number, bytes: number): Promise<void> {
    for (let done = 0; done < bytes; done += PIECE_BYTES) {
      await file.write(at + done, ZEROES.subarray(0, Math.min(PIECE_BYTES, bytes - done)));
    }
  }

  /** `must`: what cannot be dropped is overwritten with zeroes. `giveBack`: data's own space goes back to the host. */
  private async clear(offset: number, bytes: number, must: boolean, giveBack: boolean): Promise<void> {
    const end = offset + bytes;
    const unit = this.map.clusterBytes ?? PIECE_BYTES;
    for (let at = offset; at < end;) {
      const done = await this.map.zero(at, end - at);
      if (done > 0) {
        at += done;
        this.changed();
        if (this.map.dirtyBytes > DIRTY_LIMIT_BYTES) await this.map.writeBack();
        continue;
      }
      // Data that stay part of the image, in their own place: only their blocks on the host go.
      const extent = await this.map.lookup(at, end - at);
      if (extent.kind === 'data' && extent.inPlace && (await extent.file.zeroRange(extent.at, extent.bytes, giveBack))) {
        at += extent.bytes;
        continue;
      }
      const piece = Math.min(end - at, unit - (at % unit), PIECE_BYTES);
      const { zero, bytes: same } = await this.isZero(at, piece);
      if (!zero && must) await this.writeAllocating(at, new HostTransfer(ZEROES.subarray(0, same)));
      at += same;
    }
  }

  // ---- order ------------------------------------------------------------------------------------------------------

  /** For changes of tables, one after the other; also for a format's own offline work. */
  exclusive<T>(work: () => Promise<T>): Promise<T> {
    const run = this.queue.then(work, work);
    this.queue = run.catch(() => undefined);
    return run;
  }

  private track(work: void | Promise<void>): void | Promise<void> {
    if (!work) return undefined;
    const tracked = work.finally(() => this.inFlight.delete(tracked));
    this.inFlight.add(tracked);
    return tracked;
  }

  private changed(): void {
    if (this.timer !== undefined || this.map.dirtyBytes === 0) return;
    this.timer = setTimeout(() => {
      this.timer = undefined;
      // A failure leaves the tables in memory; the next flush meets it again and tells.
      this.exclusive(() => this.map.writeBack()).catch(() => undefined);
    }, WRITE_BACK_MS);
    this.timer.unref();
  }

  private guest(ranges: GuestRanges): Transfer {
    const { native } = this.options;
    if (!native) throw new Error('this disk was opened without guest memory');
    return new GuestTransfer(native, ranges);
  }

  private checkWrite(offset: number, bytes: number): void {
    if (this.readOnly) throw new HostIoError(`${this.path} is read-only`, 'readOnly');
    this.checkRange(offset, bytes);
    if (offset % SECTOR_BYTES !== 0 || bytes % SECTOR_BYTES !== 0) {
      throw new HostIoError(`${bytes} bytes at ${offset} of ${this.path} are not whole sectors`, 'outOfRange');
    }
  }

  private checkRange(offset: number, bytes: number): void {
    if (!(offset >= 0 && bytes >= 0 && offset + bytes <= this.bytes)) {
      throw new HostIoError(`${bytes} bytes at ${offset} are outside ${this.path}`, 'outOfRange');
    }
  }
}

/** All are waited for, also when one fails: nothing may go on touching memory after the request was answered. */
function all(pending: Promise<void>[]): void | Promise<void> {
  if (pending.length === 0) return undefined;
  if (pending.length === 1) return pending[0];
  return Promise.allSettled(pending).then((results) => {
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  });
}
