/**
 * Every VGA and VBE mode, pixel by pixel: a real-mode program (modes/modes.c) sets each through the built-in BIOS and fills its
 * memory with a pattern; what the screen must show is computed here from the pattern and the definition of the mode.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { decode } from 'fast-png';
import { expect, it } from 'vitest';
import { ROM_FONTS } from '../../main/machine/devices/vga/font';
import { GuestRun, lodge, ROOT, scratch } from './harness';

type Rgb = readonly [number, number, number];
interface Picture {
  readonly width: number;
  readonly height: number;
  readonly at: (x: number, y: number) => Rgb;
}

/** Byte `offset` of 64 KiB bank (or plane) `bank`; for linear memory the bank is in the offset. */
const byteOf = (bank: number, offset: number): number => ((offset * 29 + (offset >> 8) * 113) ^ (bank * 67)) & 0xff;
/** A VGA's addresses wrap at 64 KiB; where the bank is in the offset, each bank of a plane has a pattern of its own. */
const plane = (n: number, offset: number): number => byteOf(n, offset & 0xffff);
const bankedPlane = (n: number, offset: number): number => byteOf(n + 4 * (offset >> 16), offset & 0xffff);
const linear = (offset: number): number => byteOf(offset >> 16, offset & 0xffff);

const rgb = (value: number): Rgb => [value >> 16, (value >> 8) & 0xff, value & 0xff];
const CGA = [
  0x000000, 0x0000aa, 0x00aa00, 0x00aaaa, 0xaa0000, 0xaa00aa, 0xaa5500, 0xaaaaaa, 0x555555, 0x5555ff, 0x55ff55, 0x55ffff,
  0xff5555, 0xff55ff, 0xffff55, 0xffffff,
].map(rgb);
const MONO = [0x000000, ...Array<number>(7).fill(0xaaaaaa), 0x555555, ...Array<number>(7).fill(0xffffff)].map(rgb);
/** Black, bright cyan, bright magenta, white. */
const CGA_FOUR = [0x000000, 0x55ffff, 0xff55ff, 0xffffff].map(rgb);
/** What the program loads into the DAC. */
const dac = (i: number, bits: 6 | 8): Rgb =>
  [i * 7, i * 3 + 5, 255 - i].map((v) => (bits === 8 ? v & 255 : ((v & 63) << 2) | ((v & 63) >> 4))) as unknown as Rgb;

interface TextScreen {
  columns?: number;
  height?: number;
  cell?: number;
  colours?: readonly Rgb[];
  glyph?: (character: number, line: number, bright: boolean) => number;
  /** First cell, first dot and first line of a scan line of the picture. */
  scan?: (y: number) => { address: number; dot: number; line: number };
  underline?: number;
}

function text({ columns = 80, cell = 16, height = 400, colours = CGA, ...more }: TextScreen = {}): Picture {
  const rom = ROM_FONTS.get(cell as 8 | 14 | 16)!;
  const glyph = more.glyph ?? ((character, line) => rom[character * cell + line]!);
  const scan = more.scan ?? ((y) => ({ address: Math.floor(y / cell) * columns, dot: 0, line: y % cell }));
  const dots = columns === 40 ? 2 : 1;
  return {
    width: 720,
    height,
    at: (x, y) => {
      const { address, dot, line } = scan(y);
      const position = Math.floor(x / dots) + dot;
      const at = (address + Math.floor(position / 9)) * 2;
      const character = byteOf(0, at);
      const attribute = byteOf(0, at + 1) & 0x7f;
      const bits = glyph(character, line, (attribute & 8) !== 0);
      const inCell = position % 9;
      const repeated = inCell === 8 && character >= 0xc0 && character <= 0xdf ? 7 : inCell;
      const ink = (more.underline === line && (attribute & 0x77) === 1) || (repeated < 8 && ((bits >> (7 - repeated)) & 1) === 1);
      return colours[ink ? attribute & 15 : attribute >> 4]!;
    },
  };
}

/** 16 colours of four planes; `scan` gives the plane address of a line's first byte and the pixels it is moved by. */
function planar(
  width: number,
  height: number,
  colours: readonly Rgb[],
  scale: readonly [number, number] = [1, 1],
  scan = (y: number): { address: number; pan: number } => ({
    address: Math.floor(y / scale[1]) * (width / scale[0] / 8),
    pan: 0,
  }),
  byte = plane,
): Picture {
  return {
    width,
    height,
    at: (x, y) => {
      const { address, pan } = scan(y);
      const pixel = Math.floor(x / scale[0]) + pan;
      let colour = 0;
      for (let p = 0; p < 4; p++) colour |= ((byte(p, address + (pixel >> 3)) >> (7 - (pixel & 7))) & 1) << p;
      return colours[colour]!;
    },
  };
}

