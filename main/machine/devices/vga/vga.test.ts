import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { encode } from 'fast-png';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createEdid } from './edid';
import { ROM_FONTS } from './font';
import { decideMode } from './mode';
import { createRegisters, loadTextMode } from './registers';
import { createTestVga, print, type TestVga } from './testing/test-vga';
import { dirtyLines, VRAM_BYTES } from './vga';

function picture(t: TestVga): { width: number; height: number; rgba: Uint8Array } {
  const { width, height } = t.vga.screen;
  const rgba = new Uint8Array(width * height * 4);
  t.vga.render({ x: 0, y: 0, width, height }, rgba);
  return { width, height, rgba };
}

const hash = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex').slice(0, 16);

/** For the eye: LODGE_TEST_PICTURES=folder keeps what the golden tests draw. */
function keep(name: string, { width, height, rgba }: { width: number; height: number; rgba: Uint8Array }): void {
  const folder = process.env.LODGE_TEST_PICTURES;
  if (folder) writeFileSync(`${folder}/${name}.png`, encode({ width, height, data: rgba, channels: 4 }));
}

const setCrtc = (t: TestVga, index: number, value: number): void => t.out(0x3d4, index | (value << 8), 2);

function setLinear(t: TestVga, width: number, height: number, bpp: number, enable = 0x41): void {
  const values: [number, number][] = [
    [4, 0],
    [3, bpp],
    [1, width],
    [2, height],
    [4, enable],
  ];
  for (const [index, value] of values) {
    t.out(0x1ce, index, 2);
    t.out(0x1cf, value, 2);
  }
}

describe('registers', () => {
  it('come up as BIOS mode 3, with colour addresses decoded', () => {
    const t = createTestVga();
    expect(t.vga.screen).toEqual({ width: 720, height: 400, mode: 'text' });
    expect(t.in(0x3cc)).toBe(0x67);
    t.out(0x3d4, 0x12);
    expect(t.in(0x3d5)).toBe(0x8f);
    expect(t.in(0x3b5)).toBe(0xff);
    t.out(0x3c2, 0x66); // mono addresses
    expect(t.in(0x3d5)).toBe(0xff);
    expect(t.in(0x3b5)).toBe(0x8f);
  });

  it('the attribute flip-flop alternates and input status 1 resets it', () => {
    const t = createTestVga();
    t.in(0x3da);
    t.out(0x3c0, 0x01);
    t.out(0x3c0, 0x2a);
    t.out(0x3c0, 0x21); // index again, palette on
    t.in(0x3da);
    t.out(0x3c0, 0x21);
    expect(t.in(0x3c1)).toBe(0x2a);
  });

  it('the DAC takes and gives whole entries, six bits a component', () => {
    const t = createTestVga();
    t.out(0x3c8, 10);
    for (const v of [0xff, 0x10, 0x20, 1, 2, 3]) t.out(0x3c9, v);
    t.out(0x3c7, 10);
    expect([1, 2, 3, 4, 5, 6].map(() => t.in(0x3c9))).toEqual([0x3f, 0x10, 0x20, 1, 2, 3]);
    expect(t.in(0x3c7)).toBe(3);
    expect(t.in(0x3c8)).toBe(12);
  });

  it('CR11 protects CR0–CR7 except for the line-compare bit', () => {
    const t = createTestVga();
    setCrtc(t, 1, 0x27);
    t.out(0x3d4, 1);
    expect(t.in(0x3d5)).toBe(0x4f);
    setCrtc(t, 7, 0x00);
    t.out(0x3d4, 7);
    expect(t.in(0x3d5)).toBe(0x0f);
  });

  it('retrace comes and goes with time', () => {
    const t = createTestVga();
    const seen = new Set<number>();
    for (let i = 0; i < 500; i++) {
      t.clock.time += 31_000;
      seen.add(t.in(0x3da) & 8);
    }
    expect([...seen].sort()).toEqual([0, 8]);
  });
});

