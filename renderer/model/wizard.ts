/** The creation wizard as data: a draft, pure steps on it, what is wrong with it, and what it asks the service for. */
import { formatBytes, formatMiB, plural, baseName } from './format';
import { findOs, type OsEntry } from './catalogue';
import { mediumKind } from './drop';
import { cpuZones, defaultCpus, defaultMemoryMiB, memoryZones } from './zones';
import { bytesOf, isThin, newDrive, sizeProblem } from './storage';
import {
  CPUS_MAX,
  MEMORY_MAX_MIB,
  MEMORY_MIN_MIB,
  type Disk,
  type DiskFormat,
  type DiskVariant,
  type Host,
  type ImageInfo,
  type Input,
} from './types';

export const WIZARD_STEPS = ['system', 'resources', 'boot', 'storage', 'summary'] as const;
export type WizardStep = (typeof WIZARD_STEPS)[number];
export const STEP_LABEL: Readonly<Record<WizardStep, string>> = {
  system: 'System',
  resources: 'Resources',
  boot: 'Boot',
  storage: 'Storage',
  summary: 'Summary',
};

/** A file the user named and what Lodge found in it; `info` undefined: not looked at yet. */
export interface DraftFile {
  readonly path: string;
  readonly info?: ImageInfo;
  readonly error?: string;
}
const NO_FILE: DraftFile = { path: '' };

export interface Draft {
  readonly name: string;
  /** The user typed a name: never overwrite it. */
  readonly nameTouched: boolean;
  readonly os: string;
  readonly cpus: number;
  readonly memoryMiB: number;
  readonly resourcesTouched: boolean;
  readonly bootKind: 'linux' | 'image' | 'builtin';
  readonly kernel: DraftFile;
  readonly initrd: DraftFile;
  readonly commandLine: string;
  readonly image: DraftFile;
  readonly newDisk: boolean;
  readonly diskGiB: number;
  readonly diskTouched: boolean;
  readonly diskFormat: DiskFormat;
  readonly diskVariant: DiskVariant;
}

/** Both the screen and the first serial port show the kernel's messages; the last one named gets /dev/console. */
export const DEFAULT_COMMAND_LINE = 'console=ttyS0 console=tty0';

export interface WizardContext {
  readonly host: Host;
  readonly catalogue: readonly OsEntry[];
  readonly takenNames: readonly string[];
}

export function initialDraft(context: WizardContext): Draft {
  const os =
    context.catalogue.find((e) => e.id === 'linux') ??
    context.catalogue.find((e) => e.family === 'linux') ??
    findOs(context.catalogue, 'other');
  const draft: Draft = {
    name: '',
    nameTouched: false,
    os: os.id,
    cpus: 1,
    memoryMiB: 512,
    resourcesTouched: false,
    bootKind: 'linux',
    kernel: NO_FILE,
    initrd: NO_FILE,
    commandLine: DEFAULT_COMMAND_LINE,
    image: NO_FILE,
    newDisk: false,
    diskGiB: 20,
    diskTouched: false,
    diskFormat: 'raw',
    diskVariant: 'dynamic',
  };
  return chooseOs(draft, os.id, context);
}

/** Free name from a wish: "Debian 12", "Debian 12 (2)"… */
export function freeName(wish: string, taken: readonly string[]): string {
  const used = new Set(taken.map((n) => n.trim().toLowerCase()));
  const base = wish.trim().slice(0, 70) || 'New machine';
  if (!used.has(base.toLowerCase())) return base;
  for (let n = 2; ; n++) if (!used.has(`${base} (${n})`.toLowerCase())) return `${base} (${n})`;
}

export function chooseOs(draft: Draft, id: string, context: WizardContext): Draft {
  const os = findOs(context.catalogue, id);
  return {
    ...draft,
    os: os.id,
    ...(!draft.nameTouched && { name: freeName(os.id === 'other' ? 'New machine' : os.name, context.takenNames) }),
    ...(!draft.resourcesTouched && {
      cpus: Math.min(CPUS_MAX, defaultCpus(os.minimum.cpus, context.host.logicalCpus)),
      memoryMiB: defaultMemoryMiB(os.recommended.memoryMiB, os.minimum.memoryMiB, memoryZones(context.host)),
    }),
    ...(!draft.diskTouched && { diskGiB: Math.max(1, Math.round(os.recommended.diskGiB || 1)) }),
  };
}