function unchained(scan: (y: number) => { address: number; pan: number }): Picture {
  return {
    width: 640,
    height: 480,
    at: (x, y) => {
      const { address, pan } = scan(y);
      const pixel = (x >> 1) + pan;
      return dac(plane(pixel & 3, address + (pixel >> 2)), 6);
    },
  };
}

const cgaByte = (x: number, y: number, perByte: number): number =>
  byteOf(0, (y & 1) * 0x2000 + (y >> 1) * 80 + Math.floor(x / perByte));
const cga4: Picture = {
  width: 640,
  height: 400,
  at: (x, y) => CGA_FOUR[(cgaByte(x >> 1, y >> 1, 4) >> (6 - 2 * ((x >> 1) & 3))) & 3]!,
};

/** Blocks of 16×16 pixels at x = 80, one each 32 lines, on colour 9: the colour of each of eight pixels, most significant first. */
const BLOCKS: readonly (readonly number[])[] = [
  [9, 9, 6, 6, 6, 6, 9, 9], // bit mask 3Ch
  [13, 1, 13, 1, 1, 13, 1, 13], // plane 0 set, plane 1 reset, A5h in planes 2 and 3
  [9, 9, 9, 9, 12, 12, 12, 12], // write mode 2
  [9, 9, 14, 14, 14, 14, 9, 9], // write mode 3
  [6, 9, 9, 9, 9, 9, 9, 6], // XOR 81h
  [0, 0, 0, 0, 9, 9, 9, 9], // AND 0Fh in planes 0 and 3
  [15, 9, 9, 9, 9, 9, 9, 15], // OR 81h in planes 1 and 2
  [9, 9, 14, 14, 14, 14, 9, 9], // copied
].map((row) => row.map((colour) => (colour === 13 ? 1 | 4 | 8 : colour)));

const PICTURES: Record<string, Picture> = {
  'text 0': text({ columns: 40 }),
  'text 1': text({ columns: 40 }),
  'text 2': text(),
  'text 3': text(),
  'text 7': text({ colours: MONO, underline: 15 }),
  'text 28 lines': text({ cell: 14, height: 392 }),
  'text 50 lines': text({ cell: 8 }),
  'text 43 lines': text({ cell: 8, height: 344 }),
  'text user font': text({ glyph: (character, line) => byteOf(0, 0x1000 + character * 16 + line) }),
  'text 512 characters': text({
    glyph: (character, line, bright) => byteOf(0, (bright ? 0x4000 : 0x1000) + character * 16 + line),
  }),
  'text scrolled': text({
    scan: (y) =>
      y < 300
        ? { address: 0x124 + Math.floor((y + 5) / 16) * 80, dot: 3, line: (y + 5) % 16 }
        : { address: Math.floor((y - 300) / 16) * 80, dot: 0, line: (y - 300) % 16 },
  }),
  'cga 4': cga4,
  'cga 5': cga4,
  'cga 6': {
    width: 640,
    height: 400,
    at: (x, y) => ((cgaByte(x, y >> 1, 8) >> (7 - (x & 7))) & 1 ? [255, 255, 255] : [0, 0, 0]),
  },
  'planar 13': planar(640, 400, CGA, [2, 2]),
  'planar 14': planar(640, 400, CGA, [1, 2]),
  // Planes 0 and 2 alone: black, normal, bright (IBM's monochrome graphics mode).
  'planar 15': planar(
    640,
    350,
    Array.from({ length: 16 }, (_, c) => (c & 4 ? rgb(0xffffff) : c & 1 ? rgb(0xaaaaaa) : rgb(0))),
  ),
  'planar 16': planar(640, 350, CGA),
  'planar 17': planar(
    640,
    480,
    Array.from({ length: 16 }, (_, c) => rgb(c & 1 ? 0xffffff : 0)),
  ),
  'planar 18': planar(640, 480, CGA),
  'planar scrolled': planar(640, 400, CGA, [2, 2], (y) => ({
    address: y < 261 ? 0x1237 + (y >> 1) * 64 : 3 + ((y - 261) >> 1) * 64,
    pan: 3,
  })),
  'packed 19': { width: 640, height: 400, at: (x, y) => dac(byteOf(0, (y >> 1) * 320 + (x >> 1)), 6) },
  unchained: unchained((y) => ({ address: (y >> 1) * 80, pan: 0 })),
  'unchained scrolled': unchained((y) => ({ address: y < 401 ? 0x4b00 + (y >> 1) * 80 : ((y - 401) >> 1) * 80, pan: 2 })),
  'write modes': {
    width: 640,
    height: 480,
    at: (x, y) => CGA[x >= 80 && x < 96 && y < 256 && y % 32 < 16 ? BLOCKS[y >> 5]![x & 7]! : 9]!,
  },
  'vbe virtual': { width: 640, height: 480, at: (x, y) => dac(linear((y + 55) * 1000 + x + 77), 8) },
};

