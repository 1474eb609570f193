/**
 * The Bochs display interface ("DISPI", the VBE extension of Bochs): eleven 16-bit registers behind an index, at ports
 * 1CEh (index) and 1CFh (data) and, on the PCI adapter, as words at BAR 2 + 500h. Version B0C5h.
 * Offered: 8, 15, 16, 24 and 32 bpp, virtual width, x and y offsets, bank window, 8-bit DAC, capability query; 4 bpp, which is
 * the VGA's four planes with this geometry (up to 1280×1024), 64 KiB of each behind the bank window.
 */
import { PLANE_BYTES } from './planes';

export const Dispi = {
  ID: 0,
  XRES: 1,
  YRES: 2,
  BPP: 3,
  ENABLE: 4,
  BANK: 5,
  VIRT_WIDTH: 6,
  VIRT_HEIGHT: 7,
  X_OFFSET: 8,
  Y_OFFSET: 9,
  MEMORY_64K: 10,
  COUNT: 11,
} as const;

export const DispiEnable = { ENABLED: 0x01, GET_CAPS: 0x02, DAC_8BIT: 0x20, LFB: 0x40, NO_CLEAR: 0x80 } as const;

const ID_FIRST = 0xb0c0;
const ID_LAST = 0xb0c5;
/** Largest mode: four bytes a pixel of it fit in 16 MiB. */
export const MAX_WIDTH = 2560;
export const MAX_HEIGHT = 1600;
const MAX_BPP = 32;

const BYTES_PER_PIXEL: Readonly<Record<number, number>> = { 8: 1, 15: 2, 16: 2, 24: 3, 32: 4 };

/** Pixels of a plane's byte at 4 bpp. */
const PIXELS_A_BYTE = 8;
const PLANAR_BPP = 4;

/** A mode of four planes: addresses count bytes of a plane. */
export interface PlanarMode {
  readonly width: number;
  readonly height: number;
  readonly stride: number;
  readonly start: number;
  /** Pixels that leave at the left edge, 0–7. */
  readonly pan: number;
}

export interface LinearMode {
  readonly width: number;
  readonly height: number;
  readonly bpp: 8 | 15 | 16 | 24 | 32;
  /** Bytes from one line to the next. */
  readonly stride: number;
  /** Byte of VRAM where pixel (0, 0) is. */
  readonly offset: number;
}

/** What a write did that the adapter must act on. */
export type DispiEffect = 'none' | 'mode' | 'enabled' | 'bank';

export class DispiRegisters {
  private readonly values = new Uint16Array(Dispi.COUNT);

  constructor(private readonly vramBytes: number) {
    this.reset();
  }

  reset(): void {
    this.values.fill(0);
    this.values[Dispi.ID] = ID_LAST;
  }

  get enabled(): boolean {
    return (this.get(Dispi.ENABLE) & DispiEnable.ENABLED) !== 0;
  }

  get dac8Bit(): boolean {
    return (this.get(Dispi.ENABLE) & DispiEnable.DAC_8BIT) !== 0;
  }

  /** What the bank window can be moved over. */
  private get bankedBytes(): number {
    return this.get(Dispi.BPP) === PLANAR_BPP ? PLANE_BYTES : this.vramBytes;
  }

  get bankBytes(): number {
    return (this.get(Dispi.BANK) << 16) % this.bankedBytes;
  }

  read(index: number): number {
    if (index === Dispi.MEMORY_64K) return this.vramBytes >> 16;
    if (this.get(Dispi.ENABLE) & DispiEnable.GET_CAPS) {
      if (index === Dispi.XRES) return MAX_WIDTH;
      if (index === Dispi.YRES) return MAX_HEIGHT;
      if (index === Dispi.BPP) return MAX_BPP;
    }
    return this.values[index] ?? 0;
  }

  /** Values no mode could have are dropped, as if the write had not been: the driver reads back and sees. */
  write(index: number, value: number): DispiEffect {
    const { values } = this;
    switch (index) {
      case Dispi.ID:
        if (value >= ID_FIRST && value <= ID_LAST) values[index] = value;
        return 'none';
      case Dispi.XRES:
        return value >= 1 && value <= MAX_WIDTH ? this.setGeometry(index, value) : 'none';
      case Dispi.YRES:
        return value >= 1 && value <= MAX_HEIGHT ? this.setGeometry(index, value) : 'none';
      case Dispi.BPP:
        if (value !== PLANAR_BPP && BYTES_PER_PIXEL[value === 0 ? 8 : value] === undefined) return 'none';
        return this.setGeometry(index, value === 0 ? 8 : value);
      case Dispi.ENABLE:
        return this.enable(value);
      case Dispi.BANK:
        if (value >= this.bankedBytes >> 16) return 'none';
        values[index] = value;
        return 'bank';
      case Dispi.VIRT_WIDTH:
        if (this.enabled) this.setVirtualWidth(value);
        else values[index] = value;
        return this.enabled ? 'mode' : 'none';
      case Dispi.X_OFFSET:
      case Dispi.Y_OFFSET:
        values[index] = value;
        if (!this.enabled) return 'none';
        this.clampOffsets();
        return 'mode';
      default:
        return 'none'; // VIRT_HEIGHT follows from the memory; MEMORY_64K is read-only
    }
  }

