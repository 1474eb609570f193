/** Frame information structures (Serial ATA 3.x §10.5) and where a port puts them (AHCI 1.3.1 §4.2.1); command lists and tables (§4.2.2–4.2.3). */
import { gpa, type Gpa, type GuestMemory } from '../../memory/guest-memory';
import type { Taskfile } from '../ata';

export const FisType = { REGISTER_H2D: 0x27, REGISTER_D2H: 0x34, SET_DEVICE_BITS: 0xa1, PIO_SETUP: 0x5f } as const;
export const ReceivedFis = { PIO_SETUP: 0x20, D2H: 0x40, SET_DEVICE_BITS: 0x58 } as const;
const INTERRUPT = 0x40;
const TO_HOST = 0x20;

export const HEADER_BYTES = 32;
const TABLE_HEADER_BYTES = 0x80;
const PRD_BYTES = 16;
/** Entries fetched at once. */
const PRD_FETCH = 64;
const SOFT_RESET = 0x04;

/** The registers a device shows. */
export interface DeviceRegisters {
  readonly status: number;
  readonly error: number;
  readonly count: number;
  readonly low: number;
  readonly high: number;
  readonly device: number;
}

function registers(type: number, flags: number, r: DeviceRegisters): Uint8Array {
  const fis = new Uint8Array(20);
  fis.set([type, flags, r.status, r.error, r.low & 0xff, (r.low >>> 8) & 0xff, (r.low >>> 16) & 0xff, r.device]);
  fis.set([r.high & 0xff, (r.high >>> 8) & 0xff, (r.high >>> 16) & 0xff, 0, r.count & 0xff, (r.count >>> 8) & 0xff], 8);
  return fis;
}

export const d2hFis = (r: DeviceRegisters, interrupt: boolean): Uint8Array =>
  registers(FisType.REGISTER_D2H, interrupt ? INTERRUPT : 0, r);

/** `endStatus`: what the status register holds after the data. */
export function pioSetupFis(
  r: DeviceRegisters,
  toHost: boolean,
  interrupt: boolean,
  endStatus: number,
  bytes: number,
): Uint8Array {
  const fis = registers(FisType.PIO_SETUP, (interrupt ? INTERRUPT : 0) | (toHost ? TO_HOST : 0), r);
  fis[15] = endStatus;
  fis[16] = bytes & 0xff;
  fis[17] = (bytes >>> 8) & 0xff;
  return fis;
}

/** The busy and data-request bits are not part of it. */
export function setDeviceBitsFis(status: number, error: number, done: number): Uint8Array {
  const fis = new Uint8Array(8);
  fis.set([FisType.SET_DEVICE_BITS, INTERRUPT, status & 0x77, error]);
  new DataView(fis.buffer).setUint32(4, done >>> 0, true);
  return fis;
}

export interface CommandHeader {
  readonly at: Gpa;
  readonly atapi: boolean;
  readonly write: boolean;
  /** The device's busy bit is cleared by the controller once the FIS was sent (soft resets). */
  readonly clearBusy: boolean;
  readonly prdCount: number;
  readonly table: number;
}

export type HostFis =
  | { readonly kind: 'command'; readonly task: Taskfile; readonly packet: Uint8Array }
  | { readonly kind: 'control'; readonly softReset: boolean }
  | { readonly kind: 'unknown' };

/** Undefined: not in memory. */
export function readCommandHeader(mem: GuestMemory, list: number, slot: number): CommandHeader | undefined {
  const at = gpa(list + slot * HEADER_BYTES);
  const raw = mem.read(at, HEADER_BYTES);
  if (!raw) return undefined;
  const view = new DataView(raw.buffer);
  const flags = view.getUint32(0, true);
  const table = (view.getUint32(8, true) & ~0x7f) >>> 0;
  return {
    at,
    atapi: (flags & 0x20) !== 0,
    write: (flags & 0x40) !== 0,
    clearBusy: (flags & 0x400) !== 0,
    prdCount: flags >>> 16,
    table: table + view.getUint32(12, true) * 2 ** 32,
  };
}

export function readHostFis(mem: GuestMemory, table: number): HostFis | undefined {
  const fis = mem.read(gpa(table), 0x50);
  if (!fis) return undefined;
  if (fis[0] !== FisType.REGISTER_H2D) return { kind: 'unknown' };
  if (!(fis[1]! & 0x80)) return { kind: 'control', softReset: (fis[15]! & SOFT_RESET) !== 0 };
  const task: Taskfile = {
    command: fis[2]!,
    features: fis[3]! | (fis[11]! << 8),
    low: fis[4]! | (fis[5]! << 8) | (fis[6]! << 16),
    device: fis[7]!,
    high: fis[8]! | (fis[9]! << 8) | (fis[10]! << 16),
    count: fis[12]! | (fis[13]! << 8),
  };
  return { kind: 'command', task, packet: fis.slice(0x40, 0x4c) };
}

/** Physical regions until `bytes` are covered or the list ends. Undefined: the list is not in memory. */
export function readPrds(
  mem: GuestMemory,
  header: CommandHeader,
  bytes: number,
): { ranges: number[]; bytes: number } | undefined {
  const ranges: number[] = [];
  let covered = 0;
  for (let first = 0; first < header.prdCount && covered < bytes; first += PRD_FETCH) {
    const count = Math.min(PRD_FETCH, header.prdCount - first);
    const raw = mem.read(gpa(header.table + TABLE_HEADER_BYTES + first * PRD_BYTES), count * PRD_BYTES);
    if (!raw) return undefined;
    const view = new DataView(raw.buffer);
    for (let i = 0; i < count && covered < bytes; i++) {
      const at = view.getUint32(i * PRD_BYTES, true) + view.getUint32(i * PRD_BYTES + 4, true) * 2 ** 32;
      const length = (view.getUint32(i * PRD_BYTES + 12, true) & 0x3fffff) + 1;
      const take = Math.min(length, bytes - covered);
      ranges.push(at, take);
      covered += take;
    }
  }
  return { ranges, bytes: covered };
}
