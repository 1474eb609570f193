/** INT 10h: text, teletype and graphics of the VGA BIOS (IBM VGA technical reference; VESA calls are in vbe.ts). */
import { Bda } from './bda';
import type { RegisterFrame } from './frame';
import { GraphicsText } from './graphics-text';
import type { RealModeMemory } from './real-memory';
import { ROM_SEGMENT, Rom, type RomFonts } from './rom';
import type { VgaRegisters } from './vga-registers';
import { videoMode, withScanLines, type VideoMode } from './video-modes';

const FONT_WINDOW = 0xa0000;
/** Byte offset of each of the eight font maps in plane 2. */
const FONT_MAPS = [0x0000, 0x4000, 0x8000, 0xc000, 0x2000, 0x6000, 0xa000, 0xe000] as const;

export class VideoServices {
  private mode: VideoMode = videoMode(3)!;
  private readonly graphics: GraphicsText;

  constructor(
    private readonly memory: RealModeMemory,
    private readonly vga: VgaRegisters,
    private readonly fonts: RomFonts,
    /** Leaves a VESA mode before a standard one is set. */
    private readonly leaveVesa: () => void,
  ) {
    this.graphics = new GraphicsText(memory, vga);
  }

  get current(): VideoMode {
    return this.mode;
  }

  setMode(request: number): boolean {
    const m = this.memory;
    const flags = m.read8(Bda.videoFlags);
    const mode = this.modeOf(request & 0x7f);
    if (!mode) return false;
    this.leaveVesa();
    this.mode = mode;
    this.vga.program(mode, (flags & 0x08) === 0);
    m.write8(Bda.videoMode, mode.number);
    m.write16(Bda.columns, mode.columns);
    m.write16(Bda.pageBytes, mode.pageBytes);
    m.write16(Bda.pageStart, 0);
    m.fill(Bda.cursors, 16, 0);
    m.write16(Bda.cursorShape, mode.kind === 'text' ? (mode.crtc[0x0a]! << 8) | mode.crtc[0x0b]! : 0);
    m.write8(Bda.activePage, 0);
    m.write16(Bda.crtcPort, this.vga.crtcPort);
    m.write8(Bda.crtPalette, mode.number === 6 ? 0x3f : 0x30);
    m.write8(Bda.rows, mode.rows - 1);
    m.write16(Bda.characterHeight, mode.characterHeight);
    m.write8(Bda.videoControl, 0x60 | (request & 0x80));
    m.write8(Bda.videoSwitches, 0xf9);
    m.write8(Bda.displayCombination, 0x08);
    if (mode.kind === 'text') {
      const { font, height } = this.romFont({ 8: 2, 14: 1 }[mode.characterHeight] ?? 4);
      this.loadFont(font, height, 0, 256, 0);
    } else this.pointFont(mode.characterHeight);
    if ((request & 0x80) === 0) this.clear();
    if (mode.kind === 'text') this.moveHardwareCursor();
    return true;
  }

  /** The data area was given back an earlier state. */
  modeChanged(): void {
    this.mode = this.modeOf(this.memory.read8(Bda.videoMode)) ?? this.mode;
  }

  /** With as many scan lines as were asked for (12h/30h). */
  private modeOf(number: number): VideoMode | undefined {
    const known = videoMode(number);
    const flags = this.memory.read8(Bda.videoFlags);
    return known && withScanLines(known, flags & 0x80 ? 200 : flags & 0x10 ? 400 : 350);
  }

  private clear(): void {
    const mode = this.mode;
    if (mode.kind === 'text') {
      const cells = new Uint8Array(mode.number === 7 ? 0x8000 : 0x8000);
      for (let i = 0; i < cells.length; i += 2) [cells[i], cells[i + 1]] = [0x20, 0x07];
      this.memory.write(mode.window, cells);
    } else this.memory.fill(mode.window, mode.kind === 'cga' ? 0x8000 : 0x10000, 0);
  }

