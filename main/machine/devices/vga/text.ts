/** Text cells → pixels, and which cells changed. No registers: everything it needs is in `TextFrame`. */
import type { Rect } from '../../../backend/display';
import { CP437_TEXT } from './font';
import type { CursorShape, TextMode } from './mode';

/** Bytes of a glyph in plane 2, whatever the cell height. */
export const GLYPH_BYTES = 32;

export interface TextFrame {
  readonly mode: TextMode;
  /** character | attribute << 8, row by row, columns × rows. */
  readonly cells: Uint16Array;
  /** Cursor position as an index into `cells`, −1 when off screen, hidden or in its dark phase. */
  readonly cursorIndex: number;
  readonly cursor: CursorShape;
  /** Blinking characters show. */
  readonly blinkOn: boolean;
  readonly fonts: readonly [Uint8Array, Uint8Array];
  /** The 16 colours, RGBA as a little-endian word. */
  readonly colours: Uint32Array;
}

/** Draws `rect` (pixels of the screen) of the frame into `out`. */
export function renderText(frame: TextFrame, rect: Rect, out: Uint8Array): void {
  const { mode, cells, fonts, colours } = frame;
  const { cellWidth, cellHeight, scaleX, scaleY } = mode;
  const pixels = new Uint32Array(out.buffer, out.byteOffset, rect.width * rect.height);
  const firstColumn = Math.floor(rect.x / (cellWidth * scaleX));
  const lastColumn = Math.min(mode.columns - 1, Math.floor((rect.x + rect.width - 1) / (cellWidth * scaleX)));
  for (let y = 0; y < rect.height; y++) {
    const line = Math.floor((rect.y + y) / scaleY);
    const row = Math.floor(line / cellHeight);
    const inCell = line - row * cellHeight;
    for (let column = firstColumn; column <= lastColumn; column++) {
      const index = row * mode.columns + column;
      const cell = cells[index]!;
      const character = cell & 0xff;
      const attribute = cell >> 8;
      let background = attribute >> 4;
      let hidden = false;
      if (mode.blink) {
        background &= 7;
        hidden = (attribute & 0x80) !== 0 && !frame.blinkOn;
      }
      const font = attribute & 8 ? fonts[1] : fonts[0];
      let bits = hidden ? 0 : font[character * GLYPH_BYTES + inCell]! << 1;
      if (cellWidth === 9 && mode.lineGraphics && character >= 0xc0 && character <= 0xdf) bits |= (bits >> 1) & 1;
      if (index === frame.cursorIndex && inCell >= frame.cursor.first && inCell <= frame.cursor.last) bits = 0x1ff;
      const ink = colours[attribute & 0x0f]!;
      const paper = colours[background]!;
      const left = column * cellWidth * scaleX - rect.x;
      for (let dot = 0; dot < cellWidth * scaleX; dot++) {
        const x = left + dot;
        if (x < 0 || x >= rect.width) continue;
        pixels[y * rect.width + x] = (bits >> (8 - (scaleX === 2 ? dot >> 1 : dot))) & 1 ? ink : paper;
      }
    }
  }
}

/** Cells that differ between what was drawn and what is there, as one rectangle a run of rows. */
export function changedCells(mode: TextMode, before: Uint16Array, now: Uint16Array): Rect[] {
  const rects: Rect[] = [];
  const cellWidth = mode.cellWidth * mode.scaleX;
  const cellHeight = mode.cellHeight * mode.scaleY;
  let open: { first: number; last: number; top: number } | undefined;
  const close = (bottom: number): void => {
    if (!open) return;
    rects.push({
      x: open.first * cellWidth,
      y: open.top * cellHeight,
      width: (open.last - open.first + 1) * cellWidth,
      height: (bottom - open.top) * cellHeight,
    });
    open = undefined;
  };
  for (let row = 0; row < mode.rows; row++) {
    const base = row * mode.columns;
    let first = -1;
    let last = -1;
    for (let column = 0; column < mode.columns; column++) {
      if (before[base + column] === now[base + column]) continue;
      if (first < 0) first = column;
      last = column;
    }
    if (first < 0) {
      close(row);
    } else if (open) {
      open.first = Math.min(open.first, first);
      open.last = Math.max(open.last, last);
    } else {
      open = { first, last, top: row };
    }
  }
  close(mode.rows);
  return rects;
}

export function cellRect(mode: TextMode, index: number): Rect {
  const width = mode.cellWidth * mode.scaleX;
  const height = mode.cellHeight * mode.scaleY;
  return { x: (index % mode.columns) * width, y: Math.floor(index / mode.columns) * height, width, height };
}

export function textLines(mode: TextMode, cells: Uint16Array): string[] {
  const lines: string[] = [];
  for (let row = 0; row < mode.rows; row++) {
    let line = '';
    for (let column = 0; column < mode.columns; column++) line += CP437_TEXT[cells[row * mode.columns + column]! & 0xff];
    lines.push(line);
  }
  return lines;
}
