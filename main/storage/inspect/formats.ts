/** What an image is, from its first and last bytes. Pure; every field of the file is hostile and checked against what was read. */

export type Found =
  | { readonly kind: 'linuxKernel'; readonly format: 'bzImage'; readonly label?: string }
  | {
      readonly kind: 'disk';
      readonly format: string;
      readonly label?: string;
      readonly bootable: boolean;
      readonly problem?: string;
    }
  | { readonly kind: 'archive' | 'unknown'; readonly format: string; readonly label?: string; readonly problem: string };

const SECTOR = 512;

interface Signature {
  readonly format: string;
  readonly at: number;
  readonly bytes: readonly number[] | string;
  /** What is wrong with it, in a sentence, and what to do. Of disk images only opening them tells. */
  readonly says?: string;
  readonly kind: 'disk' | 'archive' | 'unknown';
}

/** Image formats, and files people drop by mistake. */
const SIGNATURES: readonly Signature[] = [
  {
    format: 'qcow2',
    at: 0,
    bytes: [0x51, 0x46, 0x49, 0xfb],
    kind: 'disk',
  },
  {
    format: 'vdi',
    at: 0x40,
    bytes: [0x7f, 0x10, 0xda, 0xbe],
    kind: 'disk',
  },
  {
    format: 'vmdk',
    at: 0,
    bytes: 'KDMV',
    kind: 'disk',
  },
  {
    format: 'vmdk',
    at: 0,
    bytes: '# Disk DescriptorFile',
    kind: 'disk',
  },
  {
    format: 'vhdx',
    at: 0,
    bytes: 'vhdxfile',
    kind: 'disk',
  },
  {
    format: 'vhd',
    at: 0,
    bytes: 'conectix',
    kind: 'disk',
  },
  {
    format: 'gzip',
    at: 0,
    bytes: [0x1f, 0x8b],
    kind: 'archive',
    says: 'This file is compressed with gzip; unpack it first (an initial RAM disk is chosen together with its kernel).',
  },
  {
    format: 'xz',
    at: 0,
    bytes: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00],
    kind: 'archive',
    says: 'This file is compressed with xz; unpack it first.',
  },
  { format: 'bzip2', at: 0, bytes: 'BZh', kind: 'archive', says: 'This file is compressed with bzip2; unpack it first.' },
  {
    format: 'zstd',
    at: 0,
    bytes: [0x28, 0xb5, 0x2f, 0xfd],
    kind: 'archive',
    says: 'This file is compressed with zstd; unpack it first (an initial RAM disk is chosen together with its kernel).',
  },
  {
    format: 'zip',
    at: 0,
    bytes: [0x50, 0x4b, 0x03, 0x04],
    kind: 'archive',
    says: 'This is a zip archive; unpack it and use the image inside.',
  },
  {
    format: '7z',
    at: 0,
    bytes: [0x37, 0x7a, 0xbc, 0xaf, 0x27, 0x1c],
    kind: 'archive',
    says: 'This is a 7z archive; unpack it and use the image inside.',
  },
  { format: 'rar', at: 0, bytes: 'Rar!', kind: 'archive', says: 'This is a rar archive; unpack it and use the image inside.' },
  { format: 'tar', at: 257, bytes: 'ustar', kind: 'archive', says: 'This is a tar archive; unpack it and use the image inside.' },
  {
    format: 'cpio',
    at: 0,
    bytes: '070701',
    kind: 'unknown',
    says: 'This is an initial RAM disk; choose it together with its kernel.',
  },
  {
    format: 'elf',
    at: 0,
    bytes: [0x7f, 0x45, 0x4c, 0x46],
    kind: 'unknown',
    says: 'This is a program (ELF), not a disk image or a Linux bzImage kernel.',
  },
  { format: 'pdf', at: 0, bytes: '%PDF', kind: 'unknown', says: 'This is a PDF document, not a disk image.' },
  { format: 'png', at: 0, bytes: [0x89, 0x50, 0x4e, 0x47], kind: 'unknown', says: 'This is a picture, not a disk image.' },
  { format: 'jpeg', at: 0, bytes: [0xff, 0xd8, 0xff], kind: 'unknown', says: 'This is a picture, not a disk image.' },
];

function matches(head: Uint8Array, { at, bytes }: Pick<Signature, 'at' | 'bytes'>): boolean {
  if (at + bytes.length > head.length) return false;
  for (let i = 0; i < bytes.length; i++) {
    if (head[at + i] !== (typeof bytes === 'string' ? bytes.charCodeAt(i) : bytes[i])) return false;
  }
  return true;
}

const view = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