describe('text mode', () => {
  it('draws a screen: golden picture', () => {
    const t = createTestVga();
    print(t, 0, 0, 'Lodge text mode 80x25, code page 437');
    for (let i = 0; i < 256; i++) {
      t.poke(0xb8000 + ((2 + (i >> 6)) * 80 + (i & 63)) * 2, i);
      t.poke(0xb8000 + ((2 + (i >> 6)) * 80 + (i & 63)) * 2 + 1, 0x07);
    }
    for (let i = 0; i < 128; i++) print(t, 8 + (i >> 4), (i & 15) * 4, `${i.toString(16).padStart(2, '0')} `, i);
    print(t, 18, 2, String.fromCharCode(0xc9, ...Array<number>(20).fill(0xcd), 0xbb), 0x1f);
    print(t, 19, 2, String.fromCharCode(0xba) + ' double line frame  ' + String.fromCharCode(0xba), 0x1f);
    print(t, 20, 2, String.fromCharCode(0xc8, ...Array<number>(20).fill(0xcd), 0xbc), 0x1f);
    setCrtc(t, 0x0e, (22 * 80) >> 8);
    setCrtc(t, 0x0f, (22 * 80) & 0xff);
    t.vga.takeDirty();
    const drawn = picture(t);
    keep('text-80x25', drawn);
    expect(drawn.width * drawn.height).toBe(720 * 400);
    expect(hash(drawn.rgba)).toBe('b1b626f8fbc1eb3d');
    const lines = t.vga.text()!;
    expect(lines).toHaveLength(25);
    expect(lines[0]!.trimEnd()).toBe('Lodge text mode 80x25, code page 437');
    expect(lines[18]!.slice(2, 5)).toBe('╔══');
  });

  it('reports what changed and nothing else', () => {
    const t = createTestVga();
    expect(t.vga.takeDirty()).toEqual([{ x: 0, y: 0, width: 720, height: 400 }]);
    expect(t.vga.takeDirty()).toEqual([]);
    print(t, 3, 10, 'abc');
    expect(t.vga.takeDirty()).toEqual([{ x: 90, y: 48, width: 27, height: 16 }]);
    print(t, 3, 10, 'abc'); // the same again: written, not changed
    expect(t.vga.takeDirty()).toEqual([]);
    setCrtc(t, 0x0f, 5); // the cursor moves
    expect(t.vga.takeDirty()).toEqual([{ x: 0, y: 0, width: 54, height: 16 }]);
    t.clock.time += 300e6; // and goes dark
    expect(t.vga.takeDirty()).toEqual([{ x: 45, y: 0, width: 9, height: 16 }]);
    t.out(0x3c8, 7);
    for (const v of [63, 0, 0]) t.out(0x3c9, v);
    expect(t.vga.takeDirty()).toEqual([{ x: 0, y: 0, width: 720, height: 400 }]);
  });

  it('scrolls by the start address', () => {
    const t = createTestVga();
    print(t, 1, 0, 'second');
    setCrtc(t, 0x0d, 80);
    expect(t.vga.text()![0]!.trimEnd()).toBe('second');
    setCrtc(t, 0x0c, 0xff); // beyond the window: wraps
    expect(t.vga.text()).toHaveLength(25);
  });

  it('80×50 and 40×25 by CRTC and sequencer values', () => {
    const t = createTestVga();
    setCrtc(t, 0x09, 0x47);
    expect(t.vga.text()).toHaveLength(50);
    expect(t.vga.screen).toEqual({ width: 720, height: 400, mode: 'text' });
    setCrtc(t, 0x11, 0x0e); // unprotect
    setCrtc(t, 0x09, 0x4f);
    setCrtc(t, 0x01, 39);
    setCrtc(t, 0x13, 20);
    t.out(0x3c4, 0x0801, 2); // halved dot clock, nine dots
    expect(t.vga.screen.width).toBe(720);
    print(t, 1, 0, 'forty', 7, 40);
    expect(t.vga.text()![1]!.trimEnd()).toBe('forty');
    t.vga.takeDirty();
    const drawn = picture(t);
    keep('text-40x25', drawn);
    const row = drawn.rgba.subarray((16 + 12) * 720 * 4, (16 + 13) * 720 * 4);
    for (let x = 0; x < 720; x += 2) expect(row[x * 4]).toBe(row[(x + 1) * 4]);
  });

  it('blinking characters disappear in their dark phase; without blink the bit is background intensity', () => {
    const t = createTestVga();
    print(t, 5, 0, 'X', 0x87);
    t.vga.takeDirty();
    const lit = hash(picture(t).rgba);
    t.clock.time = 534e6;
    expect(t.vga.takeDirty()).toContainEqual({ x: 0, y: 80, width: 9, height: 16 });
    expect(hash(picture(t).rgba)).not.toBe(lit);
    t.in(0x3da);
    t.out(0x3c0, 0x30);
    t.out(0x3c0, 0x04);
    t.vga.takeDirty();
    const pixels = picture(t).rgba;
    expect([...pixels.subarray(80 * 720 * 4, 80 * 720 * 4 + 4)]).toEqual([0x55, 0x55, 0x55, 255]);
  });

  it('a font loaded through plane 2 is used, and the cells survive it', () => {
    const t = createTestVga();
    print(t, 0, 0, 'A');
    expect(t.windows).toHaveLength(1);
    for (const [port, value] of [
      [0x3c4, 0x0402],
      [0x3c4, 0x0704],
      [0x3ce, 0x0005],
      [0x3ce, 0x0006],
      [0x3ce, 0x0204],
    ] as const)
      t.out(port, value, 2);
    expect(t.windows).toHaveLength(0);
    expect(t.peek(0xa0000 + 65 * 32 + 4)).toBe(ROM_FONTS.get(16)![65 * 16 + 4]);
    for (let line = 0; line < 16; line++) t.poke(0xa0000 + 65 * 32 + line, 0xff);
    for (const [port, value] of [
      [0x3c4, 0x0302],
      [0x3c4, 0x0304],
      [0x3ce, 0x1005],
      [0x3ce, 0x0e06],
      [0x3ce, 0x0004],
    ] as const)
      t.out(port, value, 2);
    expect(t.windows).toEqual([{ regionOffset: 0, at: 0xb8000, bytes: 0x8000 }]);
    expect(t.peek(0xb8000)).toBe(65);
    t.vga.takeDirty();
    const { rgba } = picture(t);
    for (let x = 0; x < 8; x++) expect(rgba[x * 4]).toBe(0xaa);
  });

  it('is off while blanked', () => {
    const t = createTestVga();
    const seen: string[] = [];
    t.vga.onScreenChange((s) => seen.push(s.mode));
    t.out(0x3c4, 0x2001, 2);
    t.vga.takeDirty();
    expect(t.vga.text()).toBeNull();
    t.out(0x3c4, 0x0001, 2);
    t.vga.takeDirty();
    expect(seen).toEqual(['off', 'text']);
  });
});

