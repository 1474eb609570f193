/** VHDX structures ([MS-VHDX]): headers, region and metadata tables. Little-endian. Pure; hostile input, all sizes bounded here. */
import { err, ok, type Result } from '../../lib/result';
import { setU64le, u64le, viewOf } from '../core/meta-cache';
import { guidAt, guidBytes } from './guid';
import { parseParentLocator, type ParentLocator } from './parent-locator';

export const KIB64 = 65536;
export const MIB = 1 << 20;
export const HEADER_POSITIONS = [KIB64, 2 * KIB64] as const;
export const HEADER_BYTES = 4096;
export const REGION_POSITIONS = [3 * KIB64, 4 * KIB64] as const;
const LOG_BYTES_MAX = 64 * MIB;
const BAT_BYTES_MAX = 512 * MIB;
const METADATA_BYTES_MAX = 64 * MIB;
const POSITION_MAX = 2 ** 50;
/** Of the file parameters. */
export const HAS_PARENT = 2;

export const Guid = {
  BAT: '2dc27766-f623-4200-9d64-115e9bfd4a08',
  METADATA: '8b7ca206-4790-4b9a-b8fe-575f050f886e',
  FILE_PARAMETERS: 'caa16737-fa36-4d43-b3b6-33f0aa44e76b',
  DISK_SIZE: '2fa54224-cd1b-4876-b211-5dbed83bf4b8',
  PAGE_83: 'beca12ab-b2e6-4523-93ef-c309e000c746',
  LOGICAL_SECTOR: '8141bf1d-a96f-4709-ba47-f233a8faab5f',
  PHYSICAL_SECTOR: 'cda348c7-445d-4471-9cc9-e9885251c556',
  PARENT_LOCATOR: 'a8d35f2d-b30b-454d-abf7-d3d84834ab0c',
} as const;
export const NO_GUID = '00000000-0000-0000-0000-000000000000';

/** CRC-32C (Castagnoli, reflected polynomial 82F63B78h). */
const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let k = 0; k < 8; k++) c = c & 1 ? (c >>> 1) ^ 0x82f6_3b78 : c >>> 1;
  return c >>> 0;
});
/** Of the bytes, with the four at `zeroed` taken as zero. */
export function crc32c(bytes: Uint8Array, zeroed = -4): number {
  let c = 0xffff_ffff;
  for (let i = 0; i < bytes.length; i++) {
    const byte = i >= zeroed && i < zeroed + 4 ? 0 : bytes[i]!;
    c = CRC_TABLE[(c ^ byte) & 0xff]! ^ (c >>> 8);
  }
  return ~c >>> 0;
}

export interface VhdxHeader {
  readonly sequence: number;
  readonly fileWriteGuid: string;
  readonly dataWriteGuid: string;
  readonly logGuid: string;
  readonly logAt: number;
  readonly logBytes: number;
}

export function parseVhdxHeader(bytes: Uint8Array): Result<VhdxHeader, string> {
  const view = viewOf(bytes);
  if (signature(bytes) !== 'head') return err('it has no header');
  if (view.getUint32(4, true) !== crc32c(bytes.subarray(0, HEADER_BYTES), 4)) return err('the checksum of its header is wrong');
  if (view.getUint16(66, true) !== 1 || view.getUint16(64, true) !== 0) return err('it is of a VHDX version that is not known');
  const logBytes = view.getUint32(68, true);
  const logAt = u64le(view, 72);
  if (logBytes % MIB !== 0 || logBytes > LOG_BYTES_MAX || !(logAt % MIB === 0 && logAt < POSITION_MAX))
    return err('its log is at an impossible place');
  return ok({
    sequence: u64le(view, 8),
    fileWriteGuid: guidAt(bytes, 16),
    dataWriteGuid: guidAt(bytes, 32),
    logGuid: guidAt(bytes, 48),
    logAt,
    logBytes,
  });
}

export function vhdxHeaderImage(header: VhdxHeader): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES);
  const view = viewOf(bytes);
  bytes.set(Buffer.from('head'), 0);
  setU64le(view, 8, header.sequence);
  bytes.set(guidBytes(header.fileWriteGuid), 16);
  bytes.set(guidBytes(header.dataWriteGuid), 32);
  bytes.set(guidBytes(header.logGuid), 48);
  view.setUint16(66, 1, true);
  view.setUint32(68, header.logBytes, true);
  setU64le(view, 72, header.logAt);
  view.setUint32(4, crc32c(bytes, 4), true);
  return bytes;
}

export interface VhdxRegions {
  readonly batAt: number;
  readonly batBytes: number;
  readonly metadataAt: number;
  readonly metadataBytes: number;
}

