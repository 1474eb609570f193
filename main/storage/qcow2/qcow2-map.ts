/**
 * qcow2, versions 2 and 3 (QEMU, docs/interop/qcow2.txt): cluster mapping, allocation, zero clusters, compressed clusters (read),
 * discard, images with internal snapshots (copy on write of what a snapshot holds), all refcount widths.
 * Not offered: encryption, external data files, extended L2 entries, making or reverting snapshots.
 * Lazy refcounts are allowed to an image, not asked of a writer: refcounts are always kept right here.
 *
 * Safe order: data and raised refcounts → refcount table → L2 → L1 → lowered refcounts, with a sync where the next step
 * refers to the one before. Killed in between, clusters may be left that nothing refers to, never the opposite.
 */
import * as zlib from 'node:zlib';
import type { DiskCheck } from '../../../preload/contract';
import { damaged, type Allocation, type BlockMap, type Extent, type MapHost } from '../core/block-map';
import type { HostFile } from '../core/host-file';
import { MetaCache, setU64be, viewOf, type Page } from '../core/meta-cache';
import { checkQcow2 } from './check';
import { Incompatible, type Qcow2Header } from './header';
import { Order, Refcounts } from './refcounts';

export const COPIED = 0x8000_0000;
export const COMPRESSED = 0x4000_0000;
/** One allocation, to keep single requests short. */
const ALLOCATION_BYTES = 16 << 20;
const UNPACKED_CLUSTERS = 8;

type Unpack = (bytes: Uint8Array, outputBytes: number) => Promise<Uint8Array>;

export class Qcow2Map implements BlockMap {
  readonly format = 'qcow2';
  readonly variant: string;
  readonly discards = true;
  readonly clusterBytes: number;
  readonly files: readonly HostFile[];
  readonly refcounts: Refcounts;
  readonly cache: MetaCache;
  private readonly l2Entries: number;
  private readonly unpacked = new Map<number, Promise<Uint8Array>>();
  /** Position that the last lookup did not find in the cache. */
  private missing = 0;

  constructor(
    readonly file: HostFile,
    readonly header: Qcow2Header,
    private readonly hasParent: boolean,
    private readonly host: () => MapHost,
  ) {
    this.variant = `version ${header.version}`;
    this.clusterBytes = 2 ** header.clusterBits;
    this.l2Entries = this.clusterBytes / 8;
    this.files = [file];
    this.cache = new MetaCache(file, Math.min(4096, this.clusterBytes));
    this.refcounts = new Refcounts(file, this.cache, header, this.clusterBytes, () => this.writeBack());
  }

  get bytes(): number {
    return this.header.bytes;
  }
  get snapshots(): number {
    return this.header.snapshots;
  }
  get dirtyBytes(): number {
    return this.cache.dirtyBytes;
  }

  // ---- mapping ----------------------------------------------------------------------------------------------------

  lookup(offset: number, bytes: number): Extent | Promise<Extent> {
    return this.find(offset, bytes) ?? this.loadAndFind(offset, bytes);
  }

  private async loadAndFind(offset: number, bytes: number): Promise<Extent> {
    for (;;) {
      await this.cache.load(this.missing);
      const extent = this.find(offset, bytes);
      if (extent) return extent;
    }
  }