  private loadFont(font: Uint8Array, height: number, first: number, count: number, map: number): void {
    this.vga.withFontPlane(() => {
      for (let i = 0; i < count; i++) {
        this.memory.write(FONT_WINDOW + FONT_MAPS[map & 7]! + (first + i) * 32, font.subarray(i * height, (i + 1) * height));
      }
    });
  }

  /** INT 43h (and 1Fh for characters 80h–FFh of 8×8) point at the shapes graphics modes draw. */
  private pointFont(height: number): void {
    const offset = height === 8 ? Rom.font8x8 : height === 14 ? Rom.font8x14 : Rom.font8x16;
    this.setVector(0x43, ROM_SEGMENT, offset);
    this.setVector(0x1f, ROM_SEGMENT, Rom.font8x8High);
  }

  private setVector(vector: number, segment: number, offset: number): void {
    this.memory.write16(vector * 4, offset);
    this.memory.write16(vector * 4 + 2, segment);
  }

  // ---- cursor and cells -------------------------------------------------------------------------------------

  private get columns(): number {
    return this.memory.read16(Bda.columns) || 80;
  }
  private get rows(): number {
    return this.memory.read8(Bda.rows) + 1;
  }
  private cursor(page: number): { row: number; column: number } {
    const at = this.memory.read16(Bda.cursors + (page & 7) * 2);
    return { row: at >> 8, column: at & 0xff };
  }
  private setCursor(page: number, row: number, column: number): void {
    this.memory.write16(Bda.cursors + (page & 7) * 2, (row << 8) | column);
    if (page === this.memory.read8(Bda.activePage) && this.mode.kind === 'text') this.moveHardwareCursor();
  }
  private moveHardwareCursor(): void {
    const page = this.memory.read8(Bda.activePage);
    const { row, column } = this.cursor(page);
    const at = (this.memory.read16(Bda.pageBytes) * page) / 2 + row * this.columns + column;
    this.vga.writeCrtc(0x0e, at >> 8);
    this.vga.writeCrtc(0x0f, at);
  }
  private cell(page: number, row: number, column: number): number {
    return this.mode.window + page * this.memory.read16(Bda.pageBytes) + (row * this.columns + column) * 2;
  }

  /** Attribute undefined: what is there stays (text), white (graphics). */
  private draw(page: number, row: number, column: number, character: number, attribute: number | undefined): void {
    if (this.mode.kind !== 'text') {
      this.graphics.draw(
        this.mode,
        page,
        row,
        column,
        character,
        attribute ?? 0x07,
        this.memory.read16(Bda.characterHeight) || 8,
      );
      return;
    }
    const at = this.cell(page, row, column);
    if (attribute === undefined) this.memory.write8(at, character);
    else this.memory.write16(at, character | (attribute << 8));
  }

  teletype(character: number, page: number, attribute?: number): void {
    let { row, column } = this.cursor(page);
    switch (character) {
      case 0x07:
        return; // the bell has no speaker yet
      case 0x08:
        if (column > 0) column--;
        break;
      case 0x0a:
        row++;
        break;
      case 0x0d:
        column = 0;
        break;
      default:
        this.draw(page, row, column, character, attribute);
        if (++column >= this.columns) {
          column = 0;
          row++;
        }
    }
    if (row >= this.rows) {
      row = this.rows - 1;
      const blank = this.mode.kind === 'text' ? this.memory.read8(this.cell(page, row, column) + 1) : 0;
      this.scroll(page, 1, 0, 0, row, this.columns - 1, blank);
    }
    this.setCursor(page, row, column);
  }

