/** VESA BIOS Extensions 3.0 (INT 10h/4Fxx) over the Bochs DISPI registers. Offered: banked and linear modes, DAC, scan line and start, saved states. */
import type { Bus } from '../../bus/bus';
import type { RegisterFrame } from './frame';
import type { RealModeMemory } from './real-memory';
import { ROM_SEGMENT, Rom, VBE_STRINGS } from './rom';
import type { VgaRegisters } from './vga-registers';
import { Part, VideoState } from './video-state';

const Dispi = {
  index: 0x1ce,
  data: 0x1cf,
  id: 0,
  width: 1,
  height: 2,
  bits: 3,
  enable: 4,
  bank: 5,
  virtualWidth: 6,
  virtualHeight: 7,
  x: 8,
  y: 9,
  memory: 0xa,
} as const;
const Enable = { on: 0x01, dac8: 0x20, linear: 0x40, keepMemory: 0x80 } as const;
/** In the order they are saved and restored in. */
const STATE = [
  Dispi.enable, Dispi.width, Dispi.height, Dispi.bits, Dispi.bank, Dispi.virtualWidth, Dispi.x, Dispi.y,
] as const; // prettier-ignore
const LINEAR = 0x4000;
const KEEP = 0x8000;

const SIZES: readonly [width: number, height: number, modes: Partial<Record<4 | 8 | 15 | 16 | 24 | 32, number>>][] = [
  [320, 200, { 8: 0x146, 15: 0x10d, 16: 0x10e, 24: 0x10f, 32: 0x140 }],
  [640, 400, { 8: 0x100, 32: 0x141 }],
  [640, 480, { 8: 0x101, 15: 0x110, 16: 0x111, 24: 0x112, 32: 0x142 }],
  [800, 600, { 4: 0x102, 8: 0x103, 15: 0x113, 16: 0x114, 24: 0x115, 32: 0x143 }],
  [1024, 768, { 4: 0x104, 8: 0x105, 15: 0x116, 16: 0x117, 24: 0x118, 32: 0x144 }],
  [1280, 1024, { 4: 0x106, 8: 0x107, 15: 0x119, 16: 0x11a, 24: 0x11b, 32: 0x145 }],
  [1600, 1200, { 8: 0x11c, 16: 0x11e, 24: 0x11f, 32: 0x147 }],
  [1280, 720, { 16: 0x185, 24: 0x186, 32: 0x187 }],
  [1280, 800, { 16: 0x161, 24: 0x162, 32: 0x163 }],
  [1366, 768, { 16: 0x190, 32: 0x191 }],
  [1440, 900, { 16: 0x165, 24: 0x166, 32: 0x167 }],
  [1680, 1050, { 16: 0x169, 24: 0x16a, 32: 0x16b }],
  [1920, 1080, { 16: 0x18d, 24: 0x18e, 32: 0x18f }],
];

interface VbeMode {
  readonly number: number;
  readonly width: number;
  readonly height: number;
  readonly bits: number;
}

const MODES: readonly VbeMode[] = SIZES.flatMap(([width, height, modes]) =>
  Object.entries(modes).map(([bits, number]) => ({ number, width, height, bits: Number(bits) })),
);

/** Four bits a pixel are one in each of the VGA's planes, which the adapter has this much of behind its bank window. */
const PLANAR = 4;
const PLANE_BYTES = 0x40000;
const bytesPerPixel = (bits: number): number => (bits === PLANAR ? 1 / 8 : Math.ceil(bits / 8));

/** Red, green, blue, reserved: mask size and position. */
const MASKS: Record<number, readonly number[]> = {
  15: [5, 10, 5, 5, 5, 0, 1, 15],
  16: [5, 11, 6, 5, 5, 0, 0, 0],
  24: [8, 16, 8, 8, 8, 0, 0, 0],
  32: [8, 16, 8, 8, 8, 0, 8, 24],
};