describe('legacy graphics modes', () => {
  /** BIOS mode 12h (640×480, 16 colours) and 13h (320×200, 256 colours) as register values. */
  const set = (t: TestVga, misc: number, sequencer: number[], crtc: number[], graphics: number[], mode: number): void => {
    t.out(0x3c2, misc);
    sequencer.forEach((v, i) => t.out(0x3c4, i | (v << 8), 2));
    setCrtc(t, 0x11, 0x0c);
    crtc.forEach((v, i) => setCrtc(t, i, v));
    graphics.forEach((v, i) => t.out(0x3ce, i | (v << 8), 2));
    t.in(0x3da);
    t.out(0x3c0, 0x30);
    t.out(0x3c0, mode);
  };
  const mode12 = (t: TestVga): void =>
    set(
      t,
      0xe3,
      [3, 1, 15, 0, 6],
      [
        0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0x0b, 0x3e, 0, 0x40, 0, 0, 0, 0, 0, 0, 0xea, 0x8c, 0xdf, 0x28, 0, 0xe7, 0x04, 0xe3,
        0xff,
      ],
      [0, 0, 0, 0, 0, 0, 5, 15, 0xff],
      1,
    );
  const mode13 = (t: TestVga): void =>
    set(
      t,
      0x63,
      [3, 1, 15, 0, 14],
      [
        0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0xbf, 0x1f, 0, 0x41, 0, 0, 0, 0, 0, 0, 0x9c, 0x8e, 0x8f, 0x28, 0x40, 0x96, 0xb9, 0xa3,
        0xff,
      ],
      [0, 0, 0, 0, 0, 0x40, 5, 15, 0xff],
      0x41,
    );
  const pixel = (t: TestVga, x: number, y: number): number[] => {
    const out = new Uint8Array(4);
    t.vga.render({ x, y, width: 1, height: 1 }, out);
    return [...out.subarray(0, 3)];
  };

  it('640×480 in 16 colours: map mask and bit mask reach the planes, only the touched lines are dirty', () => {
    const t = createTestVga();
    mode12(t);
    expect(t.vga.screen).toEqual({ width: 640, height: 480, mode: 'graphics' });
    t.vga.takeDirty();
    t.out(0x3c4, 0x0402, 2); // plane 2: red
    t.out(0x3ce, 0x4008, 2); // second pixel of eight
    t.peek(0xa0000 + 10 * 80 + 5);
    t.poke(0xa0000 + 10 * 80 + 5, 0xff);
    expect(pixel(t, 41, 10)).toEqual([0xaa, 0, 0]);
    expect(pixel(t, 40, 10)).toEqual([0, 0, 0]);
    const [rect, ...more] = t.vga.takeDirty();
    expect(more).toEqual([]);
    expect(rect!.y <= 10 && rect!.y + rect!.height > 10 && rect!.height <= 8).toBe(true);
    expect(t.vga.takeDirty()).toEqual([]);
  });

  it('320×200 in 256 colours, each pixel twice as wide and high as the signal', () => {
    const t = createTestVga();
    mode13(t);
    expect(t.vga.screen).toEqual({ width: 640, height: 400, mode: 'graphics' });
    t.out(0x3c8, 200);
    for (const v of [63, 32, 0]) t.out(0x3c9, v);
    t.poke(0xa0000 + 7 * 320 + 13, 200);
    expect(t.peek(0xa0000 + 7 * 320 + 13)).toBe(200);
    for (const [x, y] of [
      [26, 14],
      [27, 15],
    ] as const)
      expect(pixel(t, x, y)).toEqual([255, 130, 0]);
    expect(pixel(t, 28, 14)).toEqual([0, 0, 0]);
  });
});

