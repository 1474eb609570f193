/**
 * Sparse VMDK extents (VMware, Virtual Disk Format 5.0 §"Hosted Sparse Extent"): grain directory → grain tables → grains, with
 * the redundant copy of both kept equal. streamOptimized extents (compressed grains) are read only. Little-endian.
 */
import * as zlib from 'node:zlib';
import type { DiskFormat } from '../../../preload/contract';
import { err, ok, type Result } from '../../lib/result';
import { damaged, type Extent } from '../core/block-map';
import type { HostFile } from '../core/host-file';
import { setU64le, u64le, viewOf, type Page } from '../core/meta-cache';
import { TABLE_ORDER, TableMap, type Place } from '../core/table-map';

export const VMDK_HEADER_BYTES = 512;
const SECTOR = 512;
const GRAIN_SECTORS = 128;
const TABLE_ENTRIES = 512;
const DIRECTORY_BYTES_MAX = 64 << 20;
const AT_END = 0xffff_ffff_ffff_ffffn;
const Flag = { REDUNDANT: 2, ZERO_GRAINS: 4, COMPRESSED: 1 << 16, MARKERS: 1 << 17 } as const;
const UNPACKED_GRAINS = 16;

export interface SparseHeader {
  readonly bytes: number;
  readonly grainBytes: number;
  readonly tableEntries: number;
  /** In bytes; undefined: at the end of the file, in a second header. */
  readonly directoryAt: number | undefined;
  readonly redundantAt: number | undefined;
  readonly descriptorAt: number;
  readonly descriptorBytes: number;
  readonly compressed: boolean;
  readonly zeroGrains: boolean;
}

export function parseSparseHeader(head: Uint8Array): Result<SparseHeader, string> {
  if (Buffer.from(head.subarray(0, 4)).toString('latin1') !== 'KDMV') return err('it has no sparse VMDK header');
  const view = viewOf(head);
  const version = view.getUint32(4, true);
  if (version < 1 || version > 3) return err('it is of a VMDK version that is not known');
  const flags = view.getUint32(8, true);
  const sectors = u64le(view, 12);
  const grainSectors = u64le(view, 20);
  const tableEntries = view.getUint32(44, true);
  if (!(sectors > 0 && sectors <= 2 ** 42)) return err('its disk size is not valid');
  if (!(grainSectors >= 8 && grainSectors <= 16384 && (grainSectors & (grainSectors - 1)) === 0))
    return err('its grain size is not valid');
  if (tableEntries === 0 || tableEntries > 16384) return err('the size of its tables is not valid');
  const directoryBytes = Math.ceil(sectors / grainSectors / tableEntries) * 4;
  if (directoryBytes > DIRECTORY_BYTES_MAX) return err('its directory is too large');
  const compressed = (flags & Flag.COMPRESSED) !== 0;
  if (compressed && view.getUint16(77, true) !== 1) return err('it is compressed in a way that is not known');
  const atEnd = view.getBigUint64(56, true) === AT_END;
  const directory = u64le(view, 56);
  const redundant = u64le(view, 48);
  const descriptor = u64le(view, 28);
  const descriptorSectors = u64le(view, 36);
  if (!atEnd && !(directory > 0 && directory < 2 ** 42)) return err('its directory is at an impossible place');
  if (!(descriptor < 2 ** 42) || !(descriptorSectors <= 2048)) return err('its descriptor is at an impossible place');
  return ok({
    bytes: sectors * SECTOR,
    grainBytes: grainSectors * SECTOR,
    tableEntries,
    directoryAt: atEnd ? undefined : directory * SECTOR,
    redundantAt: (flags & Flag.REDUNDANT) !== 0 && redundant > 0 && redundant < 2 ** 42 ? redundant * SECTOR : undefined,
    descriptorAt: descriptor * SECTOR,
    descriptorBytes: descriptorSectors * SECTOR,
    compressed,
    zeroGrains: (flags & Flag.ZERO_GRAINS) !== 0,
  });
}

