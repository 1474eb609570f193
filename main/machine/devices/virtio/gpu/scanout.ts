/** What the monitor shows: a part of one picture, with the hardware cursor over it. */
import type { Rect, ScreenInfo } from '../../../../backend/display';
import type { Resource } from './resource';

/** §5.7.6.10: cursors have this size. */
export const CURSOR_EDGE = 64;
/** More pieces are reported as the one rectangle around them. */
const MAX_DIRTY = 32;

interface CursorImage {
  /** Colours multiplied by alpha, as RGBA words. */
  readonly pixels: Uint32Array;
  readonly hotX: number;
  readonly hotY: number;
}

export class Scanout {
  private resource: Resource | undefined;
  /** The shown part of the resource. */
  private view: Rect = { x: 0, y: 0, width: 0, height: 0 };
  private dirty: Rect[] = [];
  private image: CursorImage | undefined;
  private cursorX = 0;
  private cursorY = 0;

  get screen(): ScreenInfo {
    return { width: this.view.width, height: this.view.height, mode: this.resource ? 'graphics' : 'off' };
  }

  /** Undefined: nothing is shown; the size stays what it was. */
  show(resource: Resource | undefined, view: Rect): void {
    this.resource = resource;
    if (resource) this.view = view;
    this.dirty = [];
    this.touch({ x: 0, y: 0, width: this.view.width, height: this.view.height });
  }

  shows(resource: Resource): boolean {
    return this.resource === resource;
  }

  /** `rect` in pixels of the resource. */
  flush(rect: Rect): void {
    this.touch({ x: rect.x - this.view.x, y: rect.y - this.view.y, width: rect.width, height: rect.height });
  }

  /** `resource`: a new picture, or null: none. Undefined leaves the one there is. */
  setCursor(x: number, y: number, resource?: Resource | null, hotX = 0, hotY = 0): void {
    this.touchCursor();
    this.cursorX = x;
    this.cursorY = y;
    if (resource !== undefined) this.image = resource ? { pixels: cursorPixels(resource), hotX, hotY } : undefined;
    this.touchCursor();
  }

  takeDirty(): Rect[] {
    const { dirty } = this;
    this.dirty = [];
    return dirty;
  }

  reset(): void {
    this.resource = undefined;
    this.image = undefined;
    this.dirty = [];
  }

  /** RGBA, alpha 255. */
  render(rect: Rect, out: Uint8Array): void {
    const to = new Uint32Array(out.buffer, out.byteOffset, rect.width * rect.height);
    const { resource, view } = this;
    if (!resource) {
      to.fill(0xff000000);
      return;
    }
    for (let line = 0; line < rect.height; line++) {
      const from = (view.y + rect.y + line) * resource.width + view.x + rect.x;
      toRgba(resource, from, rect.width, to, line * rect.width, 0xff000000);
    }
    this.drawCursor(rect, to);
  }

  private drawCursor(rect: Rect, to: Uint32Array): void {
    if (!this.image) return;
    const cursor = this.cursorRect(this.image);
    const left = Math.max(rect.x, cursor.x);
    const right = Math.min(rect.x + rect.width, cursor.x + CURSOR_EDGE);
    const top = Math.max(rect.y, cursor.y);
    const bottom = Math.min(rect.y + rect.height, cursor.y + CURSOR_EDGE);
    for (let y = top; y < bottom; y++) {
      for (let x = left; x < right; x++) {
        const over = this.image.pixels[(y - cursor.y) * CURSOR_EDGE + x - cursor.x]!;
        const at = (y - rect.y) * rect.width + x - rect.x;
        to[at] = blend(over, to[at]!);
      }
    }
  }

  private cursorRect({ hotX, hotY }: CursorImage): Rect {
    return { x: this.cursorX - hotX, y: this.cursorY - hotY, width: CURSOR_EDGE, height: CURSOR_EDGE };
  }

  private touchCursor(): void {
    if (this.image && this.resource) this.touch(this.cursorRect(this.image));
  }

  private touch(rect: Rect): void {
    const x = Math.max(0, rect.x);
    const y = Math.max(0, rect.y);
    const width = Math.min(this.view.width, rect.x + rect.width) - x;
    const height = Math.min(this.view.height, rect.y + rect.height) - y;
    if (width <= 0 || height <= 0) return;
    this.dirty.push({ x, y, width, height });
    if (this.dirty.length > MAX_DIRTY) this.dirty = [this.dirty.reduce(around)];
  }
}

function around(a: Rect, b: Rect): Rect {
  const x = Math.min(a.x, b.x);
  const y = Math.min(a.y, b.y);
  return { x, y, width: Math.max(a.x + a.width, b.x + b.width) - x, height: Math.max(a.y + a.height, b.y + b.height) - y };
}

/** `count` pixels from `from` on; `opaque` is or-ed in, 0 keeps the picture's own alpha. */
function toRgba({ pixels, layout }: Resource, from: number, count: number, to: Uint32Array, at: number, opaque: number): void {
  const { red, green, blue, alpha } = layout;
  if (opaque !== 0 && red === 16 && green === 8) {
    // What every driver uses; constant shifts are twice as fast.
    for (let i = 0; i < count; i++) {
      const p = pixels[from + i]!;
      to[at + i] = 0xff000000 | ((p & 0xff) << 16) | (p & 0xff00) | ((p >>> 16) & 0xff);
    }
    return;
  }
  for (let i = 0; i < count; i++) {
    const p = pixels[from + i]!;
    const rgb = ((p >>> red) & 0xff) | (((p >>> green) & 0xff) << 8) | (((p >>> blue) & 0xff) << 16);
    to[at + i] = rgb | (((p >>> alpha) & 0xff) << 24) | opaque;
  }
}

/** A copy: the driver may change the resource before it says that the cursor is another. */
function cursorPixels(resource: Resource): Uint32Array {
  const pixels = new Uint32Array(CURSOR_EDGE * CURSOR_EDGE);
  const width = Math.min(CURSOR_EDGE, resource.width);
  for (let y = 0; y < Math.min(CURSOR_EDGE, resource.height); y++)
    toRgba(resource, y * resource.width, width, pixels, y * CURSOR_EDGE, 0);
  return pixels;
}

/** Premultiplied colours over an opaque ground. */
function blend(over: number, ground: number): number {
  const rest = 255 - (over >>> 24);
  if (rest === 0) return over;
  const channel = (shift: number): number =>
    Math.min(255, ((over >>> shift) & 0xff) + Math.round((((ground >>> shift) & 0xff) * rest) / 255)) << shift;
  return (0xff000000 | channel(16) | channel(8) | channel(0)) >>> 0;
}
