/**
 * VMDK text descriptors (VMware, Virtual Disk Format 5.0): key = value lines and one line an extent. Pure; hostile input.
 */
import { err, ok, type Result } from '../../lib/result';

export const DESCRIPTOR_BYTES_MAX = 1 << 20;
const EXTENTS_MAX = 1024;
const SECTORS_MAX = 2 ** 42;

export interface VmdkExtentLine {
  readonly access: 'RW' | 'RDONLY' | 'NOACCESS';
  readonly sectors: number;
  readonly kind: 'SPARSE' | 'FLAT' | 'ZERO';
  readonly file: string;
  /** Flat extents: the sector of the file it starts at. */
  readonly offset: number;
}

export interface VmdkDescriptor {
  readonly createType: string;
  readonly cid: string;
  /** ffffffff: none. */
  readonly parentCid: string;
  readonly parentName: string | undefined;
  readonly extents: readonly VmdkExtentLine[];
}

export function parseVmdkDescriptor(bytes: Uint8Array): Result<VmdkDescriptor, string> {
  const end = bytes.indexOf(0);
  const text = Buffer.from(end < 0 ? bytes : bytes.subarray(0, end)).toString('utf8');
  if (!/^\s*# *Disk DescriptorFile/i.test(text)) return err('it has no VMDK descriptor');
  const values = new Map<string, string>();
  const extents: VmdkExtentLine[] = [];
  for (const raw of text.split('\n')) {
    const line = raw.trim();
    if (line === '' || line.startsWith('#')) continue;
    const extent = /^(RW|RDONLY|NOACCESS)\s+(\d{1,15})\s+([A-Z]+)(?:\s+"([^"]*)"(?:\s+(\d{1,15}))?)?/.exec(line);
    if (extent) {
      const kind = extent[3];
      if (kind !== 'SPARSE' && kind !== 'FLAT' && kind !== 'ZERO')
        return err(`it has a part of the kind ${kind}, which is not supported`);
      const sectors = Number(extent[2]);
      const offset = Number(extent[5] ?? 0);
      if (sectors === 0 || sectors > SECTORS_MAX || offset > SECTORS_MAX) return err('the size of a part is not valid');
      if (kind !== 'ZERO' && !extent[4]) return err('a part has no file');
      extents.push({ access: extent[1] as VmdkExtentLine['access'], sectors, kind, file: extent[4] ?? '', offset });
      if (extents.length > EXTENTS_MAX) return err('it has too many parts');
      continue;
    }
    const pair = /^([A-Za-z0-9_.]+)\s*=\s*"?([^"]*)"?$/.exec(line);
    if (pair) values.set(pair[1]!.toLowerCase(), pair[2]!);
  }
  const createType = values.get('createtype') ?? '';
  if (values.get('encoding') !== undefined && !/^utf-?8$|^windows-1252$/i.test(values.get('encoding')!))
    return err('its text is in an encoding that is not known');
  if (extents.length === 0) return err('it has no parts');
  return ok({
    createType,
    cid: (values.get('cid') ?? 'ffffffff').toLowerCase(),
    parentCid: (values.get('parentcid') ?? 'ffffffff').toLowerCase(),
    parentName: values.get('parentfilenamehint'),
    extents,
  });
}

export function vmdkDescriptor(createType: string, bytes: number, cid: string, extents: readonly string[]): string {
  const sectors = bytes / 512;
  const heads = 16;
  return [
    '# Disk DescriptorFile',
    'version=1',
    `CID=${cid}`,
    'parentCID=ffffffff',
    `createType="${createType}"`,
    '',
    '# Extent description',
    ...extents,
    '',
    '# The Disk Data Base',
    '#DDB',
    '',
    'ddb.virtualHWVersion = "4"',
    `ddb.geometry.cylinders = "${Math.min(65535, Math.ceil(sectors / (heads * 63)))}"`,
    `ddb.geometry.heads = "${heads}"`,
    'ddb.geometry.sectors = "63"',
    'ddb.adapterType = "ide"',
    '',
  ].join('\n');
}
