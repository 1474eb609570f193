/**
 * Virtual PC disk images (Microsoft, Virtual Hard Disk Image Format Specification 1.0): fixed, dynamic, differencing. Big-endian.
 * In a differencing image the bitmap before each block says which sectors are its own; in a dynamic one all of a block's are.
 * Not offered: giving space back.
 */
import { err, ok, type Result } from '../../lib/result';
import { damaged, type Allocation, type Extent } from '../core/block-map';
import type { HostFile } from '../core/host-file';
import { setU64be, u64be, viewOf, type Page } from '../core/meta-cache';
import { TABLE_ORDER, TableMap, type Place } from '../core/table-map';

export const VHD_FOOTER_BYTES = 512;
const HEADER_BYTES = 1024;
const UNUSED = 0xffff_ffff;
const ENTRIES_MAX = 1 << 24;
const BLOCK = 2 << 20;
/** Sector numbers have 32 bits. */
export const VHD_BYTES_MAX = 2040 * 2 ** 30;
const SECONDS_1970_TO_2000 = 946_684_800;

export interface VhdFooter {
  readonly type: 'fixed' | 'dynamic' | 'differencing';
  readonly bytes: number;
  readonly headerAt: number;
  readonly id: string;
}

export interface VhdHeader {
  readonly tableAt: number;
  readonly entries: number;
  readonly blockBytes: number;
  readonly parentId: string;
  readonly parentName: string;
  readonly locators: readonly { readonly code: string; readonly at: number; readonly bytes: number }[];
}

export function parseVhdFooter(bytes: Uint8Array): Result<VhdFooter, string> {
  if (latin(bytes, 0, 8) !== 'conectix') return err('it has no VHD footer');
  const view = viewOf(bytes);
  if (view.getUint32(64) !== checksum(bytes.subarray(0, 512), 64)) return err('the checksum of its footer is wrong');
  const type = ({ 2: 'fixed', 3: 'dynamic', 4: 'differencing' } as const)[view.getUint32(60)];
  if (type === undefined) return err('it is of a kind of VHD image that is not known');
  const size = u64be(view, 48);
  if (!(size > 0 && size <= 2 ** 45 && size % 512 === 0)) return err('its disk size is not valid');
  const headerAt = type === 'fixed' ? 0 : u64be(view, 16);
  if (type !== 'fixed' && !(headerAt >= 512 && headerAt % 512 === 0 && headerAt < 2 ** 45))
    return err('its header is at an impossible place');
  return ok({ type, bytes: size, headerAt, id: Buffer.from(bytes.subarray(68, 84)).toString('hex') });
}

export function parseVhdHeader(bytes: Uint8Array, diskBytes: number): Result<VhdHeader, string> {
  if (latin(bytes, 0, 8) !== 'cxsparse') return err('it has no header for its blocks');
  const view = viewOf(bytes);
  if (view.getUint32(36) !== checksum(bytes.subarray(0, HEADER_BYTES), 36)) return err('the checksum of its header is wrong');
  const tableAt = u64be(view, 16);
  const entries = view.getUint32(28);
  const blockBytes = view.getUint32(32);
  if (blockBytes < 4096 || blockBytes > 256 << 20 || (blockBytes & (blockBytes - 1)) !== 0)
    return err('its block size is not valid');
  if (entries > ENTRIES_MAX || entries < Math.ceil(diskBytes / blockBytes)) return err('its table does not fit its size');
  if (!(tableAt >= 512 && tableAt % 512 === 0 && tableAt < 2 ** 45)) return err('its table is at an impossible place');
  const locators = Array.from({ length: 8 }, (_, i) => 576 + i * 24)
    .map((at) => ({ code: latin(bytes, at, 4), at: u64be(view, at + 16), bytes: view.getUint32(at + 8) }))
    .filter(({ at, bytes: length }) => length > 0 && length <= 4096 && at < 2 ** 45);
  return ok({
    tableAt,
    entries,
    blockBytes,
    parentId: Buffer.from(bytes.subarray(40, 56)).toString('hex'),
    parentName: utf16(bytes.subarray(64, 576), true),
    locators,
  });
}

/** One's complement of the sum of all bytes but the checksum's own. */
function checksum(bytes: Uint8Array, at: number): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i++) if (i < at || i >= at + 4) sum += bytes[i]!;
  return ~sum >>> 0;
}

const latin = (bytes: Uint8Array, at: number, length: number): string =>
  Buffer.from(bytes.subarray(at, at + length)).toString('latin1');

export function utf16(bytes: Uint8Array, bigEndian: boolean): string {
  let text = '';
  for (let i = 0; i + 1 < bytes.length; i += 2) {
    const code = bigEndian ? (bytes[i]! << 8) | bytes[i + 1]! : bytes[i]! | (bytes[i + 1]! << 8);
    if (code === 0) break;
    text += String.fromCharCode(code);
  }
  return text;
}

