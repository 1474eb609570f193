/** Opens an image of any format with all it is built on. */
import { readdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { DiskFormat } from '../../../preload/contract';
import { SECTOR_BYTES } from '../../backend/block';
import type { Result } from '../../lib/result';
import type { BlockMap } from '../core/block-map';
import { FlatMap, ZeroMap } from '../core/flat-map';
import { HostFile } from '../core/host-file';
import { ImageDisk } from '../core/image-disk';
import { JoinedMap } from '../core/joined-map';
import type { BulkIo } from '../core/transfer';
import { ImageError } from '../image-error';
import { HEADER_BYTES, parseQcow2Header } from '../qcow2/header';
import { Qcow2Map, unpackers } from '../qcow2/qcow2-map';
import { parseVdiHeader, VDI_HEADER_BYTES, VdiMap } from '../vdi/vdi';
import { parseVhdFooter, parseVhdHeader, VHD_FOOTER_BYTES, VhdMap, type VhdHeader, utf16 } from '../vhd/vhd';
import { readVhdx, VhdxMap } from '../vhdx/vhdx';
import { DESCRIPTOR_BYTES_MAX, parseVmdkDescriptor, type VmdkDescriptor } from '../vmdk/descriptor';
import { readSparseHeader, SparseVmdkMap } from '../vmdk/sparse';
import { probeFormat } from './probe';
import { relatedPath, type RelatedFiles } from './related';

export interface OpenDiskOptions {
  readonly readOnly: boolean;
  /** 'auto': from the content. 'raw' takes the file as it is. */
  readonly format?: 'auto' | DiskFormat | undefined;
  /** Without: host memory only. */
  readonly native?: BulkIo | undefined;
  /** Where parents and parts may be; 'folder' unless told otherwise. */
  readonly related?: RelatedFiles | undefined;
}

const CHAIN_MAX = 64;
const FOLDER_ENTRIES_MAX = 4096;

interface Chain {
  readonly options: OpenDiskOptions;
  readonly related: RelatedFiles;
  /** Identities of the files opened so far. */
  readonly seen: Set<string>;
  depth: number;
}

interface Opened {
  readonly map: BlockMap;
  readonly parent?: ImageDisk | undefined;
  /** After the disk exists; before its first request. */
  readonly prepare?: (() => Promise<void>) | undefined;
}

export function openDisk(path: string, options: OpenDiskOptions): Promise<ImageDisk> {
  const chain: Chain = { options, related: options.related ?? 'folder', seen: new Set(), depth: 0 };
  return openIn(chain, path, options.format ?? 'auto', options.readOnly);
}

async function openIn(chain: Chain, path: string, format: 'auto' | DiskFormat, readOnly: boolean): Promise<ImageDisk> {
  const file = await HostFile.open(path, readOnly, chain.options.native);
  let parent: ImageDisk | undefined;
  const extra: HostFile[] = [];
  try {
    if (chain.seen.has(file.identity)) {
      throw new ImageError(
        'fileInvalid',
        `${path} is, through others, built on itself.`,
        'The image is damaged. Choose another one, or a backup of it.',
      );
    }
    chain.seen.add(file.identity);
    if (++chain.depth > CHAIN_MAX) {
      throw new ImageError(
        'fileInvalid',
        `More than ${CHAIN_MAX} images are built on each other.`,
        'Convert the one before into a stand-alone image.',
      );
    }
    const made: { disk?: ImageDisk } = {};
    const context: FormatContext = {
      file,
      path,
      readOnly,
      extra,
      host: () => made.disk!,
      openParent: async (name, parentFormat) =>
        (parent = await openIn(chain, await relatedPath(path, name, chain.related), parentFormat, true)),
      openPart: async (name) => {
        const part = await HostFile.open(await relatedPath(path, name, chain.related), readOnly, chain.options.native);
        extra.push(part);
        if (chain.seen.has(part.identity)) throw invalid(path, 'it names the same file twice');
        chain.seen.add(part.identity);
        return part;
      },
    };
    const opened = await FORMATS[format === 'auto' ? await probeFormat(file) : format](context);
    const disk = new ImageDisk(opened.map, { path, readOnly, native: chain.options.native, parent });
    made.disk = disk;
    if (!readOnly) await opened.prepare?.();
    return disk;
  } catch (e) {
    await Promise.allSettled([file.close(), ...extra.map((part) => part.close()), parent?.close()]);
    throw e;
  }
}

interface FormatContext {
  readonly file: HostFile;
  readonly path: string;
  readonly readOnly: boolean;
  readonly extra: HostFile[];
  readonly host: () => ImageDisk;
  readonly openParent: (name: string, format: 'auto' | DiskFormat) => Promise<ImageDisk>;
  readonly openPart: (name: string) => Promise<HostFile>;
}

const invalid = (path: string, problem: string): ImageError =>
  new ImageError(
    'fileInvalid',
    `${path} cannot be used: ${problem}.`,
    'Choose another image, or repair or convert it with the program that made it.',
  );

function value<T>(path: string, result: Result<T, string>): T {
  if (!result.ok) throw invalid(path, result.error);
  return result.value;
}

const FORMATS: { readonly [F in DiskFormat]: (context: FormatContext) => Promise<Opened> } = {
  raw: async ({ file }) => ({ map: new FlatMap('raw', 'raw', file, 0, Math.ceil(file.size / SECTOR_BYTES) * SECTOR_BYTES) }),

  qcow2: async ({ file, path, readOnly, host, openParent }) => {
    const header = value(path, parseQcow2Header(await file.bytes(0, HEADER_BYTES)));
    if (header.compression === 'zstd' && !unpackers.zstd)
      throw invalid(path, 'it is compressed with zstd, which this Lodge cannot read');
    if (header.l1At >= file.size) throw invalid(path, 'its first table is outside the file');
    if (!readOnly && header.corrupt) {
      throw new ImageError(
        'fileInvalid',
        `${path} is marked as damaged and can only be read.`,
        'Attach it read-only and copy what you need, or repair it with `qemu-img check -r all`.',
      );
    }
    const { backing } = header;
    const parent = backing && (await openParent(backing.name, qcow2ParentFormat(path, backing.format)));
    const map = new Qcow2Map(file, header, parent !== undefined, host);
    return { map, prepare: () => map.prepareWriting() };
  },

  vdi: async ({ file, path, openParent }) => {
    const header = value(path, parseVdiHeader(await file.bytes(0, VDI_HEADER_BYTES)));
    if (header.type === 'differencing') await openParent(await findVdi(path, header.parentId), 'vdi');
    const map = new VdiMap(file, header);
    return { map, prepare: () => mendVdi(path, map) };
  },

  vmdk: async (context) => openVmdk(context),

  vhd: async ({ file, path, openParent }) => {
    const last = Math.floor((file.size - VHD_FOOTER_BYTES) / 512) * 512;
    const atEnd = parseVhdFooter(await file.bytes(Math.max(0, last), VHD_FOOTER_BYTES));
    const footer = value(
      path,
      atEnd.ok && atEnd.value.type === 'fixed'
        ? atEnd
        : preferFirst(parseVhdFooter(await file.bytes(0, VHD_FOOTER_BYTES)), atEnd),
    );
    if (footer.type === 'fixed') {
      if (footer.bytes > last) throw invalid(path, 'it is shorter than its disk');
      return { map: new FlatMap('vhd', 'fixed', file, 0, footer.bytes) };
    }
    const header = value(path, parseVhdHeader(await file.bytes(footer.headerAt, 1024), footer.bytes));
    if (footer.type === 'differencing') {
      const parent = await openParent(await vhdParentName(file, header), 'vhd');
      const id = parent.map instanceof VhdMap ? parent.map.footer.id : await vhdId(parent);
      if (id !== header.parentId) throw invalid(path, `its parent ${parent.path} is another image than the one it was made on`);
    }
    return { map: await VhdMap.open(file, footer, header) };
  },

  vhdx: async ({ file, path, openParent }) => {
    const image = value(path, await readVhdx(file));
    const locator = image.metadata.parent;
    if (locator) {
      const { map } = await openParent(locator.name, 'vhdx');
      // The parent's content changed since: what the child leaves out would be wrong.
      if (!(map instanceof VhdxMap) || !locator.linkage.includes(map.image.header.dataWriteGuid)) {
        throw invalid(path, 'the image it is built on is another one, or was changed since');
      }
    }
    const map = new VhdxMap(file, image);
    return { map, prepare: () => map.prepareWriting() };
  },
};

/** Before anything is written: two blocks at one place, or one outside the file, cannot be put right; a wrong count can. */
async function mendVdi(path: string, map: VdiMap): Promise<void> {
  const { errors } = await map.survey();
  if (errors.length === 0) return map.mend();
  throw new ImageError(
    'fileInvalid',
    `${path} is damaged and can only be read: ${errors[0]}.`,
    'Attach it read-only, or convert it to a new image.',
  );
}

function qcow2ParentFormat(path: string, format: string | undefined): 'auto' | DiskFormat {
  if (format === undefined) return 'auto';
  const known = ({ raw: 'raw', file: 'raw', qcow2: 'qcow2', vdi: 'vdi', vmdk: 'vmdk', vpc: 'vhd', vhdx: 'vhdx' } as const)[
    format
  ];
  if (!known) throw invalid(path, 'it is built on an image of a format that is not known');
  return known;
}

/** VDI names its parent by id only. */
async function findVdi(path: string, id: string): Promise<string> {
  const folder = dirname(path);
  const names = (await readdir(folder)).filter((name) => name.toLowerCase().endsWith('.vdi')).slice(0, FOLDER_ENTRIES_MAX);
  for (const name of names) {
    const file = await HostFile.open(join(folder, name), true).catch(() => undefined);
    if (!file) continue;
    const header = parseVdiHeader(await file.bytes(0, VDI_HEADER_BYTES).finally(() => file.close()));
    if (header.ok && header.value.id === id) return name;
  }
  throw new ImageError(
    'fileMissing',
    `The image that ${path} is built on is not in its folder.`,
    'Put both VDI images into one folder.',
  );
}

/** W2ru locators hold a relative path; the header's own field only a name. */
async function vhdParentName(file: HostFile, header: VhdHeader): Promise<string> {
  const locator = header.locators.find(({ code }) => code === 'W2ru');
  const name = locator ? utf16(await file.bytes(locator.at, locator.bytes), false) : header.parentName;
  return name.replaceAll('\\', '/') || 'parent.vhd';
}

async function vhdId(disk: ImageDisk): Promise<string | undefined> {
  const file = disk.map.files[0]!;
  const footer = parseVhdFooter(await file.bytes(file.size - VHD_FOOTER_BYTES, VHD_FOOTER_BYTES));
  return footer.ok ? footer.value.id : undefined;
}

const preferFirst = <T>(first: Result<T, string>, second: Result<T, string>): Result<T, string> =>
  first.ok || !second.ok ? first : second;

// ---- VMDK -----------------------------------------------------------------------------------------------------------

async function openVmdk(context: FormatContext): Promise<Opened> {
  const { file, path, readOnly, openPart, openParent } = context;
  const magic = Buffer.from(await file.bytes(0, 4)).toString('latin1');
  if (magic === 'KDMV') {
    const header = value(path, await readSparseHeader(file));
    const text =
      header.descriptorBytes > 0
        ? await file.bytes(header.descriptorAt, Math.min(header.descriptorBytes, DESCRIPTOR_BYTES_MAX))
        : undefined;
    const descriptor = text && parseVmdkDescriptor(text);
    if (descriptor?.ok) await vmdkParent(descriptor.value, openParent);
    const name = (descriptor?.ok && descriptor.value.createType) || (header.compressed ? 'streamOptimized' : 'monolithicSparse');
    refuseCompressed(path, header.compressed, readOnly);
    return { map: new SparseVmdkMap(file, header, name) };
  }
  if (file.size > DESCRIPTOR_BYTES_MAX) throw invalid(path, 'it has no VMDK header');
  const descriptor = value(path, parseVmdkDescriptor(await file.bytes(0, file.size)));
  await vmdkParent(descriptor, openParent);
  const parts: BlockMap[] = [];
  for (const line of descriptor.extents) {
    const bytes = line.sectors * SECTOR_BYTES;
    if (line.kind === 'ZERO') {
      parts.push(new ZeroMap('vmdk', 'zero', bytes));
      continue;
    }
    const part = await openPart(line.file);
    if (line.kind === 'FLAT') {
      parts.push(new FlatMap('vmdk', 'flat', part, line.offset * SECTOR_BYTES, bytes));
      continue;
    }
    const header = value(part.path, await readSparseHeader(part));
    refuseCompressed(path, header.compressed, readOnly);
    if (header.bytes < bytes) throw invalid(path, `its part ${basename(part.path)} is smaller than it says`);
    parts.push(new SparseVmdkMap(part, { ...header, bytes }, 'sparse'));
  }
  const joined = new JoinedMap('vmdk', descriptor.createType, parts);
  if (joined.bytes > 2 ** 46) throw invalid(path, 'its disk size is not valid');
  // The descriptor is read once; what is written goes to the parts.
  context.extra.splice(0);
  await file.close();
  return { map: joined };
}

async function vmdkParent(descriptor: VmdkDescriptor, openParent: FormatContext['openParent']): Promise<void> {
  if (descriptor.parentCid === 'ffffffff') return;
  await openParent((descriptor.parentName ?? '').replaceAll('\\', '/') || 'parent.vmdk', 'auto');
}

function refuseCompressed(path: string, compressed: boolean, readOnly: boolean): void {
  if (compressed && !readOnly) {
    throw new ImageError(
      'fileInvalid',
      `${path} is compressed (streamOptimized) and can only be read.`,
      'Convert it to another format, or attach it read-only.',
    );
  }
}