  /** Positive lines scroll up, negative down; 0 clears the window. */
  private scroll(page: number, lines: number, top: number, left: number, bottom: number, right: number, attribute: number): void {
    bottom = Math.min(bottom, this.rows - 1);
    right = Math.min(right, this.columns - 1);
    if (top > bottom || left > right) return;
    const height = bottom - top + 1;
    const width = right - left + 1;
    const distance = lines === 0 || Math.abs(lines) >= height ? height : Math.abs(lines);
    if (this.mode.kind !== 'text') {
      this.graphics.scroll(
        this.mode,
        { top, left, height, width, up: lines >= 0, distance, attribute },
        this.memory.read16(Bda.characterHeight) || 8,
      );
      return;
    }
    const blank = new Uint8Array(width * 2);
    for (let i = 0; i < blank.length; i += 2) [blank[i], blank[i + 1]] = [0x20, attribute];
    for (let i = 0; i < height; i++) {
      const row = lines >= 0 ? top + i : bottom - i;
      const from = lines >= 0 ? row + distance : row - distance;
      const data = from >= top && from <= bottom ? this.memory.read(this.cell(page, from, left), width * 2) : blank;
      this.memory.write(this.cell(page, row, left), data);
    }
  }

  // ---- INT 10h ----------------------------------------------------------------------------------------------

  int10(r: RegisterFrame): void {
    const m = this.memory;
    switch (r.ah) {
      case 0x00:
        this.setMode(r.al);
        r.al = this.mode.number > 7 ? 0x20 : this.mode.number === 6 ? 0x3f : 0x30;
        break;
      case 0x01:
        m.write16(Bda.cursorShape, r.cx);
        this.setCursorShape(r.ch, r.cl);
        break;
      case 0x02:
        this.setCursor(r.bh, r.dh, r.dl);
        break;
      case 0x03: {
        const { row, column } = this.cursor(r.bh);
        r.cx = m.read16(Bda.cursorShape);
        r.dx = (row << 8) | column;
        break;
      }
      case 0x05: {
        const page = r.al & 7;
        m.write8(Bda.activePage, page);
        const start = m.read16(Bda.pageBytes) * page;
        m.write16(Bda.pageStart, start);
        const address = this.mode.kind === 'text' ? start >> 1 : start;
        this.vga.writeCrtc(0x0c, address >> 8);
        this.vga.writeCrtc(0x0d, address);
        if (this.mode.kind === 'text') this.moveHardwareCursor();
        break;
      }
      case 0x06:
      case 0x07:
        this.scroll(m.read8(Bda.activePage), r.ah === 6 ? r.al : -r.al, r.ch, r.cl, r.dh, r.dl, r.bh);
        break;
      case 0x08: {
        const { row, column } = this.cursor(r.bh);
        if (this.mode.kind === 'text') r.ax = m.read16(this.cell(r.bh, row, column));
        else r.al = this.graphics.read(this.mode, r.bh, row, column, m.read16(Bda.characterHeight) || 8);
        break;
      }
      case 0x09:
      case 0x0a: {
        const { row, column } = this.cursor(r.bh);
        const attribute = r.ah === 0x09 || this.mode.kind !== 'text' ? r.bl : undefined;
        const room = this.columns * this.rows - (row * this.columns + column);
        for (let i = 0; i < Math.min(r.cx, room); i++) {
          const at = row * this.columns + column + i;
          this.draw(r.bh, Math.floor(at / this.columns), at % this.columns, r.al, attribute);
        }
        break;
      }
      case 0x0b:
        this.cgaColours(r.bh, r.bl);
        break;
      case 0x0c:
        this.graphics.setPixel(this.mode, r.bh, r.cx, r.dx, r.al);
        break;
      case 0x0d:
        r.al = this.graphics.getPixel(this.mode, r.bh, r.cx, r.dx);
        break;
      case 0x0e:
        this.teletype(r.al, m.read8(Bda.activePage), this.mode.kind === 'text' ? undefined : r.bl);
        break;
      case 0x0f:
        r.al = this.mode.number | (m.read8(Bda.videoControl) & 0x80);
        r.ah = this.columns;
        r.bh = m.read8(Bda.activePage);
        break;
      case 0x10:
        this.palette(r);
        break;
      case 0x11:
        this.font(r);
        break;
      case 0x12:
        this.alternate(r);
        break;
      case 0x13:
        this.writeString(r);
        break;
      case 0x1a:
        if (r.al === 0) {
          r.al = 0x1a;
          r.bx = 0x0008; // VGA with a colour display
        } else r.al = 0x1a;
        break;
      case 0x1b:
        this.stateInformation(r);
        break;
    }
  }