const utf16Bytes = (text: string, bigEndian: boolean): Buffer => {
  const bytes = Buffer.from(text, 'utf16le');
  return bigEndian ? bytes.swap16() : bytes;
};

export class VhdMap extends TableMap {
  readonly format = 'vhd';
  readonly variant: string;
  private readonly bitmapBytes: number;
  private readonly differencing: boolean;
  /** Block → place of its bitmap: room that was taken, but is not in the table yet. */
  private readonly begun = new Map<number, number>();

  private constructor(
    file: HostFile,
    readonly footer: VhdFooter,
    readonly header: VhdHeader,
    private readonly footerImage: Uint8Array,
    end: number,
  ) {
    super(file, footer.bytes, header.blockBytes, 512, 4, end);
    this.variant = footer.type;
    this.differencing = footer.type === 'differencing';
    this.bitmapBytes = Math.ceil(header.blockBytes / 512 / 8 / 512) * 512;
  }

  static async open(file: HostFile, footer: VhdFooter, header: VhdHeader): Promise<VhdMap> {
    const image = await file.bytes(0, VHD_FOOTER_BYTES);
    const last = Math.floor((file.size - VHD_FOOTER_BYTES) / 512) * 512;
    const atEnd = last > 0 && parseVhdFooter(await file.bytes(last, VHD_FOOTER_BYTES)).ok;
    return new VhdMap(file, footer, header, image, atEnd ? last : Math.ceil(file.size / 512) * 512);
  }

  protected entryPosition(index: number): number {
    return this.header.tableAt + index * 4;
  }

  protected decode(page: Page, at: number): Place {
    const sector = page.view.getUint32(at);
    return sector === UNUSED ? { kind: 'parent' } : { kind: 'data', at: sector * 512 + this.bitmapBytes };
  }

  protected encode(page: Page, at: number, place: number | 'zero'): void {
    page.view.setUint32(at, ((place as number) - this.bitmapBytes) / 512);
  }

  protected override dataExtent(index: number, within: number, bytes: number, at: number): Extent | undefined {
    if (!this.differencing) return super.dataExtent(index, within, bytes, at);
    const bitmap = at - this.bitmapBytes;
    const sector = Math.floor(within / 512);
    const page = this.cache.peek(bitmap + (sector >> 3));
    if (!page) return this.miss(bitmap + (sector >> 3));
    const bit = (s: number): number => (page.bytes[bitmap + (s >> 3) - page.at]! >> (7 - (s & 7))) & 1;
    const own = bit(sector);
    const last = Math.min(Math.ceil((within + bytes) / 512), (page.at + 512 - bitmap) * 8);
    let next = sector + 1;
    while (next < last && bit(next) === own) next++;
    const length = Math.min(bytes, next * 512 - within);
    return own
      ? { kind: 'data', bytes: length, file: this.file, at: at + within, inPlace: !this.file.readOnly }
      : { kind: 'parent', bytes: length };
  }

  override async allocate(offset: number, bytes: number): Promise<Allocation> {
    if (!this.differencing) return super.allocate(offset, bytes);
    const unit = this.clusterBytes;
    const index = Math.floor(offset / unit);
    const within = offset - index * unit;
    const position = await this.tablePosition(index);
    const page = await this.page(position);
    const place = this.decode(page, position - page.at);
    let at: number;
    if (place.kind === 'data') at = place.at;
    else {
      at = (this.begun.get(index) ?? (await this.append(unit)) - this.bitmapBytes) + this.bitmapBytes;
      this.begun.set(index, at - this.bitmapBytes);
    }
    return { start: offset, bytes: Math.min(bytes, unit - within), file: this.file, at: at + within, fresh: false };
  }

  /**
   * The new block goes where the footer is. A footer behind it comes first, so that the file ends with one at any moment; then
   * the bitmap, which takes the old footer's place.
   */
  protected override async append(bytes: number): Promise<number> {
    const at = this.end;
    const end = at + this.bitmapBytes + bytes;
    if (end / 512 >= UNUSED) throw damaged(this.file, 'it cannot grow any further');
    await this.file.write(end, this.footerImage);
    await this.file.sync();
    await this.file.write(at, new Uint8Array(this.bitmapBytes).fill(this.differencing ? 0 : 0xff));
    this.cache.forget(at, this.bitmapBytes);
    this.end = end;
    return at + this.bitmapBytes;
  }

