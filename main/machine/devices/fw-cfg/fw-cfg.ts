/**
 * Firmware configuration device (QEMU docs/specs/fw_cfg.rst): ports 510h (selector), 511h (data), 514h–51Bh (DMA address,
 * big-endian). Offered: numbered items, named files with their directory, DMA read, skip and select, and writes into files that
 * are writable. Not offered: the items of other architectures.
 *
 * The guest is hostile: a transfer is bounded by the item, an address that is no RAM fails the transfer.
 */
import type { GuestMemory } from '../../memory/guest-memory';
import { gpa } from '../../memory/guest-memory';
import {
  ascii,
  bytesItem,
  type FwCfgContents,
  type FwCfgFile,
  type FwCfgItem,
  FwCfgKey,
  numberItem,
} from '../../bus/fw-cfg-items';
import type { Device, IoHandler } from '../../bus/types';

export const FW_CFG_PORT = 0x510;
export const FW_CFG_PORTS = 12;
const DATA_OFFSET = 1;
const DMA_OFFSET = 4;
const DMA_SIGNATURE = [0x51, 0x45, 0x4d, 0x55, 0x20, 0x43, 0x46, 0x47]; // "QEMU CFG"

const KEY_MASK = 0x3fff;
const KEY_ARCH_LOCAL = 0x8000;
const FILE_NAME_BYTES = 56;
const DIRECTORY_ENTRY_BYTES = 64;
const ID_TRADITIONAL = 1;
const ID_DMA = 2;

const Dma = { ERROR: 1, READ: 2, SKIP: 4, SELECT: 8, WRITE: 16 } as const;
const DMA_REQUEST_BYTES = 16;
/** One step of a DMA transfer; larger ones are made of these. */
const CHUNK = 1 << 20;

export class FwCfg implements Device, IoHandler {
  readonly name = 'fw_cfg';
  private readonly items = new Map<number, FwCfgItem>();
  private key = 0;
  private offset = 0;
  private dmaHigh = 0;

  constructor(
    private readonly memory: GuestMemory,
    contents: FwCfgContents,
  ) {
    for (const [key, item] of contents.items) this.items.set(key, item);
    this.items.set(FwCfgKey.SIGNATURE, bytesItem(ascii('QEMU')));
    this.items.set(FwCfgKey.ID, numberItem(ID_TRADITIONAL | ID_DMA, 4));
    // The directory is searched linearly by most firmware, and by name by some: it is sorted.
    const files = [...contents.files].sort((a, b) => (a.name < b.name ? -1 : 1));
    files.forEach(({ item }, i) => this.items.set(FwCfgKey.FILE_FIRST + i, item));
    this.items.set(FwCfgKey.FILE_DIRECTORY, bytesItem(directory(files)));
  }

  reset(): void {
    this.key = this.offset = this.dmaHigh = 0;
  }

  read(offset: number, width: number): number {
    if (offset >= DMA_OFFSET) {
      let value = 0;
      for (let i = 0; i < width; i++) value |= (DMA_SIGNATURE[offset - DMA_OFFSET + i] ?? 0) << (8 * i);
      return value >>> 0;
    }
    if (offset !== DATA_OFFSET) return 0;
    let value = 0;
    for (let i = 0; i < width; i++) value |= this.next() << (8 * i);
    return value >>> 0;
  }

  readString(offset: number, width: number, count: number, into: Uint8Array): void {
    if (offset !== DATA_OFFSET || width !== 1) {
      into.fill(0);
      return;
    }
    this.take(into.subarray(0, count));
  }

  write(offset: number, width: number, value: number): void {
    if (offset === 0 && width === 2) this.select(value);
    else if (offset === DMA_OFFSET && width === 4) this.dmaHigh = swap32(value);
    else if (offset === DMA_OFFSET + 4 && width === 4) {
      const address = this.dmaHigh * 2 ** 32 + swap32(value);
      this.dmaHigh = 0;
      this.transfer(address);
    }
  }

  private select(key: number): void {
    this.key = key & (KEY_ARCH_LOCAL | KEY_MASK);
    this.offset = 0;
  }

  private next(): number {
    const one = new Uint8Array(1);
    this.take(one);
    return one[0]!;
  }

  /** The next bytes of the selected item; zeroes past its end. */
  private take(into: Uint8Array): void {
    const item = this.items.get(this.key);
    const inside = Math.max(0, Math.min(into.length, (item?.bytes ?? 0) - this.offset));
    if (inside > 0) item!.read(this.offset, into.subarray(0, inside));
    into.fill(0, inside);
    this.offset += into.length;
  }

  /** FWCfgDmaAccess: control, length, address, all big-endian; control is written back when the transfer ends. */
  private transfer(at: number): void {
    const request = this.memory.read(gpa(at), DMA_REQUEST_BYTES);
    if (!request) return;
    const view = new DataView(request.buffer, request.byteOffset);
    const control = view.getUint32(0);
    const length = view.getUint32(4);
    const address = view.getUint32(8) * 2 ** 32 + view.getUint32(12);
    if (control & Dma.SELECT) this.select(control >>> 16);
    let ok = !(control & Dma.WRITE);
    if (ok && control & Dma.READ) ok = this.copy(address, length);
    else if (ok && control & Dma.SKIP) this.offset += length;
    view.setUint32(0, ok ? 0 : Dma.ERROR);
    this.memory.write(gpa(at), request.subarray(0, 4));
  }

  private copy(address: number, length: number): boolean {
    const item = this.items.get(this.key);
    const inside = Math.max(0, Math.min(length, (item?.bytes ?? 0) - this.offset));
    const buffer = new Uint8Array(Math.min(inside, CHUNK));
    for (let done = 0; done < inside; done += CHUNK) {
      const part = buffer.subarray(0, Math.min(CHUNK, inside - done));
      item!.read(this.offset + done, part);
      if (!this.memory.write(gpa(address + done), part)) return false;
    }
    this.offset += length;
    return length === inside || this.memory.fill(gpa(address + inside), length - inside, 0);
  }
}

function directory(files: readonly FwCfgFile[]): Uint8Array {
  const bytes = new Uint8Array(4 + files.length * DIRECTORY_ENTRY_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, files.length);
  files.forEach(({ name, item }, i) => {
    if (name.length >= FILE_NAME_BYTES) throw new Error(`fw_cfg file name ${name} is too long`);
    const at = 4 + i * DIRECTORY_ENTRY_BYTES;
    view.setUint32(at, item.bytes);
    view.setUint16(at + 4, FwCfgKey.FILE_FIRST + i);
    bytes.set(ascii(name), at + 8);
  });
  return bytes;
}

const swap32 = (value: number): number =>
  (((value & 0xff) << 24) | ((value & 0xff00) << 8) | ((value >>> 8) & 0xff00) | (value >>> 24)) >>> 0;
