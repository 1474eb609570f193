/** Disks and discs as a person sees them: where they hang, what an image is and costs, what can be done to it. */
import { baseName, formatBytes } from './format';
import {
  DISK_BYTES_MAX,
  DISK_BYTES_MIN,
  type Disk,
  type DiskBus,
  type DiskFormat,
  type DiskKind,
  type DiskVariant,
  type VmConfig,
} from './types';

// ---- controllers ------------------------------------------------------------------------------------------------------

export const GROUP_IDS = ['virtio', 'ahci', 'ide', 'floppy'] as const;
export type GroupId = (typeof GROUP_IDS)[number];
export interface DriveGroup {
  readonly id: GroupId;
  readonly title: string;
  readonly hint: string;
  /** How many drives it takes; null: as many as one likes. */
  readonly places: number | null;
  readonly disks: readonly Disk[];
}

const GROUPS: Readonly<Record<GroupId, Omit<DriveGroup, 'id' | 'disks'>>> = {
  virtio: { title: 'Fast disks', hint: 'virtio: quickest; Linux and BSD know it', places: null },
  ahci: { title: 'SATA', hint: 'known to every system since 2007', places: 6 },
  ide: { title: 'IDE', hint: 'known to every system, and slower', places: 4 },
  floppy: { title: 'Floppy drives', hint: 'for media of 1.44 MB and less', places: 2 },
};

export const groupOf = (disk: Pick<Disk, 'kind' | 'bus'>): GroupId => (disk.kind === 'floppy' ? 'floppy' : disk.bus);

/** Only controllers that something hangs on, always in the same order. */
export function driveGroups(disks: readonly Disk[]): DriveGroup[] {
  return GROUP_IDS.map((id) => ({ id, ...GROUPS[id], disks: disks.filter((d) => groupOf(d) === id) })).filter(
    (g) => g.disks.length > 0,
  );
}

export const BUS_LABEL: Readonly<Record<DiskBus, string>> = { virtio: 'Fast (virtio)', ahci: 'SATA', ide: 'IDE' };

/** "SATA disk", "CD drive": what it is, without the names of chips. */
export function driveName({ kind, bus }: Pick<Disk, 'kind' | 'bus'>): string {
  switch (kind) {
    case 'floppy':
      return 'Floppy drive';
    case 'disc':
      return bus === 'virtio' ? 'Fixed disc' : bus === 'ahci' ? 'SATA CD drive' : 'CD drive';
    case 'disk':
      return bus === 'virtio' ? 'Fast disk' : bus === 'ahci' ? 'SATA disk' : 'IDE disk';
  }
}

/** Where a drive of this kind goes when nobody says: a disc on virtio could not be ejected. */
export const defaultBus = (kind: DiskKind): DiskBus => (kind === 'disk' ? 'virtio' : 'ide');

export const freeDiskId = (disks: readonly Disk[]): string => {
  for (let n = 0; ; n++) if (!disks.some((d) => d.id === `disk${n}`)) return `disk${n}`;
};

/** An image as a drive of a machine. Discs are never written; what a disk is is told from its content. */
export const newDrive = (path: string, kind: DiskKind, id: string): Disk => ({
  id,
  path,
  kind,
  bus: defaultBus(kind),
  format: kind === 'disk' ? 'auto' : 'raw',
  readOnly: kind === 'disc',
});

/**
 * Behind the other disks, which keep their names in the guest, and before all discs: a blank disk is passed over, and once it is
 * installed it starts before the installer's disc.
 */
export function withNewDisk(disks: readonly Disk[], disk: Disk): Disk[] {
  const at = disks.findLastIndex((d) => d.kind === 'disk') + 1;
  return [...disks.slice(0, at), disk, ...disks.slice(at)];
}

/** What keeps a drive from working, by disk id: no place on its controller, or an image that is there twice. */
export function driveProblems(disks: readonly Disk[]): Readonly<Record<string, string>> {
  const problems: Record<string, string> = {};
  for (const group of driveGroups(disks)) {
    if (group.places === null) continue;
    for (const disk of group.disks.slice(group.places))
      problems[disk.id] = `No place is left: ${group.title} has room for ${group.places}.`;
  }
  const seen = new Set<string>();
  for (const disk of disks) {
    if (seen.has(disk.path)) problems[disk.id] = 'This image is in the list twice.';
    seen.add(disk.path);
  }
  return problems;
}