const widen = (value: number, bits: 5 | 6): number => (bits === 5 ? (value << 3) | (value >> 2) : (value << 2) | (value >> 4));

function vbe(width: number, height: number, bits: number, pitch: number): Picture {
  if (bits === 4) return planar(width, height, CGA, [1, 1], (y) => ({ address: y * pitch, pan: 0 }), bankedPlane);
  const colour = (at: number): Rgb => {
    const low = linear(at) | (linear(at + 1) << 8);
    switch (bits) {
      case 8:
        return dac(linear(at), 6);
      case 15:
        return [widen((low >> 10) & 31, 5), widen((low >> 5) & 31, 5), widen(low & 31, 5)];
      case 16:
        return [widen(low >> 11, 5), widen((low >> 5) & 63, 6), widen(low & 31, 5)];
      default:
        return [linear(at + 2), linear(at + 1), linear(at)];
    }
  };
  return { width, height, at: (x, y) => colour(y * pitch + x * Math.ceil(bits / 8)) };
}

/** Where the first difference is; undefined: none. */
function difference(png: Buffer, expected: Picture): string | undefined {
  const { width, height, data, channels } = decode(png);
  if (width !== expected.width || height !== expected.height) {
    return `${width}×${height} instead of ${expected.width}×${expected.height}`;
  }
  let wrong = 0;
  let first = '';
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const want = expected.at(x, y);
      const at = (y * width + x) * channels;
      if (data[at] === want[0] && data[at + 1] === want[1] && data[at + 2] === want[2]) continue;
      if (wrong++ === 0) first = `(${x}, ${y}) is ${[...data.subarray(at, at + 3)].join()} instead of ${want.join()}`;
    }
  }
  return wrong === 0 ? undefined : `${wrong} pixels; ${first}`;
}

function buildImage(folder: string): string {
  const image = join(folder, 'modes.img');
  const source = (name: string): string => join(ROOT, 'tests/guest/modes', name);
  const flags =
    '-m16 -march=i386 -Os -ffreestanding -fno-pic -fno-stack-protector -fcf-protection=none -fno-asynchronous-unwind-tables';
  const linking = ['-nostdlib', '-static', '-no-pie', '-Wl,--build-id=none', `-Wl,-T,${source('modes.ld')}`];
  execFileSync('gcc', [...flags.split(' '), '-Wall', '-Werror', ...linking, '-o', image, source('boot.S'), source('modes.c')]);
  return image;
}

it('draws every mode as its definition says', async (context) => {
  if (spawnSync('gcc', ['--version']).error) context.skip('no gcc, which makes the test program');
  const folder = scratch();
  const name = `modes-${process.pid}`;
  const env = { LODGE_DATA_DIR: scratch() };
  const disk = `${buildImage(folder)},readonly`;
  const run = new GuestRun(['run', '--disk', disk, '--memory', '64', '--serial', 'stdio', '--name', name], env);
  const seen: string[] = [];
  const wrong: string[] = [];
  for (;;) {
    const [, word, rest = ''] = await run.waitFor(/(MODE|NO|FOUND|DONE)(?: (.*))?\r\n/, 60);
    if (word === 'DONE') break;
    if (word === 'NO') wrong.push(`the firmware has no ${rest}`);
    // Read mode 1 looks for colour 6 in the first block.
    if (word === 'FOUND') expect(Number(rest)).toBe(0x3c);
    if (word !== 'MODE') continue;
    seen.push(rest);
    const match = /^vbe (?:banked|linear) \d+ (\d+) (\d+) (\d+) (\d+)$/.exec(rest);
    const [width, height, bits, pitch] = (match ?? []).slice(1).map(Number);
    const expected = match ? vbe(width!, height!, bits!, pitch!) : PICTURES[rest];
    const file = join(process.env['LODGE_TEST_PICTURES'] ?? folder, `${rest}.png`);
    const shot = lodge(['screenshot', name, file], env);
    const problem = shot.code !== 0 ? shot.stderr : !expected ? 'nobody knows it' : difference(readFileSync(file), expected);
    if (problem) wrong.push(`${rest}: ${problem}`);
    run.type('\n');
  }
  run.kill();
  expect(wrong.join('\n')).toBe('');
  expect(seen).toEqual(expect.arrayContaining(Object.keys(PICTURES)));
  const vbeNumbers = seen.flatMap((line) => /^vbe banked (\d+)/.exec(line)?.[1] ?? []).map(Number);
  // VESA's own numbers (VBE 3.0, mode numbers) but the text modes.
  const standard = [0x100, 0x10d].flatMap((first) => Array.from({ length: first === 0x100 ? 8 : 15 }, (_, i) => first + i));
  expect(vbeNumbers).toEqual(expect.arrayContaining(standard));
  expect(seen.filter((line) => line.startsWith('vbe linear'))).toHaveLength(5);
}, 600_000);