  override async commit(room: Allocation): Promise<void> {
    if (!this.differencing) return super.commit(room);
    const index = Math.floor(room.start / this.clusterBytes);
    const within = room.start - index * this.clusterBytes;
    const bitmap = room.at - within - this.bitmapBytes;
    for (let sector = within / 512; sector < (within + room.bytes) / 512; sector++) {
      const page = await this.page(bitmap + (sector >> 3));
      page.bytes[bitmap + (sector >> 3) - page.at]! |= 0x80 >> (sector & 7);
      this.cache.dirty(page, TABLE_ORDER);
    }
    if (this.begun.delete(index)) await this.setEntry(index, bitmap + this.bitmapBytes);
  }

  /** The room stays for the next try. */
  override abandon(): void {}
}

export interface VhdParent {
  readonly id: string;
  readonly name: string;
}

export async function writeNewVhd(
  file: HostFile,
  bytes: number,
  options: { fixed: boolean; id: Uint8Array; parent?: VhdParent },
): Promise<void> {
  const footer = footerOf(bytes, options.fixed ? 2 : options.parent ? 4 : 3, options.id);
  if (options.fixed) {
    await file.extendTo(bytes);
    await file.write(bytes, footer);
    return;
  }
  const entries = Math.ceil(bytes / BLOCK);
  const tableBytes = Math.ceil((entries * 4) / 512) * 512;
  const tableAt = 512 + HEADER_BYTES;
  const name = options.parent?.name ?? '';
  // W2ru: the parent's path relative to this file, UTF-16.
  const locator = utf16Bytes(`.\\${name}`, false);
  const locatorAt = tableAt + tableBytes;
  const locatorSpace = options.parent ? Math.ceil(locator.length / 512) * 512 : 0;
  const image = new Uint8Array(locatorAt + locatorSpace + 512);
  image.set(footer, 0);
  const header = image.subarray(512, 512 + HEADER_BYTES);
  const view = viewOf(header);
  header.set(Buffer.from('cxsparse'), 0);
  header.fill(0xff, 8, 16);
  setU64be(view, 16, tableAt);
  view.setUint32(24, 0x0001_0000);
  view.setUint32(28, entries);
  view.setUint32(32, BLOCK);
  if (options.parent) {
    header.set(Buffer.from(options.parent.id, 'hex'), 40);
    header.set(utf16Bytes(name, true).subarray(0, 510), 64);
    header.set(Buffer.from('W2ru'), 576);
    view.setUint32(580, locatorSpace);
    view.setUint32(584, locator.length);
    setU64be(view, 592, locatorAt);
    image.set(locator, locatorAt);
  }
  view.setUint32(36, checksum(header, 36));
  image.fill(0xff, tableAt, tableAt + tableBytes);
  image.set(footer, locatorAt + locatorSpace);
  await file.write(0, image);
}

function footerOf(bytes: number, type: number, id: Uint8Array): Uint8Array {
  const footer = new Uint8Array(VHD_FOOTER_BYTES);
  const view = viewOf(footer);
  footer.set(Buffer.from('conectix'), 0);
  view.setUint32(8, 2);
  view.setUint32(12, 0x0001_0000);
  if (type === 2) footer.fill(0xff, 16, 24);
  else setU64be(view, 16, 512);
  view.setUint32(24, Math.max(0, Math.floor(Date.now() / 1000) - SECONDS_1970_TO_2000));
  // Readers take the size from the geometry unless the creator is one that is known to fill in the exact one.
  footer.set(Buffer.from('win '), 28);
  view.setUint32(32, 0x000a_0000);
  footer.set(Buffer.from('Wi2k'), 36);
  setU64be(view, 40, bytes);
  setU64be(view, 48, bytes);
  const { cylinders, heads, sectors } = geometry(bytes / 512);
  view.setUint16(56, cylinders);
  footer[58] = heads;
  footer[59] = sectors;
  view.setUint32(60, type);
  footer.set(id, 68);
  view.setUint32(64, checksum(footer, 64));
  return footer;
}

/** Cylinders, heads, sectors by the specification's appendix. */
function geometry(total: number): { cylinders: number; heads: number; sectors: number } {
  const capped = Math.min(total, 65535 * 16 * 255);
  if (capped >= 65535 * 16 * 63) return { cylinders: Math.floor(capped / 255 / 16), heads: 16, sectors: 255 };
  let sectors = 17;
  let tracks = Math.floor(capped / 17);
  let heads = Math.max(4, Math.ceil(tracks / 1024));
  if (tracks >= heads * 1024 || heads > 16) {
    sectors = 31;
    heads = 16;
    tracks = Math.floor(capped / sectors);
  }
  if (tracks >= heads * 1024) {
    sectors = 63;
    heads = 16;
    tracks = Math.floor(capped / sectors);
  }
  return { cylinders: Math.floor(tracks / heads), heads, sectors };
}
