/**
 * Register values of the standard VGA modes (IBM VGA technical reference, mode tables) and the palettes that go with them.
 * A row is parsed once; the strings are in the order of the BIOS video parameter table.
 */

export interface VideoMode {
  readonly number: number;
  readonly kind: 'text' | 'cga' | 'planar' | 'packed';
  readonly columns: number;
  readonly rows: number;
  readonly characterHeight: number;
  readonly pageBytes: number;
  readonly pages: number;
  readonly window: number;
  readonly width: number;
  readonly height: number;
  readonly bitsPerPixel: number;
  readonly misc: number;
  /** Sequencer registers 1–4. */
  readonly sequencer: readonly number[];
  readonly crtc: readonly number[];
  readonly attribute: readonly number[];
  readonly graphics: readonly number[];
  readonly palette: 'ega' | 'cga' | 'mono' | 'mcga';
}

const hex = (s: string): number[] => s.split(' ').map((b) => parseInt(b, 16));
const EGA_ATTRIBUTES = '00 01 02 03 04 05 14 07 38 39 3a 3b 3c 3d 3e 3f';
const CGA_ATTRIBUTES = '00 01 02 03 04 05 06 07 10 11 12 13 14 15 16 17';
const IDENTITY = '00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f';

type Timing = { misc: number; crtc: string };
const T = {
  text40: { misc: 0x67, crtc: '2d 27 28 90 2b a0 bf 1f 00 4f 0d 0e 00 00 00 00 9c 8e 8f 14 1f 96 b9 a3 ff' },
  text80: { misc: 0x67, crtc: '5f 4f 50 82 55 81 bf 1f 00 4f 0d 0e 00 00 00 00 9c 8e 8f 28 1f 96 b9 a3 ff' },
  mono80: { misc: 0x66, crtc: '5f 4f 50 82 55 81 bf 1f 00 4f 0d 0e 00 00 00 00 9c 8e 8f 28 0f 96 b9 a3 ff' },
  cga320: { misc: 0x63, crtc: '2d 27 28 90 2b 80 bf 1f 00 c1 00 00 00 00 00 00 9c 8e 8f 14 00 96 b9 a2 ff' },
  cga640: { misc: 0x63, crtc: '5f 4f 50 82 54 80 bf 1f 00 c1 00 00 00 00 00 00 9c 8e 8f 28 00 96 b9 c2 ff' },
  ega320x200: { misc: 0x63, crtc: '2d 27 28 90 2b 80 bf 1f 00 c0 00 00 00 00 00 00 9c 8e 8f 14 00 96 b9 e3 ff' },
  ega640x200: { misc: 0x63, crtc: '5f 4f 50 82 54 80 bf 1f 00 c0 00 00 00 00 00 00 9c 8e 8f 28 00 96 b9 e3 ff' },
  ega640x350: { misc: 0xa3, crtc: '5f 4f 50 82 54 80 bf 1f 00 40 00 00 00 00 00 00 83 85 5d 28 0f 63 ba e3 ff' },
  vga640x480: { misc: 0xe3, crtc: '5f 4f 50 82 54 80 0b 3e 00 40 00 00 00 00 00 00 ea 8c df 28 00 e7 04 e3 ff' },
  vga320x200: { misc: 0x63, crtc: '5f 4f 50 82 54 80 bf 1f 00 41 00 00 00 00 00 00 9c 8e 8f 28 40 96 b9 a3 ff' },
} satisfies Record<string, Timing>;

interface Row {
  n: number;
  kind: VideoMode['kind'];
  text: [columns: number, rows: number, height: number];
  page: [bytes: number, count: number];
  window: number;
  pixels: [width: number, height: number, bits: number];
  timing: Timing;
  seq: string;
  attr: string;
  gfx: string;
  palette: VideoMode['palette'];
}

