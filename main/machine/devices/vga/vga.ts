/**
 * VGA with the Bochs DISPI extension: text modes and linear framebuffer, as a display source.
 * Offered: the whole register file, text of any geometry with fonts in plane 2, blink, cursor; DISPI up to 2560×1600; EDID.
 * Planar, CGA-compatible and 256-colour graphics, chained or not; split screen, smooth panning, start address latched at retrace.
 * Not offered: register changes in the middle of a frame (the picture is drawn from one state).
 * All register and memory input is hostile; every value is legal and nothing here throws because of one.
 */
import type { Clock } from '../../../backend/clock';
import type { DisplaySource, Rect, ScreenInfo } from '../../../backend/display';
import { Emitter, type Disposable } from '../../../lib/disposable';
import type { NativeMachine, PixelRect, RegionId } from '../../../../native/addon/types';
import type { Device, IoHandler, MmioHandler } from '../../bus/types';
import { DispiEnable, Dispi, DispiRegisters, type DispiEffect } from './dispi';
import { createEdid } from './edid';
import { ROM_FONTS } from './font';
import { CHUNK_BYTES, dirtyGraphicsLines, renderGraphics } from './graphics';
import {
  attributeToDac,
  cursorShape,
  dacColour,
  decideMode,
  decideWindow,
  fontOffsets,
  planarLayout,
  scanLayout,
  startAddress,
} from './mode';
import type { GraphicsMode, LegacyWindow, ScanLayout, TextMode, VgaMode } from './mode';
import { PLANE_BANK_BYTES, PLANE_BYTES, Planes, TEXT_WINDOW_BYTES } from './planes';
import { createRegisters, loadTextMode, readRegister, writeRegister } from './registers';
import { cellsARow, changedCells, GLYPH_BYTES, renderText, textLines, textRows, type TextFrame, type TextRow } from './text';

export const VRAM_BYTES = 16 << 20;
export const LEGACY_PORT_BASE = 0x3b0;
export const LEGACY_PORT_COUNT = 0x30;
export const DISPI_PORT_BASE = 0x1ce;
/** 1CEh index, 1CFh data, and 1D0h data again, for guests that want the data port aligned. */
export const DISPI_PORT_COUNT = 3;
export const LEGACY_MEMORY_BASE = 0xa0000;
export const LEGACY_MEMORY_BYTES = 0x20000;
export const MMIO_BYTES = 0x1000;

const PAGE_BYTES = 4096;
const LIGHT_GREY_BLANK = 0x0720;
/** Cursor and character blink, nanoseconds a phase: 16 and 32 frames of 60 Hz. */
const CURSOR_PHASE_NS = 266e6;
const BLINK_PHASE_NS = 533e6;
/** 449 lines of 31.78 µs: 70 Hz. Vertical blanking is reported for all 49 blank lines, so that a polling guest sees it. */
const LINE_NS = 31_777;
const LINES_VISIBLE = 400;
const LINES_TOTAL = 449;

const FORMATS = { 8: 'pal8', 15: 'rgb555', 16: 'rgb565', 24: 'rgb888', 32: 'xrgb8888' } as const;

export type VramCalls = Pick<NativeMachine, 'addRegion' | 'regionRead' | 'regionWrite' | 'takeDirty' | 'convertPixels'>;

export interface VgaDeps {
  native: VramCalls;
  /** Shows part of the VRAM region at a guest-physical address (the legacy window); disposing it takes it away again. */
  windows: { map(region: RegionId, regionOffset: number, at: number, bytes: number): Disposable | undefined };
  clock: Pick<Clock, 'now'>;
}

export class Vga implements Device, DisplaySource {
  readonly name = 'vga';
  /** The VRAM region, for BAR 0. */
  readonly region: RegionId;
  readonly legacyPorts: IoHandler;
  readonly dispiPorts: IoHandler;
  readonly legacyMemory: MmioHandler;
  readonly mmio: MmioHandler;