  private find(offset: number, bytes: number): Extent | undefined {
    const { clusterBytes } = this;
    const cluster = Math.floor(offset / clusterBytes);
    const within = offset - cluster * clusterBytes;
    const l1Position = this.header.l1At + Math.floor(cluster / this.l2Entries) * 8;
    const l1Page = this.cache.peek(l1Position);
    if (!l1Page) return this.miss(l1Position);
    const l1 = this.entry(l1Page, l1Position);
    const index = cluster % this.l2Entries;
    if (l1.at === 0) {
      return { kind: 'parent', bytes: Math.min(bytes, (this.l2Entries - index) * clusterBytes - within) };
    }
    if (l1.at % clusterBytes !== 0) throw damaged(this.file, 'a table is at an impossible place');
    const position = l1.at + index * 8;
    const page = this.cache.peek(position);
    if (!page) return this.miss(position);

    const first = this.entry(page, position);
    if (first.hi & COMPRESSED) {
      const { hi, lo } = first;
      return { kind: 'packed', bytes: Math.min(bytes, clusterBytes - within), skip: within, unpack: () => this.unpack(hi, lo) };
    }
    const kind = this.kindOf(first);
    // As far as the same goes on, in this page.
    const inPage = Math.min(this.l2Entries - index, (page.at + this.cache.pageBytes - position) / 8);
    const wanted = Math.min(inPage, Math.ceil((within + bytes) / clusterBytes));
    let count = 1;
    for (; count < wanted; count++) {
      const next = this.entry(page, position + count * 8);
      if ((next.hi & COMPRESSED) !== 0 || this.kindOf(next) !== kind) break;
      if (kind === 'data' && (next.at !== first.at + count * clusterBytes || (next.hi ^ first.hi) & COPIED)) break;
    }
    const length = Math.min(bytes, count * clusterBytes - within);
    if (kind !== 'data') return { kind, bytes: length };
    if (first.at % clusterBytes !== 0) throw damaged(this.file, 'a cluster is at an impossible place');
    const inPlace = !this.file.readOnly && (first.hi & COPIED) !== 0 && (l1.hi & COPIED) !== 0;
    return { kind, bytes: length, file: this.file, at: first.at + within, inPlace };
  }

  private miss(position: number): undefined {
    this.missing = position;
    return undefined;
  }

  private kindOf(entry: Entry): 'data' | 'zero' | 'parent' {
    if (entry.lo & 1 && this.header.version === 3) return 'zero';
    return entry.at === 0 ? 'parent' : 'data';
  }

  private entry(page: Page, position: number): Entry {
    const hi = page.view.getUint32(position - page.at);
    const lo = page.view.getUint32(position - page.at + 4);
    return { hi, lo, at: (hi & 0x00ff_ffff) * 0x1_0000_0000 + ((lo & 0xffff_fe00) >>> 0) };
  }

  private async page(position: number): Promise<Page> {
    return this.cache.peek(position) ?? (await this.cache.load(position));
  }

  // ---- compressed clusters ----------------------------------------------------------------------------------------

  /** Host offset and bytes of a compressed cluster: the descriptor's split depends on the cluster size. */
  packedAt(hi: number, lo: number): { at: number; bytes: number } {
    const offsetBits = 62 - (this.header.clusterBits - 8);
    const high = hi & 0x3fff_ffff;
    const sectors = high >>> (offsetBits - 32);
    const at = (high & (2 ** (offsetBits - 32) - 1)) * 0x1_0000_0000 + (lo >>> 0);
    return { at, bytes: (sectors + 1) * 512 - (at % 512) };
  }

  private unpack(hi: number, lo: number): Promise<Uint8Array> {
    const { at, bytes } = this.packedAt(hi, lo);
    const known = this.unpacked.get(at);
    if (known) return known;
    const work = (async () => {
      const packed = await this.file.bytes(at, bytes);
      const unpack = unpackers[this.header.compression];
      if (!unpack) throw damaged(this.file, 'its zstd compression cannot be read here');
      const out = await unpack(packed, this.clusterBytes).catch(() => undefined);
      if (out?.length !== this.clusterBytes) throw damaged(this.file, 'a compressed cluster cannot be unpacked');
      return out;
    })();
    work.catch(() => this.unpacked.delete(at));
    this.unpacked.set(at, work);
    if (this.unpacked.size > UNPACKED_CLUSTERS) this.unpacked.delete(this.unpacked.keys().next().value!);
    return work;
  }

  // ---- changing ---------------------------------------------------------------------------------------------------

  async allocate(offset: number, bytes: number): Promise<Allocation> {
    const { clusterBytes } = this;
    const cluster = Math.floor(offset / clusterBytes);
    const start = cluster * clusterBytes;
    const position = await this.ownL2(cluster);
    const page = await this.page(position);
    const first = this.entry(page, position);
    if (this.kindOf(first) === 'zero' && first.at !== 0 && first.hi & COPIED && first.at % clusterBytes === 0) {
      return { start, bytes: clusterBytes, file: this.file, at: first.at, fresh: false, reused: true };
    }
    const last = Math.min(
      Math.ceil((offset + Math.min(bytes, ALLOCATION_BYTES)) / clusterBytes),
      Math.ceil(this.bytes / clusterBytes),
    );
    let wanted = 1;
    const inPage = (page.at + this.cache.pageBytes - position) / 8;
    for (; cluster + wanted < last && wanted < inPage && (cluster + wanted) % this.l2Entries !== 0; wanted++) {
      const next = this.entry(page, position + wanted * 8);
      if ((next.hi & COMPRESSED) === 0 && next.at !== 0) break;
    }
    const room = await this.refcounts.allocate(wanted);
    return { start, bytes: room.count * clusterBytes, file: this.file, at: room.cluster * clusterBytes, fresh: room.fresh };
  }

