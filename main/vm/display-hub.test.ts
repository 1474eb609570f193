import { decode } from 'fast-png';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { DisplaySource, Rect, ScreenInfo } from '../backend/display';
import { Emitter } from '../lib/disposable';
import { DirtyArea } from './dirty-area';
import { DisplayHub, type FrameSink } from './display-hub';
import { encodePng, shrink } from './png';
import { fakeTimers } from './testing/timers';

class FakeSource implements DisplaySource {
  screen: ScreenInfo = { width: 100, height: 50, mode: 'graphics' };
  dirty: Rect[] = [];
  polls = 0;
  colour = 9;
  private readonly changes = new Emitter<ScreenInfo>();
  readonly onScreenChange = this.changes.event;
  takeDirty(): Rect[] {
    this.polls++;
    return this.dirty.splice(0);
  }
  render(_rect: Rect, out: Uint8Array): void {
    for (let i = 0; i < out.length; i++) out[i] = i % 4 === 3 ? 255 : this.colour;
  }
  text(): null {
    return null;
  }
  change(screen: ScreenInfo): void {
    this.screen = screen;
    this.changes.fire(screen);
    this.dirty.push({ x: 0, y: 0, width: screen.width, height: screen.height });
  }
}

function parse(frame: Uint8Array): { frame: number; rects: Rect[] } {
  const view = new DataView(frame.buffer, frame.byteOffset);
  expect(frame[0]).toBe(1);
  const rects: Rect[] = [];
  let at = 8;
  for (let i = 0; i < view.getUint16(2, true); i++) {
    const [x, y, width, height] = [0, 2, 4, 6].map((o) => view.getUint16(at + o, true)) as [number, number, number, number];
    rects.push({ x, y, width, height });
    at += 8 + width * height * 4;
  }
  expect(at).toBe(frame.length);
  return { frame: view.getUint32(4, true), rects };
}

function setup() {
  const source = new FakeSource();
  const timers = fakeTimers();
  let told = 0;
  const hub = new DisplayHub(source, timers, () => told++);
  const viewer = () => {
    const frames: { frame: number; rects: Rect[] }[] = [];
    const screens: ScreenInfo[] = [];
    const sink: FrameSink = { sendFrame: (m) => frames.push(parse(m)), sendScreen: (s) => screens.push(s) };
    return { frames, screens, watch: hub.watch(sink) };
  };
  return { source, timers, hub, viewer, told: () => told };
}

