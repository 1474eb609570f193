/**
 * What the registers mean: a pure function from the register file (and DISPI) to the mode shown, and another to what the
 * legacy window A0000h–BFFFFh does. A new mode is a new member of `VgaMode`, a rule here, and a renderer.
 */
import type { LinearMode } from './dispi';
import type { VgaRegisters } from './registers';

export interface TextMode {
  readonly kind: 'text';
  readonly columns: number;
  readonly rows: number;
  /** Lines a cell, 1–32. */
  readonly cellHeight: number;
  /** Dots a cell, 8 or 9. */
  readonly cellWidth: number;
  /** Each dot and line is shown this many times (halved dot clock, scan doubling). */
  readonly scaleX: 1 | 2;
  readonly scaleY: 1 | 2;
  /** Cells from one row to the next. */
  readonly rowCells: number;
  /** The ninth dot of C0h–DFh repeats the eighth. */
  readonly lineGraphics: boolean;
  /** Attribute bit 7 blinks, else it is the background's intensity. */
  readonly blink: boolean;
  readonly width: number;
  readonly height: number;
}

/** Planes shifted out as pixels: 16 colours of four planes, or 256 with a byte a pixel. */
export interface GraphicsMode {
  readonly kind: 'planar';
  readonly colours: 16 | 256;
  readonly scaleX: 1 | 2 | 4;
  /** Scan lines a line of pixels. */
  readonly scaleY: number;
  /** CRTC address units from one line to the next, and how far an address is shifted to become a plane's. */
  readonly rowUnits: number;
  readonly addressShift: 0 | 1 | 2;
  readonly width: number;
  readonly height: number;
}

export type VgaMode =
  | TextMode
  | GraphicsMode
  | ({ readonly kind: 'linear' } & LinearMode)
  /** Nothing to see: blanked, or a CGA-compatible graphics mode, which has no renderer. */
  | { readonly kind: 'off'; readonly width: number; readonly height: number; readonly why: 'blanked' | 'unsupported' };

/** Largest picture a guest can make us draw from CRTC values alone. */
const MAX_TEXT_COLUMNS = 256;
const MAX_TEXT_LINES = 1024;

export function decideMode(regs: VgaRegisters, linear: LinearMode | undefined): VgaMode {
  // PAS and the sequencer's screen-off bit blank every mode, DISPI ones too (drivers blank the DISPI screen this way).
  const blanked = (regs.attributeIndex & 0x20) === 0 || (regs.sequencer[1]! & 0x20) !== 0;
  if (linear) {
    return blanked ? { kind: 'off', width: linear.width, height: linear.height, why: 'blanked' } : { kind: 'linear', ...linear };
  }
  const { crtc, sequencer } = regs;
  const columns = Math.min(crtc[1]! + 1, MAX_TEXT_COLUMNS);
  const lines = Math.min((crtc[0x12]! | ((crtc[7]! & 0x02) << 7) | ((crtc[7]! & 0x40) << 3)) + 1, MAX_TEXT_LINES);
  const cellHeight = (crtc[9]! & 0x1f) + 1;
  const scaleX = sequencer[1]! & 0x08 ? 2 : 1;
  const scaleY = crtc[9]! & 0x80 ? 2 : 1;
  const isGraphics = (regs.graphics[6]! & 1) !== 0 || (regs.attribute[0x10]! & 1) !== 0;
  const cellWidth = sequencer[1]! & 0x01 || isGraphics ? 8 : 9;
  const rows = Math.floor(lines / (cellHeight * scaleY));
  const width = columns * cellWidth * scaleX;
  if (isGraphics) return blanked ? { kind: 'off', width, height: lines, why: 'blanked' } : graphicsMode(regs, width, lines);
  if (rows === 0) return { kind: 'off', width, height: lines, why: 'unsupported' };
  const height = rows * cellHeight * scaleY;
  if (blanked) return { kind: 'off', width, height, why: 'blanked' };
  return {
    kind: 'text',
    columns,
    rows,
    cellHeight,
    cellWidth,
    scaleX,
    scaleY,
    rowCells: crtc[0x13]! * 2,
    lineGraphics: (regs.attribute[0x10]! & 0x04) !== 0,
    blink: (regs.attribute[0x10]! & 0x08) !== 0,
    width,
    height,
  };
}

/** `width` in dots and `height` in scan lines, as the monitor sees them. */
function graphicsMode(regs: VgaRegisters, width: number, height: number): VgaMode {
  const { crtc, graphics } = regs;
  // CGA compatibility: shifted out two bits at a time (graphics register 5), or rows interleaved by CR17's two lowest bits.
  if ((graphics[5]! & 0x60) === 0x20 || (crtc[0x17]! & 0x03) !== 0x03) return { kind: 'off', width, height, why: 'unsupported' };
  const colours = graphics[5]! & 0x40 ? 256 : 16;
  const dotScale = regs.sequencer[1]! & 0x08 ? 2 : 1;
  return {
    kind: 'planar',
    colours,
    // A byte a pixel takes two dots of the shift register.
    scaleX: (dotScale * (colours === 256 ? 2 : 1)) as 1 | 2 | 4,
    scaleY: ((crtc[9]! & 0x1f) + 1) * (crtc[9]! & 0x80 ? 2 : 1),
    rowUnits: crtc[0x13]! * 2,
    addressShift: crtc[0x14]! & 0x40 ? 2 : crtc[0x17]! & 0x40 ? 0 : 1,
    width,
    height,
  };
}

/** First cell shown and the cell the cursor is on, in cells of the text window. */
export function startAddress(regs: VgaRegisters): number {
  return (regs.crtc[0x0c]! << 8) | regs.crtc[0x0d]!;
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
    (graphics[5]! & 0x10) !== 0 && // host odd/even
    (sequencer[4]! & 0x0c) === 0 && // odd/even, not chain 4
    (sequencer[2]! & 0x0f) === 0x03 && // planes 0 and 1
    (graphics[5]! & 0x0b) === 0 && // write mode 0, read mode 0
    (graphics[3]! & 0x1f) === 0 && // no rotate, no logic
    (graphics[1]! & 0x0f) === 0 && // no set/reset
    graphics[8] === 0xff;
  return { ...window, access: plainText ? 'text' : 'trapped' };
}