  private readonly native: VramCalls;
  private readonly windows: VgaDeps['windows'];
  private window: Disposable | undefined;
  private readonly clock: Pick<Clock, 'now'>;
  private readonly regs = createRegisters();
  private readonly dispi = new DispiRegisters(VRAM_BYTES);
  private readonly planes = new Planes();
  private readonly edid = createEdid();
  private readonly screenChange = new Emitter<ScreenInfo>();
  private dispiIndex = 0;
  private mapped: LegacyWindow & { bank: number } = { start: 0, bytes: 0, access: 'closed', bank: 0 };

  private mode: VgaMode = { kind: 'off', width: 720, height: 400 };
  private modeStale = true;
  /** Byte of the planes where the legacy window begins. */
  private planeBank = 0;
  /** Everything must be drawn again. */
  private allDirty = true;
  private cellsDirty = true;
  private fontDirty = false;
  private paletteDirty = true;
  private readonly dirtyPages = new Uint8Array(VRAM_BYTES / PAGE_BYTES / 8);
  private readonly textWindow = new Uint8Array(TEXT_WINDOW_BYTES);
  private frame: TextFrame | undefined;
  /** What the last picture of a planar mode was drawn with. */
  private drawnLayout: ScanLayout | undefined;
  /** The start address before its last change, which is shown until the frame of that change is over. */
  private oldStart = 0;
  private startChangedIn = -1;
  private readonly palette = new Uint32Array(256);
  /** Non-zero: a chunk of the planes was written. */
  private readonly dirtyChunks = new Uint8Array(PLANE_BYTES / CHUNK_BYTES);

  constructor(deps: VgaDeps) {
    this.native = deps.native;
    this.clock = deps.clock;
    this.region = deps.native.addRegion('vram', VRAM_BYTES);
    this.windows = deps.windows;
    this.legacyPorts = bytewise(
      (offset) => readRegister(this.regs, LEGACY_PORT_BASE + offset, () => this.inputStatus1()),
      (offset, value) => this.writePort(LEGACY_PORT_BASE + offset, value),
    );
    this.dispiPorts = {
      read: (offset) => (offset === 0 ? this.dispiIndex : this.dispi.read(this.dispiIndex)),
      write: (offset, _width, value) => {
        if (offset === 0) this.dispiIndex = value & 0xffff;
        else this.writeDispi(this.dispiIndex, value & 0xffff);
      },
    };
    this.legacyMemory = bytewise(
      (offset) => this.readWindow(offset),
      (offset, value) => this.writeWindow(offset, value),
    );
    this.mmio = { read: (offset, width) => this.readMmio(offset, width), write: (o, w, v) => this.writeMmio(o, w, v) };
    this.reset();
    this.updateMode();
  }

  /** Leaves the adapter as a BIOS does: mode 3, its font, an empty screen. */
  reset(): void {
    this.dispi.reset();
    this.dispiIndex = 0;
    loadTextMode(this.regs);
    this.planes.reset();
    const [characters, attributes] = this.planes.data;
    for (let at = 0; at < TEXT_WINDOW_BYTES; at += 2) {
      characters[at] = LIGHT_GREY_BLANK & 0xff;
      attributes[at] = LIGHT_GREY_BLANK >> 8;
    }
    this.loadRomFont(16);
    this.startChangedIn = -1;
    // Not through the old mapping: its contents are void.
    this.window?.dispose();
    this.window = undefined;
    this.mapped = { start: 0, bytes: 0, access: 'closed', bank: 0 };
    this.modeChanged();
    this.allDirty = true;
  }

  /** ROM font → font slot 0 of plane 2, as INT 10h AX=11xxh does. */
  loadRomFont(height: 8 | 14 | 16): void {
    const font = ROM_FONTS.get(height)!;
    const plane = this.planes.data[2];
    for (let glyph = 0; glyph < 256; glyph++) plane.set(font.subarray(glyph * height, (glyph + 1) * height), glyph * GLYPH_BYTES);
    this.fontDirty = true;
  }

  dispose(): void {
    this.window?.dispose();
    this.screenChange.dispose();
  }

  // ---- DisplaySource ------------------------------------------------------------------------------------------

  get screen(): ScreenInfo {
    this.updateMode();
    return screenOf(this.mode);
  }

  readonly onScreenChange = this.screenChange.event;

