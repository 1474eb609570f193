/** Bounds-checked access of devices to guest-physical memory, over the engine. All guest addresses are hostile. */
import type { NativeMachine } from '../../../native/addon/types';

declare const gpaBrand: unique symbol;
/** Guest-physical address in bytes. */
export type Gpa = number & { readonly [gpaBrand]: true };
export const gpa = (value: number): Gpa => value as Gpa;

type MemoryCalls = Pick<
  NativeMachine,
  'memRead' | 'memWrite' | 'memReadU16' | 'memReadU32' | 'memReadU64' | 'memWriteU16' | 'memWriteU32' | 'memFill'
>;

/** What a device does with guest memory. Reads give undefined, writes false, when the range is not RAM: a guest fault. */
export interface GuestMemory {
  read(at: Gpa, bytes: number): Uint8Array | undefined;
  readInto(at: Gpa, into: Uint8Array): boolean;
  write(at: Gpa, from: Uint8Array): boolean;
  readU16(at: Gpa): number | undefined;
  readU32(at: Gpa): number | undefined;
  /** Values above 2^53 come back as Infinity. */
  readU64(at: Gpa): number | undefined;
  writeU16(at: Gpa, value: number): boolean;
  writeU32(at: Gpa, value: number): boolean;
  fill(at: Gpa, bytes: number, value: number): boolean;
}

/** Devices read small structures; a guest that asks for more in one piece is answered as if the range were not RAM. */
const READ_LIMIT_BYTES = 16 << 20;

export function createGuestMemory(native: MemoryCalls): GuestMemory {
  return {
    read(at, bytes) {
      if (!(bytes >= 0 && bytes <= READ_LIMIT_BYTES)) return undefined;
      const into = new Uint8Array(bytes);
      return native.memRead(at, into) ? into : undefined;
    },
    readInto: (at, into) => native.memRead(at, into),
    write: (at, from) => native.memWrite(at, from),
    readU16: (at) => native.memReadU16(at),
    readU32: (at) => native.memReadU32(at),
    readU64: (at) => native.memReadU64(at),
    writeU16: (at, value) => native.memWriteU16(at, value),
    writeU32: (at, value) => native.memWriteU32(at, value),
    fill: (at, bytes, value) => native.memFill(at, bytes, value),
  };
}
