/** What an optical drive answers about itself and its disc: one closed session with one data track. MMC-6, SPC-3. */
import type { Sense } from './packet';

export const BLOCK_BYTES = 2048;
/** A CD of 80 minutes; more is shown as a DVD. */
const CD_BLOCKS = 360_000;
const PROFILE_CD = 0x0008;
const PROFILE_DVD = 0x0010;
const LEAD_OUT = 0xaa;
const DATA_TRACK = 0x14; // ADR 1, data track

export const profileOf = (blocks: number | undefined): number =>
  blocks === undefined ? 0 : blocks <= CD_BLOCKS ? PROFILE_CD : PROFILE_DVD;

const be16 = (value: number): number[] => [(value >>> 8) & 0xff, value & 0xff];
const be32 = (value: number): number[] => [value >>> 24, ...[(value >>> 16) & 0xff], ...be16(value & 0xffff)];
const text = (value: string, bytes: number): number[] =>
  Array.from({ length: bytes }, (_, i) => (i < value.length ? value.charCodeAt(i) & 0x7f : 0x20));
/** Block → minute, second, frame as READ TOC writes it. */
const msf = (block: number): number[] => {
  const frames = block + 150;
  return [0, Math.min(255, Math.floor(frames / 4500)), Math.floor(frames / 75) % 60, frames % 75];
};

/** SPC-3 §4.5.3: fixed format. */
export const senseData = (sense: Sense): Uint8Array =>
  Uint8Array.from([0x70, 0, sense.key, 0, 0, 0, 0, 10, 0, 0, 0, 0, sense.asc, sense.ascq, 0, 0, 0, 0]);

export const inquiry = (model: string, firmware: string): Uint8Array =>
  Uint8Array.from([0x05, 0x80, 0x05, 0x32, 31, 0, 0, 0, ...text('Lodge', 8), ...text(model, 16), ...text(firmware, 4)]);

/** Pages 00h (list) and 80h (serial number); undefined: there is no such page. */
export function vitalProductData(page: number, serial: string): Uint8Array | undefined {
  if (page === 0x00) return Uint8Array.from([5, 0, 0, 2, 0x00, 0x80]);
  if (page === 0x80) return Uint8Array.from([5, 0x80, 0, serial.length, ...text(serial, serial.length)]);
  return undefined;
}

export const capacity = (blocks: number): Uint8Array => Uint8Array.from([...be32(blocks - 1), ...be32(BLOCK_BYTES)]);

/** MMC-6 §6.25. Undefined: no such track or format. */
export function toc(format: number, inMsf: boolean, track: number, blocks: number): Uint8Array | undefined {
  const address = (block: number): number[] => (inMsf ? msf(block) : be32(block));
  const whole = (body: number[]): Uint8Array => Uint8Array.from([...be16(body.length), ...body]);
  switch (format) {
    case 0: {
      if (track > 1 && track !== LEAD_OUT) return undefined;
      const first = track <= 1 ? [0, DATA_TRACK, 1, 0, ...address(0)] : [];
      return whole([1, 1, ...first, 0, DATA_TRACK, LEAD_OUT, 0, ...address(blocks)]);
    }
    case 1:
      return whole([1, 1, 0, DATA_TRACK, 1, 0, ...address(0)]);
    case 2: {
      const row = (point: number, at: number[]): number[] => [1, DATA_TRACK, 0, point, 0, 0, 0, ...at];
      return whole([1, 1, ...row(0xa0, [0, 1, 0, 0]), ...row(0xa1, [0, 1, 0, 0]), ...row(0xa2, msf(blocks)), ...row(1, msf(0))]);
    }
    default:
      return undefined;
  }
}

