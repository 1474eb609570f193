/** An EDID 1.4 base block (VESA E-EDID 1.4 §3) for the virtual monitor: a preferred mode of any size, others up to 1920×1200. */

/** One detailed timing in pixels, lines and kHz (§3.10.2). */
interface Timing {
  clockKhz: number;
  width: number;
  hBlank: number;
  hFront: number;
  hSync: number;
  height: number;
  vBlank: number;
  vFront: number;
  vSync: number;
}

/** VESA DMT 10h: 1024×768 at 60 Hz. */
const XGA: Timing = {
  clockKhz: 65000,
  width: 1024,
  hBlank: 320,
  hFront: 24,
  hSync: 136,
  height: 768,
  vBlank: 38,
  vFront: 3,
  vSync: 6,
};

/** Standard timings (§3.9): width, aspect code (0 16:10, 1 4:3, 2 5:4, 3 16:9); all at 60 Hz. */
const STANDARD: readonly (readonly [number, number])[] = [
  [1280, 0], // 1280×800
  [1280, 3], // 1280×720
  [1280, 2], // 1280×1024
  [1440, 0], // 1440×900
  [1600, 3], // 1600×900
  [1680, 0], // 1680×1050
  [1920, 3], // 1920×1080
  [1920, 0], // 1920×1200
];

/** A detailed timing has 12 bits for each edge, and 16 for a clock in 10 kHz. */
const MAX_EDGE = 4095;
const MAX_CLOCK_KHZ = 655_350;
const MILLIMETRES_A_PIXEL = 25.4 / 96;

/** VESA CVT 1.1 with reduced blanking, 60 Hz; so large that the clock cannot be told, as many a second as can. */
function timingOf(width: number, height: number): Timing {
  if (width === XGA.width && height === XGA.height) return XGA;
  const hBlank = 160;
  const lineMicroseconds = (1e6 / 60 - 460) / height;
  const vBlank = Math.floor(460 / lineMicroseconds) + 1;
  const clockKhz = Math.min(MAX_CLOCK_KHZ, Math.round((60 * (width + hBlank) * (height + vBlank)) / 250_000) * 250);
  return { clockKhz, width, hBlank, hFront: 48, hSync: 32, height, vBlank, vFront: 3, vSync: 5 };
}

export function createEdid(preferred: { width: number; height: number } = XGA): Uint8Array {
  const timing = timingOf(Math.min(MAX_EDGE, preferred.width), Math.min(MAX_EDGE, preferred.height));
  const millimetres = [timing.width, timing.height].map((pixels) => Math.round(pixels * MILLIMETRES_A_PIXEL)) as [number, number];
  const edid = new Uint8Array(128);
  edid.set([0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00]);
  // Manufacturer 'LDG' (five bits a letter, big-endian), product 1, no serial number, week 1 of 2024, EDID 1.4.
  const vendor = ((0x0c << 10) | (0x04 << 5) | 0x07) >>> 0;
  edid.set([vendor >> 8, vendor & 0xff, 0x01, 0x00, 0, 0, 0, 0, 1, 2024 - 1990, 1, 4], 8);
  // Digital input, 8 bits a colour; centimetres (96 dpi at the preferred mode); gamma 2.2; RGB 4:4:4, sRGB, preferred is native.
  edid.set([0xa0, Math.round(millimetres[0] / 10), Math.round(millimetres[1] / 10), 120, 0x06], 20);
  // Chromaticity of sRGB (§3.7).
  edid.set([0xee, 0x91, 0xa3, 0x54, 0x4c, 0x99, 0x26, 0x0f, 0x50, 0x54], 25);
  // Established timings: 640×480@60, 800×600@60; 1024×768@60.
  edid.set([0x21, 0x08, 0x00], 35);
  STANDARD.forEach(([width, aspect], i) => edid.set([width / 8 - 31, aspect << 6], 38 + i * 2));
  edid.set(detailedTiming(timing, millimetres), 54);
  edid.set(descriptor(0xfc, 'Lodge'), 72); // display product name
  // Display range limits (§3.10.3.3): 50–75 Hz, lines from 30 kHz, clock; at least what 1920×1200 takes; default GTF.
  const lineKhz = Math.min(255, Math.max(90, Math.ceil(timing.clockKhz / (timing.width + timing.hBlank))));
  const clock10Mhz = Math.max(25, Math.ceil(timing.clockKhz / 10_000));
  edid.set([0, 0, 0, 0xfd, 0, 50, 75, 30, lineKhz, clock10Mhz, 0x00, 0x0a, 0x20, 0x20, 0x20, 0x20, 0x20, 0x20], 90);
  edid.set([0, 0, 0, 0x10, 0], 108); // dummy descriptor
  let sum = 0;
  for (let i = 0; i < 127; i++) sum += edid[i]!;
  edid[127] = -sum & 0xff;
  return edid;
}

function detailedTiming(t: Timing, [mmWide, mmHigh]: readonly [number, number]): number[] {
  const clock = t.clockKhz / 10;
  return [
    clock & 0xff,
    clock >> 8,
    t.width & 0xff,
    t.hBlank & 0xff,
    ((t.width >> 8) << 4) | (t.hBlank >> 8),
    t.height & 0xff,
    t.vBlank & 0xff,
    ((t.height >> 8) << 4) | (t.vBlank >> 8),
    t.hFront & 0xff,
    t.hSync & 0xff,
    ((t.vFront & 0x0f) << 4) | (t.vSync & 0x0f),
    ((t.hFront >> 8) << 6) | ((t.hSync >> 8) << 4) | ((t.vFront >> 4) << 2) | (t.vSync >> 4),
    mmWide & 0xff,
    mmHigh & 0xff,
    ((mmWide >> 8) << 4) | (mmHigh >> 8),
    0,
    0,
    0x1a, // digital separate sync, negative polarities off
  ];
}

function descriptor(tag: number, text: string): number[] {
  const bytes = Array.from(text.slice(0, 13), (c) => c.charCodeAt(0));
  if (bytes.length < 13) bytes.push(0x0a);
  while (bytes.length < 13) bytes.push(0x20);
  return [0, 0, 0, tag, 0, ...bytes];
}
