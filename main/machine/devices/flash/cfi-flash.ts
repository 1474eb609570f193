/**
 * Parallel NOR flash with the Intel command set (CFI command set 0001h, Intel 28F640J3A data sheet 290667), as UEFI firmware keeps
 * its variables in: read array, status, identifier, byte program, buffered write, block erase. Not offered: the CFI query table,
 * locking, suspend.
 *
 * Reads come here only while they do not give the contents; contents that nobody programs are better mapped as ROM. Programming clears
 * bits, erasing sets a block to ones; both are done at once.
 */
import type { Device, MmioHandler } from '../../bus/types';

export const FLASH_BLOCK_BYTES = 4096;

const Mode = { ARRAY: 0xff, STATUS: 0x70, IDENTIFIER: 0x90 } as const;
const Status = { READY: 0x80, ERASE_ERROR: 0x20, PROGRAM_ERROR: 0x10 } as const;
const WRITE_BUFFER_BYTES = 2048;
const MANUFACTURER_INTEL = 0x89;
const DEVICE_28F640 = 0x17;

export interface FlashDeps {
  readonly changed: (offset: number, bytes: number) => void;
  /** Whether guests read the contents as if they were ROM; else each read comes to the device. Writes come in any case. */
  readonly readDirectly: (on: boolean) => void;
}

type Pending =
  | { readonly kind: 'program' }
  | { readonly kind: 'erase' }
  | { readonly kind: 'bufferCount' }
  | { readonly kind: 'bufferData'; left: number; readonly writes: { at: number; value: number; width: number }[] }
  | { readonly kind: 'bufferConfirm'; readonly writes: { at: number; value: number; width: number }[] };

export class CfiFlash implements Device, MmioHandler {
  readonly name = 'flash';
  private mode: number = Mode.ARRAY;
  private status = 0;
  private pending: Pending | undefined;
  private readonly view: DataView;

  constructor(
    readonly contents: Uint8Array,
    private readonly deps: FlashDeps,
  ) {
    this.view = new DataView(contents.buffer, contents.byteOffset, contents.byteLength);
    deps.readDirectly(true);
  }

  /** The contents survive. */
  reset(): void {
    this.enter(Mode.ARRAY);
    this.status = 0;
    this.pending = undefined;
  }

  read(offset: number, width: number): number {
    if (this.mode === Mode.ARRAY) return this.load(offset, width);
    if (this.mode === Mode.IDENTIFIER) return [MANUFACTURER_INTEL, DEVICE_28F640][offset & 0xff] ?? 0;
    return this.status;
  }

  write(offset: number, width: number, value: number): void {
    const { pending } = this;
    this.pending = undefined;
    switch (pending?.kind) {
      case undefined:
        return this.command(value & 0xff);
      case 'program':
        return this.program(offset, width, value);
      case 'erase':
        if ((value & 0xff) === 0xd0) this.erase(offset);
        else this.status |= Status.ERASE_ERROR | Status.PROGRAM_ERROR;
        return;
      case 'bufferCount': {
        const left = (value & 0xffff) + 1;
        if (left > WRITE_BUFFER_BYTES) this.status |= Status.PROGRAM_ERROR | Status.READY;
        else this.pending = { kind: 'bufferData', left, writes: [] };
        return;
      }
      case 'bufferData':
        pending.writes.push({ at: offset, value, width });
        pending.left--;
        this.pending = pending.left > 0 ? pending : { kind: 'bufferConfirm', writes: pending.writes };
        return;
      case 'bufferConfirm':
        if ((value & 0xff) === 0xd0) for (const w of pending.writes) this.program(w.at, w.width, w.value);
        else this.status |= Status.PROGRAM_ERROR | Status.READY;
        return;
    }
  }

  private enter(mode: number): void {
    const direct = mode === Mode.ARRAY;
    if (direct !== (this.mode === Mode.ARRAY)) this.deps.readDirectly(direct);
    this.mode = mode;
  }

  private command(command: number): void {
    switch (command) {
      case 0x10:
      case 0x40:
        this.pending = { kind: 'program' };
        this.enter(Mode.STATUS);
        break;
      case 0x20:
        this.pending = { kind: 'erase' };
        this.enter(Mode.STATUS);
        break;
      case 0xe8:
        this.pending = { kind: 'bufferCount' };
        this.status |= Status.READY;
        this.enter(Mode.STATUS);
        break;
      case 0x50:
        this.status = 0;
        this.enter(Mode.ARRAY);
        break;
      case 0x70:
        this.enter(Mode.STATUS);
        break;
      case 0x90:
        this.enter(Mode.IDENTIFIER);
        break;
      default:
        this.enter(Mode.ARRAY);
    }
  }

  private program(offset: number, width: number, value: number): void {
    if (offset + width > this.contents.length) return;
    for (let i = 0; i < width; i++) this.contents[offset + i]! &= (value >>> (8 * i)) & 0xff;
    this.status |= Status.READY;
    this.deps.changed(offset, width);
  }

  private erase(offset: number): void {
    const start = offset - (offset % FLASH_BLOCK_BYTES);
    this.contents.fill(0xff, start, start + FLASH_BLOCK_BYTES);
    this.status |= Status.READY;
    this.deps.changed(start, Math.min(FLASH_BLOCK_BYTES, this.contents.length - start));
  }

  private load(offset: number, width: number): number {
    if (offset + width > this.contents.length) return 0xffffffff;
    return width === 1
      ? this.contents[offset]!
      : width === 2
        ? this.view.getUint16(offset, true)
        : this.view.getUint32(offset, true);
  }
}