  async commit({ start, bytes, at }: Allocation): Promise<void> {
    for (let done = 0; done < bytes; done += this.clusterBytes) {
      const position = await this.ownL2((start + done) / this.clusterBytes);
      const page = await this.page(position);
      const old = this.entry(page, position);
      if (old.at !== at + done) this.releaseEntry(old);
      setU64be(page.view, position - page.at, at + done);
      page.bytes[position - page.at]! |= 0x80;
      this.cache.dirty(page, Order.L2);
    }
  }

  abandon({ at, bytes, reused }: Allocation): void {
    if (!reused) this.refcounts.release(at / this.clusterBytes, bytes / this.clusterBytes);
  }

  async zero(offset: number, bytes: number): Promise<number> {
    const { clusterBytes } = this;
    if (offset % clusterBytes !== 0) return 0;
    const atEnd = offset + bytes === this.bytes;
    const count = atEnd ? Math.ceil(bytes / clusterBytes) : Math.floor(bytes / clusterBytes);
    if (count === 0) return 0;
    // Version 2 cannot say that a cluster is zeroes against what its backing file has.
    if (this.hasParent && this.header.version === 2) return 0;
    const cluster = offset / clusterBytes;
    const index = cluster % this.l2Entries;
    const l1Position = this.header.l1At + Math.floor(cluster / this.l2Entries) * 8;
    const l1 = this.entry(await this.page(l1Position), l1Position);
    let done = Math.min(count, this.l2Entries - index);
    if (l1.at !== 0 || this.hasParent) {
      const position = await this.ownL2(cluster);
      const page = await this.page(position);
      done = Math.min(done, (page.at + this.cache.pageBytes - position) / 8);
      for (let i = 0; i < done; i++) {
        const at = position + i * 8;
        const old = this.entry(page, at);
        const empty = this.hasParent ? 1 : 0;
        if (old.hi === 0 && old.lo === empty) continue;
        this.releaseEntry(old);
        setU64be(page.view, at - page.at, empty);
        this.cache.dirty(page, Order.L2);
      }
    }
    return Math.min(done * clusterBytes, bytes);
  }

  async writeBack(): Promise<void> {
    const { cache, file, refcounts } = this;
    if (cache.dirtyBytes > 0) {
      await cache.write(Order.REFCOUNTS);
      for (const order of [Order.REFCOUNT_TABLE, Order.L2, Order.L1]) {
        if (!cache.isDirty(order)) continue;
        await file.sync();
        await cache.write(order);
      }
    }
    if (!refcounts.hasReleased) return;
    await file.sync();
    await this.host().drain();
    const freed = await refcounts.applyReleases();
    await cache.write(Order.REFCOUNTS);
    await refcounts.trimFile();
    await refcounts.giveBack(freed);
  }

  /** Position of the entry of a cluster in an L2 table that is this disk's alone. */
  private async ownL2(cluster: number): Promise<number> {
    const { clusterBytes } = this;
    const l1Position = this.header.l1At + Math.floor(cluster / this.l2Entries) * 8;
    const l1Page = await this.page(l1Position);
    const l1 = this.entry(l1Page, l1Position);
    const within = (cluster % this.l2Entries) * 8;
    if (l1.at !== 0 && l1.hi & COPIED) {
      if (l1.at % clusterBytes !== 0) throw damaged(this.file, 'a table is at an impossible place');
      return l1.at + within;
    }
    const room = await this.refcounts.allocate(1);
    const at = room.cluster * clusterBytes;
    this.cache.forget(at, clusterBytes);
    if (l1.at !== 0) {
      // A snapshot holds the old one; what both refer to is shared from now on.
      const table = await this.file.bytes(l1.at, clusterBytes);
      const view = viewOf(table);
      for (let i = 0; i < clusterBytes; i += 8) view.setUint32(i, view.getUint32(i) & ~COPIED);
      await this.file.write(at, table);
      this.refcounts.release(l1.at / clusterBytes, 1);
    } else if (!room.fresh) await this.file.write(at, new Uint8Array(clusterBytes));
    // The page may have been dropped while this waited.
    const page = await this.page(l1Position);
    setU64be(page.view, l1Position - page.at, at);
    page.bytes[l1Position - page.at]! |= 0x80;
    this.cache.dirty(page, Order.L1);
    return at + within;
  }