  takeDirty(): Rect[] {
    this.updateMode();
    const touched = this.native.takeDirty(this.region, this.dirtyPages);
    const { mode } = this;
    let rects: Rect[];
    if (mode.kind === 'text') {
      rects = this.takeDirtyText(mode, touched);
    } else {
      const paletteShows = this.paletteDirty && (mode.kind === 'planar' || (mode.kind === 'linear' && mode.bpp === 8));
      const layout = mode.kind === 'planar' ? this.layout(mode) : undefined;
      const moved = layout !== undefined && (!this.drawnLayout || !sameValues(layout, this.drawnLayout));
      if (this.allDirty || paletteShows || moved) rects = [{ x: 0, y: 0, width: mode.width, height: mode.height }];
      else if (mode.kind === 'planar') rects = dirtyGraphicsLines(mode, layout!, this.dirtyChunks);
      else rects = mode.kind === 'linear' && touched ? dirtyLines(mode, this.dirtyPages) : [];
      this.drawnLayout = layout;
      this.paletteDirty = this.cellsDirty = false;
    }
    this.dirtyChunks.fill(0);
    this.allDirty = false;
    return rects;
  }

  render(rect: Rect, out: Uint8Array): void {
    this.updateMode();
    const { mode } = this;
    if (mode.kind === 'linear') {
      const pixels: PixelRect = {
        region: this.region,
        offset: mode.offset,
        stride: mode.stride,
        format: FORMATS[mode.bpp],
        x: rect.x,
        y: rect.y,
        width: rect.width,
        height: rect.height,
      };
      if (mode.bpp === 8) {
        for (let i = 0; i < 256; i++) this.palette[i] = dacColour(this.regs, i & this.regs.dacMask, this.dispi.dac8Bit);
        pixels.palette = this.palette;
      }
      this.native.convertPixels(pixels, out);
    } else if (mode.kind === 'planar') {
      const colours = this.colours(mode.shape === 'bytes' ? 256 : 16);
      const layout = this.drawnLayout ?? this.layout(mode);
      renderGraphics({ mode, layout, planes: this.planes.data, colours }, rect, out);
    } else if (mode.kind === 'text') {
      renderText(this.frame ?? this.currentFrame(mode, this.layout(mode)), rect, out);
    } else {
      new Uint32Array(out.buffer, out.byteOffset, rect.width * rect.height).fill(0xff000000);
    }
  }

  text(): string[] | null {
    this.updateMode();
    const { mode } = this;
    if (mode.kind !== 'text') return null;
    // What was written, not what the monitor has reached.
    const rows = textRows(mode, scanLayout(this.regs, mode, startAddress(this.regs)));
    return textLines(mode, this.readCells(mode, rows));
  }

  // ---- registers and memory -----------------------------------------------------------------------------------

  private writePort(port: number, value: number): void {
    const start = startAddress(this.regs);
    const effect = writeRegister(this.regs, port, value & 0xff, this.dispi.dac8Bit);
    if (startAddress(this.regs) !== start) this.startChanged(start);
    if (effect === 'mode') {
      this.modeChanged();
      // Font selection, or a plane that colours ignore: the same mode can look different.
      if (port === 0x3c5) this.fontDirty = true;
    } else if (effect === 'palette') {
      // Attribute registers 10h and up change the mode (blink, line graphics, graphics) as well as colours.
      this.paletteDirty = true;
      if (port === 0x3c0) this.modeStale = true;
    } else if (effect === 'cursor') this.cellsDirty = true;
  }

  private writeDispi(index: number, value: number): void {
    const effect: DispiEffect = this.dispi.write(index, value);
    if (effect === 'none') return;
    // Before the memory is cleared, so that text leaves VRAM first.
    this.modeChanged();
    if (index === Dispi.ENABLE) this.paletteDirty = true;
    if (effect === 'enabled' && !(this.dispi.read(Dispi.ENABLE) & DispiEnable.NO_CLEAR)) this.clearMemory();
  }

