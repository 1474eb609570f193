import { describe, expect, it } from 'vitest';
import { isCrisp, placeScreen, roomFor, toAbsolute } from './scale';

const text = { width: 720, height: 400 };

describe('placeScreen', () => {
  it('uses whole multiples without interpolation where they fill the window', () => {
    const p = placeScreen(text, { width: 1500, height: 900 }, 'auto', true, 1);
    expect(p).toEqual({ x: 30, y: 50, width: 1440, height: 800, prescale: 1, smooth: false });
  });

  it('fills the window in between, enlarging text before the smooth reduction', () => {
    const p = placeScreen(text, { width: 1260, height: 700 }, 'auto', true, 1);
    expect(p).toEqual({ x: 0, y: 0, width: 1260, height: 700, prescale: 2, smooth: true });
    expect(placeScreen({ width: 1024, height: 768 }, { width: 1500, height: 1100 }, 'fit', false, 1).prescale).toBe(1);
  });

  it('whole multiples only: never in between unless the guest is larger than the window', () => {
    expect(placeScreen(text, { width: 1260, height: 700 }, 'integer', true, 1)).toMatchObject({
      width: 720,
      height: 400,
      smooth: false,
    });
    expect(placeScreen({ width: 1920, height: 1080 }, { width: 960, height: 700 }, 'integer', false, 1)).toMatchObject({
      width: 960,
      height: 540,
      smooth: true,
    });
  });

  it.each([1, 1.25, 1.5, 2, 3])('100 %% is a whole number of device pixels at a ratio of %d', (ratio) => {
    const p = placeScreen(text, { width: 3000, height: 2000 }, 'actual', true, ratio);
    expect(p.width).toBe(720 * Math.max(1, Math.round(ratio)));
    expect(p.smooth).toBe(false);
  });

  it('keeps within the window and on whole device pixels for every size', () => {
    for (let w = 200; w < 2600; w += 137) {
      for (const mode of ['auto', 'fit', 'integer'] as const) {
        const p = placeScreen(text, { width: w, height: 611 }, mode, true, 1);
        expect(p.x + p.width).toBeLessThanOrEqual(w);
        expect(p.y + p.height).toBeLessThanOrEqual(611);
        expect([p.x, p.y, p.width, p.height].every(Number.isInteger)).toBe(true);
      }
    }
  });
});

it('roomFor: a screen as large as the canvas, in whole device pixels, unless the canvas follows the screen', () => {
  expect(roomFor({ width: 1277, height: 803 }, 'auto', 1)).toEqual({ width: 1277, height: 803 });
  expect(roomFor({ width: 1277, height: 803 }, 'fit', 1.5)).toEqual({ width: 1277, height: 803 });
  expect(roomFor({ width: 2560, height: 1601 }, 'integer', 2)).toEqual({ width: 1280, height: 800 });
  expect(roomFor({ width: 1277, height: 803 }, 'actual', 1)).toBeUndefined();
  expect(roomFor({ width: 300, height: 20 }, 'auto', 1)).toBeUndefined();
});

describe('toAbsolute', () => {
  const p = { x: 100, y: 50, width: 800, height: 600, prescale: 1, smooth: false };
  it('maps corners to corners and clamps outside', () => {
    expect(toAbsolute(p, 100, 50)).toEqual({ x: 0, y: 0 });
    expect(toAbsolute(p, 899, 649)).toEqual({ x: 65535, y: 65535 });
    expect(toAbsolute(p, -5, 5000)).toEqual({ x: 0, y: 65535 });
  });
});

it('treats text and small graphics as crisp', () => {
  expect(isCrisp({ ...text, mode: 'text' })).toBe(true);
  expect(isCrisp({ width: 800, height: 600, mode: 'graphics' })).toBe(true);
  expect(isCrisp({ width: 1024, height: 768, mode: 'graphics' })).toBe(false);
});