export class VbeServices {
  private mode: VbeMode | undefined;
  private flags = 0;
  private readonly state: VideoState;

  constructor(
    private readonly memory: RealModeMemory,
    private readonly bus: Bus,
    private readonly vga: VgaRegisters,
    private readonly setStandardMode: (mode: number) => boolean,
    private readonly standardMode: () => number,
    standardModeChanged: () => void,
  ) {
    this.state = new VideoState(memory, vga, this, standardModeChanged);
  }

  /** INT 10h/1Ch, which knows no VESA modes. */
  int10State(r: RegisterFrame): void {
    if (this.state.serve(r, r.al, Part.hardware | Part.data | Part.dac)) r.al = 0x1c;
  }

  private read(index: number): number {
    this.bus.writePort(Dispi.index, 2, index);
    return this.bus.readPort(Dispi.data, 2);
  }
  private write(index: number, value: number): void {
    this.bus.writePort(Dispi.index, 2, index);
    this.bus.writePort(Dispi.data, 2, value);
  }

  get present(): boolean {
    return (this.read(Dispi.id) & 0xfff0) === 0xb0c0;
  }
  private get memoryBytes(): number {
    return this.read(Dispi.memory) * 0x10000;
  }

  /** A base address register of the first display controller on bus 0; 0 when there is none. */
  private displayBar(index: number): number {
    const config = (slot: number, offset: number): number => {
      this.bus.writePort(0xcf8, 4, (0x80000000 | (slot << 11) | offset) >>> 0);
      return this.bus.readPort(0xcfc, 4);
    };
    for (let slot = 0; slot < 32; slot++) {
      if ((config(slot, 0) & 0xffff) !== 0xffff && config(slot, 8) >>> 24 === 3)
        return (config(slot, 0x10 + 4 * index) & ~15) >>> 0;
    }
    return 0;
  }

  leave(): void {
    this.mode = undefined;
    if (this.present) this.write(Dispi.enable, 0);
  }

  /** Where the pixels of a mode have room. */
  private roomFor(mode: VbeMode): number {
    return mode.bits === PLANAR ? PLANE_BYTES : this.memoryBytes;
  }

  private fits(mode: VbeMode): boolean {
    return mode.width * mode.height * bytesPerPixel(mode.bits) <= this.roomFor(mode);
  }

  /** The adapter's registers, then the mode and its flags; see VideoState. */
  get words(): readonly number[] {
    return [...STATE.map((index) => this.read(index)), this.mode?.number ?? 0, this.flags];
  }
  set words(words) {
    const [enable = 0, ...others] = words.slice(0, STATE.length);
    const [number, flags = 0] = words.slice(STATE.length);
    this.mode = MODES.find((mode) => mode.number === number);
    this.flags = flags;
    this.write(Dispi.enable, 0);
    // Being enabled resets what comes last of them.
    others.slice(0, 3).forEach((value, i) => this.write(STATE[1 + i]!, value));
    this.write(Dispi.enable, enable | (enable & Enable.on ? Enable.keepMemory : 0));
    others.slice(3).forEach((value, i) => this.write(STATE[4 + i]!, value));
  }

