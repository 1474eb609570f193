/** Command packets of an optical drive: twelve bytes → request, pure. MMC-6 §6, SPC-3 §6; all fields are big-endian. */

export interface Sense {
  readonly key: number;
  readonly asc: number;
  readonly ascq: number;
}

export const NO_SENSE: Sense = { key: 0, asc: 0, ascq: 0 };
export const INVALID_OPCODE: Sense = { key: 5, asc: 0x20, ascq: 0 };
export const OUT_OF_RANGE: Sense = { key: 5, asc: 0x21, ascq: 0 };
export const INVALID_FIELD: Sense = { key: 5, asc: 0x24, ascq: 0 };
export const SAVING_UNSUPPORTED: Sense = { key: 5, asc: 0x39, ascq: 0 };
export const REMOVAL_PREVENTED: Sense = { key: 5, asc: 0x53, ascq: 2 };
export const NO_MEDIUM: Sense = { key: 2, asc: 0x3a, ascq: 1 };
export const NO_MEDIUM_TRAY_OPEN: Sense = { key: 2, asc: 0x3a, ascq: 2 };
export const MEDIUM_CHANGED: Sense = { key: 6, asc: 0x28, ascq: 0 };
export const READ_ERROR: Sense = { key: 3, asc: 0x11, ascq: 0 };

interface Allocated {
  /** Most bytes the host takes. */
  readonly allocation: number;
}

export type PacketRequest =
  | { readonly kind: 'testUnitReady' | 'readCapacity' | 'nothing' }
  | ({ readonly kind: 'requestSense' | 'mechanismStatus' } & Allocated)
  | ({ readonly kind: 'discInformation' } & Allocated)
  | ({ readonly kind: 'inquiry'; readonly vital: boolean; readonly page: number } & Allocated)
  | { readonly kind: 'startStop'; readonly start: boolean; readonly loadEject: boolean }
  | { readonly kind: 'prevent'; readonly prevent: boolean }
  | { readonly kind: 'seek'; readonly block: number }
  | { readonly kind: 'read'; readonly block: number; readonly blocks: number }
  | ({ readonly kind: 'readToc'; readonly format: number; readonly msf: boolean; readonly track: number } & Allocated)
  | ({ readonly kind: 'trackInformation'; readonly by: number; readonly address: number } & Allocated)
  | ({ readonly kind: 'modeSense'; readonly long: boolean; readonly page: number; readonly control: number } & Allocated)
  | { readonly kind: 'modeSelect'; readonly bytes: number }
  | ({ readonly kind: 'getConfiguration'; readonly selection: number; readonly from: number } & Allocated)
  | ({ readonly kind: 'eventStatus'; readonly polled: boolean; readonly classes: number } & Allocated)
  | { readonly kind: 'refused'; readonly sense: Sense };

const u16 = (c: Uint8Array, at: number): number => (c[at]! << 8) | c[at + 1]!;
const u24 = (c: Uint8Array, at: number): number => (c[at]! << 16) | (c[at + 1]! << 8) | c[at + 2]!;
const u32 = (c: Uint8Array, at: number): number => c[at]! * 2 ** 24 + u24(c, at + 1);
const refuse = (sense: Sense): PacketRequest => ({ kind: 'refused', sense });
/** Minute, second, frame → block; the first two seconds are before block 0. */
const fromMsf = (c: Uint8Array, at: number): number => (c[at]! * 60 + c[at + 1]!) * 75 + c[at + 2]! - 150;

/** READ CD: only what a data disc's user data are (MMC-6 §6.20: byte 9, main channel selection; byte 10, sub-channel). */
function readCd(c: Uint8Array, block: number, blocks: number): PacketRequest {
  const type = (c[1]! >> 2) & 7;
  const selection = c[9]! & 0xf8;
  if (c[10]! & 7 || c[9]! & 6 || (type !== 0 && type !== 2 && type !== 4)) return refuse(INVALID_FIELD);
  if (selection === 0) return { kind: 'nothing' };
  if (selection !== 0x10) return refuse(INVALID_FIELD);
  return { kind: 'read', block, blocks };
}