  private releaseEntry(old: Entry): void {
    if (old.hi & COMPRESSED) {
      const { at, bytes } = this.packedAt(old.hi, old.lo);
      const first = Math.floor(at / this.clusterBytes);
      this.refcounts.release(first, Math.floor((at + bytes - 1) / this.clusterBytes) - first + 1);
      this.unpacked.clear();
    } else if (old.at !== 0) this.refcounts.release(Math.floor(old.at / this.clusterBytes), 1);
  }

  // ---- the whole image --------------------------------------------------------------------------------------------

  check(): Promise<Omit<DiskCheck, 'path' | 'format'>> {
    return checkQcow2(this, false);
  }

  /** Before the first write: what a writer that does not know them would make wrong, and what was left wrong. */
  async prepareWriting(): Promise<void> {
    if (this.header.autoclear) await this.file.write(88, new Uint8Array(8));
    if (!this.header.dirty) return;
    await checkQcow2(this, true);
    await this.writeBack();
    await this.file.sync();
    const features = await this.file.bytes(76, 4);
    features[3]! &= ~Incompatible.DIRTY;
    await this.file.write(76, features);
    await this.file.sync();
  }

  /** Larger. The map is of no use afterwards: open the image again. */
  async grow(bytes: number): Promise<void> {
    const { clusterBytes, header } = this;
    const needed = Math.ceil(bytes / (clusterBytes * this.l2Entries));
    const fits = Math.ceil((header.l1Entries * 8) / clusterBytes) * (clusterBytes / 8);
    let at = header.l1At;
    let entries = header.l1Entries;
    if (needed > entries && needed <= fits) {
      await this.writeBack();
      await this.file.write(at + entries * 8, new Uint8Array((needed - entries) * 8));
      entries = needed;
    } else if (needed > entries) {
      const clusters = Math.ceil((needed * 8) / clusterBytes);
      const room = await this.refcounts.append(clusters, true);
      await this.writeBack();
      const table = new Uint8Array(clusters * clusterBytes);
      await this.file.read(at, table.subarray(0, entries * 8));
      at = room.cluster * clusterBytes;
      await this.file.write(at, table);
      this.refcounts.release(header.l1At / clusterBytes, Math.ceil((entries * 8) / clusterBytes));
      entries = needed;
    }
    await this.file.sync();
    // size, crypt_method, l1_size, l1_table_offset: one write.
    const fields = new Uint8Array(24);
    const view = viewOf(fields);
    setU64be(view, 0, bytes);
    view.setUint32(12, entries);
    setU64be(view, 16, at);
    await this.file.write(24, fields);
    await this.file.sync();
    await this.refcounts.applyReleases();
    await this.cache.write(Order.REFCOUNTS);
    await this.file.sync();
  }
}

export interface Entry {
  readonly hi: number;
  readonly lo: number;
  /** Host offset, where the entry is not a compressed cluster's. */
  readonly at: number;
}

/** Raw deflate; what follows the stream in its last sector is not part of it. */
const inflate: Unpack = (bytes, outputBytes) =>
  new Promise((resolve, reject) =>
    zlib.inflateRaw(bytes, { maxOutputLength: outputBytes, finishFlush: zlib.constants.Z_SYNC_FLUSH }, (error, out) =>
      error ? reject(error) : resolve(out),
    ),
  );

type ZstdDecompress = (bytes: Uint8Array, options: object, done: (error: Error | null, out: Uint8Array) => void) => void;
const zstd = (zlib as unknown as { zstdDecompress?: ZstdDecompress }).zstdDecompress;
export const unpackers: { readonly zlib: Unpack; readonly zstd: Unpack | undefined } = {
  zlib: inflate,
  zstd:
    zstd &&
    ((bytes, outputBytes) =>
      new Promise((resolve, reject) =>
        zstd(bytes, { maxOutputLength: outputBytes }, (error, out) => (error ? reject(error) : resolve(out))),
      )),
};