// prettier-ignore
const ROWS: readonly Row[] = [
  { n: 0x00, kind: 'text', text: [40, 25, 16], page: [0x800, 8], window: 0xb8000, pixels: [360, 400, 4], timing: T.text40, seq: '08 03 00 02', attr: `${EGA_ATTRIBUTES} 0c 00 0f 08`, gfx: '00 00 00 00 00 10 0e 00 ff', palette: 'ega' },
  { n: 0x02, kind: 'text', text: [80, 25, 16], page: [0x1000, 8], window: 0xb8000, pixels: [720, 400, 4], timing: T.text80, seq: '00 03 00 02', attr: `${EGA_ATTRIBUTES} 0c 00 0f 08`, gfx: '00 00 00 00 00 10 0e 00 ff', palette: 'ega' },
  { n: 0x07, kind: 'text', text: [80, 25, 16], page: [0x1000, 8], window: 0xb0000, pixels: [720, 400, 1], timing: T.mono80, seq: '00 03 00 02', attr: '00 08 08 08 08 08 08 08 10 18 18 18 18 18 18 18 0e 00 0f 08', gfx: '00 00 00 00 00 10 0a 00 ff', palette: 'mono' },
  { n: 0x04, kind: 'cga', text: [40, 25, 8], page: [0x4000, 1], window: 0xb8000, pixels: [320, 200, 2], timing: T.cga320, seq: '09 03 00 02', attr: '00 13 15 17 02 04 06 07 10 11 12 13 14 15 16 17 01 00 03 00', gfx: '00 00 00 00 00 30 0f 0f ff', palette: 'cga' },
  { n: 0x06, kind: 'cga', text: [80, 25, 8], page: [0x4000, 1], window: 0xb8000, pixels: [640, 200, 1], timing: T.cga640, seq: '01 01 00 06', attr: '00 17 17 17 17 17 17 17 17 17 17 17 17 17 17 17 01 00 01 00', gfx: '00 00 00 00 00 00 0d 0f ff', palette: 'cga' },
  { n: 0x0d, kind: 'planar', text: [40, 25, 8], page: [0x2000, 8], window: 0xa0000, pixels: [320, 200, 4], timing: T.ega320x200, seq: '09 0f 00 06', attr: `${CGA_ATTRIBUTES} 01 00 0f 00`, gfx: '00 00 00 00 00 00 05 0f ff', palette: 'cga' },
  { n: 0x0e, kind: 'planar', text: [80, 25, 8], page: [0x4000, 4], window: 0xa0000, pixels: [640, 200, 4], timing: T.ega640x200, seq: '01 0f 00 06', attr: `${CGA_ATTRIBUTES} 01 00 0f 00`, gfx: '00 00 00 00 00 00 05 0f ff', palette: 'cga' },
  { n: 0x0f, kind: 'planar', text: [80, 25, 14], page: [0x8000, 2], window: 0xa0000, pixels: [640, 350, 1], timing: T.ega640x350, seq: '01 0f 00 06', attr: '00 08 00 00 18 18 00 00 00 08 00 00 00 18 00 00 0b 00 05 00', gfx: '00 00 00 00 00 00 05 05 ff', palette: 'mono' },
  { n: 0x10, kind: 'planar', text: [80, 25, 14], page: [0x8000, 2], window: 0xa0000, pixels: [640, 350, 4], timing: T.ega640x350, seq: '01 0f 00 06', attr: `${EGA_ATTRIBUTES} 01 00 0f 00`, gfx: '00 00 00 00 00 00 05 0f ff', palette: 'ega' },
  { n: 0x11, kind: 'planar', text: [80, 30, 16], page: [0xa000, 1], window: 0xa0000, pixels: [640, 480, 1], timing: T.vga640x480, seq: '01 0f 00 06', attr: '00 3f 00 3f 00 3f 00 3f 00 3f 00 3f 00 3f 00 3f 01 00 0f 00', gfx: '00 00 00 00 00 00 05 01 ff', palette: 'ega' },
  { n: 0x12, kind: 'planar', text: [80, 30, 16], page: [0xa000, 1], window: 0xa0000, pixels: [640, 480, 4], timing: T.vga640x480, seq: '01 0f 00 06', attr: `${EGA_ATTRIBUTES} 01 00 0f 00`, gfx: '00 00 00 00 00 00 05 0f ff', palette: 'ega' },
  { n: 0x13, kind: 'packed', text: [40, 25, 8], page: [0xfa00, 1], window: 0xa0000, pixels: [320, 200, 8], timing: T.vga320x200, seq: '01 0f 00 0e', attr: `${IDENTITY} 41 00 0f 00`, gfx: '00 00 00 00 00 40 05 0f ff', palette: 'mcga' },
];

/** Modes 1, 3 and 5 are 0, 2 and 4 with the colour burst of a monitor nobody has. */
const TWINS: Record<number, number> = { 0x01: 0x00, 0x03: 0x02, 0x05: 0x04 };

const MODES = new Map<number, VideoMode>(
  ROWS.map((row) => [
    row.n,
    {
      number: row.n,
      kind: row.kind,
      columns: row.text[0],
      rows: row.text[1],
      characterHeight: row.text[2],
      pageBytes: row.page[0],
      pages: row.page[1],
      window: row.window,
      width: row.pixels[0],
      height: row.pixels[1],
      bitsPerPixel: row.pixels[2],
      misc: row.timing.misc,
      sequencer: hex(row.seq),
      crtc: hex(row.timing.crtc),
      attribute: hex(row.attr),
      graphics: hex(row.gfx),
      palette: row.palette,
    },
  ]),
);

