/**
 * VirtualBox disk images, version 1.1: dynamic, fixed and differencing. Little-endian; facts as in VirtualBox's VDICore.h.
 * A differencing image names its parent by UUID only; it is looked for among the images of the same folder.
 * Not offered: giving space back (other programs take the number of blocks for the place of the next one), undo images.
 *
 * The header counts the blocks that the map names, and both must change together: they are written in one piece, with what lies
 * between. A power cut may still tear that; the count is put right when such an image is opened for writing.
 */
import { err, ok, type Result } from '../../lib/result';
import type { HostFile } from '../core/host-file';
import { setU64le, u64le, viewOf, type Page } from '../core/meta-cache';
import { TABLE_ORDER, TableMap, type Place } from '../core/table-map';

export const VDI_HEADER_BYTES = 512;
export const VDI_SIGNATURE = 0xbeda107f;
const FREE = 0xffff_ffff;
const ZERO = 0xffff_fffe;
const BLOCKS_AT = 0x184;
const BLOCKS_MAX = 1 << 26;
const BLOCK = 1 << 20;
/** Where VirtualBox and others begin; the data start on a block's own alignment. */
const MAP_AT = 0x200;
/** Header and map of a disk of 4 TiB. */
const TOGETHER_BYTES = 16 << 20;
const COPY_BYTES = 1 << 20;

export interface VdiHeader {
  readonly type: 'dynamic' | 'fixed' | 'differencing';
  readonly bytes: number;
  readonly blockBytes: number;
  readonly blocks: number;
  readonly allocated: number;
  readonly mapAt: number;
  readonly dataAt: number;
  readonly id: string;
  readonly parentId: string;
}

export function parseVdiHeader(head: Uint8Array): Result<VdiHeader, string> {
  const view = viewOf(head);
  const u32 = (at: number): number => view.getUint32(at, true);
  if (head.length < VDI_HEADER_BYTES || u32(0x40) !== VDI_SIGNATURE) return err('it has no VDI header');
  if (u32(0x44) >>> 16 !== 1) return err('it is of a VDI version that is not known');
  const type = ({ 1: 'dynamic', 2: 'fixed', 4: 'differencing' } as const)[u32(0x4c)];
  if (type === undefined) return err('it is of a kind of VDI image that is not supported');
  const blockBytes = u32(0x178);
  const blocks = u32(0x180);
  const allocated = u32(BLOCKS_AT);
  const mapAt = u32(0x154);
  const dataAt = u32(0x158);
  const bytes = u64le(view, 0x170);
  if (u32(0x168) !== 512) return err('its sector size is not 512');
  if (blockBytes < 65536 || blockBytes > 64 << 20 || (blockBytes & (blockBytes - 1)) !== 0)
    return err('its block size is not valid');
  if (u32(0x17c) !== 0) return err('its blocks have extra data, which is not supported');
  if (!Number.isSafeInteger(bytes) || bytes === 0 || bytes % 512 !== 0) return err('its disk size is not valid');
  if (blocks > BLOCKS_MAX || blocks < Math.ceil(bytes / blockBytes)) return err('its map does not fit its size');
  if (allocated > blocks) return err('it counts more blocks than it has');
  if (mapAt < VDI_HEADER_BYTES || mapAt % 512 !== 0 || dataAt % 512 !== 0 || mapAt + blocks * 4 > dataAt)
    return err('its map is at an impossible place');
  return ok({ type, bytes, blockBytes, blocks, allocated, mapAt, dataAt, id: hex(head, 0x188), parentId: hex(head, 0x1a8) });
}

const hex = (bytes: Uint8Array, at: number): string => Buffer.from(bytes.subarray(at, at + 16)).toString('hex');

export class VdiMap extends TableMap {
  readonly format = 'vdi';
  readonly variant: string;
  protected override readonly runUnits = 4;
  protected override readonly zeroEntries = true;
  private allocated: number;

  constructor(
    file: HostFile,
    readonly header: VdiHeader,
  ) {
    super(file, header.bytes, header.blockBytes, 4096, 4, header.dataAt + header.allocated * header.blockBytes);
    this.variant = header.type;
    this.allocated = header.allocated;
  }

  protected entryPosition(index: number): number {
    return this.header.mapAt + index * 4;
  }

  protected decode(page: Page, at: number): Place {
    const value = page.view.getUint32(at, true);
    if (value === FREE) return { kind: 'parent' };
    if (value === ZERO) return { kind: 'zero' };
    if (value >= this.header.blocks) return { kind: 'bad' };
    return { kind: 'data', at: this.header.dataAt + value * this.clusterBytes };
  }

  protected encode(page: Page, at: number, place: number | 'zero'): void {
    page.view.setUint32(at, place === 'zero' ? ZERO : (place - this.header.dataAt) / this.clusterBytes, true);
  }