  private setCursorShape(start: number, end: number): void {
    // Shapes for 8-line cells are stretched to the cell height unless the caller said not to (IBM's cursor emulation).
    const height = this.memory.read16(Bda.characterHeight) || 16;
    const emulate =
      (this.memory.read8(Bda.videoControl) & 1) === 0 && height > 8 && start <= 8 && end <= 8 && (start & 0x20) === 0;
    const hidden = start & 0x20;
    let first = start & 0x1f;
    let last = end & 0x1f;
    if (emulate && first <= last) {
      if (last !== first + 1) first = Math.floor(((first + 1) * height) / 8) - 1;
      else first = Math.floor(((last + 1) * height) / 8) - 2;
      last = Math.floor(((last + 1) * height) / 8) - 1;
    }
    this.vga.writeCrtc(0x0a, first | hidden);
    this.vga.writeCrtc(0x0b, last);
  }

  /**
   * What the colour select register of a CGA did: 0 sets the border and, in graphics, the background; 1 chooses green, red and brown, or cyan,
   * magenta and white, both as bright as the background was asked for.
   */
  private cgaColours(which: number, value: number): void {
    const m = this.memory;
    const before = m.read8(Bda.crtPalette);
    const chosen = which === 0 ? (before & 0xe0) | (value & 0x1f) : (before & 0xdf) | (value & 1 ? 0x20 : 0);
    if (which > 1) return;
    m.write8(Bda.crtPalette, chosen);
    // Bit 3 is brightness to a CGA, and bit 4 to the palette of a VGA's 200-line modes.
    const colour = (chosen & 7) | ((chosen & 8) << 1);
    if (which === 0) this.vga.writeAttribute(0x11, colour);
    if (this.mode.kind !== 'cga' || this.mode.bitsPerPixel !== 2) return;
    this.vga.writeAttribute(0, colour);
    for (let i = 1; i <= 3; i++) this.vga.writeAttribute(i, (2 * i + (chosen & 0x20 ? 1 : 0)) | (chosen & 0x10));
  }

  private palette(r: RegisterFrame): void {
    const m = this.memory;
    const table = r.es * 16 + r.dx;
    switch (r.al) {
      case 0x00:
        this.vga.writeAttribute(r.bl & 0x1f, r.bh);
        break;
      case 0x01:
        this.vga.writeAttribute(0x11, r.bh);
        break;
      case 0x02:
        for (let i = 0; i < 16; i++) this.vga.writeAttribute(i, m.read8(table + i));
        this.vga.writeAttribute(0x11, m.read8(table + 16));
        break;
      case 0x03:
        this.vga.writeAttribute(0x10, (this.vga.readAttribute(0x10) & ~8) | (r.bl & 1 ? 8 : 0));
        break;
      case 0x07:
        r.bh = this.vga.readAttribute(r.bl & 0x1f);
        break;
      case 0x08:
        r.bh = this.vga.readAttribute(0x11);
        break;
      case 0x09:
        for (let i = 0; i < 16; i++) m.write8(table + i, this.vga.readAttribute(i));
        m.write8(table + 16, this.vga.readAttribute(0x11));
        break;
      case 0x10:
        this.vga.writeDac(r.bx & 0xff, [r.dh, r.ch, r.cl]);
        break;
      case 0x12:
        this.vga.writeDac(r.bx & 0xff, m.read(table, Math.min(r.cx, 256) * 3));
        break;
      case 0x13:
        if ((r.bl & 1) === 0) {
          this.vga.writeAttribute(0x10, (this.vga.readAttribute(0x10) & 0x7f) | (r.bh & 1 ? 0x80 : 0));
        } else this.vga.writeAttribute(0x14, this.vga.readAttribute(0x10) & 0x80 ? r.bh & 15 : (r.bh & 3) << 2);
        break;
      case 0x15: {
        const [red, green, blue] = this.vga.readDac(r.bx & 0xff, 1);
        r.dh = red!;
        r.ch = green!;
        r.cl = blue!;
        break;
      }
      case 0x17:
        m.write(table, this.vga.readDac(r.bx & 0xff, Math.min(r.cx, 256)));
        break;
      case 0x18:
        this.vga.dacMask = r.bl;
        break;
      case 0x19:
        r.bl = this.vga.dacMask;
        break;
      case 0x1a:
        r.bl = this.vga.readAttribute(0x10) >> 7;
        r.bh = this.vga.readAttribute(0x14) >> (r.bl ? 0 : 2);
        break;
      case 0x1b: {
        const count = Math.min(r.cx, 256);
        const colours = this.vga.readDac(r.bx & 0xff, count);
        for (let i = 0; i < colours.length; i += 3) {
          const grey = Math.round((77 * colours[i]! + 151 * colours[i + 1]! + 28 * colours[i + 2]!) / 256);
          colours.fill(Math.min(63, grey), i, i + 3);
        }
        this.vga.writeDac(r.bx & 0xff, colours);
        break;
      }
    }
  }