export function latin1(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) {
    if (byte === 0) break;
    text += byte >= 0x20 && byte !== 0x7f ? String.fromCharCode(byte) : ' ';
  }
  return text.trim();
}

/**
 * `head`: the first bytes (as many as were read); `tail`: the last 512; `bytes`: the size of the file; `isImageName`: the name
 * ends like a disk image's.
 */
export function identify(head: Uint8Array, tail: Uint8Array, bytes: number, isImageName: boolean): Found {
  const kernel = identifyKernel(head);
  if (kernel) return kernel;
  for (const s of SIGNATURES) {
    if (!matches(head, s)) continue;
    return s.kind === 'disk'
      ? { kind: 'disk', format: s.format, bootable: true }
      : { kind: s.kind, format: s.format, problem: s.says ?? '' };
  }
  if (matches(tail, { at: 0, bytes: 'conectix' })) {
    return {
      kind: 'disk',
      format: 'vhd',
      bootable: true,
    };
  }
  const disk = identifyRawDisk(head);
  if (disk) return disk;
  if (isText(head)) return { kind: 'unknown', format: 'text', problem: 'This is a text file, not a disk image.' };
  if (isImageName && bytes >= SECTOR) return { kind: 'disk', format: 'raw', bootable: false };
  return {
    kind: 'unknown',
    format: 'data',
    problem: 'This is not a disk image, a disc image or a Linux kernel that Lodge knows.',
  };
}

/** Linux boot protocol: 'HdrS' at 202h, the version string at [20Eh] + 200h. */
function identifyKernel(head: Uint8Array): Found | undefined {
  if (!matches(head, { at: 0x202, bytes: 'HdrS' }) || !matches(head, { at: 0x1fe, bytes: [0x55, 0xaa] })) return undefined;
  const pointer = view(head).getUint16(0x20e, true);
  const at = pointer + 0x200;
  const text = pointer !== 0 && at < head.length ? latin1(head.subarray(at, at + 128)) : '';
  const version = text.split(' ')[0] ?? '';
  return { kind: 'linuxKernel', format: 'bzImage', ...(version !== '' && { label: `Linux ${version}` }) };
}

function identifyRawDisk(head: Uint8Array): Found | undefined {
  const raw = (bootable: boolean, label?: string): Found => ({ kind: 'disk', format: 'raw', bootable, ...(label && { label }) });
  if (matches(head, { at: 510, bytes: [0x55, 0xaa] })) {
    const partitions = [0, 1, 2, 3].map((i) => ({ status: head[446 + i * 16]!, type: head[446 + i * 16 + 4]! }));
    const plausible = partitions.every(({ status }) => (status & 0x7f) === 0);
    const code = head.subarray(0, 440).some((byte) => byte !== 0);
    if (matches(head, { at: SECTOR, bytes: 'EFI PART' })) return raw(true, 'GPT');
    if (plausible && partitions.some(({ type }) => type !== 0)) {
      return raw(code || partitions.some(({ status }) => status === 0x80), 'MBR');
    }
    // A boot sector without partitions: a floppy, or a FAT or NTFS volume.
    if (code) return raw(true, fileSystemLabel(head));
  }
  const label = fileSystemLabel(head);
  return label === undefined ? undefined : raw(false, label);
}

function fileSystemLabel(head: Uint8Array): string | undefined {
  if (matches(head, { at: 1080, bytes: [0x53, 0xef] })) return latin1(head.subarray(1144, 1160)) || 'ext4';
  if (matches(head, { at: 3, bytes: 'NTFS' })) return 'NTFS';
  if (matches(head, { at: 54, bytes: 'FAT' })) return latin1(head.subarray(43, 54)) || 'FAT';
  if (matches(head, { at: 82, bytes: 'FAT32' })) return latin1(head.subarray(71, 82)) || 'FAT32';
  if (matches(head, { at: 0, bytes: 'XFSB' })) return latin1(head.subarray(108, 120)) || 'XFS';
  if (matches(head, { at: 0x10040, bytes: '_BHRfS_M' })) return 'btrfs';
  return undefined;
}

/** UTF-8 text without control characters, in the first 4 KiB. */
function isText(head: Uint8Array): boolean {
  const sample = head.subarray(0, 4096);
  if (sample.length === 0) return false;
  for (const byte of sample) if (byte < 0x09 || (byte > 0x0d && byte < 0x20 && byte !== 0x1b) || byte === 0x7f) return false;
  // A character cut in two by the end of the sample is no reason to refuse.
  const text = new TextDecoder('utf-8').decode(sample);
  const bad = text.indexOf('\ufffd');
  return bad < 0 || bad >= text.length - 1;
}
