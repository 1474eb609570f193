/** Text cells → pixels, and which cells changed. No registers: everything it needs is in `TextFrame`. */
import type { Rect } from '../../../backend/display';
import { CP437_TEXT } from './font';
import { scanLine, type CursorShape, type ScanLayout, type TextMode } from './mode';

/** Bytes of a glyph in plane 2, whatever the cell height. */
export const GLYPH_BYTES = 32;

/** A row of cells as the picture shows it: cut by the preset row scan, by the split, by the end of the screen. */
export interface TextRow {
  /** Scan lines. */
  readonly top: number;
  readonly height: number;
  /** Line of the cells that is shown first. */
  readonly firstLine: number;
  /** Dots that leave at the left edge. */
  readonly pan: number;
  /** CRTC address of the first cell. */
  readonly address: number;
}

export function textRows(mode: TextMode, layout: ScanLayout): TextRow[] {
  const rows: TextRow[] = [];
  for (let top = 0; top < mode.height;) {
    const { address, line, pan } = scanLine(mode, layout, top);
    const end = Math.min(
      top + (mode.cellHeight - line) * mode.scaleY,
      mode.height,
      top < layout.splitAt ? layout.splitAt : Infinity,
    );
    rows.push({ top, height: end - top, firstLine: line, pan, address });
    top = end;
  }
  return rows;
}

/** Cells kept of a row: panning shows a part of one more than the mode has. */
export const cellsARow = (mode: TextMode): number => mode.columns + 1;

export interface TextFrame {
  readonly mode: TextMode;
  readonly layout: ScanLayout;
  readonly rows: readonly TextRow[];
  /** character | attribute << 8, row by row, `cellsARow` each. */
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
  const { mode, rows, cells, fonts, colours } = frame;
  const { cellWidth, scaleX } = mode;
  const pixels = new Uint32Array(out.buffer, out.byteOffset, rect.width * rect.height);
  const perRow = cellsARow(mode);
  let index = 0;
  for (let y = 0; y < rect.height; y++) {
    while (rect.y + y >= rows[index]!.top + rows[index]!.height) index++;
    const row = rows[index]!;
    const inCell = row.firstLine + Math.floor((rect.y + y - row.top) / mode.scaleY);
    const firstColumn = Math.floor((rect.x / scaleX + row.pan) / cellWidth);
    const lastColumn = Math.min(mode.columns, Math.floor(((rect.x + rect.width - 1) / scaleX + row.pan) / cellWidth));
    for (let column = firstColumn; column <= lastColumn; column++) {
      const cell = cells[index * perRow + column]!;
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
      if (inCell === mode.underline && (attribute & 0x77) === 0x01 && !hidden) bits = 0x1ff;
      if (index * perRow + column === frame.cursorIndex && inCell >= frame.cursor.first && inCell <= frame.cursor.last)
        bits = 0x1ff;
      const ink = colours[attribute & 0x0f]!;
      const paper = colours[background]!;
      const left = (column * cellWidth - row.pan) * scaleX - rect.x;
      for (let dot = 0; dot < cellWidth * scaleX; dot++) {
        const x = left + dot;
        if (x < 0 || x >= rect.width) continue;
        pixels[y * rect.width + x] = (bits >> (8 - (scaleX === 2 ? dot >> 1 : dot))) & 1 ? ink : paper;
      }
    }
  }
}

/** Cells that differ between what was drawn and what is there, as one rectangle a run of rows. Both show the same rows. */
export function changedCells(mode: TextMode, rows: readonly TextRow[], before: Uint16Array, now: Uint16Array): Rect[] {
  const rects: Rect[] = [];
  const cellWidth = mode.cellWidth * mode.scaleX;
  const perRow = cellsARow(mode);
  let open: { left: number; right: number; top: number } | undefined;
  const close = (bottom: number): void => {
    if (open) rects.push({ x: open.left, y: open.top, width: open.right - open.left, height: bottom - open.top });
    open = undefined;
  };
  rows.forEach((row, i) => {
    const base = i * perRow;
    let first = -1;
    let last = -1;
    for (let column = 0; column < (row.pan > 0 ? perRow : mode.columns); column++) {
      if (before[base + column] === now[base + column]) continue;
      if (first < 0) first = column;
      last = column;
    }
    if (first < 0) return close(row.top);
    const left = Math.max(0, first * cellWidth - row.pan * mode.scaleX);
    const right = Math.min(mode.width, (last + 1) * cellWidth - row.pan * mode.scaleX);
    open = open
      ? { left: Math.min(open.left, left), right: Math.max(open.right, right), top: open.top }
      : { left, right, top: row.top };
  });
  close(mode.height);
  return rects;
}

export function textLines(mode: TextMode, cells: Uint16Array): string[] {
  const lines: string[] = [];
  const perRow = cellsARow(mode);
  for (let base = 0; base < cells.length; base += perRow) {
    let line = '';
    for (let column = 0; column < mode.columns; column++) line += CP437_TEXT[cells[base + column]! & 0xff];
    lines.push(line);
  }
  return lines;
}