/** A dropped or opened file decides the boot medium, and name and OS as far as they are still Lodge's own guess. */
export function applyImage(draft: Draft, info: ImageInfo, context: WizardContext): Draft {
  const known = context.catalogue.some((e) => e.id === info.suggestedOs);
  let next = known ? chooseOs(draft, info.suggestedOs, context) : draft;
  if (!next.nameTouched && info.suggestedName !== '') next = { ...next, name: freeName(info.suggestedName, context.takenNames) };
  const file: DraftFile = { path: info.path, info };
  return info.kind === 'linuxKernel'
    ? { ...next, bootKind: 'linux', kernel: file }
    : { ...next, bootKind: 'image', image: file, ...(!next.diskTouched && { newDisk: info.kind === 'disc' }) };
}

export type FieldErrors = Readonly<
  Partial<Record<'name' | 'cpus' | 'memoryMiB' | 'kernel' | 'initrd' | 'commandLine' | 'image' | 'diskGiB', string>>
>;

/** What fits below 4 GiB where firmware is mapped. */
const FIRMWARE_BYTES_MAX = 16 * 1024 * 1024;

export function fileProblem(file: DraftFile, wanted: 'kernel' | 'initrd' | 'image' | 'firmware'): string | null {
  if (file.error !== undefined) return file.error;
  if (file.info === undefined) return null;
  // An initrd is an archive to the kernel only: whatever the inspection thinks of it, the kernel decides.
  if (wanted === 'initrd') return file.info.bytes === 0 ? 'This file is empty.' : null;
  // Nor does an image look into firmware: only its size tells that something else was meant.
  if (wanted === 'firmware')
    return file.info.bytes === 0
      ? 'This file is empty.'
      : file.info.bytes > FIRMWARE_BYTES_MAX
        ? 'This is too large for firmware: images of SeaBIOS and OVMF have 16 MiB at most.'
        : null;
  if (file.info.problem !== undefined) return file.info.problem;
  if (wanted === 'kernel' && file.info.kind !== 'linuxKernel') return 'This is not a Linux kernel (bzImage).';
  if (wanted === 'image' && file.info.kind === 'linuxKernel')
    return 'This is a Linux kernel: choose “Linux kernel” above to start from it.';
  return null;
}

export function validateStep(step: WizardStep, draft: Draft, context: WizardContext): FieldErrors {
  const errors: { -readonly [K in keyof FieldErrors]: string } = {};
  switch (step) {
    case 'system': {
      const name = draft.name.trim();
      if (name === '') errors.name = 'A machine needs a name.';
      else if (name.length > 80) errors.name = 'At most 80 characters.';
      else if (context.takenNames.some((n) => n.toLowerCase() === name.toLowerCase()))
        errors.name = 'Another machine has this name.';
      break;
    }
    case 'resources': {
      if (!Number.isInteger(draft.cpus) || draft.cpus < 1 || draft.cpus > CPUS_MAX) errors.cpus = `From 1 to ${CPUS_MAX}.`;
      if (!Number.isInteger(draft.memoryMiB) || draft.memoryMiB < MEMORY_MIN_MIB)
        errors.memoryMiB = `At least ${MEMORY_MIN_MIB} MiB.`;
      else if (draft.memoryMiB > Math.min(MEMORY_MAX_MIB, context.host.memoryMiB))
        errors.memoryMiB = `This host has ${formatMiB(context.host.memoryMiB)}.`;
      break;
    }
    case 'boot':
      if (draft.bootKind === 'linux') {
        const kernel = draft.kernel.path === '' ? 'Choose a kernel file.' : fileProblem(draft.kernel, 'kernel');
        if (kernel !== null) errors.kernel = kernel;
        const initrd = draft.initrd.path === '' ? null : fileProblem(draft.initrd, 'initrd');
        if (initrd !== null) errors.initrd = initrd;
        if (draft.commandLine.length > 2047) errors.commandLine = 'At most 2047 characters.';
      } else if (draft.bootKind === 'image') {
        const image = draft.image.path === '' ? 'Choose a disk or disc image.' : fileProblem(draft.image, 'image');
        if (image !== null) errors.image = image;
      }
      break;
    case 'storage':
      if (draft.newDisk) {
        const wrong = draft.diskGiB < 1 ? 'At least 1 GiB.' : sizeProblem(draft.diskGiB, draft.diskFormat);
        if (wrong !== undefined) errors.diskGiB = wrong;
      }
      break;
    case 'summary':
      for (const earlier of WIZARD_STEPS.slice(0, -1)) Object.assign(errors, validateStep(earlier, draft, context));
      break;
  }
  return errors;
}