  private romFont(function_: number): { font: Uint8Array; height: number } {
    switch (function_ & 15) {
      case 1:
        return { font: this.fonts.font8x14, height: 14 };
      case 2:
      case 3:
        return { font: this.fonts.font8x8, height: 8 };
      default:
        return { font: this.fonts.font8x16, height: 16 };
    }
  }

  private font(r: RegisterFrame): void {
    const m = this.memory;
    switch (r.al) {
      case 0x00:
      case 0x10: {
        const height = r.bh || 16;
        const count = Math.min(r.cx, 256);
        const data = m.read(r.es * 16 + r.bp, count * height);
        this.loadFont(data, height, r.dx & 0xff, count, r.bl);
        if (r.al === 0x10) this.setTextHeight(height);
        break;
      }
      case 0x01:
      case 0x02:
      case 0x04:
      case 0x11:
      case 0x12:
      case 0x14: {
        const { font, height } = this.romFont(r.al);
        this.loadFont(font, height, 0, 256, r.bl);
        if (r.al & 0x10) this.setTextHeight(height);
        break;
      }
      case 0x03:
        this.vga.writeSequencer(3, r.bl);
        break;
      case 0x20:
        this.setVector(0x1f, r.es, r.bp);
        break;
      case 0x21:
        this.setVector(0x43, r.es, r.bp);
        m.write16(Bda.characterHeight, r.cx);
        this.setGraphicsRows(r);
        break;
      case 0x22:
      case 0x23:
      case 0x24: {
        const height = r.al === 0x22 ? 14 : r.al === 0x23 ? 8 : 16;
        this.pointFont(height);
        m.write16(Bda.characterHeight, height);
        this.setGraphicsRows(r);
        break;
      }
      case 0x30: {
        const pointers: Record<number, [number, number]> = {
          0: [m.read16(0x1f * 4 + 2), m.read16(0x1f * 4)],
          1: [m.read16(0x43 * 4 + 2), m.read16(0x43 * 4)],
          2: [ROM_SEGMENT, Rom.font8x14],
          3: [ROM_SEGMENT, Rom.font8x8],
          4: [ROM_SEGMENT, Rom.font8x8High],
          5: [ROM_SEGMENT, Rom.font8x14],
          6: [ROM_SEGMENT, Rom.font8x16],
          7: [ROM_SEGMENT, Rom.font8x16],
        };
        const pointer = pointers[r.bh];
        if (!pointer) break;
        [r.es, r.bp] = pointer;
        r.cx = m.read16(Bda.characterHeight);
        r.dl = m.read8(Bda.rows);
        break;
      }
    }
  }

  private setGraphicsRows(r: RegisterFrame): void {
    const rows = [r.dl, 14, 25, 43][r.bl & 3]!;
    this.memory.write8(Bda.rows, rows - 1);
  }

