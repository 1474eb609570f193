/** What READ, WRITE and VERIFY move: nine command bytes and the state of a drive → places on the medium, or why not. Pure. */
import { SECTOR_BYTES } from '../../../backend/block';
import type { FloppyFormat } from '../../bus/floppies';
import { St1, St2 } from './registers';

/** Where a transfer stands: what the result phase reports. */
export interface Position {
  readonly cylinder: number;
  readonly head: number;
  readonly sector: number;
}

export interface TransferPlan {
  readonly select: number;
  readonly size: number;
  readonly at: Position;
  readonly sectors: number;
  /** Parts of the data and their places on the medium. */
  readonly pieces: readonly (readonly [offset: number, from: number, to: number])[];
  /** Bytes that the other side takes or gives; the last sector may be moved in part. */
  readonly limit: number;
  /** The last sector of the track that was asked for, and that this is past what the track has. */
  readonly last: number;
  readonly overshoot: boolean;
  readonly multiTrack: boolean;
}

export interface Refusal {
  readonly at: Position;
  readonly st1: number;
  readonly st2: number;
}

export interface DriveState {
  /** Absent: nothing can be read, because there is no diskette or not at this rate. */
  readonly format: FloppyFormat | undefined;
  /** Where the head is. */
  readonly cylinder: number;
  readonly writable: boolean;
  /** Bytes that memory takes or gives. */
  readonly room: number;
}

export function planTransfer(c: readonly number[], { format, ...drive }: DriveState): TransferPlan | Refusal {
  const [code, select, cylinder, head, sector, size, end] = c as [number, number, number, number, number, number, number];
  const at: Position = { cylinder, head, sector };
  const refuse = (st1: number, st2: number): Refusal => ({ at, st1, st2 });
  const side = (select >> 2) & 1;
  if (!format || drive.cylinder >= format.cylinders || side >= format.heads) return refuse(St1.MISSING_MARK, St2.MISSING_MARK);
  if (!drive.writable) return refuse(St1.NOT_WRITABLE, 0);
  if (cylinder !== drive.cylinder) return refuse(St1.NO_DATA, St2.WRONG_CYLINDER);
  if (head !== side || size !== 2 || sector < 1 || sector > format.sectors) return refuse(St1.NO_DATA, 0);
  // Sectors from here to the end of the track, and with MT the other side's; past what the track has, no data are found.
  const multiTrack = (code & 0x80) !== 0;
  const last = Math.min(end, format.sectors);
  const here = Math.max(0, last - sector + 1);
  const available = here + (multiTrack && head === 0 && format.heads === 2 ? last : 0);
  if (available === 0) return refuse(St1.NO_DATA, 0);
  const limit = Math.min(available * SECTOR_BYTES, drive.room);
  const sectors = Math.ceil(limit / SECTOR_BYTES);
  if (sectors === 0) return refuse(St1.OVERRUN, 0);
  const onThisSide = Math.min(sectors, here) * SECTOR_BYTES;
  const first = (cylinder * format.heads + head) * format.sectors + sector - 1;
  const pieces: [offset: number, from: number, to: number][] = [[first * SECTOR_BYTES, 0, onThisSide]];
  if (sectors > here) {
    const otherSide = (cylinder * format.heads + 1) * format.sectors;
    pieces.push([otherSide * SECTOR_BYTES, onThisSide, sectors * SECTOR_BYTES]);
  }
  return { select, size, at, sectors, pieces, limit, last, overshoot: end > format.sectors, multiTrack };
}

/** The result phase names the sector after the last one (table 5-8). */
export function advance(from: Position, sectors: number, last: number, multiTrack: boolean): Position {
  const at = { ...from };
  for (let n = 0; n < sectors; n++) {
    if (at.sector < last) {
      at.sector++;
      continue;
    }
    at.sector = 1;
    if (multiTrack) {
      at.head ^= 1;
      if (at.head === 0) at.cylinder++;
    } else at.cylinder++;
  }
  return at;
}