/** First step with something wrong, to go back to; null when the draft can be created. */
export const firstInvalidStep = (draft: Draft, context: WizardContext): WizardStep | null =>
  WIZARD_STEPS.find((step) => Object.keys(validateStep(step, draft, context)).length > 0) ?? null;

const imageKind = (info: ImageInfo | undefined): Disk['kind'] => (info === undefined ? 'disk' : (mediumKind(info) ?? 'disk'));

export function toCreateInput(draft: Draft): Input<'vm.create'> {
  const disks: Disk[] = draft.bootKind === 'image' ? [newDrive(draft.image.path, imageKind(draft.image.info), 'boot')] : [];
  return {
    config: {
      name: draft.name.trim(),
      os: draft.os,
      notes: '',
      cpus: draft.cpus,
      memoryMiB: draft.memoryMiB,
      boot:
        draft.bootKind === 'linux'
          ? {
              kind: 'linux',
              kernel: draft.kernel.path,
              ...(draft.initrd.path !== '' && { initrd: draft.initrd.path }),
              commandLine: draft.commandLine.trim(),
            }
          : draft.bootKind === 'builtin'
            ? { kind: 'builtin' }
            : { kind: 'firmware' },
      disks,
      serialPorts: 1,
      accelerator: 'auto',
      tier: 'auto',
    },
    ...(draft.newDisk && {
      newDisk: {
        bytes: bytesOf(draft.diskGiB),
        ...(draft.diskFormat !== 'raw' && { format: draft.diskFormat }),
        ...(draft.diskVariant !== 'dynamic' && { variant: draft.diskVariant }),
      },
    }),
  };
}

/** The whole machine in one sentence. */
export function summarize(draft: Draft, context: WizardContext): string {
  const os = findOs(context.catalogue, draft.os);
  const starts =
    draft.bootKind === 'builtin'
      ? 'starts the guest that comes with Lodge'
      : draft.bootKind === 'linux'
        ? `starts the kernel ${baseName(draft.kernel.path)}${draft.initrd.path !== '' ? ` with ${baseName(draft.initrd.path)}` : ''}`
        : `starts from ${baseName(draft.image.path)}`;
  const disk = draft.newDisk
    ? `, with a new disk of ${formatBytes(draft.diskGiB * 1024 ** 3)}${isThin(draft.diskVariant) ? ' that takes up space only as it fills' : ''}`
    : '';
  const kind = os.id === 'other' ? 'a machine' : `${/^[aeiou]/i.test(os.name) ? 'an' : 'a'} ${os.name} machine`;
  return `“${draft.name.trim()}” is ${kind} with ${plural(draft.cpus, 'processor')} and ${formatMiB(draft.memoryMiB)} of memory that ${starts}${disk}.`;
}

/** What the chosen memory means for the host now, in words; null when there is nothing to say. */
export function memoryAdvice(memoryMiB: number, os: OsEntry, host: Host): { tone: 'amber' | 'red'; text: string } | null {
  const zones = memoryZones(host);
  if (memoryMiB > zones.amberTo)
    return { tone: 'red', text: `Only ${formatMiB(host.availableMiB)} are free now: the machine could not start at the moment.` };
  if (memoryMiB < os.minimum.memoryMiB)
    return { tone: 'amber', text: `${os.name} needs at least ${formatMiB(os.minimum.memoryMiB)}.` };
  if (memoryMiB > zones.greenTo)
    return { tone: 'amber', text: `Leaves ${formatMiB(zones.amberTo - memoryMiB)} for everything else on this host.` };
  return null;
}

export function cpuAdvice(cpus: number, host: Host): { tone: 'amber' | 'red'; text: string } | null {
  const zones = cpuZones(host);
  if (cpus > zones.max)
    return { tone: 'red', text: `More than the ${zones.max} of this host: they would take turns and the guest gets slower.` };
  if (cpus > zones.greenTo && zones.max > 1)
    return { tone: 'amber', text: 'More than half of this host’s processors: other programs may feel it.' };
  return null;
}