/** streamOptimized images end with: footer marker, footer (a header), end-of-stream marker; a sector each. */
export async function readSparseHeader(file: HostFile): Promise<Result<SparseHeader, string>> {
  const head = parseSparseHeader(await file.bytes(0, VMDK_HEADER_BYTES));
  if (!head.ok || head.value.directoryAt !== undefined) return head;
  const footer = parseSparseHeader(await file.bytes(Math.max(0, file.size - 2 * SECTOR), SECTOR));
  if (!footer.ok || footer.value.directoryAt === undefined) return err('its end is missing');
  return ok({ ...footer.value, descriptorAt: head.value.descriptorAt, descriptorBytes: head.value.descriptorBytes });
}

export class SparseVmdkMap extends TableMap {
  readonly format: DiskFormat = 'vmdk';
  protected override readonly runUnits = 256;
  private readonly unpacked = new Map<number, Promise<Uint8Array>>();

  constructor(
    file: HostFile,
    readonly header: SparseHeader,
    readonly variant: string,
  ) {
    super(file, header.bytes, header.grainBytes, SECTOR, 4, Math.ceil(file.size / header.grainBytes) * header.grainBytes);
  }

  protected entryPosition(index: number): number | null | undefined {
    return this.positionIn(this.header.directoryAt!, index);
  }

  private positionIn(directory: number, index: number): number | null | undefined {
    const slot = directory + Math.floor(index / this.header.tableEntries) * 4;
    const page = this.cache.peek(slot);
    if (!page) return this.miss(slot);
    const sector = page.view.getUint32(slot - page.at, true);
    return sector === 0 ? null : sector * SECTOR + (index % this.header.tableEntries) * 4;
  }

  protected decode(page: Page, at: number): Place {
    const sector = page.view.getUint32(at, true);
    if (sector === 0) return { kind: 'parent' };
    if (sector === 1 && this.header.zeroGrains) return { kind: 'zero' };
    return { kind: 'data', at: sector * SECTOR };
  }

  protected encode(page: Page, at: number, place: number | 'zero'): void {
    page.view.setUint32(at, (place as number) / SECTOR, true);
  }

  protected override dataExtent(index: number, within: number, bytes: number, at: number): Extent | undefined {
    if (!this.header.compressed) return super.dataExtent(index, within, bytes, at);
    return { kind: 'packed', bytes, skip: within, unpack: () => this.unpack(at) };
  }

  /** A grain marker: first sector, bytes that follow, zlib stream. */
  private unpack(at: number): Promise<Uint8Array> {
    const known = this.unpacked.get(at);
    if (known) return known;
    const work = (async () => {
      const { grainBytes } = this.header;
      const bytes = viewOf(await this.file.bytes(at, 12)).getUint32(8, true);
      if (bytes > grainBytes * 2 + 1024) throw damaged(this.file, 'a compressed grain is too large');
      const packed = await this.file.bytes(at + 12, bytes);
      const out = await new Promise<Uint8Array>((resolve, reject) =>
        zlib.inflate(packed, { maxOutputLength: grainBytes }, (error, result) => (error ? reject(error) : resolve(result))),
      ).catch(() => undefined);
      if (!out) throw damaged(this.file, 'a compressed grain cannot be unpacked');
      if (out.length === grainBytes) return out;
      // The disk's last grain may be shorter.
      const whole = new Uint8Array(grainBytes);
      whole.set(out);
      return whole;
    })();
    work.catch(() => this.unpacked.delete(at));
    this.unpacked.set(at, work);
    if (this.unpacked.size > UNPACKED_GRAINS) this.unpacked.delete(this.unpacked.keys().next().value!);
    return work;
  }

  protected override async append(bytes: number): Promise<number> {
    const at = await super.append(bytes);
    if (this.end / SECTOR > 0xffff_ffff) throw damaged(this.file, 'it cannot grow any further');
    return at;
  }

