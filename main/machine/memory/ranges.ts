/** Scattered guest memory: what a descriptor chain, a PRD table or a scatter list describes. Lengths are the guest's, checked by who built them. */
import { gpa, type Gpa, type GuestMemory } from './guest-memory';

/** Guest memory as gpa, length pairs. */
export type Ranges = readonly number[];

/** `bytes` of `ranges` from `skip` on, as the engine's bulk I/O takes them. The caller knows that they are there. */
export function sliceRanges(ranges: ArrayLike<number>, skip: number, bytes: number): Float64Array {
  const out: number[] = [];
  let left = bytes;
  let offset = skip;
  for (let i = 0; i < ranges.length && left > 0; i += 2) {
    const length = ranges[i + 1]!;
    if (offset >= length) {
      offset -= length;
      continue;
    }
    const take = Math.min(length - offset, left);
    out.push(ranges[i]! + offset, take);
    left -= take;
    offset = 0;
  }
  return Float64Array.from(out);
}

/** Copies out of guest memory, from the start of `ranges`; false when they are too short or not RAM. */
export function readRanges(mem: GuestMemory, ranges: ArrayLike<number>, into: Uint8Array, skip = 0): boolean {
  let done = 0;
  const pieces = sliceRanges(ranges, skip, into.length);
  for (let i = 0; i < pieces.length; i += 2) {
    const length = pieces[i + 1]!;
    if (!mem.readInto(gpa(pieces[i]!), into.subarray(done, done + length))) return false;
    done += length;
  }
  return done === into.length;
}

/** Copies into guest memory; the count of bytes that fitted, or −1 when they are not RAM. */
export function writeRanges(mem: GuestMemory, ranges: ArrayLike<number>, from: Uint8Array, skip = 0): number {
  let done = 0;
  const pieces = sliceRanges(ranges, skip, from.length);
  for (let i = 0; i < pieces.length; i += 2) {
    const length = pieces[i + 1]!;
    if (!mem.write(gpa(pieces[i]!), from.subarray(done, done + length))) return -1;
    done += length;
  }
  return done;
}

/** Address of byte `offset` of the ranges. */
export function addressOf(ranges: ArrayLike<number>, offset: number): Gpa | undefined {
  let at = offset;
  for (let i = 0; i < ranges.length; i += 2) {
    if (at < ranges[i + 1]!) return gpa(ranges[i]! + at);
    at -= ranges[i + 1]!;
  }
  return undefined;
}
