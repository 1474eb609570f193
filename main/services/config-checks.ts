/** What a definition must hold beyond its schema, said in words before anything is stored or started. */
import { isAbsolute } from 'node:path';
import { LodgeError, vmConfigSchema, type Disk, type VmConfig } from '../../preload/contract';

/** Paths come from other processes, whose working folder is not this one's. */
export function checkPaths({ boot, disks }: Partial<Pick<VmConfig, 'boot' | 'disks'>>): void {
  const paths = [
    ...(boot?.kind === 'linux' ? [boot.kernel, ...(boot.initrd === undefined ? [] : [boot.initrd])] : []),
    ...(disks ?? []).map((disk) => disk.path),
  ];
  for (const path of paths)
    if (!isAbsolute(path)) throw new LodgeError({ code: 'invalidInput', message: `Not an absolute path: ${path.slice(0, 300)}` });
}

export function checkDiskIds(disks: readonly Disk[]): void {
  if (new Set(disks.map((d) => d.id)).size !== disks.length)
    throw new LodgeError({ code: 'invalidInput', message: 'Two disks of a machine have the same id.' });
}

/** One more disk: an image that is not among them yet, and room for it. */
export function withDisk(config: VmConfig, disk: Omit<Disk, 'id'>): { attached: Disk; disks: Disk[] } {
  checkPaths({ disks: [{ ...disk, id: 'new' }] });
  if (config.disks.some((d) => d.path === disk.path))
    throw new LodgeError({ code: 'fileInUse', message: `${disk.path} is attached to “${config.name}” already.` });
  const attached: Disk = { ...disk, id: freeDiskId(config.disks) };
  const disks = [...config.disks, attached];
  if (!vmConfigSchema.shape.disks.safeParse(disks).success)
    throw new LodgeError({
      code: 'invalidInput',
      message: `“${config.name}” has as many disks as a machine can have.`,
      fix: 'Detach one of them first.',
    });
  return { attached, disks };
}

export function freeDiskId(disks: readonly Disk[]): string {
  for (let n = 0; ; n++) if (!disks.some((d) => d.id === `disk${n}`)) return `disk${n}`;
}