  override async commit(room: Parameters<TableMap['commit']>[0]): Promise<void> {
    await super.commit(room);
    await this.setAllocated(this.allocated + room.bytes / this.clusterBytes);
  }

  override async writeBack(): Promise<void> {
    if (this.dirtyBytes === 0) return;
    await this.file.sync();
    await this.cache.writeTogether(TABLE_ORDER, TOGETHER_BYTES);
  }

  protected override checkMore(places: ReadonlySet<number>): string[] {
    if (places.size !== this.allocated) return [`it counts ${this.allocated} blocks, but has ${places.size}`];
    const end = this.header.dataAt + this.allocated * this.clusterBytes;
    for (const at of places) if (at >= end) return ['there is a gap between its blocks'];
    return [];
  }

  /**
   * Before the first write, of a map whose blocks are where they can be: as many as are counted, without a gap. Other programs
   * take the count for the place of the next block. Blocks behind a gap move into it.
   */
  async mend(): Promise<void> {
    const { header, file, clusterBytes } = this;
    const owners = new Map<number, number>();
    for (let index = 0; index < Math.ceil(this.bytes / clusterBytes); index++) {
      const position = this.entryPosition(index);
      const page = await this.page(position);
      const place = this.decode(page, position - page.at);
      if (place.kind === 'data') owners.set((place.at - header.dataAt) / clusterBytes, index);
    }
    const behind = [...owners.keys()].filter((place) => place >= owners.size);
    if (behind.length === 0 && owners.size === this.allocated) return;
    for (let place = 0; place < owners.size; place++) {
      if (owners.has(place)) continue;
      const from = behind.pop()!;
      const to = header.dataAt + place * clusterBytes;
      for (let done = 0; done < clusterBytes; done += COPY_BYTES) {
        const piece = await file.bytes(header.dataAt + from * clusterBytes + done, Math.min(COPY_BYTES, clusterBytes - done));
        await file.write(to + done, piece);
      }
      await this.setEntry(owners.get(from)!, to);
    }
    await this.setAllocated(owners.size);
    this.end = header.dataAt + owners.size * clusterBytes;
    await this.writeBack();
    await file.sync();
  }

  private async setAllocated(count: number): Promise<void> {
    const header = await this.page(0);
    this.allocated = count;
    header.view.setUint32(BLOCKS_AT, count, true);
    this.cache.dirty(header, TABLE_ORDER);
  }

  /** In place, where the map has room before the first block; false otherwise. */
  async grow(bytes: number): Promise<boolean> {
    const { header, file } = this;
    const blocks = Math.ceil(bytes / header.blockBytes);
    if (header.type !== 'dynamic' || header.mapAt + blocks * 4 > header.dataAt) return false;
    if (blocks > header.blocks) {
      await file.write(header.mapAt + header.blocks * 4, new Uint8Array((blocks - header.blocks) * 4).fill(0xff));
      await file.sync();
    }
    const head = await file.bytes(0, VDI_HEADER_BYTES);
    setU64le(viewOf(head), 0x170, bytes);
    viewOf(head).setUint32(0x180, Math.max(blocks, header.blocks), true);
    await file.write(0, head);
    await file.sync();
    return true;
  }
}

export async function writeNewVdi(
  file: HostFile,
  bytes: number,
  options: { fixed: boolean; parentId?: string; id: Uint8Array },
): Promise<void> {
  const blocks = Math.ceil(bytes / BLOCK);
  // Room in the map for growing to four times the size.
  const dataAt = Math.ceil((MAP_AT + blocks * 4 * 4) / BLOCK) * BLOCK;
  const head = new Uint8Array(MAP_AT + blocks * 4);
  const view = viewOf(head);
  head.set(new TextEncoder().encode('<<< Lodge VDI disk image >>>\n'), 0);
  const set = (at: number, value: number): void => view.setUint32(at, value, true);
  set(0x40, VDI_SIGNATURE);
  set(0x44, 0x0001_0001);
  set(0x48, 0x190);
  set(0x4c, options.parentId !== undefined ? 4 : options.fixed ? 2 : 1);
  set(0x154, MAP_AT);
  set(0x158, dataAt);
  set(0x168, 512);
  setU64le(view, 0x170, bytes);
  set(0x178, BLOCK);
  set(0x180, blocks);
  set(BLOCKS_AT, options.fixed ? blocks : 0);
  head.set(options.id, 0x188);
  if (options.parentId !== undefined) head.set(Buffer.from(options.parentId, 'hex'), 0x1a8);
  for (let i = 0; i < blocks; i++) set(MAP_AT + i * 4, options.fixed ? i : FREE);
  await file.write(0, head);
  await file.extendTo(dataAt + (options.fixed ? blocks * BLOCK : 0));
}