  private clearMemory(): void {
    if (this.dispi.planar()) {
      for (const plane of this.planes.data) plane.fill(0);
      this.allDirty = true;
      return;
    }
    const mode = this.dispi.mode();
    if (!mode) return;
    const zeroes = new Uint8Array(1 << 20);
    const end = Math.min(mode.offset + mode.stride * mode.height, VRAM_BYTES);
    for (let at = 0; at < end; at += zeroes.length) {
      this.native.regionWrite(this.region, at, end - at < zeroes.length ? zeroes.subarray(0, end - at) : zeroes);
    }
  }

  private modeChanged(): void {
    this.modeStale = true;
    this.planeBank = this.dispi.planar() ? this.dispi.bankBytes : 0;
    this.applyWindow();
  }

  /** Keeps the guest-physical map in step with the registers; text cells move between VRAM and the planes. */
  private applyWindow(): void {
    const linear = this.dispi.mode();
    const next = { ...decideWindow(this.regs, linear), bank: linear ? this.dispi.bankBytes : 0 };
    const { mapped } = this;
    if (
      next.access === mapped.access &&
      next.start === mapped.start &&
      next.bytes === mapped.bytes &&
      next.bank === mapped.bank
    ) {
      return;
    }
    this.window?.dispose();
    this.window = undefined;
    if (mapped.access === 'text' && this.native.regionRead(this.region, 0, this.textWindow))
      this.planes.fromText(this.textWindow);
    if (next.access === 'text') {
      this.planes.toText(this.textWindow);
      this.native.regionWrite(this.region, 0, this.textWindow);
    }
    if (next.access === 'text' || next.access === 'bank') {
      this.window = this.windows.map(this.region, next.bank, LEGACY_MEMORY_BASE + next.start, next.bytes);
    }
    this.mapped = next;
    this.cellsDirty = true;
  }

  private readWindow(offset: number): number {
    const at = this.windowAddress(offset);
    return at === undefined ? 0xff : this.planes.read(this.regs, at, this.planeBank);
  }

  private writeWindow(offset: number, value: number): void {
    const at = this.windowAddress(offset);
    if (at === undefined) return;
    const planes = this.planes.write(this.regs, at, value & 0xff, this.planeBank);
    if (this.mode.kind === 'planar') {
      if (planes !== 0) this.dirtyChunks[((this.planeBank + (at & (PLANE_BANK_BYTES - 1))) / CHUNK_BYTES) | 0] = 1;
      return;
    }
    if (planes & 0x03) this.cellsDirty = true;
    if (planes & 0x04) this.fontDirty = true;
  }

  /** Only while trapped: a window that is mapped has no business here, and one outside the selected range is nobody's. */
  private windowAddress(offset: number): number | undefined {
    const { start, bytes, access } = this.mapped;
    if (access !== 'trapped' || offset < start || offset >= start + bytes) return undefined;
    return offset - start;
  }

  private readMmio(offset: number, width: number): number {
    if (offset < 0x400) return gather(width, (i) => this.edid[offset + i] ?? 0);
    if (offset < 0x420) return this.legacyPorts.read(offset - 0x400 + (0x3c0 - LEGACY_PORT_BASE), width);
    if (offset >= 0x500 && offset < 0x500 + Dispi.COUNT * 2) {
      return gather(width, (i) => (this.dispi.read((offset + i - 0x500) >> 1) >> (((offset + i) & 1) * 8)) & 0xff);
    }
    return gather(width, () => 0xff);
  }

  private writeMmio(offset: number, width: number, value: number): void {
    if (offset >= 0x400 && offset < 0x420) this.legacyPorts.write(offset - 0x400 + (0x3c0 - LEGACY_PORT_BASE), width, value);
    else if (offset >= 0x500 && offset < 0x500 + Dispi.COUNT * 2 && width >= 2 && !(offset & 1)) {
      for (let i = 0; i < width; i += 2) this.writeDispi((offset + i - 0x500) >> 1, (value >>> (i * 8)) & 0xffff);
    }
  }

  private inputStatus1(): number {
    const now = this.clock.now();
    const line = Math.floor(now / LINE_NS) % LINES_TOTAL;
    if (line >= LINES_VISIBLE) return 0x09;
    return now % LINE_NS > LINE_NS * 0.8 ? 0x01 : 0x00;
  }

  // ---- picture ------------------------------------------------------------------------------------------------