  /** As many rows as fit; the CRTC follows. */
  private setTextHeight(height: number): void {
    const m = this.memory;
    this.vga.writeCrtc(0x09, (this.vga.readCrtc(0x09) & 0xe0) | (height - 1));
    const overflow = this.vga.readCrtc(0x07);
    const lines = 1 + (this.vga.readCrtc(0x12) | ((overflow & 2) << 7) | ((overflow & 0x40) << 3));
    const rows = Math.floor(lines / height);
    const end = rows * height - 1;
    this.vga.writeCrtc(0x12, end);
    this.vga.writeCrtc(0x07, (overflow & ~0x42) | ((end >> 7) & 2) | ((end >> 3) & 0x40));
    m.write8(Bda.rows, rows - 1);
    m.write16(Bda.characterHeight, height);
    m.write16(Bda.pageBytes, (rows * this.columns * 2 + 255) & ~255);
    const shape = height < 14 ? [height - 2, height - 1] : [height - 3, height - 2];
    this.vga.writeCrtc(0x0a, shape[0]!);
    this.vga.writeCrtc(0x0b, shape[1]!);
    m.write16(Bda.cursorShape, (shape[0]! << 8) | shape[1]!);
  }

  private alternate(r: RegisterFrame): void {
    const m = this.memory;
    switch (r.bl) {
      case 0x10:
        r.bx = this.vga.crtcPort === 0x3b4 ? 0x0103 : 0x0003; // colour, 256 KiB
        r.cx = 0x0009;
        break;
      case 0x30: {
        const bits = [0x80, 0x00, 0x10][r.al] ?? 0x10; // 200, 350, 400 lines from the next mode on
        m.write8(Bda.videoFlags, (m.read8(Bda.videoFlags) & ~0x90) | bits);
        r.al = 0x12;
        break;
      }
      case 0x31:
        m.write8(Bda.videoFlags, (m.read8(Bda.videoFlags) & ~8) | (r.al ? 8 : 0));
        r.al = 0x12;
        break;
      case 0x34:
        m.write8(Bda.videoControl, (m.read8(Bda.videoControl) & ~1) | (r.al & 1));
        r.al = 0x12;
        break;
      case 0x32:
      case 0x33:
        r.al = 0x12;
        break;
      case 0x36:
        this.vga.writeSequencer(1, (this.vga.readSequencer(1) & ~0x20) | (r.al & 1 ? 0x20 : 0));
        r.al = 0x12;
        break;
    }
  }

  private writeString(r: RegisterFrame): void {
    const page = r.bh;
    const before = this.cursor(page);
    const withAttributes = (r.al & 2) !== 0;
    const text = this.memory.read(r.es * 16 + r.bp, r.cx * (withAttributes ? 2 : 1));
    this.setCursor(page, r.dh, r.dl);
    for (let i = 0; i < text.length; i += withAttributes ? 2 : 1) {
      this.teletype(text[i]!, page, withAttributes ? text[i + 1]! : r.bl);
    }
    if ((r.al & 1) === 0) this.setCursor(page, before.row, before.column);
  }

  /** Function 1Bh: 64 bytes about the mode; the static table says that every VGA mode is there. */
  private stateInformation(r: RegisterFrame): void {
    const m = this.memory;
    const at = r.es * 16 + r.di;
    m.fill(at, 64, 0);
    m.write16(at, Rom.videoParameters);
    m.write16(at + 2, ROM_SEGMENT);
    m.write(at + 4, m.read(Bda.videoMode, 30));
    m.write(at + 34, Uint8Array.of(m.read8(Bda.rows), m.read8(Bda.characterHeight), 0, 0x08, 0));
    m.write16(at + 39, this.mode.bitsPerPixel >= 8 ? 256 : 1 << this.mode.bitsPerPixel);
    m.write8(at + 41, this.mode.pages);
    m.write8(at + 42, { 200: 0, 350: 1, 400: 2, 480: 3 }[this.mode.height] ?? 2);
    m.write8(at + 49, 3); // 256 KiB
    r.al = 0x1b;
  }
}
