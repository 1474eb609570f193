/** Characters and single pixels in graphics modes: CGA interleave, EGA/VGA planes, and 256 colours. */
import type { RealModeMemory } from './real-memory';
import type { VgaRegisters } from './vga-registers';
import type { VideoMode } from './video-modes';

export interface ScrollWindow {
  /** In characters. */
  readonly top: number;
  readonly left: number;
  readonly height: number;
  readonly width: number;
  readonly up: boolean;
  readonly distance: number;
  readonly attribute: number;
}

const XOR = 0x80;
/** Lines of the highest cell a VGA knows; the data area, where the height comes from, may hold anything. */
const HEIGHT_MAX = 32;

export class GraphicsText {
  constructor(
    private readonly memory: RealModeMemory,
    private readonly vga: VgaRegisters,
  ) {}

  draw(mode: VideoMode, page: number, row: number, column: number, character: number, attribute: number, height: number): void {
    const shape = this.shape(character, height);
    for (let line = 0; line < height; line++) {
      const y = row * height + line;
      const bits = shape[line]!;
      switch (mode.kind) {
        case 'planar':
          this.planarByte(mode, page, y, column, bits, attribute);
          break;
        case 'packed':
          this.memory.write(
            mode.window + y * mode.width + column * 8,
            Uint8Array.from({ length: 8 }, (_, i) => (bits & (0x80 >> i) ? attribute : 0)),
          );
          break;
        case 'cga':
          this.cgaByte(mode, y, column, bits, attribute);
          break;
        case 'text':
          // Characters of text modes are cells, which have no pixels here.
          break;
      }
    }
  }

  /** The first character whose shape the pixels have that are not background; 0 when none has. */
  read(mode: VideoMode, page: number, row: number, column: number, height: number): number {
    height = Math.min(height, HEIGHT_MAX);
    const seen = Uint8Array.from({ length: height }, (_, line) => {
      let bits = 0;
      for (let i = 0; i < 8; i++) {
        bits = (bits << 1) | Number(this.getPixel(mode, page, column * 8 + i, row * height + line) !== 0);
      }
      return bits;
    });
    for (let character = 0; character < 256; character++) {
      if (this.shape(character, height).every((bits, line) => bits === seen[line])) return character;
    }
    return 0;
  }

  /** From the table INT 43h points at; CGA modes take 80h–FFh from INT 1Fh's. */
  private shape(character: number, height: number): Uint8Array {
    const m = this.memory;
    const high = height === 8 && character >= 0x80;
    const vector = high ? 0x1f : 0x43;
    const table = m.read16(vector * 4 + 2) * 16 + m.read16(vector * 4);
    return m.read(table + (high ? character - 0x80 : character) * height, height);
  }

  private planarByte(mode: VideoMode, page: number, y: number, column: number, bits: number, attribute: number): void {
    const at = mode.window + page * mode.pageBytes + y * (mode.width / 8) + column;
    const previous = this.memory.read8(at); // loads the latches
    void previous;
    this.vga.writeSequencer(2, 0x0f);
    this.vga.writeGraphics(1, 0x0f); // set/reset drives all planes
    if (attribute & XOR) this.vga.writeGraphics(3, 0x18);
    else {
      this.vga.writeGraphics(0, 0);
      this.vga.writeGraphics(8, 0xff & ~bits);
      this.memory.write8(at, 0xff);
      this.memory.read8(at);
    }
    this.vga.writeGraphics(0, attribute & 15);
    this.vga.writeGraphics(8, bits);
    this.memory.write8(at, 0xff);
    this.restorePlanar();
  }

  private restorePlanar(): void {
    this.vga.writeGraphics(0, 0);
    this.vga.writeGraphics(1, 0);
    this.vga.writeGraphics(3, 0);
    this.vga.writeGraphics(8, 0xff);
  }

  private cgaLine(y: number): number {
    return (y & 1) * 0x2000 + (y >> 1) * 80;
  }

  private cgaByte(mode: VideoMode, y: number, column: number, bits: number, attribute: number): void {
    const pixelsPerByte = mode.bitsPerPixel === 2 ? 4 : 8;
    const bytes = 8 / pixelsPerByte;
    for (let b = 0; b < bytes; b++) {
      let value = 0;
      for (let i = 0; i < pixelsPerByte; i++) {
        const on = (bits & (0x80 >> (b * pixelsPerByte + i))) !== 0;
        value = (value << mode.bitsPerPixel) | (on ? attribute & (mode.bitsPerPixel === 2 ? 3 : 1) : 0);
      }
      const at = mode.window + this.cgaLine(y) + column * bytes + b;
      this.memory.write8(at, attribute & XOR ? this.memory.read8(at) ^ value : value);
    }
  }

