/**
 * What the registers mean: a pure function from the register file (and DISPI) to the mode shown, and another to what the
 * legacy window A0000h–BFFFFh does. A new mode is a new member of `VgaMode`, a rule here, and a renderer.
 */
import { PLANE_BANK_BYTES, PLANE_BYTES } from './planes';
import type { LinearMode, PlanarMode } from './dispi';
import type { VgaRegisters } from './registers';

export interface TextMode {
  readonly kind: 'text';
  readonly columns: number;
  /** Lines a cell, 1–32. */
  readonly cellHeight: number;
  /** Dots a cell, 8 or 9. */
  readonly cellWidth: number;
  /** Each dot and line is shown this many times (halved dot clock, scan doubling). */
  readonly scaleX: 1 | 2;
  readonly scaleY: 1 | 2;
  /** CRTC address units (cells) from one row to the next. */
  readonly rowUnits: number;
  /** The ninth dot of C0h–DFh repeats the eighth. */
  readonly lineGraphics: boolean;
  /** Attribute bit 7 blinks, else it is the background's intensity. */
  readonly blink: boolean;
  /** Line of the cell that is drawn through where the attribute says underlined (01h and its bright and blinking kin). */
  readonly underline: number;
  readonly width: number;
  readonly height: number;
}

/**
 * How the shift registers turn the planes' bytes into pixels: a bit of each of the four planes; two bits of planes 0 and 2, then
 * of 1 and 3 (CGA); or a byte a pixel, the planes in turn (256 colours).
 */
export type PixelShape = 'bits' | 'pairs' | 'bytes';

export interface GraphicsMode {
  readonly kind: 'planar';
  readonly shape: PixelShape;
  readonly scaleX: 1 | 2 | 4;
  /** Scan lines a line of the memory is repeated because of scan doubling; `cellHeight` repeats it further. */
  readonly scaleY: 1 | 2;
  readonly cellHeight: number;
  /** CRTC address units from one row to the next, and how far an address is shifted to become a plane's. */
  readonly rowUnits: number;
  readonly addressShift: 0 | 1 | 2;
  /** Plane addresses wrap here. */
  readonly planeBytes: number;
  /** Bits 0, 1: address bit 13, 14 is bit 0, 1 of the line in the row (CGA and Hercules interleave; CR17 bits 0, 1 clear). */
  readonly interleave: number;
  readonly width: number;
  readonly height: number;
}

export type VgaMode =
  | TextMode
  | GraphicsMode
  | ({ readonly kind: 'linear' } & LinearMode)
  /** Nothing to see. */
  | { readonly kind: 'off'; readonly width: number; readonly height: number };

/** Largest picture a guest can make us draw from CRTC values alone. */
const MAX_TEXT_COLUMNS = 256;
const MAX_LINES = 1024;

