/**
 * qcow2 refcounts and the clusters they govern. A cluster is taken by raising its refcount in memory and given back only when
 * nothing on the host refers to it any more; see Qcow2Map.writeBack for the order.
 */
import { damaged } from '../core/block-map';
import type { HostFile } from '../core/host-file';
import { setU64be, u64be, viewOf, type MetaCache, type Page } from '../core/meta-cache';
import type { Qcow2Header } from './header';

/** Write-back classes, in their order. */
export const Order = { REFCOUNTS: 0, REFCOUNT_TABLE: 1, L2: 2, L1: 3 } as const;

const TABLE_BYTES_MAX = 8 << 20;
/** More than was ever allocated between two write-backs: 16 GiB with the usual cluster size. */
const SKIPPED_MAX = 1 << 18;
const HOST_BLOCK_BYTES = 4096;

export class Refcounts {
  /** First cluster behind all that is used. */
  private end: number;
  /** No free cluster is before this one. */
  private freeFrom = 1;
  private tableAt: number;
  private tableClusters: number;
  private readonly bits: number;
  /** Refcounts in a block. */
  private readonly perBlock: number;
  /** Clusters behind the end of the file that had a refcount. */
  private skipped = 0;
  /** Clusters whose owners are gone in memory, but not yet on the host. */
  private released: { cluster: number; count: number }[] = [];

  constructor(
    private readonly file: HostFile,
    private readonly cache: MetaCache,
    private readonly header: Qcow2Header,
    private readonly clusterBytes: number,
    /** Everything to the host, before the header is changed in place. */
    private readonly writeBack: () => Promise<void>,
  ) {
    this.bits = 1 << header.refcountOrder;
    this.perBlock = (clusterBytes * 8) / this.bits;
    this.end = Math.ceil(file.size / clusterBytes);
    this.tableAt = header.refcountTableAt;
    this.tableClusters = header.refcountTableClusters;
  }

  get clusters(): number {
    return this.end;
  }
  get table(): { readonly at: number; readonly clusters: number } {
    return { at: this.tableAt, clusters: this.tableClusters };
  }
  get hasReleased(): boolean {
    return this.released.length > 0;
  }

  release(cluster: number, count: number): void {
    this.released.push({ cluster, count });
  }

  /** The references are gone from the host's copy and nobody reads there: the clusters may serve again. Those that are free now. */
  async applyReleases(): Promise<number[]> {
    const due = this.released.splice(0);
    const freed: number[] = [];
    try {
      for (;;) {
        const next = due[0];
        if (!next) break;
        for (; next.count > 0; next.cluster++, next.count--) {
          const now = await this.get(next.cluster);
          // 0 in a damaged image; then there is nothing to give back.
          if (now === 0) continue;
          await this.set(next.cluster, now - 1);
          if (now > 1) continue;
          this.cache.forget(next.cluster * this.clusterBytes, this.clusterBytes);
          freed.push(next.cluster);
          if (next.cluster < this.freeFrom) this.freeFrom = next.cluster;
        }
        due.shift();
      }
    } finally {
      this.released.push(...due);
    }
    return freed;
  }

  /** After the refcounts are on the host: what is free at the end of the file goes back to the host. */
  async trimFile(): Promise<void> {
    let end = this.end;
    while (end > 1 && this.freeFrom < end && (await this.get(end - 1)) === 0 && (await this.block(end - 1)) !== undefined) end--;
    if (end === this.end) return;
    this.end = end;
    this.freeFrom = Math.min(this.freeFrom, end);
    if (end * this.clusterBytes >= this.file.size) return;
    // Else a power cut could leave the shorter file with the refcounts of the longer one.
    await this.file.sync();
    await this.file.truncate(end * this.clusterBytes);
  }

  /** After the refcounts are on the host, and before any of these free clusters can serve again: their blocks go back. */
  async giveBack(freed: number[]): Promise<void> {
    if (!this.file.givesBack) return;
    const clusters = freed.sort((a, b) => a - b);
    for (let i = 0; i < clusters.length;) {
      let end = i + 1;
      while (end < clusters.length && clusters[end]! <= clusters[end - 1]! + 1) end++;
      const first = clusters[i]!;
      const count = Math.min(clusters[end - 1]! + 1, this.end) - first;
      // A cluster that is smaller than the host's block only goes with its neighbours.
      if (count * this.clusterBytes >= HOST_BLOCK_BYTES) {
        await this.file.zeroRange(first * this.clusterBytes, count * this.clusterBytes, true);
      }
      i = end;
    }
  }