describe('scan-out', () => {
  const FRAME_NS = 449 * 31_777;
  const line = (t: TestVga, y: number): string => hash(picture(t).rgba.subarray(y * 720 * 4, (y + 1) * 720 * 4));

  it('takes a new start address over at the next retrace, both halves at once', () => {
    const t = createTestVga();
    print(t, 1, 0, 'second');
    t.vga.takeDirty();
    const first = line(t, 0);
    const second = line(t, 20);
    setCrtc(t, 0x0c, 0x01); // half of a new address, which nobody may see
    expect(t.vga.takeDirty()).toEqual([]);
    setCrtc(t, 0x0c, 0x00);
    setCrtc(t, 0x0d, 80);
    expect(t.vga.takeDirty()).toEqual([]);
    expect(line(t, 4)).toBe(first);
    t.clock.time += FRAME_NS;
    expect(t.vga.takeDirty()).not.toEqual([]);
    expect(line(t, 4)).toBe(second);
  });

  it('splits the screen: below the line of line compare it begins at address 0, and only what changes there is dirty', () => {
    const t = createTestVga();
    print(t, 0, 0, 'status');
    t.vga.takeDirty();
    const status = line(t, 4);
    setCrtc(t, 0x0d, 160);
    setCrtc(t, 0x18, 199 & 0xff);
    setCrtc(t, 0x07, 0x0f); // CR11 leaves this bit of CR7 open
    setCrtc(t, 0x09, 0x0f);
    t.clock.time += FRAME_NS;
    t.vga.takeDirty();
    expect(line(t, 4)).not.toBe(status);
    expect(line(t, 204)).toBe(status);
    t.poke(0xb8000 + 2, 'x'.charCodeAt(0));
    const [rect, ...more] = t.vga.takeDirty();
    expect(more).toEqual([]);
    expect(rect).toEqual({ x: 9, y: 200, width: 9, height: 16 });
  });

  it('pans text by dots and lines; a change in the cell that is cut off is drawn in its visible part', () => {
    const t = createTestVga();
    t.in(0x3da);
    t.out(0x3c0, 0x33);
    t.out(0x3c0, 3); // four dots of nine
    setCrtc(t, 0x08, 6);
    t.vga.takeDirty();
    t.poke(0xb8000, 'M'.charCodeAt(0));
    expect(t.vga.takeDirty()).toEqual([{ x: 0, y: 0, width: 5, height: 10 }]);
    t.poke(0xb8000 + 160, 'M'.charCodeAt(0)); // the cell past the right edge of the first row, first of the second
    expect(t.vga.takeDirty()).toEqual([{ x: 0, y: 0, width: 720, height: 26 }]);
  });
});

