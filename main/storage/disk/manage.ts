/** Making, looking at, checking, converting and growing images, for people and for the control plane. */
import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir, realpath, rename, rm, stat, unlink } from 'node:fs/promises';
import { basename, dirname, extname, join, relative } from 'node:path';
import type { DiskCheck, DiskFormat, DiskInfo, DiskVariant } from '../../../preload/contract';
import { SECTOR_BYTES } from '../../backend/block';
import { HostFile } from '../core/host-file';
import type { ImageDisk } from '../core/image-disk';
import { ImageError, imageErrorOf, spaceErrorOf } from '../image-error';
import { writeNewQcow2 } from '../qcow2/create';
import { Qcow2Map } from '../qcow2/qcow2-map';
import { VdiMap, writeNewVdi } from '../vdi/vdi';
import { parseVhdFooter, VHD_BYTES_MAX, VHD_FOOTER_BYTES, writeNewVhd } from '../vhd/vhd';
import { VhdxMap, writeNewVhdx } from '../vhdx/vhdx';
import { vmdkDescriptor } from '../vmdk/descriptor';
import { writeNewSparse } from '../vmdk/sparse';
import { openDisk } from './open';
import type { RelatedFiles } from './related';

export interface CreateDiskOptions {
  readonly path: string;
  readonly bytes: number;
  readonly format: DiskFormat;
  readonly variant?: DiskVariant | undefined;
  /** The new image holds only what differs from this one. */
  readonly parent?: string | undefined;
}

const BYTES_MAX = 64 * 2 ** 40;
/** VMware's own split size. */
const SPLIT_BYTES = 4_192_256 * SECTOR_BYTES;
const NAMES: Record<DiskFormat, string> = {
  raw: 'A raw image',
  qcow2: 'qcow2',
  vdi: 'VDI',
  vmdk: 'VMDK',
  vhd: 'VHD',
  vhdx: 'VHDX',
};
const VARIANTS: Record<DiskFormat, readonly DiskVariant[]> = {
  raw: ['dynamic', 'fixed'],
  qcow2: ['dynamic'],
  vdi: ['dynamic', 'fixed'],
  vmdk: ['dynamic', 'fixed', 'split', 'splitFixed'],
  vhd: ['dynamic', 'fixed'],
  vhdx: ['dynamic', 'fixed'],
};

function requireSize(bytes: number): void {
  if (bytes > BYTES_MAX) throw new ImageError('fileInvalid', 'A disk has at most 64 TiB.', 'Choose a smaller size.');
  if (!Number.isSafeInteger(bytes) || bytes < SECTOR_BYTES || bytes % SECTOR_BYTES !== 0)
    throw new ImageError('fileInvalid', `A disk cannot have ${bytes} bytes.`, 'Choose a multiple of 512 bytes.');
}

/** A new, empty image; sparse on the host, whatever its kind. Nothing is left behind when it fails. */
export async function createDisk(options: CreateDiskOptions): Promise<void> {
  const { path, bytes, format } = options;
  const variant = options.variant ?? 'dynamic';
  requireSize(bytes);
  if (format === 'vhd' && bytes > VHD_BYTES_MAX)
    throw new ImageError('fileInvalid', 'A VHD disk has at most 2040 GiB.', 'Choose VHDX.');
  if (!VARIANTS[format].includes(variant)) {
    throw new ImageError(
      'fileInvalid',
      `${NAMES[format]} cannot be made in the variant “${variant}”.`,
      `Choose ${VARIANTS[format].join(' or ')}.`,
    );
  }
  const made: HostFile[] = [];
  const make = async (name: string): Promise<HostFile> => {
    const file = await HostFile.create(name);
    made.push(file);
    return file;
  };
  try {
    const parent = options.parent === undefined ? undefined : await parentOf(options.parent, options);
    await WRITERS[format]({ ...options, variant }, await make(path), make, parent);
    for (const file of made) await file.sync();
  } catch (e) {
    for (const file of made) {
      await file.close();
      await unlink(file.path).catch(() => undefined);
    }
    throw imageErrorOf(e, path);
  } finally {
    await Promise.all(made.map((file) => file.close()));
  }
}

interface Parent {
  /** Relative to the new image. */
  readonly name: string;
  readonly format: DiskFormat;
  readonly id: string | undefined;
}

type Writer = (
  options: CreateDiskOptions & { variant: DiskVariant },
  file: HostFile,
  make: (name: string) => Promise<HostFile>,
  parent: Parent | undefined,
) => Promise<void>;

