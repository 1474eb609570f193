/** For tests: guest memory that is one array. */
import type { GuestMemory } from '../guest-memory';

export type FlatMemory = GuestMemory & { readonly data: Uint8Array; readonly view: DataView };

export function flatMemory(bytes: number): FlatMemory {
  const data = new Uint8Array(bytes);
  const view = new DataView(data.buffer);
  const inside = (at: number, n: number): boolean => at >= 0 && Number.isInteger(at) && at + n <= bytes;
  return {
    data,
    view,
    read: (at, n) => (inside(at, n) ? data.slice(at, at + n) : undefined),
    readInto: (at, into) => inside(at, into.length) && (into.set(data.subarray(at, at + into.length)), true),
    write: (at, from) => inside(at, from.length) && (data.set(from, at), true),
    readU16: (at) => (inside(at, 2) ? view.getUint16(at, true) : undefined),
    readU32: (at) => (inside(at, 4) ? view.getUint32(at, true) : undefined),
    readU64: (at) => (inside(at, 8) ? Number(view.getBigUint64(at, true)) : undefined),
    writeU16: (at, value) => inside(at, 2) && (view.setUint16(at, value, true), true),
    writeU32: (at, value) => inside(at, 4) && (view.setUint32(at, value, true), true),
    fill: (at, n, value) => inside(at, n) && (data.fill(value, at, at + n), true),
  };
}
