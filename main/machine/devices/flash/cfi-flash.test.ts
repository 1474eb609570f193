import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import { CfiFlash } from './cfi-flash';

const BLOCKS = 4;

function build() {
  const contents = Uint8Array.from({ length: BLOCKS * 4096 }, (_, i) => i & 0xff);
  const changed = vi.fn();
  const readDirectly = vi.fn();
  return { contents, changed, readDirectly, flash: new CfiFlash(contents, { changed, readDirectly }) };
}

describe('flash', () => {
  it('is read without it exactly while reads give the contents', () => {
    const { flash, readDirectly } = build();
    const told = (): unknown[] => readDirectly.mock.calls.splice(0).flat();
    expect(told()).toEqual([true]);
    flash.write(0, 1, 0xff);
    flash.reset();
    expect(told()).toEqual([]);
    for (const command of [0x70, 0x90]) {
      flash.write(0, 1, command);
      flash.write(0, 1, command);
      expect(told()).toEqual([false]);
      flash.write(0, 1, 0xff);
      expect(told()).toEqual([true]);
    }
    // Byte after byte is programmed in between.
    for (let i = 0; i < 4; i++) for (const value of [0x40, 0]) flash.write(i, 1, value);
    expect(told()).toEqual([false]);
    flash.reset();
    expect(told()).toEqual([true]);
  });

  it('is memory until a command comes, and again after read array', () => {
    const { flash } = build();
    expect([flash.read(0x104, 1), flash.read(0x104, 2), flash.read(0x104, 4)]).toEqual([4, 0x0504, 0x07060504]);
    flash.write(0, 1, 0x70);
    expect(flash.read(0x104, 1)).toBe(0);
    flash.write(0, 1, 0x90);
    expect([flash.read(0, 1), flash.read(1, 1)]).toEqual([0x89, 0x17]);
    flash.write(0, 1, 0xff);
    expect(flash.read(0x104, 1)).toBe(4);
  });

  it('tells firmware that it is flash: a cleared status reads as zero', () => {
    const { flash } = build();
    flash.write(0x105, 1, 0x50);
    expect(flash.read(0x105, 1)).toBe(5); // neither RAM …
    flash.write(0x105, 1, 0x70);
    expect(flash.read(0x105, 1)).toBe(0); // … nor ROM
  });

  it('programs by clearing bits and erases by blocks', () => {
    const { flash, contents, changed } = build();
    flash.write(0x10ff, 1, 0x10);
    flash.write(0x10ff, 1, 0x5a);
    expect(flash.read(0, 1)).toBe(0x80);
    expect(contents[0x10ff]).toBe(0xff & 0x5a);
    flash.write(0x10ff, 1, 0x10);
    flash.write(0x10ff, 1, 0xa5);
    expect(contents[0x10ff]).toBe(0);
    flash.write(0x1234, 1, 0x20);
    flash.write(0x1234, 1, 0xd0);
    flash.write(0, 1, 0xff);
    expect(contents.subarray(0x1000, 0x2000).every((byte) => byte === 0xff)).toBe(true);
    expect([contents[0xfff], contents[0x2000]]).toEqual([0xff, 0]);
    expect(changed.mock.calls).toEqual([[0x10ff, 1], [0x10ff, 1], [0x1000, 4096]]); // prettier-ignore
  });

  it('does not erase what is not confirmed', () => {
    const { flash, contents, changed } = build();
    flash.write(0x2000, 1, 0x20);
    flash.write(0x2000, 1, 0x00);
    expect(flash.read(0, 1) & 0x30).toBe(0x30);
    expect(contents[0x2001]).toBe(1);
    expect(changed).not.toHaveBeenCalled();
  });

  it('programs a buffer when it is confirmed', () => {
    const { flash, contents } = build();
    contents.fill(0xff);
    flash.write(0x3000, 1, 0xe8);
    flash.write(0x3000, 1, 1);
    flash.write(0x3000, 4, 0x11223344);
    flash.write(0x3004, 4, 0x55667788);
    expect(contents[0x3000]).toBe(0xff);
    flash.write(0x3000, 1, 0xd0);
    expect([...contents.subarray(0x3000, 0x3008)]).toEqual([0x44, 0x33, 0x22, 0x11, 0x88, 0x77, 0x66, 0x55]);
  });

  it('keeps its contents through a reset, and never leaves its bounds', () => {
    const access = fc.tuple(
      fc.boolean(),
      fc.nat(BLOCKS * 4096 - 1),
      fc.constantFrom(1, 2, 4),
      fc.constantFrom(0x10, 0x20, 0xd0, 0xe8, 0x50, 0x70, 0x90, 0xff, 0x1234),
    );
    fc.assert(
      fc.property(fc.array(access, { maxLength: 80 }), (accesses) => {
        const { flash, contents, changed } = build();
        for (const [write, offset, width, value] of accesses) {
          if (write) flash.write(offset, width, value);
          else flash.read(offset, width);
        }
        for (const [offset, bytes] of changed.mock.calls as [number, number][])
          expect(offset + bytes).toBeLessThanOrEqual(contents.length);
        const before = contents.slice();
        flash.reset();
        expect(flash.read(0x800, 1)).toBe(before[0x800]);
        expect(contents.every((byte, i) => byte === before[i])).toBe(true);
      }),
    );
  });
});