const noParent = (format: DiskFormat): ImageError =>
  new ImageError(
    'fileInvalid',
    `${NAMES[format]} cannot be made on top of this image.`,
    'Use qcow2 on any image, VDI on VDI, VHD on VHD, or VHDX on VHDX.',
  );

const WRITERS: Record<DiskFormat, Writer> = {
  raw: async ({ bytes }, file, _make, parent) => {
    if (parent) throw noParent('raw');
    await file.extendTo(bytes);
  },
  qcow2: ({ bytes }, file, _make, parent) =>
    writeNewQcow2(file, bytes, parent && { name: parent.name, format: QEMU_NAMES[parent.format] }),
  vdi: async ({ bytes, variant }, file, _make, parent) => {
    if (parent && (parent.format !== 'vdi' || parent.name.includes('/'))) throw noParent('vdi');
    await writeNewVdi(file, bytes, {
      fixed: variant === 'fixed',
      id: randomBytes(16),
      ...(parent?.id !== undefined && { parentId: parent.id }),
    });
  },
  vhd: async ({ bytes, variant }, file, _make, parent) => {
    if (parent && (parent.format !== 'vhd' || parent.id === undefined)) throw noParent('vhd');
    await writeNewVhd(file, bytes, {
      fixed: variant === 'fixed',
      id: randomBytes(16),
      ...(parent && { parent: { id: parent.id!, name: parent.name } }),
    });
  },
  vhdx: async ({ bytes, variant }, file, _make, parent) => {
    if (parent && (parent.format !== 'vhdx' || parent.id === undefined)) throw noParent('vhdx');
    const link = parent && { id: parent.id!, name: parent.name };
    await writeNewVhdx(file, bytes, { fixed: variant === 'fixed', ...(link && { parent: link }) });
  },
  vmdk: async ({ path, bytes, variant }, file, make, parent) => {
    if (parent) throw noParent('vmdk');
    const cid = randomBytes(4).toString('hex');
    const line = (size: number, kind: string, name: string): string =>
      `RW ${size / SECTOR_BYTES} ${kind} "${name}"${kind === 'FLAT' ? ' 0' : ''}`;
    if (variant === 'dynamic') {
      return writeNewSparse(file, bytes, vmdkDescriptor('monolithicSparse', bytes, cid, [line(bytes, 'SPARSE', basename(path))]));
    }
    const flat = variant !== 'split';
    const stem = path.slice(0, path.length - extname(path).length);
    const sizes: number[] = [];
    for (let left = bytes; left > 0; left -= SPLIT_BYTES) sizes.push(variant === 'fixed' ? left : Math.min(left, SPLIT_BYTES));
    if (variant === 'fixed') sizes.splice(1);
    const lines: string[] = [];
    for (const [i, size] of sizes.entries()) {
      const name =
        variant === 'fixed' ? `${stem}-flat.vmdk` : `${stem}-${flat ? 'f' : 's'}${String(i + 1).padStart(3, '0')}.vmdk`;
      const part = await make(name);
      if (flat) await part.extendTo(size);
      else await writeNewSparse(part, size, undefined);
      lines.push(line(size, flat ? 'FLAT' : 'SPARSE', basename(name)));
    }
    const type = variant === 'fixed' ? 'monolithicFlat' : flat ? 'twoGbMaxExtentFlat' : 'twoGbMaxExtentSparse';
    await file.write(0, Buffer.from(vmdkDescriptor(type, bytes, cid, lines)));
  },
};
const QEMU_NAMES: Record<DiskFormat, string> = { raw: 'raw', qcow2: 'qcow2', vdi: 'vdi', vmdk: 'vmdk', vhd: 'vpc', vhdx: 'vhdx' };

async function parentOf(path: string, { path: child, bytes }: CreateDiskOptions): Promise<Parent> {
  const folder = await realpath(dirname(child)).catch((e: unknown) => {
    throw imageErrorOf(e, dirname(child));
  });
  const real = await realpath(path).catch((e: unknown) => {
    throw imageErrorOf(e, path);
  });
  const name = relative(folder, real);
  if (name.startsWith('..')) {
    throw new ImageError(
      'permissionDenied',
      `${path} is outside the folder of the new image.`,
      'Make the new image in the same folder.',
    );
  }
  const disk = await openDisk(real, { readOnly: true });
  try {
    if (bytes < disk.bytes)
      throw new ImageError('fileInvalid', `The new image is smaller than ${path}.`, 'Give it at least the same size.');
    const { map } = disk;
    let id: string | undefined;
    if (map instanceof VdiMap) id = map.header.id;
    if (map instanceof VhdxMap) id = map.image.header.dataWriteGuid;
    if (map.format === 'vhd') {
      const file = map.files[0]!;
      const footer = parseVhdFooter(await file.bytes(Math.floor((file.size - VHD_FOOTER_BYTES) / 512) * 512, VHD_FOOTER_BYTES));
      if (footer.ok) id = footer.value.id;
    }
    return { name, format: map.format, id };
  } finally {
    await disk.close();
  }
}