  setPixel(mode: VideoMode, page: number, x: number, y: number, colour: number): void {
    if (x >= mode.width || y >= mode.height) return;
    switch (mode.kind) {
      case 'packed':
        this.memory.write8(mode.window + y * mode.width + x, colour);
        break;
      case 'planar': {
        const at = mode.window + page * mode.pageBytes + y * (mode.width / 8) + (x >> 3);
        this.vga.writeSequencer(2, 0x0f);
        this.vga.writeGraphics(8, 0x80 >> (x & 7));
        this.vga.writeGraphics(1, 0x0f);
        this.vga.writeGraphics(0, colour & 15);
        if (colour & XOR) this.vga.writeGraphics(3, 0x18);
        this.memory.read8(at);
        this.memory.write8(at, 0xff);
        this.restorePlanar();
        break;
      }
      case 'cga': {
        const { at, shift, mask } = this.cgaPixel(mode, x, y);
        const old = this.memory.read8(at);
        const value = (colour & mask) << shift;
        this.memory.write8(at, colour & XOR ? old ^ value : (old & ~(mask << shift)) | value);
        break;
      }
      case 'text':
        break;
    }
  }

  getPixel(mode: VideoMode, page: number, x: number, y: number): number {
    if (x >= mode.width || y >= mode.height) return 0;
    switch (mode.kind) {
      case 'packed':
        return this.memory.read8(mode.window + y * mode.width + x);
      case 'planar': {
        const at = mode.window + page * mode.pageBytes + y * (mode.width / 8) + (x >> 3);
        let colour = 0;
        for (let plane = 0; plane < 4; plane++) {
          this.vga.writeGraphics(4, plane);
          if (this.memory.read8(at) & (0x80 >> (x & 7))) colour |= 1 << plane;
        }
        this.vga.writeGraphics(4, 0);
        return colour;
      }
      case 'cga': {
        const { at, shift, mask } = this.cgaPixel(mode, x, y);
        return (this.memory.read8(at) >> shift) & mask;
      }
      default:
        return 0;
    }
  }

  private cgaPixel(mode: VideoMode, x: number, y: number): { at: number; shift: number; mask: number } {
    const perByte = 8 / mode.bitsPerPixel;
    return {
      at: mode.window + this.cgaLine(y) + Math.floor(x / perByte),
      shift: (perByte - 1 - (x % perByte)) * mode.bitsPerPixel,
      mask: (1 << mode.bitsPerPixel) - 1,
    };
  }

  scroll(mode: VideoMode, w: ScrollWindow, characterHeight: number): void {
    const lines = w.height * characterHeight;
    const distance = w.distance * characterHeight;
    const top = w.top * characterHeight;
    const line = (y: number): number =>
      mode.kind === 'cga' ? this.cgaLine(y) : mode.kind === 'planar' ? y * (mode.width / 8) : y * mode.width;
    const scale = mode.kind === 'packed' ? 8 : mode.kind === 'cga' ? mode.bitsPerPixel : 1;
    const [left, bytes] = [w.left * scale, w.width * scale];
    if (mode.kind === 'planar') this.vga.writeSequencer(2, 0x0f);
    for (let i = 0; i < lines; i++) {
      const y = w.up ? top + i : top + lines - 1 - i;
      const from = w.up ? y + distance : y - distance;
      const at = mode.window + line(y) + left;
      if (from < top || from >= top + lines) {
        this.memory.fill(at, bytes, mode.kind === 'packed' ? w.attribute : 0);
      } else if (mode.kind === 'planar') {
        this.vga.writeGraphics(5, 1); // write mode 1: all four planes through the latches
        const source = mode.window + line(from) + left;
        for (let b = 0; b < bytes; b++) {
          this.memory.read8(source + b);
          this.memory.write8(at + b, 0);
        }
        this.vga.writeGraphics(5, 0);
      } else this.memory.write(at, this.memory.read(mode.window + line(from) + left, bytes));
    }
  }
}