describe('DisplayHub', () => {
  it('begins with the screen and a full frame, then sends what changed, and nothing while nothing does', () => {
    const { source, timers, viewer } = setup();
    const v = viewer();
    timers.advance(1);
    expect(v.screens).toEqual([source.screen]);
    expect(v.frames.map((f) => f.rects)).toEqual([[{ x: 0, y: 0, width: 100, height: 50 }]]);
    v.watch.drawn(v.frames[0]!.frame);
    source.dirty.push({ x: 1, y: 2, width: 3, height: 4 });
    timers.advance(20);
    expect(v.frames[1]!.rects).toEqual([{ x: 1, y: 2, width: 3, height: 4 }]);
    timers.advance(2000);
    expect(v.frames).toHaveLength(2);
  });

  it('never has more than two frames in flight; a slow viewer gets the sum', () => {
    const { source, timers, viewer } = setup();
    const v = viewer();
    for (let i = 0; i < 40; i++) {
      source.dirty.push({ x: 0, y: i, width: 10, height: 1 });
      timers.advance(20);
    }
    expect(v.frames).toHaveLength(2);
    v.watch.drawn(v.frames[0]!.frame);
    expect(v.frames).toHaveLength(3);
    expect(v.frames[2]!.rects).toEqual([{ x: 0, y: 2, width: 10, height: 38 }]);
    v.watch.drawn(12345); // a frame that never was
    expect(v.frames).toHaveLength(3);
  });

  it('makes the pictures of a film in the memory of those that were drawn, and of no others', () => {
    const { source, timers, hub } = setup();
    source.screen = { width: 1000, height: 600, mode: 'graphics' };
    const sent: Uint8Array[] = [];
    const watch = hub.watch({ sendFrame: (m) => sent.push(m), sendScreen: () => undefined });
    const film = (frames: number): void => {
      for (let i = 0; i < frames; i++) {
        source.colour = sent.length;
        source.dirty.push({ x: 0, y: 0, width: 1000, height: 600 });
        timers.advance(50);
      }
    };
    film(2);
    expect(sent[0]!.buffer).not.toBe(sent[1]!.buffer);
    expect([sent[0]!.at(-2), sent[1]!.at(-2)]).toEqual([0, 1]);
    watch.drawn(parse(sent[0]!).frame);
    film(1);
    expect(sent[2]!.buffer).toBe(sent[0]!.buffer);
    watch.drawn(parse(sent[1]!).frame);
    source.dirty.push({ x: 0, y: 0, width: 10, height: 10 });
    timers.advance(50);
    expect(sent[3]!.length).toBe(16 + 400);
    expect([sent[1]!.at(-2), parse(sent[2]!).rects]).toEqual([1, [{ x: 0, y: 0, width: 1000, height: 600 }]]);
  });

  it('looks once in two seconds when nobody watches, and tells once that a new thumbnail is worth taking', () => {
    const { source, timers, hub, told, viewer } = setup();
    timers.advance(20_000);
    expect(source.polls).toBe(10);
    expect(told()).toBe(1);
    source.dirty.push({ x: 0, y: 0, width: 1, height: 1 });
    timers.advance(2000);
    expect(told()).toBe(2);
    const v = viewer();
    timers.advance(100);
    v.watch.dispose();
    expect(hub.watching).toBe(0);
    timers.advance(100);
    const before = source.polls;
    timers.advance(10_000);
    expect(source.polls - before).toBe(5);
    hub.dispose();
    timers.advance(10_000);
    expect(timers.pending()).toBe(0);
  });

  it('slows down on a still screen and wakes up on input', () => {
    const { source, timers, hub, viewer } = setup();
    viewer();
    timers.advance(3000);
    const before = source.polls;
    timers.advance(1000);
    expect(source.polls - before).toBeLessThan(25);
    hub.expectChange();
    const awake = source.polls;
    timers.advance(100);
    expect(source.polls - awake).toBeGreaterThan(4);
  });

  it('a new mode drops what was pending for the old one', () => {
    const { source, timers, viewer } = setup();
    const v = viewer();
    timers.advance(1);
    v.watch.drawn(v.frames[0]!.frame);
    source.change({ width: 20, height: 10, mode: 'text' });
    timers.advance(20);
    expect(v.screens.at(-1)).toEqual({ width: 20, height: 10, mode: 'text' });
    expect(v.frames.at(-1)!.rects).toEqual([{ x: 0, y: 0, width: 20, height: 10 }]);
  });

  it('takes screenshots and thumbnails; null while the screen is off', () => {
    const { source, hub } = setup();
    const shot = decode(hub.screenshot()!);
    expect([shot.width, shot.height, shot.data[0]]).toEqual([100, 50, 9]);
    const thumb = decode(hub.screenshot(30)!);
    expect([thumb.width, thumb.height, thumb.data[0]]).toEqual([30, 15, 9]);
    source.screen = { width: 100, height: 50, mode: 'off' };
    expect(hub.screenshot()).toBeNull();
  });
});

describe('pictures and areas', () => {
  it('shrinks by averaging and never enlarges', () => {
    const rgba = new Uint8Array(4 * 2 * 4).map((_, i) => (i % 4 === 3 ? 255 : Math.floor(i / 4) % 2 ? 200 : 100));
    const small = shrink({ width: 4, height: 2, rgba }, 2);
    expect([small.width, small.height, small.rgba[0], small.rgba[3]]).toEqual([2, 1, 150, 255]);
    expect(shrink({ width: 4, height: 2, rgba }, 99).width).toBe(4);
    expect(decode(encodePng({ width: 4, height: 2, rgba })).channels).toBe(3);
  });

  it('a dirty area covers everything added, inside the screen', () => {
    const rect = fc.record({ x: fc.nat(90), y: fc.nat(90), width: fc.nat(40), height: fc.nat(40) });
    fc.assert(
      fc.property(fc.array(rect, { maxLength: 200 }), (added) => {
        const area = new DirtyArea();
        added.forEach((r) => area.add(r));
        const taken = area.take(100, 100);
        expect(taken.length).toBeLessThanOrEqual(64);
        const covered = new Uint8Array(100 * 100);
        for (const r of taken) {
          expect(r.x + r.width <= 100 && r.y + r.height <= 100).toBe(true);
          for (let y = r.y; y < r.y + r.height; y++) covered.fill(1, y * 100 + r.x, y * 100 + r.x + r.width);
        }
        for (const r of added) {
          for (let y = r.y; y < Math.min(100, r.y + r.height); y++) {
            for (let x = r.x; x < Math.min(100, r.x + r.width); x++) if (!covered[y * 100 + x]) throw new Error(`lost ${x},${y}`);
          }
        }
      }),
    );
  });
});