/** MMC-6 §6.6 and §5.3. */
export function configuration(selection: number, from: number, blocks: number | undefined): Uint8Array {
  const profile = profileOf(blocks);
  const current = (on: boolean): number => (on ? 1 : 0);
  const entry = (p: number): number[] => [...be16(p), current(p === profile), 0];
  const features: [code: number, active: boolean, bytes: number[]][] = [
    [0x0000, true, [0x03, 8, ...entry(PROFILE_DVD), ...entry(PROFILE_CD)]],
    [0x0001, true, [0x0b, 8, ...be32(2), 1, 0, 0, 0]], // core; ATAPI; DBE
    [0x0002, true, [0x07, 4, 2, 0, 0, 0]], // morphing; operational change events
    [0x0003, true, [0x07, 4, 0x29, 0, 0, 0]], // removable: tray, can eject, can lock
    [0x0010, profile !== 0, [current(profile !== 0), 8, ...be32(BLOCK_BYTES), ...be16(1), 0, 0]],
    [0x001e, profile === PROFILE_CD, [0x08 | current(profile === PROFILE_CD), 4, 0, 0, 0, 0]],
    [0x001f, profile === PROFILE_DVD, [0x04 | current(profile === PROFILE_DVD), 4, 0, 0, 0, 0]],
  ]; // prettier-ignore
  const chosen = features.filter(([code, active]) =>
    selection === 2 ? code === from : code >= from && (selection === 0 || active),
  );
  const body = chosen.flatMap(([code, , bytes]) => [...be16(code), ...bytes]);
  return Uint8Array.from([...be32(body.length + 4), 0, 0, ...be16(profile), ...body]);
}

export const MEDIA_EVENT_CLASS = 0x10;
export const MediaEvent = { NONE: 0, EJECT_REQUEST: 1, NEW_MEDIA: 2, MEDIA_REMOVAL: 3 } as const;

/** MMC-6 §6.7; `event` undefined: none of the asked classes is there. */
export function eventStatus(event: number | undefined, trayOpen: boolean, present: boolean): Uint8Array {
  if (event === undefined) return Uint8Array.of(0, 2, 0x80, MEDIA_EVENT_CLASS);
  return Uint8Array.of(0, 6, 4, MEDIA_EVENT_CLASS, event, (trayOpen ? 1 : 0) | (present ? 2 : 0), 0, 0);
}

/** MMC-6 §6.21: complete disc, last session complete, not erasable. */
export const discInformation = (): Uint8Array => {
  const data = new Uint8Array(34);
  data.set([0, 32, 0x0e, 1, 1, 1, 1, 0x20]);
  data.fill(0xff, 17, 24);
  return data;
};

export const trackInformation = (blocks: number): Uint8Array =>
  Uint8Array.from([
    ...be16(34),
    1,
    1,
    0,
    0x04,
    0x01,
    0,
    ...be32(0),
    ...be32(0),
    ...be32(0),
    ...be32(0),
    ...be32(blocks),
    ...be32(0),
    0,
    0,
    0,
    0,
  ]);

export const mechanismStatus = (trayOpen: boolean): Uint8Array => Uint8Array.of(0, trayOpen ? 0x10 : 0, 0, 0, 0, 1, 0, 0);

const PAGES: readonly (readonly [code: number, body: (locked: boolean) => number[]])[] = [
  [0x01, () => [0, 5, 0, 0, 0, 0, 0, 0, 0, 0]], // error recovery: five tries
  [0x0e, () => [4, 0, 0, 0, 0, 0, 1, 0xff, 2, 0xff, 0, 0, 0, 0]], // audio
  [0x1a, () => [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]], // power conditions
  // Capabilities: reads CD-R/RW and DVD, tray that locks and ejects, 16-bit volume levels, 64 KiB buffer.
  [0x2a, (locked) => [0x3f, 0, 0x70, 0, 0x29 | (locked ? 2 : 0), 0, ...be16(7056), ...be16(256), ...be16(64), ...be16(7056), 0, 0, 0, 0]],
]; // prettier-ignore

/** MODE SENSE; undefined: no such page. `changeable`: nothing can be changed, so all is zero. */
export function modeSense(long: boolean, page: number, changeable: boolean, locked: boolean): Uint8Array | undefined {
  const rows = PAGES.filter(([code]) => page === 0x3f || page === code);
  if (rows.length === 0) return undefined;
  const body = rows.flatMap(([code, make]) => {
    const bytes = make(locked);
    return [code, bytes.length, ...(changeable ? bytes.map(() => 0) : bytes)];
  });
  return Uint8Array.from(long ? [...be16(body.length + 6), 0, 0, 0, 0, 0, 0, ...body] : [body.length + 3, 0, 0, 0, ...body]);
}
