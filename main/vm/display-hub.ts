/**
 * One display source, many viewers. Polls the source only while somebody looks (a slow glance otherwise, for thumbnails), sends
 * what changed, and lets a slow viewer skip: its changes pile up as an area, never as frames.
 */
import type { DisplaySource, Rect, ScreenInfo } from '../backend/display';
import type { Disposable } from '../lib/disposable';
import { FRAME_HEADER_BYTES, RECT_HEADER_BYTES, VIEWER_FRAME } from '../../preload/contract/viewer';
import { DirtyArea } from './dirty-area';
import { encodePng, shrink, type Picture } from './png';

const FRAMES_IN_FLIGHT = 2;
/** Milliseconds between looks: while something moves, after a while of stillness, and with nobody looking. */
const POLL_BUSY_MS = 16;
const POLL_STILL_MS = 50;
const POLL_UNWATCHED_MS = 2000;
/** Looks without a change before the pace slows down. */
const STILL_AFTER = 30;
/** Pixels of one frame message; what is left goes into the next, so that a huge screen cannot block the channel for long. */
const FRAME_PIXELS_MAX = 4 << 20;
/** New memory for every picture of a film costs as much as the pixels that go into it. */
const SPARE_BYTES_MIN = 1 << 20;

export interface FrameSink {
  sendFrame(message: Uint8Array): void;
  sendScreen(screen: ScreenInfo): void;
}

export interface Timers {
  set(callback: () => void, ms: number): Disposable;
}

interface Watcher {
  readonly sink: FrameSink;
  readonly dirty: DirtyArea;
  /** Frames sent and not yet drawn. */
  inFlight: { readonly frame: number; readonly message: Uint8Array<ArrayBuffer> }[];
  /** A large message whose frame was drawn: the next of its size is made in it. */
  spare: Uint8Array<ArrayBuffer> | undefined;
}

export class DisplayHub {
  private readonly watchers = new Set<Watcher>();
  private readonly subscription: Disposable;
  private timer: Disposable | undefined;
  private frame = 0;
  private pictures = 0;
  private still = 0;
  private changedSinceThumbnail = true;
  private lastTold = 0;
  private disposed = false;

  constructor(
    private readonly source: DisplaySource,
    private readonly timers: Timers,
    /** The picture changed since the last thumbnail was taken; at most once in two seconds. */
    private readonly onChanged: () => void,
  ) {
    this.subscription = source.onScreenChange((screen) => this.screenChanged(screen));
    this.schedule();
  }

  /** Begins with the screen and a full frame. */
  watch(sink: FrameSink): DisplayWatch {
    const watcher: Watcher = { sink, dirty: new DirtyArea(), inFlight: [], spare: undefined };
    const { screen } = this.source;
    this.watchers.add(watcher);
    sink.sendScreen(screen);
    watcher.dirty.add(wholeOf(screen));
    this.still = 0;
    this.schedule(0);
    return {
      dispose: () => {
        this.watchers.delete(watcher);
      },
      drawn: (frame) => {
        // Frames are drawn in order: this one and all before it.
        const at = watcher.inFlight.findIndex((sent) => sent.frame === frame);
        if (at < 0) return;
        const drawn = watcher.inFlight.splice(0, at + 1);
        // It was drawn, so all of it has left.
        watcher.spare = drawn.findLast(({ message }) => message.length >= SPARE_BYTES_MIN)?.message ?? watcher.spare;
        if (this.watchers.has(watcher)) this.sendTo(watcher);
      },
      refresh: () => {
        const now = this.source.screen;
        watcher.inFlight = [];
        watcher.dirty.clear();
        watcher.dirty.add(wholeOf(now));
        sink.sendScreen(now);
        this.schedule(0);
      },
    };
  }

  /** Pictures seen so far that differed from the one before. */
  get frames(): number {
    return this.pictures;
  }

  get watching(): number {
    return this.watchers.size;
  }

  /** Input went to the guest: an answer on the screen is likely, so look at full pace. */
  expectChange(): void {
    if (this.still > STILL_AFTER && this.watchers.size > 0) this.schedule(POLL_BUSY_MS);
    this.still = 0;
  }

  /** null: the screen is off. */
  capture(): Picture | null {
    this.poll();
    const { width, height, mode } = this.source.screen;
    if (mode === 'off') return null;
    const rgba = new Uint8Array(width * height * 4);
    this.source.render({ x: 0, y: 0, width, height }, rgba);
    return { width, height, rgba };
  }

