/** Requests of virtio-blk: chain → request, pure but for reading the chain's own bytes. VIRTIO 1.2 §5.2.6. */
import { SECTOR_BYTES } from '../../../../backend/block';
import { err, ok, type Result } from '../../../../lib/result';
import type { Gpa, GuestMemory } from '../../../memory/guest-memory';
import { addressOf, readRanges, sliceRanges, type Chain } from '../virtqueue';

export const BlkType = { IN: 0, OUT: 1, FLUSH: 4, GET_ID: 8, DISCARD: 11, WRITE_ZEROES: 13 } as const;
export const BlkStatus = { OK: 0, IO_ERROR: 1, UNSUPPORTED: 2 } as const;

export const HEADER_BYTES = 16;
const SEGMENT_BYTES = 16;
export const ID_BYTES = 20;
/** Ranges of one discard or write-zeroes request. */
export const MAX_SEGMENTS = 16;
/** 2 GiB: what one range may cover, so that a single request cannot keep the host busy for long. */
export const MAX_SEGMENT_SECTORS = 1 << 22;

const SEGMENT_UNMAP = 1;

export interface BlkSegment {
  readonly offset: number;
  readonly bytes: number;
  /** Of write-zeroes: the range's space may go. */
  readonly unmap: boolean;
}

interface Common {
  readonly status: Gpa;
}

export type BlkRequest =
  | (Common & { readonly kind: 'read' | 'write'; readonly offset: number; readonly bytes: number; readonly data: Float64Array })
  | (Common & { readonly kind: 'flush' })
  | (Common & { readonly kind: 'getId'; readonly data: readonly number[]; readonly bytes: number })
  | (Common & { readonly kind: 'discard' | 'writeZeroes'; readonly segments: readonly BlkSegment[] })
  /** Well-formed enough for an answer, which is this status. */
  | (Common & { readonly kind: 'refused'; readonly code: number });

/** No place for a status byte: nothing can be answered, the device fails. */
export type BlkFault = 'badRequest';

export function parseBlkRequest(chain: Chain, mem: GuestMemory, diskBytes: number): Result<BlkRequest, BlkFault> {
  const { readable, writable, readableBytes, writableBytes } = chain;
  if (readableBytes < HEADER_BYTES || writableBytes < 1) return err('badRequest');
  const header = new Uint8Array(HEADER_BYTES);
  const status = addressOf(writable, writableBytes - 1);
  if (status === undefined || !readRanges(mem, readable, header)) return err('badRequest');
  const view = new DataView(header.buffer);
  const type = view.getUint32(0, true);
  const sector = view.getUint32(8, true) + view.getUint32(12, true) * 2 ** 32;
  const refused = (code: number): Result<BlkRequest, BlkFault> => ok({ kind: 'refused', code, status });
  switch (type) {
    case BlkType.IN:
    case BlkType.OUT: {
      const bytes = type === BlkType.IN ? writableBytes - 1 : readableBytes - HEADER_BYTES;
      if (bytes === 0 || bytes % SECTOR_BYTES !== 0 || !inside(sector, bytes / SECTOR_BYTES, diskBytes)) {
        return refused(BlkStatus.IO_ERROR);
      }
      const data = type === BlkType.IN ? sliceRanges(writable, 0, bytes) : sliceRanges(readable, HEADER_BYTES, bytes);
      return ok({ kind: type === BlkType.IN ? 'read' : 'write', offset: sector * SECTOR_BYTES, bytes, data, status });
    }
    case BlkType.FLUSH:
      return ok({ kind: 'flush', status });
    case BlkType.GET_ID:
      return ok({ kind: 'getId', data: writable, bytes: Math.min(writableBytes - 1, ID_BYTES), status });
    case BlkType.DISCARD:
    case BlkType.WRITE_ZEROES: {
      const bytes = readableBytes - HEADER_BYTES;
      const count = bytes / SEGMENT_BYTES;
      if (!Number.isInteger(count) || count < 1 || count > MAX_SEGMENTS) return refused(BlkStatus.IO_ERROR);
      const table = new Uint8Array(bytes);
      if (!readRanges(mem, readable, table, HEADER_BYTES)) return err('badRequest');
      const segments: BlkSegment[] = [];
      const entries = new DataView(table.buffer);
      for (let at = 0; at < bytes; at += SEGMENT_BYTES) {
        const first = entries.getUint32(at, true) + entries.getUint32(at + 4, true) * 2 ** 32;
        const sectors = entries.getUint32(at + 8, true);
        const flags = entries.getUint32(at + 12, true);
        // §5.2.6.2: unknown flags, and unmap in a discard, are unsupported.
        if (flags & ~SEGMENT_UNMAP || (type === BlkType.DISCARD && flags !== 0)) return refused(BlkStatus.UNSUPPORTED);
        if (sectors > MAX_SEGMENT_SECTORS || !inside(first, sectors, diskBytes)) return refused(BlkStatus.IO_ERROR);
        segments.push({ offset: first * SECTOR_BYTES, bytes: sectors * SECTOR_BYTES, unmap: (flags & SEGMENT_UNMAP) !== 0 });
      }
      return ok({ kind: type === BlkType.DISCARD ? 'discard' : 'writeZeroes', segments, status });
    }
    default:
      return refused(BlkStatus.UNSUPPORTED);
  }
}

/** Sector numbers above 2^53 lose precision, but only upwards of any disk: the comparison still refuses them. */
function inside(sector: number, sectors: number, diskBytes: number): boolean {
  return sector + sectors <= Math.floor(diskBytes / SECTOR_BYTES);
}