describe('DISPI', () => {
  it('identifies itself, tells its limits, and refuses modes that do not fit', () => {
    const t = createTestVga();
    t.out(0x1ce, 0, 2);
    expect(t.in(0x1cf, 2)).toBe(0xb0c5);
    t.out(0x1ce, 10, 2);
    expect(t.in(0x1cf, 2)).toBe(VRAM_BYTES >> 16);
    t.out(0x1ce, 4, 2);
    t.out(0x1cf, 2, 2);
    t.out(0x1ce, 1, 2);
    expect(t.in(0x1cf, 2)).toBe(2560);
    t.out(0x1ce, 4, 2);
    t.out(0x1cf, 0, 2);
    setLinear(t, 9999, 600, 32);
    t.out(0x1ce, 4, 2);
    expect(t.in(0x1cf, 2) & 1).toBe(0);
  });

  it('shows the linear framebuffer, dirty lines only, and gives the text back afterwards', () => {
    const t = createTestVga();
    print(t, 0, 0, 'kept');
    t.vga.takeDirty();
    setLinear(t, 800, 600, 32);
    expect(t.vga.screen).toEqual({ width: 800, height: 600, mode: 'graphics' });
    expect(t.vga.takeDirty()).toEqual([{ x: 0, y: 0, width: 800, height: 600 }]);
    expect(t.vga.text()).toBeNull();
    t.paint((100 * 800 + 5) * 4, Uint8Array.of(3, 2, 1, 0));
    const rects = t.vga.takeDirty();
    expect(rects).toHaveLength(1);
    expect(rects[0]!.y).toBeLessThanOrEqual(100);
    expect(rects[0]!.y + rects[0]!.height).toBeGreaterThan(100);
    expect(rects[0]!.height).toBeLessThan(4);
    const out = new Uint8Array(4);
    t.vga.render({ x: 5, y: 100, width: 1, height: 1 }, out);
    expect([...out]).toEqual([1, 2, 3, 255]);
    setLinear(t, 800, 600, 32, 0);
    expect(t.vga.text()![0]!.trimEnd()).toBe('kept');
    expect(t.peek(0xb8000)).toBe('k'.charCodeAt(0));
  });

  it('pans with virtual width and offsets, never out of VRAM', () => {
    const t = createTestVga();
    setLinear(t, 640, 480, 8);
    for (const [index, value] of [
      [6, 1024],
      [8, 100],
      [9, 20],
    ] as const) {
      t.out(0x1ce, index, 2);
      t.out(0x1cf, value, 2);
    }
    t.paint(20 * 1024 + 100, Uint8Array.of(7));
    const out = new Uint8Array(4);
    t.vga.render({ x: 0, y: 0, width: 1, height: 1 }, out);
    expect([...out]).toEqual([0xaa, 0xaa, 0xaa, 255]);
    t.out(0x1ce, 9, 2);
    t.out(0x1cf, 0xffff, 2);
    expect(t.in(0x1cf, 2)).toBe(VRAM_BYTES / 1024 - 480);
  });

  it('at four bits a pixel the bank says which part of the planes the window is', () => {
    const t = createTestVga();
    for (const [port, value] of [
      [0x3ce, 0x0506],
      [0x3ce, 0x0005],
      [0x3c4, 0x0604],
      [0x3c4, 0x0502],
    ] as const)
      t.out(port, value, 2);
    setLinear(t, 1024, 768, 4);
    expect(t.vga.screen).toEqual({ width: 1024, height: 768, mode: 'graphics' });
    t.vga.takeDirty();
    const bank = (value: number): number => {
      t.out(0x1ce, 5, 2);
      t.out(0x1cf, value, 2);
      return t.in(0x1cf, 2);
    };
    expect([bank(1), bank(4)]).toEqual([1, 1]);
    t.poke(0xa0000 + 767 * 128 + 127 - 0x10000, 0x01);
    expect(t.vga.takeDirty()).toMatchObject([{ x: 0, width: 1024 }]);
    const out = new Uint8Array(8);
    t.vga.render({ x: 1022, y: 767, width: 2, height: 1 }, out);
    expect([...out]).toEqual([0, 0, 0, 255, 0xaa, 0, 0xaa, 255]);
    bank(0);
    t.poke(0xa0000 + 767 * 128 + 127 - 0x10000, 0xff);
    t.vga.takeDirty();
    t.vga.render({ x: 1022, y: 767, width: 2, height: 1 }, out);
    expect([...out]).toEqual([0, 0, 0, 255, 0xaa, 0, 0xaa, 255]);
  });

  it('four bits a pixel are the planes, as far as they reach', () => {
    const t = createTestVga();
    setLinear(t, 1920, 1200, 4);
    t.out(0x1ce, 4, 2);
    expect(t.in(0x1cf, 2) & 1).toBe(0);
    expect(t.vga.screen.mode).toBe('text');
    // A000h, graphics, write mode 0 to the planes of the map mask.
    for (const [port, value] of [
      [0x3ce, 0x0506],
      [0x3ce, 0x0005],
      [0x3c4, 0x0604],
    ] as const)
      t.out(port, value, 2);
    setLinear(t, 800, 600, 4);
    expect(t.vga.screen).toEqual({ width: 800, height: 600, mode: 'graphics' });
    expect(t.vga.takeDirty()).toEqual([{ x: 0, y: 0, width: 800, height: 600 }]);
    t.out(0x3c4, 0x0502, 2); // planes 0 and 2: colour 5
    t.poke(0xa0000 + 599 * 100 + 99, 0x01);
    expect(t.vga.takeDirty().at(-1)).toMatchObject({ x: 0, width: 800 });
    const out = new Uint8Array(8);
    t.vga.render({ x: 798, y: 599, width: 2, height: 1 }, out);
    expect([...out]).toEqual([0, 0, 0, 255, 0xaa, 0, 0xaa, 255]);
    for (const [index, value] of [
      [6, 805],
      [8, 3],
      [9, 1],
    ] as const) {
      t.out(0x1ce, index, 2);
      t.out(0x1cf, value, 2);
    }
    // Lines of whole bytes; the rest of the memory below the picture.
    t.out(0x1ce, 6, 2);
    expect(t.in(0x1cf, 2)).toBe(800);
    t.out(0x1ce, 7, 2);
    expect(t.in(0x1cf, 2)).toBe(2621);
    t.vga.takeDirty();
    t.vga.render({ x: 798, y: 598, width: 2, height: 1 }, out);
    expect([...out.subarray(0, 3)]).toEqual([0, 0, 0]);
    t.out(0x1ce, 8, 2);
    t.out(0x1cf, 0, 2);
    t.vga.takeDirty();
    t.vga.render({ x: 798, y: 598, width: 2, height: 1 }, out);
    expect([...out.subarray(4, 7)]).toEqual([0xaa, 0, 0xaa]);
  });

  it('answers at BAR 2: EDID, VGA ports, DISPI registers', () => {
    const t = createTestVga();
    expect(t.vga.mmio.read(0, 4)).toBe(0xffffff00);
    expect(t.vga.mmio.read(0x500, 2)).toBe(0xb0c5);
    t.vga.mmio.write(0x502, 2, 1024);
    t.vga.mmio.write(0x504, 2, 768);
    t.vga.mmio.write(0x506, 2, 32);
    t.vga.mmio.write(0x508, 2, 0x41);
    expect(t.vga.screen).toEqual({ width: 1024, height: 768, mode: 'graphics' });
    t.vga.mmio.read(0x41a, 1); // 3DAh
    t.vga.mmio.write(0x400, 1, 0); // PAS off: blank
    expect(t.vga.screen.mode).toBe('off');
    t.vga.mmio.write(0x400, 1, 0x20);
    t.vga.mmio.read(0x41a, 1);
    t.vga.mmio.write(0x400, 1, 0x20);
    expect(t.vga.screen.mode).toBe('graphics');
  });

  it('the EDID is whole', () => {
    const edid = createEdid();
    expect(edid.reduce((sum, byte) => sum + byte, 0) % 256).toBe(0);
    expect([edid[54 + 2], edid[54 + 4]! >> 4]).toEqual([0, 4]); // 1024 pixels
  });
});