  screenshot(maxWidth?: number): Uint8Array | null {
    const picture = this.capture();
    if (maxWidth !== undefined) this.changedSinceThumbnail = false;
    if (!picture) return null;
    return encodePng(maxWidth === undefined ? picture : shrink(picture, maxWidth));
  }

  text(): string[] | null {
    return this.source.text();
  }

  dispose(): void {
    this.disposed = true;
    this.timer?.dispose();
    this.subscription.dispose();
    this.watchers.clear();
  }

  private screenChanged(screen: ScreenInfo): void {
    for (const watcher of this.watchers) {
      watcher.dirty.clear();
      watcher.sink.sendScreen(screen);
    }
  }

  private schedule(ms?: number): void {
    if (this.disposed) return;
    const pace = this.watchers.size === 0 ? POLL_UNWATCHED_MS : this.still > STILL_AFTER ? POLL_STILL_MS : POLL_BUSY_MS;
    this.timer?.dispose();
    this.timer = this.timers.set(() => this.tick(), ms ?? pace);
  }

  private tick(): void {
    this.timer = undefined;
    this.poll();
    for (const watcher of this.watchers) this.sendTo(watcher);
    if (this.watchers.size === 0) this.tellChanged();
    this.schedule();
  }

  private poll(): void {
    const rects = this.source.takeDirty();
    this.still = rects.length > 0 ? 0 : this.still + 1;
    if (rects.length > 0) {
      this.pictures++;
      this.changedSinceThumbnail = true;
      for (const watcher of this.watchers) for (const rect of rects) watcher.dirty.add(rect);
    }
    const now = performance.now();
    if (this.watchers.size > 0 && now - this.lastTold >= POLL_UNWATCHED_MS) {
      this.lastTold = now;
      this.tellChanged();
    }
  }

  private tellChanged(): void {
    if (!this.changedSinceThumbnail) return;
    this.changedSinceThumbnail = false;
    this.onChanged();
  }

  private sendTo(watcher: Watcher): void {
    if (watcher.dirty.empty || watcher.inFlight.length >= FRAMES_IN_FLIGHT) return;
    const { width, height } = this.source.screen;
    const rects = watcher.dirty.take(width, height);
    const now: Rect[] = [];
    let pixels = 0;
    for (const rect of rects) {
      const room = FRAME_PIXELS_MAX - pixels;
      const lines = Math.min(rect.height, Math.floor(room / rect.width));
      if (lines > 0) now.push({ ...rect, height: lines });
      if (lines < rect.height) watcher.dirty.add({ ...rect, y: rect.y + lines, height: rect.height - lines });
      pixels += lines * rect.width;
    }
    if (now.length === 0) return;
    this.frame = (this.frame + 1) >>> 0;
    const bytes = FRAME_HEADER_BYTES + now.length * RECT_HEADER_BYTES + pixels * 4;
    const { spare } = watcher;
    const message = spare?.length === bytes ? spare : new Uint8Array(bytes);
    if (message === spare) watcher.spare = undefined;
    this.encodeFrame(now, message);
    watcher.inFlight.push({ frame: this.frame, message });
    watcher.sink.sendFrame(message);
  }

  private encodeFrame(rects: readonly Rect[], message: Uint8Array<ArrayBuffer>): void {
    const view = new DataView(message.buffer);
    message[0] = VIEWER_FRAME;
    view.setUint16(2, rects.length, true);
    view.setUint32(4, this.frame, true);
    let at = FRAME_HEADER_BYTES;
    for (const rect of rects) {
      view.setUint16(at, rect.x, true);
      view.setUint16(at + 2, rect.y, true);
      view.setUint16(at + 4, rect.width, true);
      view.setUint16(at + 6, rect.height, true);
      at += RECT_HEADER_BYTES;
      const bytes = rect.width * rect.height * 4;
      this.source.render(rect, message.subarray(at, at + bytes));
      at += bytes;
    }
  }
}

export interface DisplayWatch extends Disposable {
  drawn(frame: number): void;
  /** The viewer asked again: screen and full frame. */
  refresh(): void;
}

function wholeOf(screen: ScreenInfo): Rect {
  return { x: 0, y: 0, width: screen.width, height: screen.height };
}
