/**
 * Hyper-V disk images, VHDX version 1 ([MS-VHDX]): dynamic, fixed and differencing, log replay. Not offered: writing through the
 * log: an entry of the block table changes in one aligned piece after its block is complete, so no state in between needs to be
 * undone. A block of a differencing image that gets its first write is made whole from the parent; in blocks that another
 * writer left in part, the sector bitmap says what is the image's own, and goes on being kept.
 */
import { randomUUID } from 'node:crypto';
import { damaged, type Allocation, type Extent } from '../core/block-map';
import type { HostFile } from '../core/host-file';
import { setU64le, viewOf, type Page } from '../core/meta-cache';
import { TABLE_ORDER, TableMap, type Place } from '../core/table-map';
import { err, ok, type Result } from '../../lib/result';
import { guidBytes } from './guid';
import { replayLog } from './log';
import { parentLocatorImage } from './parent-locator';
import {
  crc32c,
  Guid,
  HAS_PARENT,
  HEADER_BYTES,
  HEADER_POSITIONS,
  KIB64,
  MIB,
  NO_GUID,
  parseVhdxHeader,
  parseVhdxMetadata,
  parseVhdxRegions,
  REGION_POSITIONS,
  vhdxHeaderImage,
  type VhdxHeader,
  type VhdxMetadata,
  type VhdxRegions,
} from './structures';

const State = { NOT_PRESENT: 0, UNDEFINED: 1, ZERO: 2, UNMAPPED: 3, PRESENT: 6, PARTIAL: 7 } as const;
const BLOCK = 8 * MIB;
/** Smaller where a first write copies the rest of its block from the parent. */
const DIFFERENCING_BLOCK = MIB;

export interface VhdxImage {
  readonly header: VhdxHeader;
  readonly headerIndex: 0 | 1;
  readonly regions: VhdxRegions;
  readonly metadata: VhdxMetadata;
}

export async function readVhdx(file: HostFile): Promise<Result<VhdxImage, string>> {
  const headers = await Promise.all(HEADER_POSITIONS.map(async (at) => parseVhdxHeader(await file.bytes(at, HEADER_BYTES))));
  const [a, b] = headers as [Result<VhdxHeader, string>, Result<VhdxHeader, string>];
  const headerIndex = b.ok && (!a.ok || b.value.sequence > a.value.sequence) ? 1 : 0;
  const header = headers[headerIndex]!;
  if (!header.ok) return header;
  if (header.value.logGuid !== NO_GUID) {
    await replayLog(file, header.value);
  }
  let regions: Result<VhdxRegions, string> = err('it has no region table');
  for (const at of REGION_POSITIONS) if (!regions.ok) regions = parseVhdxRegions(await file.bytes(at, KIB64));
  if (!regions.ok) return regions;
  const { metadataAt, metadataBytes } = regions.value;
  const metadata = await parseVhdxMetadata(await file.bytes(metadataAt, KIB64), metadataBytes, (at, bytes) =>
    file.bytes(metadataAt + at, bytes),
  );
  if (!metadata.ok) return metadata;
  const { bytes, blockBytes, sectorBytes, parent } = metadata.value;
  const entries = tableEntries(Math.ceil(bytes / blockBytes), chunkRatio(blockBytes, sectorBytes), parent !== undefined);
  if (entries * 8 > regions.value.batBytes) return err('its block table does not fit its size');
  return ok({ header: header.value, headerIndex, regions: regions.value, metadata: metadata.value });
}

/** Payload blocks for each sector bitmap block, whose entry follows theirs. */
const chunkRatio = (blockBytes: number, sectorBytes: number): number => (2 ** 23 * sectorBytes) / blockBytes;

/** §2.5: only a differencing image has the last bitmap's entry, with room for all blocks before it. */
const tableEntries = (blocks: number, ratio: number, differencing: boolean): number =>
  differencing ? Math.ceil(blocks / ratio) * (ratio + 1) : blocks + Math.floor((blocks - 1) / ratio);

export class VhdxMap extends TableMap {
  readonly format = 'vhdx';
  readonly variant: string;
  protected override readonly zeroEntries = true;
  private readonly ratio: number;

  constructor(
    file: HostFile,
    readonly image: VhdxImage,
  ) {
    const { metadata } = image;
    super(file, metadata.bytes, metadata.blockBytes, 4096, 8, Math.ceil(file.size / MIB) * MIB);
    this.variant = metadata.parent ? 'differencing' : metadata.fixed ? 'fixed' : 'dynamic';
    this.ratio = chunkRatio(metadata.blockBytes, metadata.sectorBytes);
  }

  protected entryPosition(index: number): number {
    return this.image.regions.batAt + (index + Math.floor(index / this.ratio)) * 8;
  }