  /** Up to `count` neighbouring clusters, refcount 1 in memory. */
  async allocate(count: number): Promise<{ cluster: number; count: number; fresh: boolean }> {
    for (; this.freeFrom < this.end; this.freeFrom++) {
      const block = await this.block(this.freeFrom);
      if (!block) {
        this.freeFrom = Math.min(this.end, (Math.floor(this.freeFrom / this.perBlock) + 1) * this.perBlock) - 1;
        continue;
      }
      if (this.reserved(this.freeFrom) || (await this.get(this.freeFrom)) !== 0) continue;
      const cluster = this.freeFrom;
      let got = 0;
      while (got < count && cluster + got < this.end && !this.reserved(cluster + got) && (await this.block(cluster + got))) {
        if ((await this.get(cluster + got)) !== 0) break;
        await this.set(cluster + got, 1);
        got++;
      }
      this.freeFrom = cluster + got;
      return { cluster, count: got, fresh: false };
    }
    return this.append(count, false);
  }

  /** `whole`: exactly `count`. The clusters are behind the end of the file, so they are zeroes. */
  async append(count: number, whole: boolean): Promise<{ cluster: number; count: number; fresh: boolean }> {
    for (;;) {
      const before = this.end;
      await this.cover(before, whole ? before + count : before + 1);
      const cluster = this.end;
      if (this.freeFrom >= before) this.freeFrom = cluster;
      // A refcount block took its place.
      if (cluster !== before) continue;
      let got = 0;
      while (got < count) {
        if (!whole && got > 0 && (cluster + got) % this.perBlock === 0) break;
        if ((await this.get(cluster + got)) !== 0) break;
        await this.set(cluster + got, 1);
        got++;
      }
      if (got === 0 || (whole && got < count)) {
        // Raised before a power cut that lost the file's growth: nothing refers to it.
        for (let i = 0; i < got; i++) await this.set(cluster + i, 0);
        if (++this.skipped > SKIPPED_MAX) throw damaged(this.file, 'clusters behind its end are in use');
        this.end = cluster + got + 1;
        continue;
      }
      this.end = cluster + got;
      if (this.freeFrom >= cluster) this.freeFrom = this.end;
      await this.file.extendTo(this.end * this.clusterBytes);
      return { cluster, count: got, fresh: true };
    }
  }

  async get(cluster: number): Promise<number> {
    const block = await this.block(cluster);
    if (block === undefined) return 0;
    const index = cluster % this.perBlock;
    const bit = index * this.bits;
    const { page, at } = await this.at(block + Math.floor(bit / 8));
    switch (this.bits) {
      case 8:
        return page.bytes[at]!;
      case 16:
        return page.view.getUint16(at);
      case 32:
        return page.view.getUint32(at);
      case 64:
        return u64be(page.view, at);
      default:
        return (page.bytes[at]! >> (bit % 8)) & ((1 << this.bits) - 1);
    }
  }

  async set(cluster: number, value: number): Promise<void> {
    const block = await this.block(cluster);
    if (block === undefined) throw damaged(this.file, 'a cluster in use has no refcount');
    const bit = (cluster % this.perBlock) * this.bits;
    const { page, at } = await this.at(block + Math.floor(bit / 8));
    const limit = this.bits >= 53 ? Number.MAX_SAFE_INTEGER : 2 ** this.bits - 1;
    if (value > limit) throw damaged(this.file, 'a refcount does not fit its width');
    switch (this.bits) {
      case 8:
        page.bytes[at] = value;
        break;
      case 16:
        page.view.setUint16(at, value);
        break;
      case 32:
        page.view.setUint32(at, value);
        break;
      case 64:
        setU64be(page.view, at, value);
        break;
      default: {
        const mask = ((1 << this.bits) - 1) << (bit % 8);
        page.bytes[at] = (page.bytes[at]! & ~mask) | (value << (bit % 8));
      }
    }
    this.cache.dirty(page, Order.REFCOUNTS);
  }

  /** Where the refcount block of a cluster is. */
  async block(cluster: number): Promise<number | undefined> {
    const index = Math.floor(cluster / this.perBlock);
    if (index >= (this.tableClusters * this.clusterBytes) / 8) return undefined;
    const { page, at } = await this.at(this.tableAt + index * 8);
    const position = u64be(page.view, at);
    if (position === 0) return undefined;
    if (!(position % this.clusterBytes === 0 && position < this.file.size)) {
      throw damaged(this.file, 'its refcount table points outside the file');
    }
    return position;
  }