export const isRemovable = (disk: Pick<Disk, 'kind' | 'bus'>): boolean =>
  disk.kind === 'floppy' || (disk.kind === 'disc' && disk.bus !== 'virtio');

// ---- order ------------------------------------------------------------------------------------------------------------

/** The list with one item elsewhere; positions out of range are taken as the nearest end. */
export function moved<T>(list: readonly T[], from: number, to: number): T[] {
  const item = list[from];
  if (item === undefined) return [...list];
  const rest = list.filter((_, i) => i !== from);
  rest.splice(Math.max(0, Math.min(rest.length, to)), 0, item);
  return rest;
}

/** In which place a dragged row is, from the middle of it and the middles of all rows as they were when the drag began. */
export function dropIndex(middles: readonly number[], from: number, middle: number): number {
  let to = from;
  while (to > 0 && middle < middles[to - 1]!) to--;
  while (to < middles.length - 1 && middle > middles[to + 1]!) to++;
  return to;
}

// ---- images -----------------------------------------------------------------------------------------------------------

export interface FormatEntry {
  readonly value: DiskFormat;
  readonly label: string;
  readonly hint: string;
  readonly extension: string;
  readonly variants: readonly DiskVariant[];
  readonly maxBytes: number;
}

const GIB = 1024 ** 3;
export const FORMATS: readonly FormatEntry[] = [
  {
    value: 'raw',
    label: 'Raw',
    hint: 'Nothing but the contents; every program reads it',
    extension: 'img',
    variants: ['dynamic', 'fixed'],
    maxBytes: DISK_BYTES_MAX,
  },
  {
    value: 'qcow2',
    label: 'qcow2',
    hint: 'For QEMU, virt-manager, GNOME Boxes and UTM',
    extension: 'qcow2',
    variants: ['dynamic'],
    maxBytes: DISK_BYTES_MAX,
  },
  {
    value: 'vdi',
    label: 'VDI',
    hint: 'For VirtualBox',
    extension: 'vdi',
    variants: ['dynamic', 'fixed'],
    maxBytes: DISK_BYTES_MAX,
  },
  {
    value: 'vmdk',
    label: 'VMDK',
    hint: 'For VMware',
    extension: 'vmdk',
    variants: ['dynamic', 'fixed', 'split', 'splitFixed'],
    maxBytes: DISK_BYTES_MAX,
  },
  {
    value: 'vhdx',
    label: 'VHDX',
    hint: 'For Hyper-V',
    extension: 'vhdx',
    variants: ['dynamic', 'fixed'],
    maxBytes: DISK_BYTES_MAX,
  },
  {
    value: 'vhd',
    label: 'VHD',
    hint: 'For Azure and older Hyper-V; at most 2040 GiB',
    extension: 'vhd',
    variants: ['dynamic', 'fixed'],
    maxBytes: 2040 * GIB,
  },
];
export const formatEntry = (format: DiskFormat): FormatEntry => FORMATS.find((f) => f.value === format)!;
export const formatLabel = (format: Disk['format']): string => (format === 'auto' ? 'Disk' : formatEntry(format).label);

export const VARIANT_LABEL: Readonly<Record<DiskVariant, string>> = {
  dynamic: 'Grows as it fills',
  fixed: 'Full length from the start',
  split: 'Grows, in files of 2 GB',
  splitFixed: 'Full length, in files of 2 GB',
};
export const isThin = (variant: DiskVariant): boolean => variant === 'dynamic' || variant === 'split';
/** The wanted variant if the format has it, else the format's first. */
export const variantFor = (format: DiskFormat, wanted: DiskVariant): DiskVariant => {
  const { variants } = formatEntry(format);
  return variants.includes(wanted) ? wanted : variants[0]!;
};

/** Stops of size sliders; the box takes anything. */
export const SIZE_STOPS_GIB = [1, 2, 4, 8, 12, 16, 20, 25, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048];

export interface DiskDraft {
  readonly path: string;
  readonly gib: number;
  readonly format: DiskFormat;
  readonly variant: DiskVariant;
  readonly bus: DiskBus;
}
export const bytesOf = (gib: number): number => Math.round(gib * 1024) * 1024 * 1024;