describe('hostile guests', () => {
  it('no register or memory access throws, and every picture fits its screen', () => {
    const ports = fc.oneof(fc.integer({ min: 0x3b0, max: 0x3df }), fc.constantFrom(0x1ce, 0x1cf, 0x3c0, 0x3c4, 0x3ce, 0x3d4));
    const step = fc.tuple(
      ports,
      fc.constantFrom(1, 2),
      fc.integer({ min: 0, max: 0xffff }),
      fc.integer({ min: 0xa0000, max: 0xbffff }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const t = createTestVga();
        t.vga.takeDirty();
        for (const [port, width, value, address] of steps) {
          // Depths the fake has no converter for would only test the fake.
          if (port === 0x1cf && [15, 16, 24].includes(value)) continue;
          t.out(port, value, width);
          t.in(port, width);
          t.poke(address, value & 0xff);
          t.peek(address);
        }
        const dirty = t.vga.takeDirty();
        const { width, height } = t.vga.screen;
        expect(width * height * 4).toBeLessThanOrEqual(64 << 20);
        for (const r of dirty) {
          expect(r.x >= 0 && r.y >= 0 && r.x + r.width <= width && r.y + r.height <= height).toBe(true);
          t.vga.render(r, new Uint8Array(r.width * r.height * 4));
        }
        t.vga.text();
      }),
      { numRuns: 150 },
    );
  }, 60_000);

  it('a mode is decided for any register file', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 25, maxLength: 25 }),
        fc.uint8Array({ minLength: 5, maxLength: 5 }),
        fc.uint8Array({ minLength: 21, maxLength: 21 }),
        (crtc, sequencer, attribute) => {
          const regs = createRegisters();
          loadTextMode(regs);
          regs.crtc.set(crtc);
          regs.sequencer.set(sequencer);
          regs.attribute.set(attribute);
          const mode = decideMode(regs, undefined);
          expect(mode.width).toBeGreaterThan(0);
          expect(mode.height).toBeGreaterThan(0);
        },
      ),
    );
  });

  it('dirty pages become the lines they cover', () => {
    const pages = new Uint8Array(512);
    pages[0] = 0b101;
    expect(dirtyLines({ width: 1024, height: 4, stride: 4096, offset: 0 }, pages)).toEqual([
      { x: 0, y: 0, width: 1024, height: 1 },
      { x: 0, y: 2, width: 1024, height: 1 },
    ]);
    pages[0] = 0b1;
    expect(dirtyLines({ width: 100, height: 50, stride: 100, offset: 4096 }, pages)).toEqual([]);
    pages[0] = 0b10;
    expect(dirtyLines({ width: 100, height: 50, stride: 100, offset: 4096 }, pages)).toEqual([
      { x: 0, y: 0, width: 100, height: 41 },
    ]);
  });
});