  private updateMode(): void {
    if (!this.modeStale) return;
    this.modeStale = false;
    const before = this.mode;
    const next = decideMode(this.regs, this.dispi.mode(), this.dispi.planar());
    if (sameValues(before, next)) return;
    this.mode = next;
    this.allDirty = true;
    this.frame = this.drawnLayout = undefined;
    const was = screenOf(before);
    const now = screenOf(next);
    if (was.width !== now.width || was.height !== now.height || was.mode !== now.mode) this.screenChange.fire(now);
  }

  /** Frames since the clock began; each ends, and the CRTC takes a new start address over, where vertical retrace begins. */
  private get frameNumber(): number {
    return Math.floor((this.clock.now() / LINE_NS + LINES_TOTAL - LINES_VISIBLE) / LINES_TOTAL);
  }

  private startChanged(before: number): void {
    const now = this.frameNumber;
    if (now !== this.startChangedIn) this.oldStart = before;
    this.startChangedIn = now;
  }

  private layout(mode: TextMode | GraphicsMode): ScanLayout {
    const planar = this.dispi.planar();
    if (planar) return planarLayout(planar);
    const start = this.frameNumber === this.startChangedIn ? this.oldStart : startAddress(this.regs);
    return scanLayout(this.regs, mode, start);
  }

  private takeDirtyText(mode: TextMode, touched: boolean): Rect[] {
    const layout = this.layout(mode);
    const before = this.frame;
    const moved = before !== undefined && !sameValues(before.layout, layout);
    // Rows of another shape have nothing to be compared with.
    const reshaped = moved && !sameValues({ ...before.layout, start: layout.start }, layout);
    const memoryChanged = moved || this.cellsDirty || (touched && this.mapped.access === 'text' && touchesText(this.dirtyPages));
    const all = this.allDirty || this.fontDirty || this.paletteDirty || !before || reshaped;
    const frame = this.currentFrame(mode, layout, memoryChanged || all ? undefined : before);
    this.cellsDirty = this.fontDirty = this.paletteDirty = false;
    this.frame = frame;
    if (all) return [{ x: 0, y: 0, width: mode.width, height: mode.height }];
    const drawn = before.cells === frame.cells ? before.cells.slice() : before.cells;
    // Force a difference where the picture changes and the cell does not.
    const mark = (index: number): void => {
      if (index >= 0) drawn[index] = ~frame.cells[index]! & 0xffff;
    };
    const cursorMoved =
      before.cursorIndex !== frame.cursorIndex ||
      before.cursor.first !== frame.cursor.first ||
      before.cursor.last !== frame.cursor.last;
    if (mode.blink && before.blinkOn !== frame.blinkOn) {
      for (let i = 0; i < frame.cells.length; i++) if (frame.cells[i]! & 0x8000) mark(i);
    }
    if (cursorMoved) {
      mark(before.cursorIndex);
      mark(frame.cursorIndex);
    }
    return changedCells(mode, frame.rows, drawn, frame.cells);
  }

  /** The text picture as it is now; cells and colours are taken from `known` when it is given. */
  private currentFrame(mode: TextMode, layout: ScanLayout, known?: TextFrame): TextFrame {
    const now = this.clock.now();
    const rows = known?.rows ?? textRows(mode, layout);
    const cursor = cursorShape(this.regs);
    const row = rows.findIndex(({ address }) => cursor.cell >= address && cursor.cell < address + mode.columns);
    const visible = row >= 0 && cursor.first <= cursor.last && cursor.first < mode.cellHeight;
    const lit = Math.floor(now / CURSOR_PHASE_NS) % 2 === 0;
    const [plain, bright] = fontOffsets(this.regs);
    const plane = this.planes.data[2];
    return {
      mode,
      layout,
      rows,
      cells: known?.cells ?? this.readCells(mode, rows),
      cursor,
      cursorIndex: visible && lit ? row * cellsARow(mode) + cursor.cell - rows[row]!.address : -1,
      blinkOn: Math.floor(now / BLINK_PHASE_NS) % 2 === 0,
      fonts: known?.fonts ?? [
        plane.subarray(plain, plain + 256 * GLYPH_BYTES),
        plane.subarray(bright, bright + 256 * GLYPH_BYTES),
      ],
      colours: known?.colours ?? this.colours(16),
    };
  }