export function sizeProblem(gib: number, format: DiskFormat): string | undefined {
  if (!Number.isFinite(gib) || bytesOf(gib) < DISK_BYTES_MIN) return 'At least 1 GiB.';
  const { maxBytes, label } = formatEntry(format);
  if (bytesOf(gib) > maxBytes) return `${label} has at most ${formatBytes(maxBytes)}.`;
  return undefined;
}

/** What a disk of this size means for the host, in words. `freeBytes` undefined: not known (yet). */
export function sizeForecast(
  gib: number,
  variant: DiskVariant,
  freeBytes: number | undefined,
): { tone: 'amber' | null; text: string } {
  const bytes = bytesOf(gib);
  const now = isThin(variant)
    ? `Takes next to nothing now, and up to ${formatBytes(bytes)} as the guest fills it.`
    : `The file shows ${formatBytes(bytes)} from the start; where the host can, it gives the space only as the guest fills it.`;
  if (freeBytes === undefined) return { tone: null, text: now };
  if (bytes > freeBytes)
    return {
      tone: 'amber',
      text: `${now} Only ${formatBytes(freeBytes)} are free there: a full disk would stop the guest.`,
    };
  return { tone: null, text: `${now} ${formatBytes(freeBytes)} are free there.` };
}

// ---- paths ------------------------------------------------------------------------------------------------------------

export const folderOf = (path: string): string => path.slice(0, Math.max(1, path.length - baseName(path).length - 1));
const separatorOf = (path: string): string => (path.includes('\\') && !path.includes('/') ? '\\' : '/');
export const joinPath = (folder: string, name: string): string => `${folder.replace(/[/\\]+$/, '')}${separatorOf(folder)}${name}`;
const stemOf = (path: string): string => baseName(path).replace(/\.[A-Za-z0-9]{1,5}$/, '');
export const isAbsolutePath = (path: string): boolean => /^(\/|[A-Za-z]:[/\\]|\\\\)/.test(path);

/** `disk.qcow2`, `disk-2.qcow2`… in the folder: the first that no drive of the machine uses. */
export function freeDiskPath(folder: string, format: DiskFormat, taken: readonly string[], stem = 'disk'): string {
  const { extension } = formatEntry(format);
  for (let n = 1; ; n++) {
    const path = joinPath(folder, `${stem}${n === 1 ? '' : `-${n}`}.${extension}`);
    if (!taken.includes(path)) return path;
  }
}
/** Another extension when the format changes; a name the user gave keeps its stem. */
export const withFormat = (path: string, format: DiskFormat): string =>
  joinPath(folderOf(path), `${stemOf(path)}.${formatEntry(format).extension}`);

/** Where a converted copy goes: beside the original, never over it. */
export const convertTarget = (path: string, format: DiskFormat, taken: readonly string[]): string =>
  freeDiskPath(folderOf(path), format, [...taken, path], stemOf(path));

export function pathProblem(path: string, taken: readonly string[]): string | undefined {
  const trimmed = path.trim();
  if (trimmed === '') return 'Say where the file goes.';
  if (!isAbsolutePath(trimmed)) return 'A whole path, from the root on.';
  if (/[/\\]$/.test(trimmed)) return 'This is a folder: add a file name.';
  if (taken.includes(trimmed)) return 'This machine uses that file already.';
  return undefined;
}

// ---- firmware and what it starts ----------------------------------------------------------------------------------------

/** Why the firmware would find nothing to start, when that is plain to see. */
export const bootAdvice = (config: Pick<VmConfig, 'boot' | 'disks'>): string | null =>
  config.boot.kind === 'firmware' && config.disks.length === 0 ? 'There is no disk or disc yet: add one under Storage.' : null;

// ---- recently used media ------------------------------------------------------------------------------------------------

export const RECENT_MEDIA = 6;
export const addRecent = (list: readonly string[], path: string): string[] =>
  [path, ...list.filter((p) => p !== path)].slice(0, RECENT_MEDIA);

// ---- jobs -------------------------------------------------------------------------------------------------------------

/** Seconds left from how far it has come since it began; null while that would be a guess. */
export function secondsLeft(progress: number, elapsedSeconds: number): number | null {
  if (progress < 0.03 || elapsedSeconds < 1.5) return null;
  return progress >= 1 ? 0 : (elapsedSeconds / progress) * (1 - progress);
}