  protected decode(page: Page, at: number): Place {
    const low = page.view.getUint32(at, true);
    const high = page.view.getUint32(at + 4, true);
    switch (low & 7) {
      case State.NOT_PRESENT:
        return { kind: 'parent' };
      case State.UNDEFINED:
      case State.ZERO:
      case State.UNMAPPED:
        return { kind: 'zero' };
      case State.PARTIAL:
      case State.PRESENT: {
        if ((low & 7) === State.PARTIAL && !this.image.metadata.parent) return { kind: 'bad' };
        const mib = high * 2 ** 12 + (low >>> 20);
        return mib === 0 || mib >= 2 ** 30 ? { kind: 'bad' } : { kind: 'data', at: mib * MIB };
      }
      default:
        return { kind: 'bad' };
    }
  }

  protected encode(page: Page, at: number, place: number | 'zero'): void {
    setU64le(page.view, at, place === 'zero' ? State.ZERO : place + State.PRESENT);
  }

  // ---- blocks that are this image's own in part ----------------------------------------------------------------------

  /** The page of the entry is in the cache: the block was just looked up. */
  private isPartial(index: number): boolean {
    const position = this.entryPosition(index);
    const page = this.cache.peek(position);
    return page !== undefined && (page.view.getUint32(position - page.at, true) & 7) === State.PARTIAL;
  }

  /** Position of the byte with a sector's bit; undefined: `miss` was called. §2.5.1.2: sectors of a chunk in order, lowest bit first. */
  private bitmapPosition(index: number, sector: number): number | undefined {
    const { regions, metadata } = this.image;
    const chunk = Math.floor(index / this.ratio);
    const entry = regions.batAt + (chunk * (this.ratio + 1) + this.ratio) * 8;
    const page = this.cache.peek(entry);
    if (!page) return this.miss(entry);
    const low = page.view.getUint32(entry - page.at, true);
    const mib = page.view.getUint32(entry - page.at + 4, true) * 2 ** 12 + (low >>> 20);
    if ((low & 7) !== State.PRESENT || mib === 0 || mib >= 2 ** 30) throw damaged(this.file, 'a sector bitmap is missing');
    return mib * MIB + Math.floor(((index % this.ratio) * (metadata.blockBytes / metadata.sectorBytes) + sector) / 8);
  }

  protected override dataExtent(index: number, within: number, bytes: number, at: number): Extent | undefined {
    if (!this.isPartial(index)) return super.dataExtent(index, within, bytes, at);
    const { sectorBytes } = this.image.metadata;
    const sector = Math.floor(within / sectorBytes);
    const position = this.bitmapPosition(index, sector);
    if (position === undefined) return undefined;
    const page = this.cache.peek(position);
    if (!page) return this.miss(position);
    // A block's first sector is at a byte's first bit: blocks have at least 256 sectors.
    const bit = (s: number): number => (page.bytes[position - page.at + (s >> 3) - (sector >> 3)]! >> (s & 7)) & 1;
    const own = bit(sector);
    const inPage = (sector & ~7) + (page.at + page.bytes.length - position) * 8;
    const last = Math.min(Math.ceil((within + bytes) / sectorBytes), inPage);
    let next = sector + 1;
    while (next < last && bit(next) === own) next++;
    const length = Math.min(bytes, next * sectorBytes - within);
    return own ? super.dataExtent(index, within, length, at) : { kind: 'parent', bytes: length };
  }

  override async allocate(offset: number, bytes: number): Promise<Allocation> {
    const unit = this.clusterBytes;
    const index = Math.floor(offset / unit);
    const position = this.entryPosition(index);
    const page = await this.page(position);
    const place = this.decode(page, position - page.at);
    if (place.kind !== 'data' || !this.isPartial(index)) return super.allocate(offset, bytes);
    const { sectorBytes } = this.image.metadata;
    const start = offset - (offset % sectorBytes);
    const end = Math.min(Math.ceil((offset + bytes) / sectorBytes) * sectorBytes, (index + 1) * unit);
    return { start, bytes: end - start, file: this.file, at: place.at + (start - index * unit), fresh: false, reused: true };
  }

  override async commit(room: Allocation): Promise<void> {
    if (!room.reused) return super.commit(room);
    const { sectorBytes } = this.image.metadata;
    const index = Math.floor(room.start / this.clusterBytes);
    const within = room.start - index * this.clusterBytes;
    for (let sector = within / sectorBytes; sector < (within + room.bytes) / sectorBytes; sector++) {
      const position = await this.loaded(() => this.bitmapPosition(index, sector));
      const page = await this.page(position);
      page.bytes[position - page.at]! |= 1 << (sector & 7);
      this.cache.dirty(page, TABLE_ORDER);
    }
  }

  /** The room of a block that is there in part stays as it was. */
  override abandon(room: Allocation): void {
    if (!room.reused) super.abandon(room);
  }