  /** Refcount blocks for [from, to); they may be put at the end of the file, which moves it. */
  private async cover(from: number, to: number): Promise<void> {
    for (let cluster = from; cluster < to; cluster = (Math.floor(cluster / this.perBlock) + 1) * this.perBlock) {
      if ((await this.block(cluster)) !== undefined) continue;
      const index = Math.floor(cluster / this.perBlock);
      if (index >= (this.tableClusters * this.clusterBytes) / 8) {
        await this.growTable(index);
        continue;
      }
      // Its own refcount is in a block that exists, or in itself.
      const home = this.end;
      const homeIndex = Math.floor(home / this.perBlock);
      if (homeIndex !== index && (await this.block(home)) === undefined) {
        await this.cover(home, home + 1);
        continue;
      }
      this.end = home + 1;
      await this.file.extendTo(this.end * this.clusterBytes);
      const { page, at } = await this.at(this.tableAt + index * 8);
      setU64be(page.view, at, home * this.clusterBytes);
      this.cache.dirty(page, Order.REFCOUNT_TABLE);
      await this.set(home, 1);
    }
  }

  /** A larger table at the end, with the refcount blocks it needs for itself; then the header, in one write. */
  private async growTable(neededIndex: number): Promise<void> {
    await this.writeBack();
    const entriesNow = (this.tableClusters * this.clusterBytes) / 8;
    const firstIndex = Math.max(entriesNow, neededIndex, Math.ceil(this.end / this.perBlock));
    // Blocks for the new range itself: [blocks][table], from the start of a block's range.
    let entries = Math.max(entriesNow * 2, firstIndex + 2);
    let tableClusters = 0;
    let blocks = 0;
    for (let pass = 0; pass < 8; pass++) {
      tableClusters = Math.ceil((entries * 8) / this.clusterBytes);
      blocks = 1;
      while (blocks * this.perBlock < blocks + tableClusters + 1) blocks++;
      entries = Math.max(entries, firstIndex + blocks + 1);
    }
    if (tableClusters * this.clusterBytes > TABLE_BYTES_MAX)
      throw damaged(this.file, 'it cannot grow any further with this cluster size');
    const start = firstIndex * this.perBlock;
    const table = new Uint8Array(tableClusters * this.clusterBytes);
    await this.file.read(this.tableAt, table.subarray(0, this.tableClusters * this.clusterBytes));
    const view = viewOf(table);
    const total = (start + blocks + tableClusters) * this.clusterBytes;
    await this.file.extendTo(total);
    for (let i = 0; i < blocks; i++) {
      const image = new Uint8Array(this.clusterBytes);
      for (let n = 0; n < this.perBlock && i * this.perBlock + n < blocks + tableClusters; n++) putRefcount(image, n, this.bits);
      await this.file.write((start + i) * this.clusterBytes, image);
      setU64be(view, (firstIndex + i) * 8, (start + i) * this.clusterBytes);
    }
    const at = (start + blocks) * this.clusterBytes;
    await this.file.write(at, table);
    await this.file.sync();
    // refcount_table_offset and refcount_table_clusters are neighbours.
    const fields = new Uint8Array(12);
    setU64be(viewOf(fields), 0, at);
    viewOf(fields).setUint32(8, tableClusters);
    await this.file.write(48, fields);
    await this.file.sync();
    const old = { cluster: this.tableAt / this.clusterBytes, count: this.tableClusters };
    this.cache.forget(this.tableAt, this.tableClusters * this.clusterBytes);
    this.cache.forget(start * this.clusterBytes, (blocks + tableClusters) * this.clusterBytes);
    this.tableAt = at;
    this.tableClusters = tableClusters;
    // What was skipped to reach the range stays free and is found again when its block exists.
    this.end = start + blocks + tableClusters;
    this.release(old.cluster, old.count);
  }

  private async at(position: number): Promise<{ page: Page; at: number }> {
    const page = this.cache.peek(position) ?? (await this.cache.load(position));
    return { page, at: position - page.at };
  }

  /** Never handed out, whatever a damaged refcount says. */
  private reserved(cluster: number): boolean {
    const at = cluster * this.clusterBytes;
    const { l1At, l1Entries } = this.header;
    return (
      cluster === 0 ||
      (at >= this.tableAt && at < this.tableAt + this.tableClusters * this.clusterBytes) ||
      (at >= l1At && at < l1At + l1Entries * 8)
    );
  }
}

/** Refcount 1 into a block image. */
function putRefcount(block: Uint8Array, index: number, bits: number): void {
  if (bits >= 8) block[(index + 1) * (bits / 8) - 1] = 1;
  else block[Math.floor((index * bits) / 8)]! |= 1 << ((index * bits) % 8);
}