  /** Tables that were not made with the image are made here: zeroes first, then the directory that names them. */
  protected override async tablePosition(index: number): Promise<number> {
    const position = await this.positionOf(index);
    if (position !== null) return position;
    const { directoryAt, redundantAt, tableEntries, grainBytes } = this.header;
    const tableBytes = Math.ceil((tableEntries * 4) / SECTOR) * SECTOR;
    for (const directory of redundantAt === undefined ? [directoryAt!] : [redundantAt, directoryAt!]) {
      const at = this.end;
      this.end = Math.ceil((at + tableBytes) / grainBytes) * grainBytes;
      await this.file.write(at, new Uint8Array(tableBytes));
      await this.file.sync();
      const slot = directory + Math.floor(index / tableEntries) * 4;
      const page = await this.page(slot);
      page.view.setUint32(slot - page.at, at / SECTOR, true);
      this.cache.dirty(page, TABLE_ORDER);
      this.cache.forget(at, tableBytes);
    }
    await this.cache.write(TABLE_ORDER);
    return (await this.positionOf(index))!;
  }

  protected override async setEntry(index: number, place: number | 'zero'): Promise<void> {
    await super.setEntry(index, place);
    const { redundantAt } = this.header;
    if (redundantAt === undefined) return;
    for (;;) {
      const position = this.positionIn(redundantAt, index);
      if (position === undefined) {
        await this.page(redundantAt + Math.floor(index / this.header.tableEntries) * 4);
        continue;
      }
      if (position === null) return;
      const page = await this.page(position);
      this.encode(page, position - page.at, place);
      this.cache.dirty(page, TABLE_ORDER);
      return;
    }
  }
}

/** Header, descriptor, redundant directory and tables, directory and tables, aligned to a grain. */
export async function writeNewSparse(file: HostFile, bytes: number, descriptor: string | undefined): Promise<void> {
  const sectors = bytes / SECTOR;
  const grains = Math.ceil(sectors / GRAIN_SECTORS);
  const tables = Math.ceil(grains / TABLE_ENTRIES);
  const directorySectors = Math.ceil((tables * 4) / SECTOR);
  const tableSectors = (TABLE_ENTRIES * 4) / SECTOR;
  const descriptorSectors = descriptor === undefined ? 0 : 20;
  const redundant = 1 + descriptorSectors;
  const directory = redundant + directorySectors + tables * tableSectors;
  const overhead = Math.ceil((directory + directorySectors + tables * tableSectors) / GRAIN_SECTORS) * GRAIN_SECTORS;
  const head = new Uint8Array(SECTOR);
  const view = viewOf(head);
  head.set(Buffer.from('KDMV'), 0);
  view.setUint32(4, 1, true);
  view.setUint32(8, 1 | Flag.REDUNDANT, true);
  setU64le(view, 12, sectors);
  setU64le(view, 20, GRAIN_SECTORS);
  setU64le(view, 28, descriptor === undefined ? 0 : 1);
  setU64le(view, 36, descriptorSectors);
  view.setUint32(44, TABLE_ENTRIES, true);
  setU64le(view, 48, redundant);
  setU64le(view, 56, directory);
  setU64le(view, 64, overhead);
  head.set([0x0a, 0x20, 0x0d, 0x0a], 73);
  await file.write(0, head);
  if (descriptor !== undefined) {
    const text = new Uint8Array(descriptorSectors * SECTOR);
    text.set(Buffer.from(descriptor));
    await file.write(SECTOR, text);
  }
  for (const start of [redundant, directory]) {
    const entries = new Uint8Array(directorySectors * SECTOR);
    for (let i = 0; i < tables; i++) viewOf(entries).setUint32(i * 4, start + directorySectors + i * tableSectors, true);
    await file.write(start * SECTOR, entries);
  }
  await file.extendTo(overhead * SECTOR);
}