  /** The four-plane mode shown while enabled at 4 bpp; every pixel of it lies inside the planes. */
  planar(): PlanarMode | undefined {
    if (!this.enabled || this.get(Dispi.BPP) !== PLANAR_BPP) return undefined;
    const stride = this.get(Dispi.VIRT_WIDTH) / PIXELS_A_BYTE;
    const x = this.get(Dispi.X_OFFSET);
    return {
      width: this.get(Dispi.XRES),
      height: this.get(Dispi.YRES),
      stride,
      start: this.get(Dispi.Y_OFFSET) * stride + Math.floor(x / PIXELS_A_BYTE),
      pan: x % PIXELS_A_BYTE,
    };
  }

  /** The mode shown while enabled, unless it is planar; every pixel of it lies inside VRAM. */
  mode(): LinearMode | undefined {
    if (!this.enabled || this.get(Dispi.BPP) === PLANAR_BPP) return undefined;
    const bpp = this.get(Dispi.BPP) as LinearMode['bpp'];
    const bytes = BYTES_PER_PIXEL[bpp] ?? 1;
    const stride = this.get(Dispi.VIRT_WIDTH) * bytes;
    return {
      width: this.get(Dispi.XRES),
      height: this.get(Dispi.YRES),
      bpp,
      stride,
      offset: this.get(Dispi.Y_OFFSET) * stride + this.get(Dispi.X_OFFSET) * bytes,
    };
  }

  save(): number[] {
    return [...this.values];
  }

  restore(values: readonly number[]): void {
    this.values.set(values.slice(0, Dispi.COUNT));
    if (this.enabled && !this.fits()) this.values[Dispi.ENABLE] = 0;
    if (this.enabled) this.setVirtualWidth(this.get(Dispi.VIRT_WIDTH));
  }

  private get(index: number): number {
    return this.values[index]!;
  }

  /** Geometry is latched by ENABLE; Bochs lets a driver change it only while disabled. */
  private setGeometry(index: number, value: number): DispiEffect {
    if (!this.enabled) this.values[index] = value;
    return 'none';
  }

  private fits(): boolean {
    const bytes = BYTES_PER_PIXEL[this.get(Dispi.BPP)];
    const pixels = this.get(Dispi.XRES) * this.get(Dispi.YRES);
    if (this.get(Dispi.BPP) === PLANAR_BPP)
      return pixels > 0 && this.get(Dispi.XRES) % PIXELS_A_BYTE === 0 && pixels <= PLANE_BYTES * PIXELS_A_BYTE;
    return bytes !== undefined && pixels > 0 && pixels * bytes <= this.vramBytes;
  }

  private enable(value: number): DispiEffect {
    const { values } = this;
    const before = this.get(Dispi.ENABLE);
    const kept = value & (DispiEnable.GET_CAPS | DispiEnable.DAC_8BIT | DispiEnable.LFB | DispiEnable.NO_CLEAR);
    if (!(value & DispiEnable.ENABLED)) {
      values[Dispi.ENABLE] = kept;
      values[Dispi.BANK] = 0;
      return before === kept ? 'none' : 'mode';
    }
    if (this.get(Dispi.BPP) === 0) values[Dispi.BPP] = 8;
    if (!this.fits()) return 'none';
    values[Dispi.ENABLE] = kept | DispiEnable.ENABLED;
    if (before & DispiEnable.ENABLED) return 'mode';
    values[Dispi.X_OFFSET] = 0;
    values[Dispi.Y_OFFSET] = 0;
    this.setVirtualWidth(this.get(Dispi.XRES));
    return 'enabled';
  }

  /** At least the visible width, and not so wide that the visible lines would leave VRAM. */
  private setVirtualWidth(width: number): void {
    const planar = this.get(Dispi.BPP) === PLANAR_BPP;
    // Pixels there is memory for.
    const room = planar ? PLANE_BYTES * PIXELS_A_BYTE : Math.floor(this.vramBytes / (BYTES_PER_PIXEL[this.get(Dispi.BPP)] ?? 1));
    const widest = Math.min(0xffff, Math.floor(room / this.get(Dispi.YRES)));
    const wanted = Math.max(this.get(Dispi.XRES), Math.min(width, widest));
    const chosen = planar ? wanted - (wanted % PIXELS_A_BYTE) : wanted;
    this.values[Dispi.VIRT_WIDTH] = chosen;
    this.values[Dispi.VIRT_HEIGHT] = Math.min(0xffff, Math.floor(room / chosen));
    this.clampOffsets();
  }

  private clampOffsets(): void {
    const { values } = this;
    values[Dispi.X_OFFSET] = Math.min(this.get(Dispi.X_OFFSET), this.get(Dispi.VIRT_WIDTH) - this.get(Dispi.XRES));
    values[Dispi.Y_OFFSET] = Math.min(this.get(Dispi.Y_OFFSET), this.get(Dispi.VIRT_HEIGHT) - this.get(Dispi.YRES));
  }
}
