/**
 * Hyper-V disk images, VHDX version 1 ([MS-VHDX]): dynamic and fixed, log replay. Not offered: differencing images, giving space
 * back, and writing through the log: an entry of the block table changes in one aligned piece after its block is complete, so
 * no state in between needs to be undone.
 */
import { randomUUID } from 'node:crypto';
import { damaged } from '../core/block-map';
import type { HostFile } from '../core/host-file';
import { setU64le, viewOf, type Page } from '../core/meta-cache';
import { TableMap, type Place } from '../core/table-map';
import { err, ok, type Result } from '../../lib/result';
import { replayLog } from './log';
import {
  crc32c,
  Guid,
  guidBytes,
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
    if (file.readOnly) return err('changes wait in its log; open it once for writing, for example with `lodge disk check`');
    await replayLog(file, header.value, true);
  }
  let regions: Result<VhdxRegions, string> = err('it has no region table');
  for (const at of REGION_POSITIONS) if (!regions.ok) regions = parseVhdxRegions(await file.bytes(at, KIB64));
  if (!regions.ok) return regions;
  const { metadataAt, metadataBytes } = regions.value;
  const metadata = await parseVhdxMetadata(await file.bytes(metadataAt, KIB64), metadataBytes, (at, bytes) => file.bytes(metadataAt + at, bytes));
  if (!metadata.ok) return metadata;
  if (metadata.value.hasParent) return err('it is a differencing VHDX image, which is not supported');
  const { bytes, blockBytes, sectorBytes } = metadata.value;
  const blocks = Math.ceil(bytes / blockBytes);
  const entries = blocks + Math.floor((blocks - 1) / chunkRatio(blockBytes, sectorBytes));
  if (entries * 8 > regions.value.batBytes) return err('its block table does not fit its size');
  return ok({ header: header.value, headerIndex, regions: regions.value, metadata: metadata.value });
}

/** Payload blocks for each sector bitmap block, whose entry follows theirs. */
const chunkRatio = (blockBytes: number, sectorBytes: number): number => (2 ** 23 * sectorBytes) / blockBytes;

export class VhdxMap extends TableMap {
  readonly format = 'vhdx';
  readonly variant: string;
  protected override readonly zeroEntries = true;
  private readonly ratio: number;

  constructor(
    file: HostFile,
    private readonly image: VhdxImage,
  ) {
    const { metadata } = image;
    super(file, metadata.bytes, metadata.blockBytes, 4096, 8, Math.ceil(file.size / MIB) * MIB);
    this.variant = metadata.fixed ? 'fixed' : 'dynamic';
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
      case State.PRESENT: {
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

export async function writeNewVhdx(file: HostFile, bytes: number, options: { fixed: boolean }): Promise<void> {
  const sectorBytes = 512;
  const blocks = Math.ceil(bytes / BLOCK);
  const ratio = chunkRatio(BLOCK, sectorBytes);
  const entries = blocks + Math.floor((blocks - 1) / ratio);
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

  await file.write(regions.metadataAt, metadataImage(bytes, sectorBytes, options.fixed));
  const bat = new Uint8Array(entries * 8);
  if (options.fixed) {
    for (let i = 0; i < blocks; i++) setU64le(viewOf(bat), (i + Math.floor(i / ratio)) * 8, dataAt + i * BLOCK + State.PRESENT);
  }
  await file.write(regions.batAt, bat);
  await file.extendTo(dataAt + (options.fixed ? blocks * BLOCK : 0));
}

function metadataImage(bytes: number, sectorBytes: number, fixed: boolean): Uint8Array {
  const image = new Uint8Array(2 * KIB64);
  const view = viewOf(image);
  image.set(Buffer.from('metadata'), 0);
  const u32 = (...values: number[]): Uint8Array => new Uint8Array(Uint32Array.from(values).buffer);
  const size = new Uint8Array(8);
  setU64le(viewOf(size), 0, bytes);
  // Flags: 1 set by users, 2 about the virtual disk, 4 required.
  const items: [string, Uint8Array, number][] = [
    [Guid.FILE_PARAMETERS, u32(BLOCK, fixed ? 1 : 0), 4],
    [Guid.DISK_SIZE, size, 6],
    [Guid.PAGE_83, guidBytes(randomUUID()), 6],
    [Guid.LOGICAL_SECTOR, u32(sectorBytes), 6],
    [Guid.PHYSICAL_SECTOR, u32(4096), 6],
  ];
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
