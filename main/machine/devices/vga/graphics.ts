/** Legacy graphics modes → pixels, from the planes. No registers: everything it needs is in `GraphicsFrame`. */
import type { Rect } from '../../../backend/display';
import { scanLine, type GraphicsMode, type PixelShape, type ScanLayout, type ScanLine } from './mode';
import type { Planes } from './planes';

export interface GraphicsFrame {
  readonly mode: GraphicsMode;
  readonly layout: ScanLayout;
  readonly planes: Planes['data'];
  /** RGBA as little-endian words: 16 entries, or 256 for pixels of a byte. */
  readonly colours: Uint32Array;
}

/** Granularity of the plane dirty map. */
export const CHUNK_BYTES = 256;

const PIXELS_A_UNIT: Record<PixelShape, 4 | 8> = { bits: 8, pairs: 8, bytes: 4 };

/** Plane address of the CRTC's address `counter`: byte, word or doubleword mode (CR17 bit 6, CR14 bit 6), then interleave. */
function planeAddress(mode: GraphicsMode, counter: number, line: number): number {
  let at = (counter << mode.addressShift) & (mode.planeBytes - 1);
  if (mode.interleave & 1) at = (at & ~0x2000) | ((line & 1) << 13);
  if (mode.interleave & 2) at = (at & ~0x4000) | ((line & 2) << 13);
  return at;
}

/** True when both lines show the same memory. */
function sameMemory(mode: GraphicsMode, a: ScanLine, b: ScanLine): boolean {
  return a.address === b.address && a.pan === b.pan && ((a.line ^ b.line) & mode.interleave) === 0;
}

export function renderGraphics({ mode, layout, planes, colours }: GraphicsFrame, rect: Rect, out: Uint8Array): void {
  const pixels = new Uint32Array(out.buffer, out.byteOffset, rect.width * rect.height);
  const { scaleX } = mode;
  const perUnit = PIXELS_A_UNIT[mode.shape];
  const firstColumn = Math.floor(rect.x / scaleX);
  const lastColumn = Math.floor((rect.x + rect.width - 1) / scaleX);
  const units = new Uint32Array(lastColumn - firstColumn + 1 + 3 * perUnit);
  let before: ScanLine | undefined;
  for (let y = 0; y < rect.height; y++) {
    const to = y * rect.width;
    const scan = scanLine(mode, layout, rect.y + y);
    if (before && sameMemory(mode, before, scan)) {
      pixels.copyWithin(to, to - rect.width, to);
      continue;
    }
    before = scan;
    const first = firstColumn + scan.pan;
    const firstUnit = Math.floor(first / perUnit);
    const lastUnit = Math.floor((lastColumn + scan.pan) / perUnit);
    for (let unit = firstUnit, at = 0; unit <= lastUnit; unit++, at += perUnit) {
      decodeUnit(mode.shape, planes, planeAddress(mode, scan.address + unit, scan.line), colours, units, at);
    }
    const skip = first - firstUnit * perUnit - firstColumn;
    if (scaleX === 1) for (let x = 0; x < rect.width; x++) pixels[to + x] = units[skip + rect.x + x]!;
    else for (let x = 0; x < rect.width; x++) pixels[to + x] = units[skip + Math.floor((rect.x + x) / scaleX)]!;
  }
}

/** The pixels of one CRTC address. */
function decodeUnit(
  shape: PixelShape,
  [p0, p1, p2, p3]: Planes['data'],
  at: number,
  colours: Uint32Array,
  into: Uint32Array,
  to: number,
): void {
  const b0 = p0[at]!;
  const b1 = p1[at]!;
  const b2 = p2[at]!;
  const b3 = p3[at]!;
  if (shape === 'bytes') {
    into[to] = colours[b0]!;
    into[to + 1] = colours[b1]!;
    into[to + 2] = colours[b2]!;
    into[to + 3] = colours[b3]!;
  } else if (shape === 'bits') {
    for (let bit = 7; bit >= 0; bit--) {
      into[to++] = colours[((b0 >> bit) & 1) | (((b1 >> bit) & 1) << 1) | (((b2 >> bit) & 1) << 2) | (((b3 >> bit) & 1) << 3)]!;
    }
  } else {
    for (let bit = 6; bit >= 0; bit -= 2) {
      into[to] = colours[((b0 >> bit) & 3) | (((b2 >> bit) & 3) << 2)]!;
      into[to + 4] = colours[((b1 >> bit) & 3) | (((b3 >> bit) & 3) << 2)]!;
      to++;
    }
  }
}

/** Chunks of the planes that were written → rectangles of whole lines that show them. */
export function dirtyGraphicsLines(mode: GraphicsMode, layout: ScanLayout, chunks: Uint8Array): Rect[] {
  const rects: Rect[] = [];
  const perUnit = PIXELS_A_UNIT[mode.shape];
  // Walking by less than a chunk visits each chunk the line lies in, across the wrap of the address too.
  const step = CHUNK_BYTES >> mode.addressShift;
  const isDirty = ({ address, line, pan }: ScanLine): boolean => {
    const last = Math.ceil((mode.width / mode.scaleX + pan) / perUnit) - 1;
    for (let unit = 0; unit < last + step; unit += step) {
      if (chunks[(planeAddress(mode, address + Math.min(unit, last), line) / CHUNK_BYTES) | 0] !== 0) return true;
    }
    return false;
  };
  let top = -1;
  let before: ScanLine | undefined;
  let dirty = false;
  for (let y = 0; y < mode.height; y++) {
    const scan = scanLine(mode, layout, y);
    if (!before || !sameMemory(mode, before, scan)) dirty = isDirty(scan);
    before = scan;
    if (dirty && top < 0) top = y;
    if (!dirty && top >= 0) {
      rects.push({ x: 0, y: top, width: mode.width, height: y - top });
      top = -1;
    }
  }
  if (top >= 0) rects.push({ x: 0, y: top, width: mode.width, height: mode.height - top });
  return rects;
}
