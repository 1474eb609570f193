/** What a viewer has still to be sent: a small set of rectangles that never grows beyond a bound. */
import type { Rect } from '../backend/display';

/** More pieces than this cost more in headers and draw calls than the pixels they spare. */
const MAX_RECTS = 64;

export class DirtyArea {
  private rects: Rect[] = [];

  get empty(): boolean {
    return this.rects.length === 0;
  }

  add(rect: Rect): void {
    if (rect.width <= 0 || rect.height <= 0) return;
    let merged = rect;
    // Swallow what overlaps or touches and would not make the whole much bigger.
    for (let i = 0; i < this.rects.length;) {
      const other = this.rects[i]!;
      const both = union(merged, other);
      if (area(both) <= area(merged) + area(other)) {
        this.rects.splice(i, 1);
        merged = both;
        i = 0;
      } else i++;
    }
    this.rects.push(merged);
    if (this.rects.length > MAX_RECTS) this.rects = [this.rects.reduce(union)];
  }

  /** Everything, cut to the screen; the area is empty afterwards. */
  take(width: number, height: number): Rect[] {
    const taken = this.rects.map((r) => clip(r, width, height)).filter((r) => r.width > 0 && r.height > 0);
    this.rects = [];
    return taken;
  }

  clear(): void {
    this.rects = [];
  }
}

const area = (r: Rect): number => r.width * r.height;

function union(a: Rect, b: Rect): Rect {
  const x = Math.min(a.x, b.x);
  const y = Math.min(a.y, b.y);
  return { x, y, width: Math.max(a.x + a.width, b.x + b.width) - x, height: Math.max(a.y + a.height, b.y + b.height) - y };
}

function clip(r: Rect, width: number, height: number): Rect {
  const x = Math.max(0, r.x);
  const y = Math.max(0, r.y);
  return { x, y, width: Math.min(r.x + r.width, width) - x, height: Math.min(r.y + r.height, height) - y };
}