  int10(r: RegisterFrame): void {
    if (!this.present) return;
    const done = (ok: boolean): void => void (r.ax = ok ? 0x004f : 0x014f);
    switch (r.al) {
      case 0x00:
        this.information(r.es * 16 + r.di);
        return done(true);
      case 0x01:
        return done(this.modeInformation(r.cx, r.es * 16 + r.di));
      case 0x02:
        return done(this.setMode(r.bx));
      case 0x03:
        r.bx = this.mode ? this.mode.number | (this.flags & (LINEAR | KEEP)) : this.standardMode();
        return done(true);
      case 0x04:
        return done(this.state.serve(r, r.dl, Part.hardware | Part.data | Part.dac | Part.vesa));
      case 0x05:
        if (!this.mode || this.flags & LINEAR || r.bl !== 0) return done(false);
        if (r.bh === 0) {
          this.write(Dispi.bank, r.dx);
          return done(this.read(Dispi.bank) === r.dx);
        }
        r.dx = this.read(Dispi.bank);
        return done(true);
      case 0x06:
        return done(this.scanLine(r));
      case 0x07:
        return done(this.displayStart(r));
      case 0x08:
        if (this.mode?.bits !== 8) return done(false);
        if (r.bl === 0) this.write(Dispi.enable, (this.read(Dispi.enable) & ~Enable.dac8) | (r.bh >= 8 ? Enable.dac8 : 0));
        r.bh = this.read(Dispi.enable) & Enable.dac8 ? 8 : 6;
        return done(true);
      case 0x09:
        return done(this.palette(r));
      case 0x15:
        return done(this.displayData(r));
      default:
        r.ax = 0x0100; // not there at all
    }
  }

  private information(at: number): void {
    const m = this.memory;
    const wants2 = m.read32(at) === 0x32454256; // 'VBE2'
    m.fill(at, wants2 ? 512 : 256, 0);
    m.write32(at, 0x41534556); // 'VESA'
    m.write16(at + 4, 0x0300);
    let string = Rom.vbeStrings as number;
    const pointers = VBE_STRINGS.map((s) => {
      const here = string;
      string += s.length + 1;
      return ((ROM_SEGMENT << 16) | here) >>> 0;
    });
    m.write32(at + 6, pointers[0]!);
    m.write32(at + 10, 1); // the DAC can be switched to 8 bits
    const list = MODES.filter((mode) => this.fits(mode));
    // The list goes into the reserved area of the caller's block, as the specification allows.
    m.write16(at + 14, (at & 15) + 34);
    m.write16(at + 16, at >> 4);
    list.forEach((mode, i) => m.write16(at + 34 + 2 * i, mode.number));
    m.write16(at + 34 + 2 * list.length, 0xffff);
    m.write16(at + 18, this.memoryBytes / 0x10000);
    if (!wants2) return;
    m.write16(at + 20, 0x0100);
    m.write32(at + 22, pointers[1]!);
    m.write32(at + 26, pointers[2]!);
    m.write32(at + 30, pointers[3]!);
  }

  private modeInformation(number: number, at: number): boolean {
    const mode = MODES.find((candidate) => candidate.number === (number & 0x3fff));
    if (!mode || !this.fits(mode)) return false;
    const m = this.memory;
    const pitch = mode.width * bytesPerPixel(mode.bits);
    const masks = MASKS[mode.bits] ?? [0, 0, 0, 0, 0, 0, 0, 0];
    m.fill(at, 256, 0);
    const planar = mode.bits === PLANAR;
    // Supported, colour, graphics; linear framebuffer and not VGA compatible, or none of both.
    m.write16(at, planar ? 0x001b : 0x00bb);
    m.write8(at + 2, 0x07); // window A: relocatable, readable, writable
    m.write16(at + 4, 64);
    m.write16(at + 6, 64);
    m.write16(at + 8, 0xa000);
    m.write16(at + 16, pitch);
    m.write16(at + 18, mode.width);
    m.write16(at + 20, mode.height);
    m.write(at + 22, Uint8Array.of(8, 16, planar ? 4 : 1, mode.bits, 1, planar ? 3 : mode.bits === 8 ? 4 : 6, 0));
    const images = Math.min(255, Math.floor(this.roomFor(mode) / (pitch * mode.height)) - 1);
    m.write8(at + 29, images);
    m.write8(at + 30, 1);
    m.write(at + 31, Uint8Array.from(masks));
    m.write8(at + 39, mode.bits === 32 || mode.bits === 15 ? 2 : 0);
    m.write32(at + 40, planar ? 0 : this.displayBar(0));
    m.write16(at + 50, planar ? 0 : pitch);
    m.write8(at + 52, images);
    m.write8(at + 53, images);
    m.write(at + 54, Uint8Array.from(masks));
    m.write32(at + 62, 230_000_000);
    return true;
  }

