import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeBinary } from './frame';

function frame(number: number, rects: { x: number; y: number; width: number; height: number }[]): Uint8Array<ArrayBuffer> {
  const size = 8 + rects.reduce((n, r) => n + 8 + r.width * r.height * 4, 0);
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, 1);
  view.setUint16(2, rects.length, true);
  view.setUint32(4, number, true);
  let at = 8;
  for (const r of rects) {
    [r.x, r.y, r.width, r.height].forEach((v, i) => view.setUint16(at + i * 2, v, true));
    at += 8;
    for (let i = 0; i < r.width * r.height * 4; i++) bytes[at + i] = (i * 7) & 255;
    at += r.width * r.height * 4;
  }
  return bytes;
}

describe('decodeBinary', () => {
  it('reads rectangles and their pixels', () => {
    const m = decodeBinary(
      frame(0xfedcba98, [
        { x: 3, y: 4, width: 2, height: 1 },
        { x: 640, y: 0, width: 1, height: 3 },
      ]).buffer,
    );
    if (m.kind !== 'frame') throw new Error(m.kind);
    expect(m.frame).toBe(0xfedcba98);
    expect(m.rects.map(({ x, y, width, height }) => [x, y, width, height])).toEqual([
      [3, 4, 2, 1],
      [640, 0, 1, 3],
    ]);
    expect([...m.rects[0]!.pixels]).toEqual([0, 7, 14, 21, 28, 35, 42, 49]);
  });

  it('reads serial bytes', () => {
    const m = decodeBinary(new Uint8Array([2, 1, 104, 105]).buffer);
    expect(m.kind === 'serial' && [m.port, ...m.bytes]).toEqual([1, 104, 105]);
    expect(decodeBinary(new Uint8Array([2, 9, 1]).buffer).kind).toBe('malformed');
  });

  it('refuses every truncation and every extension of a frame', () => {
    const whole = frame(1, [{ x: 0, y: 0, width: 3, height: 2 }]);
    for (let n = 0; n < whole.length; n++) expect(decodeBinary(whole.slice(0, n).buffer).kind).toBe('malformed');
    const longer = new Uint8Array(whole.length + 1);
    longer.set(whole);
    expect(decodeBinary(longer.buffer).kind).toBe('malformed');
  });

  it('refuses an empty rectangle and an unknown type', () => {
    expect(decodeBinary(frame(1, [{ x: 0, y: 0, width: 0, height: 9 }]).buffer).kind).toBe('malformed');
    expect(decodeBinary(new Uint8Array([7, 0, 0, 0, 0, 0, 0, 0]).buffer).kind).toBe('malformed');
  });

  it('never throws, and never hands out pixels that do not match their size', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.boolean(), (bytes, asFrame) => {
        const copy = new Uint8Array(bytes);
        if (asFrame && copy.length > 0) copy[0] = 1;
        const m = decodeBinary(copy.buffer);
        if (m.kind === 'frame') for (const r of m.rects) expect(r.pixels.length).toBe(r.width * r.height * 4);
      }),
    );
  });
});
