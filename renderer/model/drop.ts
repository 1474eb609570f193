/** What dropping an image somewhere means, told before anything happens. */
import { allowedActions } from './actions';
import { baseName } from './format';
import type { DiskKind, ImageInfo, Vm } from './types';

export interface AttachPlan {
  readonly possible: boolean;
  readonly headline: string;
  readonly consequence: string;
}

/** Sizes of floppies that PC drives read, from 160 KiB to 2.88 MB. */
const FLOPPY_BYTES: readonly number[] = [163840, 184320, 327680, 368640, 737280, 1228800, 1474560, 1720320, 1763328, 2949120];
export const isFloppyImage = (info: Pick<ImageInfo, 'kind' | 'format' | 'bytes'>): boolean =>
  info.kind === 'disk' && info.format === 'raw' && FLOPPY_BYTES.includes(info.bytes);

/** What goes into a drive whose medium can be changed; null: it does not. */
export const mediumKind = (info: ImageInfo): Exclude<DiskKind, 'disk'> | null =>
  info.problem !== undefined ? null : info.kind === 'disc' ? 'disc' : isFloppyImage(info) ? 'floppy' : null;

export function planAttach(info: ImageInfo, vm: Vm): AttachPlan {
  const file = baseName(info.path);
  const name = vm.definition.name;
  const refuse = (consequence: string): AttachPlan => ({
    possible: false,
    headline: `“${file}” cannot be attached to “${name}”`,
    consequence,
  });
  if (info.problem !== undefined) return refuse(info.problem);
  if (info.kind === 'linuxKernel')
    return refuse('It is a Linux kernel. Make a new machine from it, or name it in the settings under Boot.');
  if (info.kind === 'archive') return refuse('It is an archive. Unpack it and drop the image that is inside.');
  if (info.kind === 'unknown') return refuse('It is neither a disk nor a disc image that Lodge knows.');
  if (!allowedActions(vm.state, { ephemeral: vm.ephemeral }).attach)
    return refuse('The machine is busy. Wait until it runs or has stopped.');
  if (vm.definition.disks.some((d) => d.path === info.path)) return refuse('It is attached already.');
  const medium = mediumKind(info);
  if (medium === null && vm.state !== 'stopped')
    return refuse('Disks can be added while the machine is stopped; discs and floppies at any time. Shut it down first.');
  const what =
    medium === 'disc' ? 'as a read-only disc' : medium === 'floppy' ? 'as a floppy' : 'as a disk that the guest can write to';
  return {
    possible: true,
    headline: `Attach “${file}” to “${name}”?`,
    consequence:
      vm.state === 'stopped'
        ? `It is added ${what} and is there at the next start.`
        : `It is put in ${what}; the guest sees it at once.`,
  };
}

/** Several files at once: only the first is taken, and that is said. */
export function firstFile(files: readonly File[]): { file: File | null; note: string | null } {
  const file = files[0] ?? null;
  return { file, note: files.length > 1 ? `One image at a time: only “${files[0]!.name}” was taken.` : null };
}
