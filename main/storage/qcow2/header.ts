/**
 * qcow2 header, versions 2 and 3 (QEMU, docs/interop/qcow2.txt). All fields are big-endian. Pure; the file is hostile: every size
 * is bounded here, before anything is allocated for it.
 */
import { err, ok, type Result } from '../../lib/result';
import { u64be, viewOf } from '../core/meta-cache';

export const QCOW2_MAGIC = 0x514649fb;
/** The header with its extensions and the backing file's name lies in the first cluster; this much of it is looked at. */
export const HEADER_BYTES = 65536;

export const Incompatible = { DIRTY: 1, CORRUPT: 2, EXTERNAL_DATA: 4, COMPRESSION_TYPE: 8, EXTENDED_L2: 16 } as const;
const KNOWN_INCOMPATIBLE = 31;

const EXTENSION_BACKING_FORMAT = 0xe2792aca;
const L1_BYTES_MAX = 32 << 20;
const REFCOUNT_TABLE_BYTES_MAX = 8 << 20;
const SNAPSHOTS_MAX = 65536;
const BACKING_NAME_MAX = 1023;

export interface Qcow2Header {
  readonly version: 2 | 3;
  readonly clusterBits: number;
  readonly bytes: number;
  readonly l1Entries: number;
  readonly l1At: number;
  readonly refcountTableAt: number;
  readonly refcountTableClusters: number;
  /** log2 of the bits a refcount has. */
  readonly refcountOrder: number;
  readonly snapshots: number;
  readonly snapshotsAt: number;
  readonly dirty: boolean;
  readonly corrupt: boolean;
  readonly autoclear: boolean;
  readonly compression: 'zlib' | 'zstd';
  readonly backing?: { readonly name: string; readonly format?: string };
}

/** `head`: the first HEADER_BYTES, zero-filled. The error is the rest of a sentence: "… cannot be used: <error>". */
export function parseQcow2Header(head: Uint8Array): Result<Qcow2Header, string> {
  const view = viewOf(head);
  if (view.getUint32(0) !== QCOW2_MAGIC) return err('it has no qcow2 header');
  const version = view.getUint32(4);
  if (version !== 2 && version !== 3) return err(`it is of qcow2 version ${version}, and only 2 and 3 are known`);
  const clusterBits = view.getUint32(20);
  if (clusterBits < 9 || clusterBits > 21) return err('its cluster size is not valid');
  const clusterBytes = 2 ** clusterBits;
  const v3 = version === 3;

  if (view.getUint32(32) !== 0) return err('it is encrypted, which is not supported');
  const headerLength = v3 ? view.getUint32(100) : 72;
  if (headerLength < (v3 ? 104 : 72) || headerLength % 8 !== 0 || headerLength > Math.min(clusterBytes, HEADER_BYTES))
    return err('the length of its header is not valid');
  if (v3 && view.getUint32(72) !== 0) return err('it uses features that this version of Lodge does not know');
  const incompatible = v3 ? view.getUint32(76) : 0;
  if ((incompatible & ~KNOWN_INCOMPATIBLE) !== 0) return err('it uses features that this version of Lodge does not know');
  if (incompatible & Incompatible.EXTERNAL_DATA) return err('it keeps its data in another file, which is not supported');
  if (incompatible & Incompatible.EXTENDED_L2) return err('it uses subclusters (extended L2 entries), which are not supported');
  const compressionType = headerLength > 104 && incompatible & Incompatible.COMPRESSION_TYPE ? head[104]! : 0;
  if (compressionType > 1) return err('it is compressed in a way that is not known');
  const refcountOrder = v3 ? view.getUint32(96) : 4;
  if (refcountOrder > 6) return err('its refcount width is not valid');

  const bytes = u64be(view, 24);
  const l1Entries = view.getUint32(36);
  const l1At = u64be(view, 40);
  if (!Number.isSafeInteger(bytes) || bytes === 0) return err('its disk size is not valid');
  if (bytes % 512 !== 0) return err('its disk size is not a whole number of sectors');
  if (l1Entries * 8 > L1_BYTES_MAX) return err('its first table is too large');
  if (l1Entries < Math.ceil(bytes / (clusterBytes * (clusterBytes / 8)))) return err('its first table is too small for its size');
  if (!aligned(l1At, clusterBytes)) return err('its first table is at an impossible place');

  const refcountTableAt = u64be(view, 48);
  const refcountTableClusters = view.getUint32(56);
  if (refcountTableClusters === 0 || refcountTableClusters * clusterBytes > Math.max(REFCOUNT_TABLE_BYTES_MAX, clusterBytes))
    return err('the size of its refcount table is not valid');
  if (!aligned(refcountTableAt, clusterBytes)) return err('its refcount table is at an impossible place');

  const snapshots = view.getUint32(60);
  const snapshotsAt = u64be(view, 64);
  if (snapshots > SNAPSHOTS_MAX) return err('it has too many snapshots');
  if (snapshots > 0 && !aligned(snapshotsAt, clusterBytes)) return err('its snapshot table is at an impossible place');

  let backing: Qcow2Header['backing'];
  const nameAt = u64be(view, 8);
  const nameBytes = view.getUint32(16);
  if (nameAt !== 0) {
    if (nameBytes === 0 || nameBytes > BACKING_NAME_MAX || !(nameAt + nameBytes <= Math.min(clusterBytes, HEADER_BYTES)))
      return err('the name of its backing file is not valid');
    const format = backingFormat(view, headerLength, nameAt);
    backing = { name: text(head.subarray(nameAt, nameAt + nameBytes)), ...(format !== undefined && { format }) };
  }
  return ok({
    version,
    clusterBits,
    bytes,
    l1Entries,
    l1At,
    refcountTableAt,
    refcountTableClusters,
    refcountOrder,
    snapshots,
    snapshotsAt,
    dirty: (incompatible & Incompatible.DIRTY) !== 0,
    corrupt: (incompatible & Incompatible.CORRUPT) !== 0,
    autoclear: v3 && (view.getUint32(88) !== 0 || view.getUint32(92) !== 0),
    compression: compressionType === 1 ? 'zstd' : 'zlib',
    ...(backing && { backing }),
  });
}

/** Header extensions: type, length, data padded to 8 bytes, until type 0. */
function backingFormat(view: DataView, from: number, end: number): string | undefined {
  const limit = Math.min(end, view.byteLength);
  for (let at = from; at + 8 <= limit;) {
    const type = view.getUint32(at);
    const length = view.getUint32(at + 4);
    if (type === 0 || length > limit - at - 8) return undefined;
    if (type === EXTENSION_BACKING_FORMAT) return text(new Uint8Array(view.buffer, view.byteOffset + at + 8, length));
    at += 8 + Math.ceil(length / 8) * 8;
  }
  return undefined;
}

const aligned = (at: number, clusterBytes: number): boolean =>
  Number.isSafeInteger(at) && at >= clusterBytes && at % clusterBytes === 0;
const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