  /** Both headers say who wrote last, and that the log is empty ([MS-VHDX] §2.2.2). */
  async prepareWriting(): Promise<void> {
    let { sequence } = this.image.header;
    const header = { ...this.image.header, logGuid: NO_GUID, fileWriteGuid: randomUUID(), dataWriteGuid: randomUUID() };
    if (!(sequence < Number.MAX_SAFE_INTEGER - 2)) throw damaged(this.file, 'its sequence number cannot grow any further');
    for (const index of [1 - this.image.headerIndex, this.image.headerIndex]) {
      await this.file.write(HEADER_POSITIONS[index]!, vhdxHeaderImage({ ...header, sequence: ++sequence }));
      await this.file.sync();
    }
  }
}

export interface NewVhdx {
  readonly fixed: boolean;
  /** Its data-write GUID, and its path relative to the new image. */
  readonly parent?: { readonly id: string; readonly name: string };
}

export async function writeNewVhdx(file: HostFile, bytes: number, options: NewVhdx): Promise<void> {
  const sectorBytes = 512;
  const { fixed, parent } = options;
  const blockBytes = parent ? DIFFERENCING_BLOCK : BLOCK;
  const blocks = Math.ceil(bytes / blockBytes);
  const ratio = chunkRatio(blockBytes, sectorBytes);
  const entries = tableEntries(blocks, ratio, parent !== undefined);
  const regions = { logAt: MIB, metadataAt: 2 * MIB, batAt: 3 * MIB };
  const batBytes = Math.ceil((entries * 8) / MIB) * MIB;
  const dataAt = regions.batAt + batBytes;

  const id = new Uint8Array(KIB64);
  id.set(Buffer.from('vhdxfile'), 0);
  id.set(Buffer.from('Lodge', 'utf16le'), 8);
  await file.write(0, id);
  const header = {
    fileWriteGuid: randomUUID(),
    dataWriteGuid: randomUUID(),
    logGuid: NO_GUID,
    logAt: regions.logAt,
    logBytes: MIB,
  };
  await file.write(HEADER_POSITIONS[0], vhdxHeaderImage({ ...header, sequence: 1 }));
  await file.write(HEADER_POSITIONS[1], vhdxHeaderImage({ ...header, sequence: 2 }));

  const table = new Uint8Array(KIB64);
  const view = viewOf(table);
  table.set(Buffer.from('regi'), 0);
  view.setUint32(8, 2, true);
  [
    { guid: Guid.BAT, at: regions.batAt, bytes: batBytes },
    { guid: Guid.METADATA, at: regions.metadataAt, bytes: MIB },
  ].forEach((region, i) => {
    table.set(guidBytes(region.guid), 16 + i * 32);
    setU64le(view, 32 + i * 32, region.at);
    view.setUint32(40 + i * 32, region.bytes, true);
    view.setUint32(44 + i * 32, 1, true);
  });
  view.setUint32(4, crc32c(table, 4), true);
  for (const at of REGION_POSITIONS) await file.write(at, table);

  await file.write(regions.metadataAt, metadataImage(bytes, sectorBytes, blockBytes, options));
  const bat = new Uint8Array(entries * 8);
  if (fixed) {
    for (let i = 0; i < blocks; i++)
      setU64le(viewOf(bat), (i + Math.floor(i / ratio)) * 8, dataAt + i * blockBytes + State.PRESENT);
  }
  await file.write(regions.batAt, bat);
  await file.extendTo(dataAt + (fixed ? blocks * blockBytes : 0));
}

function metadataImage(bytes: number, sectorBytes: number, blockBytes: number, { fixed, parent }: NewVhdx): Uint8Array {
  const image = new Uint8Array(2 * KIB64);
  const view = viewOf(image);
  image.set(Buffer.from('metadata'), 0);
  const u32 = (...values: number[]): Uint8Array => new Uint8Array(Uint32Array.from(values).buffer);
  const size = new Uint8Array(8);
  setU64le(viewOf(size), 0, bytes);
  // Flags: 1 set by users, 2 about the virtual disk, 4 required.
  const items: [string, Uint8Array, number][] = [
    [Guid.FILE_PARAMETERS, u32(blockBytes, (fixed ? 1 : 0) | (parent ? HAS_PARENT : 0)), 4],
    [Guid.DISK_SIZE, size, 6],
    [Guid.PAGE_83, guidBytes(randomUUID()), 6],
    [Guid.LOGICAL_SECTOR, u32(sectorBytes), 6],
    [Guid.PHYSICAL_SECTOR, u32(4096), 6],
  ];
  if (parent) items.push([Guid.PARENT_LOCATOR, parentLocatorImage(parent.id, parent.name), 4]);
  view.setUint16(10, items.length, true);
  let offset = KIB64;
  items.forEach(([guid, value, flags], i) => {
    const at = 32 + i * 32;
    image.set(guidBytes(guid), at);
    view.setUint32(at + 16, offset, true);
    view.setUint32(at + 20, value.length, true);
    view.setUint32(at + 24, flags, true);
    image.set(value, offset);
    offset += value.length;
  });
  return image;
}
