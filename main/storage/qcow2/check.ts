/** Counts every reference of a qcow2 image and compares with its refcounts; can put the refcounts and the COPIED flags right. */
import type { DiskCheck } from '../../../preload/contract';
import { damaged } from '../core/block-map';
import { u64be, viewOf } from '../core/meta-cache';
import { COMPRESSED, COPIED, type Qcow2Map } from './qcow2-map';
import { Order } from './refcounts';

/** 16-bit counters for as many clusters take 64 MiB. */
const CLUSTERS_MAX = 1 << 25;
const ERRORS_MAX = 100;
const L1_BYTES_MAX = 32 << 20;
const SNAPSHOT_BYTES_MAX = 4096;

export async function checkQcow2(map: Qcow2Map, repair: boolean): Promise<Omit<DiskCheck, 'path' | 'format'>> {
  const { file, header, clusterBytes, refcounts } = map;
  const clusters = Math.ceil(file.size / clusterBytes);
  if (clusters > CLUSTERS_MAX) throw damaged(file, 'it has too many clusters to be checked');
  const seen = new Uint16Array(clusters);
  const errors: string[] = [];
  let data = 0;
  let ok = true;
  const bad = (message: string): void => {
    ok = false;
    if (errors.length < ERRORS_MAX) errors.push(message);
  };
  const count = (at: number, bytes: number, what: string): boolean => {
    if (!(at >= 0 && bytes >= 0 && at + bytes <= clusters * clusterBytes)) {
      bad(`${what} is outside the file`);
      return false;
    }
    for (let c = Math.floor(at / clusterBytes); c * clusterBytes < at + bytes; c++) if (seen[c]! < 0xffff) seen[c]!++;
    return true;
  };

  const l2Done = new Map<number, number>();
  const walkL2 = async (at: number): Promise<void> => {
    const view = viewOf(await file.bytes(at, clusterBytes));
    for (let i = 0; i < clusterBytes; i += 8) {
      const hi = view.getUint32(i);
      const lo = view.getUint32(i + 4);
      if (hi & COMPRESSED) {
        const packed = map.packedAt(hi, lo);
        // The last sectors of the last cluster need not be there.
        if (count(packed.at, Math.min(packed.bytes, Math.max(0, clusters * clusterBytes - packed.at)), 'a compressed cluster'))
          data++;
        continue;
      }
      const position = (hi & 0x00ff_ffff) * 0x1_0000_0000 + ((lo & 0xffff_fe00) >>> 0);
      if (position === 0) continue;
      if (position % clusterBytes !== 0) bad('a cluster is at an impossible place');
      else if (count(position, clusterBytes, 'a cluster')) data++;
    }
  };
  const walkL1 = async (at: number, entries: number, what: string): Promise<void> => {
    if (entries * 8 > L1_BYTES_MAX || at % clusterBytes !== 0 || !count(at, entries * 8, what)) {
      bad(`${what} is not valid`);
      return;
    }
    const view = viewOf(await file.bytes(at, entries * 8));
    for (let i = 0; i < entries; i++) {
      const hi = view.getUint32(i * 8);
      const l2 = (hi & 0x00ff_ffff) * 0x1_0000_0000 + ((view.getUint32(i * 8 + 4) & 0xffff_fe00) >>> 0);
      if (l2 === 0) continue;
      if (l2 % clusterBytes !== 0 || !count(l2, clusterBytes, 'a table')) {
        bad('a table is at an impossible place');
        continue;
      }
      // A hostile image may name one table a million times.
      const times = (l2Done.get(l2) ?? 0) + 1;
      l2Done.set(l2, times);
      if (times > header.snapshots + 1) bad('a table is used more than once');
      else await walkL2(l2);
    }
  };

  count(0, clusterBytes, 'the header');
  await walkL1(header.l1At, header.l1Entries, 'the first table');
  await walkSnapshots(map, count, bad, walkL1);
  const table = refcounts.table;
  if (count(table.at, table.clusters * clusterBytes, 'the refcount table')) {
    const view = viewOf(await file.bytes(table.at, table.clusters * clusterBytes));
    for (let i = 0; i < view.byteLength; i += 8) {
      const block = u64be(view, i);
      if (block === 0) continue;
      if (block % clusterBytes !== 0) bad('a refcount block is at an impossible place');
      else count(block, clusterBytes, 'a refcount block');
    }
  }

  if (repair && !ok) throw damaged(file, errors[0]!);
  let leaked = 0;
  for (let c = 0; c < clusters; c++) {
    const stored = await refcounts.get(c);
    const wanted = seen[c]!;
    if (stored === wanted) continue;
    if (repair) {
      await refcounts.set(c, wanted);
      if (map.cache.dirtyBytes > 4 << 20) await map.cache.write(Order.REFCOUNTS);
    } else if (stored > wanted) leaked++;
    else bad(`cluster ${c} is used ${wanted} times, but its refcount is ${stored}`);
  }
  if (repair) await repairFlags(map, seen);
  return { ok, errors, leakedBytes: leaked * clusterBytes, allocatedBytes: data * clusterBytes };
}

/** Snapshot table entries: 40 bytes, extra data, id, name, padded to 8. */
async function walkSnapshots(
  map: Qcow2Map,
  count: (at: number, bytes: number, what: string) => boolean,
  bad: (message: string) => void,
  walkL1: (at: number, entries: number, what: string) => Promise<void>,
): Promise<void> {
  const { header, file } = map;
  let at = header.snapshotsAt;
  for (let i = 0; i < header.snapshots; i++) {
    const view = viewOf(await file.bytes(at, 40));
    const bytes = 40 + view.getUint32(36) + view.getUint16(12) + view.getUint16(14);
    if (bytes > SNAPSHOT_BYTES_MAX + 2 * 65536) return bad('the snapshot table is not valid');
    await walkL1(u64be(view, 0), view.getUint32(8), 'the table of a snapshot');
    at += Math.ceil(bytes / 8) * 8;
  }
  if (header.snapshots > 0) count(header.snapshotsAt, at - header.snapshotsAt, 'the snapshot table');
}

/** COPIED says that the refcount is exactly 1. */
async function repairFlags(map: Qcow2Map, seen: Uint16Array): Promise<void> {
  const { file, header, clusterBytes } = map;
  const fix = async (at: number, bytes: number, visit?: (position: number) => Promise<void>): Promise<void> => {
    const table = await file.bytes(at, bytes);
    const view = viewOf(table);
    let changed = false;
    for (let i = 0; i + 8 <= bytes; i += 8) {
      const hi = view.getUint32(i);
      if (hi & COMPRESSED) continue;
      const position = (hi & 0x00ff_ffff) * 0x1_0000_0000 + ((view.getUint32(i + 4) & 0xffff_fe00) >>> 0);
      if (position === 0) continue;
      const right = seen[position / clusterBytes] === 1 ? (hi | COPIED) >>> 0 : (hi & ~COPIED) >>> 0;
      if (right !== hi) {
        view.setUint32(i, right);
        changed = true;
      }
      await visit?.(position);
    }
    if (!changed) return;
    await file.write(at, table);
    map.cache.forget(at, bytes);
  };
  await fix(header.l1At, header.l1Entries * 8, (l2) => fix(l2, clusterBytes));
}