export function decideMode(regs: VgaRegisters, linear: LinearMode | undefined, planar?: PlanarMode): VgaMode {
  // PAS and the sequencer's screen-off bit blank every mode, DISPI ones too (drivers blank the DISPI screen this way).
  const blanked = (regs.attributeIndex & 0x20) === 0 || (regs.sequencer[1]! & 0x20) !== 0;
  if (planar) {
    const { width, height, stride: rowUnits } = planar;
    if (blanked) return { kind: 'off', width, height };
    const plain = { scaleX: 1, scaleY: 1, cellHeight: 1, addressShift: 0, interleave: 0, planeBytes: PLANE_BYTES } as const;
    return { kind: 'planar', shape: 'bits', ...plain, rowUnits, width, height };
  }
  if (linear) return blanked ? { kind: 'off', width: linear.width, height: linear.height } : { kind: 'linear', ...linear };
  const { crtc, sequencer, graphics } = regs;
  const columns = Math.min(crtc[1]! + 1, MAX_TEXT_COLUMNS);
  const height = Math.min((crtc[0x12]! | ((crtc[7]! & 0x02) << 7) | ((crtc[7]! & 0x40) << 3)) + 1, MAX_LINES);
  const cellHeight = (crtc[9]! & 0x1f) + 1;
  const scaleX = sequencer[1]! & 0x08 ? 2 : 1;
  const scaleY = crtc[9]! & 0x80 ? 2 : 1;
  const isGraphics = (graphics[6]! & 1) !== 0 || (regs.attribute[0x10]! & 1) !== 0;
  const cellWidth = sequencer[1]! & 0x01 || isGraphics ? 8 : 9;
  const width = columns * cellWidth * scaleX;
  const rowUnits = crtc[0x13]! * 2;
  if (blanked) return { kind: 'off', width, height };
  if (isGraphics) {
    const shape = graphics[5]! & 0x40 ? 'bytes' : graphics[5]! & 0x20 ? 'pairs' : 'bits';
    return {
      kind: 'planar',
      shape,
      // A byte a pixel takes two dots of the shift register.
      scaleX: (scaleX * (shape === 'bytes' ? 2 : 1)) as 1 | 2 | 4,
      scaleY,
      cellHeight,
      rowUnits,
      addressShift: crtc[0x14]! & 0x40 ? 2 : crtc[0x17]! & 0x40 ? 0 : 1,
      planeBytes: PLANE_BANK_BYTES,
      interleave: ~crtc[0x17]! & 3,
      width,
      height,
    };
  }
  return {
    kind: 'text',
    columns,
    cellHeight,
    cellWidth,
    scaleX,
    scaleY,
    rowUnits,
    lineGraphics: (regs.attribute[0x10]! & 0x04) !== 0,
    blink: (regs.attribute[0x10]! & 0x08) !== 0,
    underline: crtc[0x14]! & 0x1f,
    width,
    height,
  };
}

/** Start address registers: the first address shown, in the CRTC's units. */
export function startAddress(regs: VgaRegisters): number {
  return (regs.crtc[0x0c]! << 8) | regs.crtc[0x0d]!;
}

/** What moves the picture inside an unchanged mode: start, smooth panning and the split screen. */
export interface ScanLayout {
  /** First address of the upper part, byte panning included. */
  readonly start: number;
  /** Pixels that leave at the left edge. */
  readonly pan: number;
  /** The line of its row that is shown first (preset row scan). */
  readonly firstLine: number;
  /** Scan line at which the lower part of a split screen begins; it shows the memory from address 0. */
  readonly splitAt: number;
  readonly splitStart: number;
  readonly splitPan: number;
}

export function scanLayout(regs: VgaRegisters, mode: TextMode | GraphicsMode, start: number): ScanLayout {
  const { crtc, attribute } = regs;
  const bytePan = (crtc[8]! >> 5) & 3;
  const dots = attribute[0x13]! & 0x0f;
  let pan = dots & 7;
  if (mode.kind === 'planar' && mode.shape === 'bytes') pan >>= 1;
  // Nine-dot cells count from 8: no shift, then 0 to 7: one to eight dots.
  else if (mode.kind === 'text' && mode.cellWidth === 9) pan = dots >= 8 ? 0 : dots + 1;
  // The attribute controller can leave the lower part alone.
  const together = (attribute[0x10]! & 0x20) === 0;
  return {
    start: start + bytePan,
    pan,
    firstLine: crtc[8]! & 0x1f,
    splitAt: (crtc[0x18]! | ((crtc[7]! & 0x10) << 4) | ((crtc[9]! & 0x40) << 3)) + 1,
    splitStart: together ? bytePan : 0,
    splitPan: together ? pan : 0,
  };
}

/** As DISPI's offsets have it; there is no split. */
export function planarLayout({ start, pan, height }: PlanarMode): ScanLayout {
  return { start, pan, firstLine: 0, splitAt: height, splitStart: 0, splitPan: 0 };
}

export interface ScanLine {
  /** CRTC address of the first unit. */
  readonly address: number;
  /** Line inside the row. */
  readonly line: number;
  readonly pan: number;
}

/** What the CRTC scans out in line `y` of the picture. */
export function scanLine(mode: TextMode | GraphicsMode, layout: ScanLayout, y: number): ScanLine {
  const lower = y >= layout.splitAt;
  const count = lower ? Math.floor((y - layout.splitAt) / mode.scaleY) : Math.floor(y / mode.scaleY) + layout.firstLine;
  const row = Math.floor(count / mode.cellHeight);
  return {
    address: (lower ? layout.splitStart : layout.start) + row * mode.rowUnits,
    line: count - row * mode.cellHeight,
    pan: lower ? layout.splitPan : layout.pan,
  };
}