  private setMode(request: number): boolean {
    const number = request & 0x3fff;
    if (number < 0x100) return this.setStandardMode(number | (request & KEEP ? 0x80 : 0));
    const mode = MODES.find((candidate) => candidate.number === number);
    if (!mode || !this.fits(mode)) return false;
    if (mode.bits === PLANAR && request & LINEAR) return false;
    // A VGA state of the same kind underneath: software that goes on with VGA registers finds A0000h where it expects it.
    this.setStandardMode((mode.bits === PLANAR ? 0x12 : 0x13) | 0x80);
    this.write(Dispi.enable, 0);
    this.write(Dispi.width, mode.width);
    this.write(Dispi.height, mode.height);
    this.write(Dispi.bits, mode.bits);
    this.write(Dispi.bank, 0);
    this.write(Dispi.enable, Enable.on | (request & LINEAR ? Enable.linear : 0) | (request & KEEP ? Enable.keepMemory : 0));
    this.mode = mode;
    this.flags = request;
    return true;
  }

  private scanLine(r: RegisterFrame): boolean {
    const mode = this.mode;
    if (!mode) return false;
    const size = bytesPerPixel(mode.bits);
    const widest = Math.min(0xfff8, Math.floor(this.roomFor(mode) / mode.height / size) & ~7);
    if (r.bl === 0 || r.bl === 2) {
      const pixels = r.bl === 0 ? r.cx : Math.ceil(r.cx / size);
      if (pixels < mode.width || pixels > widest) return false;
      this.write(Dispi.virtualWidth, pixels);
    }
    const pixels = r.bl === 3 ? widest : this.read(Dispi.virtualWidth) || mode.width;
    r.cx = pixels;
    r.bx = pixels * size;
    r.dx = Math.min(0xffff, Math.floor(this.roomFor(mode) / (pixels * size)));
    return true;
  }

  private displayStart(r: RegisterFrame): boolean {
    if (!this.mode) return false;
    if ((r.bl & 0x7f) === 0) {
      this.write(Dispi.x, r.cx);
      this.write(Dispi.y, r.dx);
    } else if (r.bl === 1) {
      r.bh = 0;
      r.cx = this.read(Dispi.x);
      r.dx = this.read(Dispi.y);
    } else return false;
    return true;
  }

  /** Entries are blue, green, red, alignment; in 6 or 8 bits as function 08h has set. */
  private palette(r: RegisterFrame): boolean {
    const at = r.es * 16 + r.di;
    const count = Math.min(r.cx, 256 - (r.dx & 0xff));
    if (r.bl === 0x00 || r.bl === 0x80) {
      const from = this.memory.read(at, count * 4);
      const components: number[] = [];
      for (let i = 0; i < count * 4; i += 4) components.push(from[i + 2]!, from[i + 1]!, from[i]!);
      this.vga.writeDac(r.dx & 0xff, components, this.read(Dispi.enable) & Enable.dac8 ? 0xff : 0x3f);
    } else if (r.bl === 0x01) {
      const colours = this.vga.readDac(r.dx & 0xff, count);
      for (let i = 0; i < count; i++) {
        this.memory.write(at + 4 * i, Uint8Array.of(colours[3 * i + 2]!, colours[3 * i + 1]!, colours[3 * i]!, 0));
      }
    } else return false;
    return true;
  }

  /** VBE/DDC: the display's EDID, which the adapter shows at the start of BAR 2. */
  private displayData(r: RegisterFrame): boolean {
    if (r.bl === 0) {
      r.bx = 0x0103;
      return true;
    }
    if (r.bl !== 1 || r.dx !== 0) return false;
    const base = this.displayBar(2);
    if (!base) return false;
    for (let i = 0; i < 128; i++) this.memory.write8(r.es * 16 + r.di + i, this.bus.readMmio(base + i, 1));
    return true;
  }
}
