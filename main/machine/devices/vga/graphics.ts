/** Legacy graphics modes → pixels, from the planes. No registers: everything it needs is in `GraphicsFrame`. */
import type { Rect } from '../../../backend/display';
import type { GraphicsMode } from './mode';
import type { Planes } from './planes';

export interface GraphicsFrame {
  readonly mode: GraphicsMode;
  readonly planes: Planes['data'];
  /** CRTC start address, in the CRTC's address units. */
  readonly start: number;
  /** RGBA as little-endian words: 16 entries, or 256. */
  readonly colours: Uint32Array;
}

/** Granularity of the plane dirty map. */
export const CHUNK_BYTES = 256;

/** Plane address of the CRTC's address `counter`: byte, word or doubleword mode (CR17 bit 6, CR14 bit 6). */
function planeAddress(mode: GraphicsMode, counter: number): number {
  return (counter << mode.addressShift) & 0xffff;
}

export function renderGraphics({ mode, planes, start, colours }: GraphicsFrame, rect: Rect, out: Uint8Array): void {
  const pixels = new Uint32Array(out.buffer, out.byteOffset, rect.width * rect.height);
  const [p0, p1, p2, p3] = planes;
  for (let y = 0; y < rect.height; y++) {
    const row = start + Math.floor((rect.y + y) / mode.scaleY) * mode.rowUnits;
    for (let x = 0; x < rect.width; x++) {
      const column = Math.floor((rect.x + x) / mode.scaleX);
      let colour: number;
      if (mode.colours === 256) {
        colour = planes[column & 3]![planeAddress(mode, row + (column >> 2))]!;
      } else {
        const at = planeAddress(mode, row + (column >> 3));
        const bit = 7 - (column & 7);
        colour =
          ((p0[at]! >> bit) & 1) | (((p1[at]! >> bit) & 1) << 1) | (((p2[at]! >> bit) & 1) << 2) | (((p3[at]! >> bit) & 1) << 3);
      }
      pixels[y * rect.width + x] = colours[colour]!;
    }
  }
}

/** Chunks of the planes that were written → rectangles of whole lines that show them. */
export function dirtyGraphicsLines(mode: GraphicsMode, start: number, chunks: Uint8Array): Rect[] {
  const rects: Rect[] = [];
  const units = Math.ceil(mode.width / mode.scaleX / (mode.colours === 256 ? 4 : 8));
  let top = -1;
  const rows = Math.ceil(mode.height / mode.scaleY);
  for (let row = 0; row <= rows; row++) {
    let dirty = false;
    if (row < rows) {
      const first = start + row * mode.rowUnits;
      // Walking by less than a chunk visits each chunk the line lies in, across the wrap of the address too.
      const step = CHUNK_BYTES >> mode.addressShift;
      for (let unit = 0; unit < units + step && !dirty; unit += step) {
        dirty = chunks[(planeAddress(mode, first + Math.min(unit, units - 1)) / CHUNK_BYTES) | 0] !== 0;
      }
    }
    if (dirty && top < 0) top = row;
    if (!dirty && top >= 0) {
      const y = top * mode.scaleY;
      rects.push({ x: 0, y, width: mode.width, height: Math.min(row * mode.scaleY, mode.height) - y });
      top = -1;
    }
  }
  return rects;
}