// ---- looking ----------------------------------------------------------------------------------------------------------

export async function diskInfo(path: string, format: 'auto' | DiskFormat = 'auto', related?: RelatedFiles): Promise<DiskInfo> {
  const disk = await openDisk(path, { readOnly: true, format, related });
  try {
    const { map } = disk;
    const parents: DiskInfo['parents'] = [];
    for (let parent = disk.parent; parent; parent = parent.parent) parents.push({ path: parent.path, format: parent.map.format });
    let hostBytes = 0;
    for (const file of map.files) hostBytes += await file.hostBytes();
    const readOnlyReason =
      map instanceof Qcow2Map && map.header.corrupt
        ? 'It is marked as damaged.'
        : map.variant === 'streamOptimized'
          ? 'It is compressed.'
          : undefined;
    return {
      path,
      format: map.format,
      variant: map.variant,
      bytes: map.bytes,
      hostBytes,
      ...(map.clusterBytes !== undefined && { clusterBytes: map.clusterBytes }),
      parents,
      snapshots: map.snapshots,
      ...(readOnlyReason !== undefined && { readOnlyReason }),
    };
  } finally {
    await disk.close();
  }
}

export async function checkDisk(path: string, related?: RelatedFiles): Promise<DiskCheck> {
  const disk = await openDisk(path, { readOnly: true, related });
  try {
    return { path, format: disk.map.format, ...(await disk.map.check()) };
  } finally {
    await disk.close();
  }
}

// ---- converting -------------------------------------------------------------------------------------------------------