  /** Colours as RGBA little-endian words: the 16 behind the attribute controller, or the DAC's 256. */
  private colours(count: 16 | 256): Uint32Array {
    const colours = new Uint32Array(count);
    for (let i = 0; i < count; i++) {
      const index = count === 256 ? i & this.regs.dacMask : attributeToDac(this.regs, i);
      const rgb = dacColour(this.regs, index, this.dispi.dac8Bit);
      colours[i] = (0xff000000 | ((rgb & 0xff) << 16) | (rgb & 0xff00) | (rgb >> 16)) >>> 0;
    }
    return colours;
  }

  private readCells(mode: TextMode, rows: readonly TextRow[]): Uint16Array {
    const window = this.textWindow;
    if (this.mapped.access === 'text') this.native.regionRead(this.region, 0, window);
    else this.planes.toText(window);
    const perRow = cellsARow(mode);
    const cells = new Uint16Array(perRow * rows.length);
    rows.forEach(({ address }, row) => {
      for (let column = 0; column < perRow; column++) {
        const at = ((address + column) * 2) & (TEXT_WINDOW_BYTES - 1);
        cells[row * perRow + column] = window[at]! | (window[at + 1]! << 8);
      }
    });
    return cells;
  }
}

function screenOf(mode: VgaMode): ScreenInfo {
  return {
    width: mode.width,
    height: mode.height,
    mode: mode.kind === 'linear' || mode.kind === 'planar' ? 'graphics' : mode.kind,
  };
}

/** Of two objects of plain values. */
function sameValues(a: object, b: object): boolean {
  const x = a as Record<string, unknown>;
  const y = b as Record<string, unknown>;
  const keys = Object.keys(x);
  return keys.length === Object.keys(y).length && keys.every((key) => x[key] === y[key]);
}

function touchesText(pages: Uint8Array): boolean {
  return pages[0] !== 0; // eight pages of 4 KiB: the text window
}

/** Dirty pages → rectangles of whole lines of the visible picture. */
export function dirtyLines(mode: { width: number; height: number; stride: number; offset: number }, pages: Uint8Array): Rect[] {
  const rects: Rect[] = [];
  const firstByte = mode.offset;
  const lastByte = mode.offset + mode.stride * mode.height - 1;
  const lastPage = Math.min(pages.length * 8 - 1, Math.floor(lastByte / PAGE_BYTES));
  let top = -1;
  let bottom = -1;
  for (let page = Math.floor(firstByte / PAGE_BYTES); page <= lastPage; page++) {
    if (!((pages[page >> 3]! >> (page & 7)) & 1)) continue;
    const first = Math.max(0, Math.floor((page * PAGE_BYTES - mode.offset) / mode.stride));
    const last = Math.min(mode.height - 1, Math.floor(((page + 1) * PAGE_BYTES - 1 - mode.offset) / mode.stride));
    if (last < first) continue;
    if (top >= 0 && first <= bottom + 1) {
      bottom = last;
      continue;
    }
    if (top >= 0) rects.push({ x: 0, y: top, width: mode.width, height: bottom - top + 1 });
    top = first;
    bottom = last;
  }
  if (top >= 0) rects.push({ x: 0, y: top, width: mode.width, height: bottom - top + 1 });
  return rects;
}

function gather(width: number, byte: (index: number) => number): number {
  let value = 0;
  for (let i = width - 1; i >= 0; i--) value = value * 256 + byte(i);
  return value;
}

/** A 16- or 32-bit access is the same as byte accesses in ascending order (IBM's adapters have an 8-bit bus). */
function bytewise(read: (offset: number) => number, write: (offset: number, value: number) => void): IoHandler {
  return {
    read: (offset, width) => {
      let value = 0;
      for (let i = 0; i < width; i++) value += read(offset + i) * 2 ** (8 * i);
      return value;
    },
    write: (offset, width, value) => {
      for (let i = 0; i < width; i++) write(offset + i, Math.floor(value / 2 ** (8 * i)) & 0xff);
    },
  };
}