export const PACKET_COMMANDS: readonly (readonly [opcode: number, name: string, decode: (c: Uint8Array) => PacketRequest])[] = [
  [0x00, 'TEST UNIT READY', () => ({ kind: 'testUnitReady' })],
  [0x03, 'REQUEST SENSE', (c) => ({ kind: 'requestSense', allocation: c[4]! })],
  [0x12, 'INQUIRY', (c) => ({ kind: 'inquiry', vital: (c[1]! & 1) !== 0, page: c[2]!, allocation: u16(c, 3) })],
  [0x15, 'MODE SELECT(6)', (c) => ({ kind: 'modeSelect', bytes: c[4]! })],
  [0x1a, 'MODE SENSE(6)', (c) => ({ kind: 'modeSense', long: false, page: c[2]! & 0x3f, control: c[2]! >> 6, allocation: c[4]! })],
  [0x1b, 'START STOP UNIT', (c) => ({ kind: 'startStop', start: (c[4]! & 1) !== 0, loadEject: (c[4]! & 2) !== 0 })],
  [0x1e, 'PREVENT ALLOW MEDIUM REMOVAL', (c) => ({ kind: 'prevent', prevent: (c[4]! & 1) !== 0 })],
  [0x25, 'READ CAPACITY', () => ({ kind: 'readCapacity' })],
  [0x28, 'READ(10)', (c) => ({ kind: 'read', block: u32(c, 2), blocks: u16(c, 7) })],
  [0x2b, 'SEEK(10)', (c) => ({ kind: 'seek', block: u32(c, 2) })],
  // Byte 9 holds the format where SFF-8020i drivers put it.
  [0x43, 'READ TOC', (c) => ({ kind: 'readToc', format: c[2]! & 0x0f || c[9]! >> 6, msf: (c[1]! & 2) !== 0, track: c[6]!, allocation: u16(c, 7) })],
  [0x46, 'GET CONFIGURATION', (c) => ({ kind: 'getConfiguration', selection: c[1]! & 3, from: u16(c, 2), allocation: u16(c, 7) })],
  [0x4a, 'GET EVENT STATUS NOTIFICATION', (c) => ({ kind: 'eventStatus', polled: (c[1]! & 1) !== 0, classes: c[4]!, allocation: u16(c, 7) })],
  [0x51, 'READ DISC INFORMATION', (c) => c[1]! & 7 ? refuse(INVALID_FIELD) : { kind: 'discInformation', allocation: u16(c, 7) }],
  [0x52, 'READ TRACK INFORMATION', (c) => ({ kind: 'trackInformation', by: c[1]! & 3, address: u32(c, 2), allocation: u16(c, 7) })],
  [0x55, 'MODE SELECT(10)', (c) => ({ kind: 'modeSelect', bytes: u16(c, 7) })],
  [0x5a, 'MODE SENSE(10)', (c) => ({ kind: 'modeSense', long: true, page: c[2]! & 0x3f, control: c[2]! >> 6, allocation: u16(c, 7) })],
  [0xa8, 'READ(12)', (c) => ({ kind: 'read', block: u32(c, 2), blocks: u32(c, 6) })],
  [0xb9, 'READ CD MSF', (c) => readCd(c, fromMsf(c, 3), fromMsf(c, 6) - fromMsf(c, 3))],
  [0xbb, 'SET CD SPEED', () => ({ kind: 'nothing' })],
  [0xbd, 'MECHANISM STATUS', (c) => ({ kind: 'mechanismStatus', allocation: u16(c, 8) })],
  [0xbe, 'READ CD', (c) => readCd(c, u32(c, 2), u24(c, 6))],
]; // prettier-ignore

const DECODERS = new Map(PACKET_COMMANDS.map(([opcode, , decode]) => [opcode, decode]));

export const decodePacket = (cdb: Uint8Array): PacketRequest => DECODERS.get(cdb[0]!)?.(cdb) ?? refuse(INVALID_OPCODE);