export interface CursorShape {
  readonly cell: number;
  /** First and last line inside the cell; first > last: no cursor. */
  readonly first: number;
  readonly last: number;
}

export function cursorShape(regs: VgaRegisters): CursorShape {
  const { crtc } = regs;
  const hidden = (crtc[0x0a]! & 0x20) !== 0;
  return { cell: (crtc[0x0e]! << 8) | crtc[0x0f]!, first: hidden ? 32 : crtc[0x0a]! & 0x1f, last: crtc[0x0b]! & 0x1f };
}

/** The 16 text colours as indices into the DAC. */
export function attributeToDac(regs: VgaRegisters, colour: number): number {
  const { attribute } = regs;
  const palette = attribute[colour & attribute[0x12]! & 0x0f]! & 0x3f;
  const select = attribute[0x14]!;
  const low = attribute[0x10]! & 0x80 ? (palette & 0x0f) | ((select & 0x03) << 4) : palette;
  return (low | ((select & 0x0c) << 4)) & regs.dacMask;
}

/** DAC entry → 0x00RRGGBB, 6-bit components widened so that 3Fh is full. */
export function dacColour(regs: VgaRegisters, index: number, dac8Bit: boolean): number {
  const at = index * 3;
  const widen = (v: number): number => (dac8Bit ? v : ((v & 0x3f) << 2) | ((v & 0x3f) >> 4));
  return (widen(regs.dac[at]!) << 16) | (widen(regs.dac[at + 1]!) << 8) | widen(regs.dac[at + 2]!);
}

/** Plane 2 offset of the two fonts: attribute bit 3 clear, set (sequencer register 3). */
export function fontOffsets(regs: VgaRegisters): readonly [number, number] {
  const map = regs.sequencer[3]!;
  const offset = (bank: number, upper: number): number => bank * 0x4000 + (upper ? 0x2000 : 0);
  return [offset(map & 3, map & 0x10), offset((map >> 2) & 3, map & 0x20)];
}

/** Legacy window, as graphics register 6 bits 3–2 select it. */
export interface LegacyWindow {
  /** Bytes from A0000h. */
  readonly start: number;
  readonly bytes: number;
  /**
   * 'text': odd/even cells, as linear memory; 'bank': DISPI's 64 KiB bank of VRAM; 'trapped': every access goes through the
   * plane logic; 'closed': misc output bit 1 is clear, nobody answers.
   */
  readonly access: 'text' | 'bank' | 'trapped' | 'closed';
}

const WINDOWS = [
  { start: 0, bytes: 0x20000 },
  { start: 0, bytes: 0x10000 },
  { start: 0x10000, bytes: 0x8000 },
  { start: 0x18000, bytes: 0x8000 },
] as const;

export function decideWindow(regs: VgaRegisters, linear: LinearMode | undefined): LegacyWindow {
  if (linear) return { start: 0, bytes: 0x10000, access: 'bank' };
  const { graphics, sequencer } = regs;
  const window = WINDOWS[(graphics[6]! >> 2) & 3]!;
  if (!(regs.misc & 0x02)) return { ...window, access: 'closed' };
  const plainText =
    window.bytes === 0x8000 &&
    (graphics[6]! & 0x01) === 0 && // CGA graphics look like text to the rest, and are drawn from the planes
    (graphics[5]! & 0x10) !== 0 && // host odd/even
    (sequencer[4]! & 0x0c) === 0 && // odd/even, not chain 4
    (sequencer[2]! & 0x0f) === 0x03 && // planes 0 and 1
    (graphics[5]! & 0x0b) === 0 && // write mode 0, read mode 0
    (graphics[3]! & 0x1f) === 0 && // no rotate, no logic
    (graphics[1]! & 0x0f) === 0 && // no set/reset
    graphics[8] === 0xff;
  return { ...window, access: plainText ? 'text' : 'trapped' };
}