export function videoMode(number: number): VideoMode | undefined {
  const row = MODES.get(TWINS[number] ?? number);
  return row && { ...row, number };
}

/** CRTC registers of a text mode in which the VGA draws 350 or 200 lines, as INT 10h/12h/30h can ask: register → value. */
const FEWER_LINES: Record<200 | 350, { misc: number; height: number; crtc: Record<number, number> }> = {
  350: {
    misc: 0xa0,
    height: 14,
    crtc: { 0x09: 0x4d, 0x0a: 0x0b, 0x0b: 0x0c, 0x10: 0x83, 0x11: 0x85, 0x12: 0x5d, 0x15: 0x63, 0x16: 0xba },
  },
  200: { misc: 0x60, height: 8, crtc: { 0x09: 0xc7, 0x0a: 0x06, 0x0b: 0x07 } },
};

export function withScanLines(mode: VideoMode, lines: 200 | 350 | 400): VideoMode {
  if (mode.kind !== 'text' || lines === 400) return mode;
  const { misc, height, crtc } = FEWER_LINES[lines];
  return {
    ...mode,
    characterHeight: height,
    height: lines,
    // The two highest bits are the polarities of the syncs, by which a monitor knows the number of lines.
    misc: misc | (mode.misc & 0x0f),
    crtc: mode.crtc.map((value, index) => crtc[index] ?? value),
  };
}

/** 64 EGA colours: bits 0–2 are blue, green, red at two thirds, bits 3–5 the same at one third. 6-bit DAC values. */
function egaColour(index: number): [number, number, number] {
  const level = (high: number, low: number): number => ((index >> high) & 1 ? 42 : 0) + ((index >> low) & 1 ? 21 : 0);
  return [level(2, 5), level(1, 4), level(0, 3)];
}

/** 16 CGA colours as 200-line modes show them through attributes 00–07 and 10–17: bit 4 is the intensity. */
function cgaColour(index: number): [number, number, number] {
  const bright = index & 0x10 ? 21 : 0;
  const [r, g, b] = [index & 4 ? 42 : 0, index & 2 ? 42 : 0, index & 1 ? 42 : 0];
  return (index & 7) === 6 && !bright ? [42, 21, 0] : [r + bright, g + bright, b + bright];
}

/** The 256 colours of mode 13h: 16 CGA, 16 greys, then 24 hues at three saturations and three intensities. */
function mcgaPalette(): [number, number, number][] {
  const colours: [number, number, number][] = [];
  for (let i = 0; i < 16; i++) colours.push(cgaColour((i & 7) | (i & 8 ? 0x10 : 0)));
  for (const grey of [0, 5, 8, 11, 14, 17, 20, 24, 28, 32, 36, 40, 45, 50, 56, 63]) colours.push([grey, grey, grey]);
  const ramps = [
    [0, 16, 31, 47, 63], [31, 39, 47, 55, 63], [45, 49, 54, 58, 63],
    [0, 7, 14, 21, 28], [14, 17, 21, 24, 28], [20, 22, 24, 26, 28],
    [0, 4, 8, 12, 16], [8, 10, 12, 14, 16], [11, 12, 13, 15, 16],
  ]; // prettier-ignore
  for (const ramp of ramps) {
    for (let hue = 0; hue < 24; hue++) {
      const [sextant, step] = [hue >> 2, hue & 3];
      const [low, high, up, down] = [ramp[0]!, ramp[4]!, ramp[step]!, ramp[4 - step]!];
      const sextants: [number, number, number][] = [
        [up, low, high], // blue → magenta
        [high, low, down], // → red
        [high, up, low], // → yellow
        [down, high, low], // → green
        [low, high, up], // → cyan
        [low, down, high], // → blue
      ];
      colours.push(sextants[sextant]!);
    }
  }
  while (colours.length < 256) colours.push([0, 0, 0]);
  return colours;
}

/** 256 DAC entries of three 6-bit values. */
export function dacPalette(kind: VideoMode['palette']): Uint8Array {
  const colour = (i: number): [number, number, number] => {
    switch (kind) {
      case 'ega':
        return egaColour(i & 63);
      case 'cga':
        return cgaColour(i & 0x17);
      case 'mono':
        return i & 0x08 ? (i & 0x10 ? [63, 63, 63] : [42, 42, 42]) : i & 0x10 ? [21, 21, 21] : [0, 0, 0];
      case 'mcga':
        throw new Error('mode 13h has a palette of its own');
    }
  };
  const colours = kind === 'mcga' ? mcgaPalette() : Array.from({ length: 256 }, (_, i) => colour(i));
  return Uint8Array.from(colours.flat());
}