export interface ConvertOptions {
  readonly format: DiskFormat;
  readonly variant?: DiskVariant | undefined;
  /** Larger than the source; its own size when absent. */
  readonly bytes?: number | undefined;
  /** Of the source, when it is not to be told from its content. */
  readonly from?: DiskFormat | undefined;
  readonly related?: RelatedFiles | undefined;
  readonly onProgress?: ((done: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

const PIECE_BYTES = 1 << 20;
/** Zeroes of this length are left out of the copy. */
const HOLE_BYTES = 64 << 10;

/** To a new file: copied, compared, and only then given its name. A cancelled or failed conversion leaves nothing. */
export async function convertDisk(from: string, to: string, options: ConvertOptions): Promise<void> {
  const source = await openDisk(from, { readOnly: true, format: options.from, related: options.related });
  let work: string | undefined;
  try {
    if (
      await stat(to).then(
        () => true,
        () => false,
      )
    )
      throw imageErrorOf(Object.assign(new Error(), { code: 'EEXIST' }), to);
    const bytes = Math.max(options.bytes ?? 0, source.bytes);
    work = await mkdtemp(join(dirname(to), `.${basename(to)}.part-`)).catch((e: unknown) => {
      throw imageErrorOf(e, to);
    });
    const target = join(work, basename(to));
    await createDisk({ path: target, bytes, format: options.format, variant: options.variant });
    const copy = await openDisk(target, { readOnly: false, format: options.format });
    try {
      await copyDisk(source, copy, options.signal, (done) => options.onProgress?.(done * 0.6));
      await copy.flush();
      await compareDisks(source, copy, options.signal, (done) => options.onProgress?.(0.6 + done * 0.4));
    } finally {
      await copy.close();
    }
    await publish(work, to);
  } catch (e) {
    throw spaceErrorOf(e, to);
  } finally {
    await source.close();
    if (work !== undefined) await rm(work, { recursive: true, force: true });
  }
}

/** Parts first: the file with the name that was asked for says that all is there. */
async function publish(work: string, to: string): Promise<void> {
  const folder = dirname(to);
  const names = (await readdir(work)).filter((name) => name !== basename(to));
  for (const name of [...names, basename(to)]) {
    const target = join(folder, name);
    if (
      await stat(target).then(
        () => true,
        () => false,
      )
    )
      throw imageErrorOf(Object.assign(new Error(), { code: 'EEXIST' }), target);
    await rename(join(work, name), target);
  }
}

export async function copyDisk(
  source: ImageDisk,
  target: ImageDisk,
  signal: AbortSignal | undefined,
  onProgress: (done: number) => void,
): Promise<void> {
  let writing: Promise<void> = Promise.resolve();
  for (let at = 0; at < source.bytes;) {
    signal?.throwIfAborted();
    const { zero, bytes } = await source.isZero(at, Math.min(PIECE_BYTES, source.bytes - at));
    if (!zero) {
      const piece = new Uint8Array(bytes);
      await source.readBytes(at, piece);
      await writing;
      writing = writeData(target, at, piece);
      writing.catch(() => undefined);
    }
    at += bytes;
    onProgress(at / source.bytes);
  }
  await writing;
}

async function writeData(target: ImageDisk, offset: number, piece: Uint8Array): Promise<void> {
  for (let at = 0; at < piece.length;) {
    let end = at;
    while (end < piece.length && !isZero(piece, end)) end += HOLE_BYTES;
    end = Math.min(end, piece.length);
    if (end > at) await target.writeBytes(offset + at, piece.subarray(at, end));
    at = end;
    while (at < piece.length && isZero(piece, at)) at += HOLE_BYTES;
  }
}

const ZEROES = Buffer.alloc(HOLE_BYTES);
const isZero = (piece: Uint8Array, at: number): boolean => {
  const part = piece.subarray(at, at + HOLE_BYTES);
  return ZEROES.compare(part, 0, part.length, 0, part.length) === 0;
};

/** What `target` has beyond `source` must be zeroes. */
export async function compareDisks(
  source: ImageDisk,
  target: ImageDisk,
  signal: AbortSignal | undefined,
  onProgress: (done: number) => void,
): Promise<void> {
  for (let at = 0; at < target.bytes;) {
    signal?.throwIfAborted();
    const left = at < source.bytes ? source.bytes - at : target.bytes - at;
    const a = at < source.bytes ? await source.isZero(at, left) : { zero: true, bytes: left };
    const b = await target.isZero(at, Math.min(left, a.bytes));
    let bytes = b.bytes;
    if (!(a.zero && b.zero)) {
      bytes = Math.min(bytes, PIECE_BYTES);
      const [x, y] = [new Uint8Array(bytes), new Uint8Array(bytes)];
      await Promise.all([at < source.bytes ? source.readBytes(at, x) : undefined, target.readBytes(at, y)]);
      if (Buffer.compare(x, y) !== 0) {
        throw new ImageError(
          'internal',
          `The copy of ${source.path} differs from it.`,
          'Something else changed one of them, or the disk that holds them is failing. Try again.',
        );
      }
    }
    at += bytes;
    onProgress(at / target.bytes);
  }
}

// ---- growing ----------------------------------------------------------------------------------------------------------

/** Only larger. In place where the format allows it, else through a copy that takes the image's place when it is complete. */
export async function resizeDisk(
  path: string,
  bytes: number,
  options: Pick<ConvertOptions, 'onProgress' | 'signal' | 'related'> = {},
): Promise<void> {
  requireSize(bytes);
  const disk = await openDisk(path, { readOnly: false, related: options.related });
  const { map } = disk;
  try {
    if (bytes < disk.bytes)
      throw new ImageError(
        'fileInvalid',
        'A disk cannot be made smaller: what is at its end would be lost.',
        'Make a new, smaller disk and copy to it inside a guest.',
      );
    if (bytes === disk.bytes) return;
    if (map.format === 'raw') return await map.files[0]!.extendTo(bytes);
    if (map instanceof Qcow2Map) {
      if (map.snapshots > 0)
        throw new ImageError(
          'fileInvalid',
          `${path} has snapshots and cannot be resized.`,
          'Delete them with the program that made them, or convert the image.',
        );
      if (disk.parent && disk.parent.bytes > disk.bytes)
        throw new ImageError('fileInvalid', `${path} is smaller than what it is built on.`, 'Convert it first.');
      return await disk.exclusive(() => map.grow(bytes));
    }
    if (map instanceof VdiMap && (await map.grow(bytes))) return;
    if (disk.parent)
      throw new ImageError(
        'fileInvalid',
        `${path} is built on another image and cannot be resized.`,
        'Convert it to a stand-alone image first.',
      );
    if (map.files.length !== 1 || map.files[0]!.path !== path) {
      throw new ImageError(
        'fileInvalid',
        `${path} consists of several files and cannot be resized.`,
        'Convert it to another format first.',
      );
    }
  } finally {
    await disk.close();
  }
  const folder = await mkdtemp(join(dirname(path), `.${basename(path)}.part-`)).catch((e: unknown) => {
    throw imageErrorOf(e, path);
  });
  try {
    const larger = join(folder, basename(path));
    await convertDisk(path, larger, {
      ...options,
      format: map.format,
      variant: map.variant === 'fixed' ? 'fixed' : 'dynamic',
      bytes,
    });
    await rename(larger, path);
  } catch (e) {
    throw spaceErrorOf(e, path);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
