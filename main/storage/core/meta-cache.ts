/**
 * Pages of an image's tables: read when needed, changed in memory, written back in the order their meaning asks for. Clean pages
 * are dropped beyond a limit; dirty ones stay, and their owner writes back before they become many.
 */
import type { HostFile } from './host-file';

export interface Page {
  readonly at: number;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** Write-back class; undefined: clean. */
  order: number | undefined;
}

const CLEAN_LIMIT_BYTES = 16 << 20;
/** Neighbours are written together, up to this. */
const RUN_BYTES = 1 << 20;

export class MetaCache {
  private readonly pages = new Map<number, Page>();
  private readonly loading = new Map<number, Promise<Page>>();
  private dirtyPages = 0;
  private readonly limitPages: number;

  constructor(
    private readonly file: HostFile,
    /** A power of two. */
    readonly pageBytes: number,
  ) {
    this.limitPages = Math.max(64, CLEAN_LIMIT_BYTES / pageBytes);
  }

  get dirtyBytes(): number {
    return this.dirtyPages * this.pageBytes;
  }

  pageAt(position: number): number {
    return position - (position % this.pageBytes);
  }

  /** The page that holds `position`, if it is here. */
  peek(position: number): Page | undefined {
    const page = this.pages.get(this.pageAt(position));
    if (page !== undefined && this.pages.size > this.limitPages >> 1) {
      this.pages.delete(page.at);
      this.pages.set(page.at, page);
    }
    return page;
  }

  async load(position: number): Promise<Page> {
    const here = this.peek(position);
    if (here) return here;
    const at = this.pageAt(position);
    let reading = this.loading.get(at);
    if (!reading) {
      reading = this.file
        .bytes(at, this.pageBytes)
        .then((bytes) => this.insert(at, bytes))
        .finally(() => this.loading.delete(at));
      this.loading.set(at, reading);
    }
    return reading;
  }

  dirty(page: Page, order: number): void {
    if (page.order === undefined) this.dirtyPages++;
    page.order = order;
    // It may have been dropped as clean between its loading and this change.
    if (this.pages.get(page.at) !== page) this.pages.set(page.at, page);
  }

  isDirty(order: number): boolean {
    if (this.dirtyPages === 0) return false;
    for (const page of this.pages.values()) if (page.order === order) return true;
    return false;
  }

  /** What is there now means something else; nothing of it may be written any more. */
  forget(at: number, bytes: number): void {
    for (let p = this.pageAt(at); p < at + bytes; p += this.pageBytes) {
      const page = this.pages.get(p);
      if (page === undefined) continue;
      if (page.order !== undefined) this.dirtyPages--;
      this.pages.delete(p);
    }
  }

  async write(order: number): Promise<void> {
    if (this.dirtyPages === 0) return;
    const due = [...this.pages.values()].filter((page) => page.order === order).sort((a, b) => a.at - b.at);
    for (let i = 0; i < due.length;) {
      let end = i + 1;
      while (end < due.length && due[end]!.at === due[end - 1]!.at + this.pageBytes && (end - i) * this.pageBytes < RUN_BYTES)
        end++;
      const run = due.slice(i, end);
      await this.file.write(run[0]!.at, run.length === 1 ? run[0]!.bytes : Buffer.concat(run.map((page) => page.bytes)));
      for (const page of run) {
        page.order = undefined;
        this.dirtyPages--;
      }
      i = end;
    }
  }

  /** All in one write, with what lies between them, up to `limit` bytes; else as `write` does. */
  async writeTogether(order: number, limit: number): Promise<void> {
    const due = [...this.pages.values()].filter((page) => page.order === order);
    const first = Math.min(...due.map((page) => page.at));
    const bytes = Math.max(...due.map((page) => page.at)) + this.pageBytes - first;
    if (due.length < 2 || bytes > limit) return this.write(order);
    const span = await this.file.bytes(first, bytes);
    for (const page of due) span.set(page.bytes, page.at - first);
    await this.file.write(first, span);
    for (const page of due) {
      page.order = undefined;
      this.dirtyPages--;
    }
  }

  private insert(at: number, bytes: Uint8Array): Page {
    const page: Page = { at, bytes, view: new DataView(bytes.buffer, bytes.byteOffset, bytes.length), order: undefined };
    this.pages.set(at, page);
    if (this.pages.size > this.limitPages) {
      for (const old of this.pages.values()) {
        if (old.order !== undefined || old === page) continue;
        this.pages.delete(old.at);
        break;
      }
    }
    return page;
  }
}

/** Big- and little-endian 64-bit values as numbers; Infinity above 2^53, which no range check passes. */
export function u64be(view: DataView, at: number): number {
  const hi = view.getUint32(at);
  return hi > 0x1fffff ? Infinity : hi * 0x1_0000_0000 + view.getUint32(at + 4);
}
export function u64le(view: DataView, at: number): number {
  const hi = view.getUint32(at + 4, true);
  return hi > 0x1fffff ? Infinity : hi * 0x1_0000_0000 + view.getUint32(at, true);
}
export function setU64be(view: DataView, at: number, value: number): void {
  view.setUint32(at, Math.floor(value / 0x1_0000_0000));
  view.setUint32(at + 4, value % 0x1_0000_0000);
}
export function setU64le(view: DataView, at: number, value: number): void {
  view.setUint32(at, value % 0x1_0000_0000, true);
  view.setUint32(at + 4, Math.floor(value / 0x1_0000_0000), true);
}
export const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
