/**
 * The VHDX log ([MS-VHDX] §2.3): finds the newest complete sequence of entries and writes what it says to the file. Every
 * length is checked against the log's own before it is used.
 */
import { damaged } from '../core/block-map';
import type { HostFile } from '../core/host-file';
import { u64le, viewOf } from '../core/meta-cache';
import { guidAt } from './guid';
import { crc32c, signature, type VhdxHeader } from './structures';

const SECTOR = 4096;
const FIRST_DESCRIPTORS = 126;
const MORE_DESCRIPTORS = 128;
/** One 'zero' descriptor of a region that no file of ours has is not worth hours of writing. */
const POSITION_MAX = 2 ** 50;
/** Sectors of the largest log, and 48 GiB of zeroes: what a log says more than once must not keep the host busy for hours. */
const PIECES_MAX = 1 << 16;
const ZEROES = new Uint8Array(1 << 20);

interface LogEntry {
  readonly sequence: number;
  readonly bytes: number;
  /** Where the sequence begins that this entry ends. */
  readonly tail: number;
  readonly fileBytes: number;
  readonly image: Uint8Array;
  readonly descriptors: number;
}

/**
 * Applies what the log says: to the file, or, where that may not be written, to what is read through it. That is enough for a
 * guest's data too, because the log holds metadata only (§2.3).
 */
export async function replayLog(file: HostFile, header: VhdxHeader): Promise<void> {
  const { logAt, logBytes } = header;
  if (logBytes < SECTOR) throw damaged(file, 'its log is not there');
  const log = await file.bytes(logAt, logBytes);
  const read = (at: number): LogEntry | undefined => entryAt(log, at % logBytes, header.logGuid);

  let best: LogEntry[] = [];
  for (let start = 0; start < logBytes; start += SECTOR) {
    const run: LogEntry[] = [];
    let used = 0;
    for (let at = start; ;) {
      const entry = read(at);
      const before = run.at(-1);
      if (!entry || (before && entry.sequence !== before.sequence + 1) || used + entry.bytes > logBytes) break;
      run.push(entry);
      used += entry.bytes;
      at = (at + entry.bytes) % logBytes;
    }
    const last = run.at(-1);
    // Complete when its newest entry says that it begins here.
    if (last && last.tail === start && last.sequence > (best.at(-1)?.sequence ?? -1)) best = run;
  }
  if (best.length === 0) throw damaged(file, 'its log has no complete entry');
  let pieces = 0;
  const write: Write = async (at, bytes) => {
    if (++pieces > PIECES_MAX) throw damaged(file, 'its log is not valid');
    if (file.readOnly) file.overlayWith(at, bytes);
    else await file.write(at, bytes);
  };
  const newest = best.at(-1)!;
  if (newest.fileBytes > file.size && !file.readOnly) await file.extendTo(newest.fileBytes);
  for (const entry of best) await applyEntry(file, entry, write);
  await file.sync();
}

function entryAt(log: Uint8Array, at: number, guid: string): LogEntry | undefined {
  const head = wrapped(log, at, SECTOR);
  const view = viewOf(head);
  if (signature(head) !== 'loge' || guidAt(head, 32) !== guid) return undefined;
  const bytes = view.getUint32(8, true);
  const tail = view.getUint32(12, true);
  const descriptors = view.getUint32(24, true);
  if (bytes < SECTOR || bytes % SECTOR !== 0 || bytes > log.length || tail % SECTOR !== 0 || tail >= log.length) return undefined;
  if (descriptors > (bytes / SECTOR) * MORE_DESCRIPTORS) return undefined;
  const image = wrapped(log, at, bytes);
  if (view.getUint32(4, true) !== crc32c(image, 4)) return undefined;
  const fileBytes = u64le(view, 56);
  if (!(fileBytes < POSITION_MAX)) return undefined;
  return { sequence: u64le(view, 16), bytes, tail, descriptors, image, fileBytes };
}

type Write = (at: number, bytes: Uint8Array) => Promise<void>;

async function applyEntry(file: HostFile, { image, descriptors, sequence }: LogEntry, write: Write): Promise<void> {
  const view = viewOf(image);
  const descriptorSectors = 1 + Math.max(0, Math.ceil((descriptors - FIRST_DESCRIPTORS) / MORE_DESCRIPTORS));
  let dataAt = descriptorSectors * SECTOR;
  for (let i = 0; i < descriptors; i++) {
    const at = 64 + i * 32;
    if (at + 32 > image.length) throw damaged(file, 'its log is not valid');
    const kind = signature(image.subarray(at, at + 4));
    const position = u64le(view, at + 16);
    if (u64le(view, at + 24) !== sequence || !(position < POSITION_MAX && position % SECTOR === 0))
      throw damaged(file, 'its log is not valid');
    if (kind === 'zero') {
      const length = u64le(view, at + 8);
      // Behind the end there are zeroes anyway.
      const end = Math.min(position + length, file.size);
      for (let p = position; p < end; p += ZEROES.length) await write(p, ZEROES.subarray(0, Math.min(ZEROES.length, end - p)));
    } else if (kind === 'desc') {
      if (dataAt + SECTOR > image.length) throw damaged(file, 'its log is not valid');
      const data = image.slice(dataAt, dataAt + SECTOR);
      const high = viewOf(data).getUint32(4, true);
      const low = viewOf(data).getUint32(SECTOR - 4, true);
      if (signature(data) !== 'data' || high * 2 ** 32 + low !== sequence) throw damaged(file, 'its log is not valid');
      data.set(image.subarray(at + 8, at + 16), 0);
      data.set(image.subarray(at + 4, at + 8), SECTOR - 4);
      await write(position, data);
      dataAt += SECTOR;
    } else throw damaged(file, 'its log is not valid');
  }
}

function wrapped(log: Uint8Array, at: number, bytes: number): Uint8Array {
  if (at + bytes <= log.length) return log.subarray(at, at + bytes);
  const out = new Uint8Array(bytes);
  const first = log.length - at;
  out.set(log.subarray(at), 0);
  out.set(log.subarray(0, bytes - first), first);
  return out;
}