/** The region table is 64 KiB long, with at most 2047 entries. */
export function parseVhdxRegions(bytes: Uint8Array): Result<VhdxRegions, string> {
  const view = viewOf(bytes);
  if (signature(bytes) !== 'regi') return err('it has no region table');
  if (view.getUint32(4, true) !== crc32c(bytes.subarray(0, KIB64), 4)) return err('the checksum of its region table is wrong');
  const count = view.getUint32(8, true);
  if (count > 2047) return err('its region table is not valid');
  const found: Record<string, { at: number; bytes: number }> = {};
  for (let i = 0; i < count; i++) {
    const at = 16 + i * 32;
    const guid = guidAt(bytes, at);
    const position = u64le(view, at + 16);
    const length = view.getUint32(at + 24, true);
    if (!(position >= MIB && position % MIB === 0 && position < POSITION_MAX)) return err('a region is at an impossible place');
    if (guid === Guid.BAT || guid === Guid.METADATA) found[guid] = { at: position, bytes: length };
    else if (view.getUint32(at + 28, true) & 1) return err('it uses features that this version of Lodge does not know');
  }
  const bat = found[Guid.BAT];
  const metadata = found[Guid.METADATA];
  if (!bat || !metadata) return err('a region is missing');
  if (bat.bytes > BAT_BYTES_MAX || metadata.bytes < KIB64 || metadata.bytes > METADATA_BYTES_MAX)
    return err('the size of a region is not valid');
  return ok({ batAt: bat.at, batBytes: bat.bytes, metadataAt: metadata.at, metadataBytes: metadata.bytes });
}

export interface VhdxMetadata {
  readonly blockBytes: number;
  readonly fixed: boolean;
  readonly bytes: number;
  readonly sectorBytes: number;
  /** Of a differencing image. */
  readonly parent: ParentLocator | undefined;
}

/** `table`: the first 64 KiB of the region; `item` gives the bytes of an item, offsets from the region's start. */
export async function parseVhdxMetadata(
  table: Uint8Array,
  regionBytes: number,
  item: (offset: number, bytes: number) => Promise<Uint8Array>,
): Promise<Result<VhdxMetadata, string>> {
  const view = viewOf(table);
  if (Buffer.from(table.subarray(0, 8)).toString('latin1') !== 'metadata') return err('it has no metadata table');
  const count = view.getUint16(10, true);
  if (count > 2047) return err('its metadata table is not valid');
  const items = new Map<string, Uint8Array>();
  const known = new Set<string>(Object.values(Guid));
  for (let i = 0; i < count; i++) {
    const at = 32 + i * 32;
    const guid = guidAt(table, at);
    const offset = view.getUint32(at + 16, true);
    const length = view.getUint32(at + 20, true);
    const required = (view.getUint32(at + 24, true) & 4) !== 0;
    if (!known.has(guid)) {
      if (required) return err('it uses features that this version of Lodge does not know');
      continue;
    }
    if (offset < KIB64 || length > KIB64 || offset + length > regionBytes)
      return err('a piece of its metadata is at an impossible place');
    items.set(guid, await item(offset, length));
  }
  const number = (guid: string, bytes: 4 | 8): number => {
    const value = items.get(guid);
    if (!value || value.length < bytes) return NaN;
    return bytes === 4 ? viewOf(value).getUint32(0, true) : u64le(viewOf(value), 0);
  };
  const blockBytes = number(Guid.FILE_PARAMETERS, 4);
  const parameters = items.get(Guid.FILE_PARAMETERS);
  const bytes = number(Guid.DISK_SIZE, 8);
  const sectorBytes = number(Guid.LOGICAL_SECTOR, 4);
  if (
    !(blockBytes >= MIB && blockBytes <= 256 * MIB && (blockBytes & (blockBytes - 1)) === 0) ||
    !parameters ||
    parameters.length < 8
  )
    return err('its block size is not valid');
  if (sectorBytes !== 512 && sectorBytes !== 4096) return err('its sector size is not valid');
  if (!(bytes > 0 && bytes <= 64 * 2 ** 40 && bytes % sectorBytes === 0)) return err('its disk size is not valid');
  const flags = viewOf(parameters).getUint32(4, true);
  let parent: ParentLocator | undefined;
  if (flags & HAS_PARENT) {
    const locator = parseParentLocator(items.get(Guid.PARENT_LOCATOR) ?? new Uint8Array(0));
    if (!locator.ok) return locator;
    parent = locator.value;
  }
  return ok({ blockBytes, fixed: (flags & 1) !== 0, bytes, sectorBytes, parent });
}

export const signature = (bytes: Uint8Array): string => Buffer.from(bytes.subarray(0, 4)).toString('latin1');
