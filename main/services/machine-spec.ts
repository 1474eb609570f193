/** A definition → what the VM process needs, after a look at every file it names: a start that cannot work is refused here. */
import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { CODE_CACHE_MIB, LodgeError, type VmConfig } from '../../preload/contract';
import type { MachineSpec } from '../process/protocol';
import type { AppLayout } from '../lib/paths';
import { diskInfo, inspectImage } from '../storage';
import { friendly } from './disks';
import type { LockWish } from './file-locks';

/** What one run adds to the definition. */
export interface RunOptions {
  readonly serial?: MachineSpec['serial'];
  readonly debugExit?: boolean;
  /** Instead of the definition's. */
  readonly gdb?: MachineSpec['gdb'];
  readonly trace?: MachineSpec['trace'];
  /** UEFI settings of a definition that names no file for them. */
  readonly variables?: string;
  /** Seconds for the boot menu's key; 0 where nobody watches. */
  readonly menuSeconds?: number;
  /** The boot menu comes without its key, this once. */
  readonly openMenu?: boolean;
  /** Id of the disk or disc to start from, this once. */
  readonly bootFirst?: string;
  /** Undefined: a thumbnail; null: none. */
  readonly lastScreen?: MachineSpec['lastScreen'] | null;
}

/** Wide enough for the library's cards on a dense screen. */
export const THUMBNAIL_WIDTH = 480;

/** Long enough to press F12 when the window opens, short enough not to be noticed. */
const MENU_SECONDS = 1.5;

export async function machineSpec(config: VmConfig, layout: AppLayout, run: RunOptions = {}): Promise<MachineSpec> {
  const { boot } = config;
  if (boot.kind === 'linux') {
    await checkFile(boot.kernel, 'kernel', false);
    if (boot.initrd !== undefined) await checkFile(boot.initrd, 'initial RAM disk', false);
    for (const module of boot.modules ?? []) await checkFile(module.path, 'module', false);
  } else if (boot.kind === 'builtin') {
    await checkFile(layout.builtinGuest, 'built-in guest', false);
  } else if (config.disks.length === 0 && boot.image === undefined) {
    throw new LodgeError({
      code: 'invalidInput',
      message: `“${config.name}” has nothing to start from.`,
      fix: 'Attach a disk or an ISO image, or choose another boot medium in its settings.',
    });
  }
  const image = boot.kind === 'linux' ? boot.firmware?.image : boot.kind === 'firmware' ? boot.image : undefined;
  if (image !== undefined) await checkFile(image, 'firmware image', false);
  for (const disk of config.disks) {
    await checkFile(disk.path, disk.kind === 'disc' ? 'disc image' : 'disk image', writes(disk));
    if (disk.kind !== 'disk') await checkMedium(disk.kind, disk.path);
  }
  return {
    name: config.name,
    cpus: config.cpus,
    memoryBytes: config.memoryMiB * (1 << 20),
    accelerator: config.accelerator,
    tier: config.tier,
    codeCacheMiB: config.codeCacheMiB ?? CODE_CACHE_MIB,
    ...(config.cpuModel && { cpuModel: config.cpuModel }),
    boot: bootSpec(boot, layout, run),
    menuSeconds: run.menuSeconds ?? MENU_SECONDS,
    ...(run.openMenu && { openMenu: true }),
    ...(run.bootFirst !== undefined && { bootFirst: run.bootFirst }),
    disks: config.disks.map((disk) => ({ ...disk, readOnly: !writes(disk) })),
    serial: run.serial ?? Array.from({ length: config.serialPorts }, () => ({ kind: 'terminal' as const })),
    debugExit: run.debugExit ?? false,
    ...gdbSpec(config, run),
    ...(run.trace && { trace: run.trace }),
    ...(config.cpuCap !== undefined && { cpuCap: config.cpuCap }),
    ...(config.video && { video: config.video }),
    addonPath: layout.addon,
    ...(run.lastScreen !== null && { lastScreen: run.lastScreen ?? { maxWidth: THUMBNAIL_WIDTH } }),
  };
}

function gdbSpec(config: VmConfig, run: RunOptions): Pick<MachineSpec, 'gdb'> {
  if (run.gdb) return { gdb: run.gdb };
  return typeof config.gdbPort === 'number' ? { gdb: { port: config.gdbPort, wait: false } } : {};
}

function bootSpec(boot: VmConfig['boot'], layout: AppLayout, run: RunOptions): MachineSpec['boot'] {
  const variables = run.variables !== undefined && { variables: run.variables };
  switch (boot.kind) {
    case 'builtin':
      // Our own guest follows the Linux boot protocol.
      return { kind: 'linux', kernel: layout.builtinGuest, commandLine: '' };
    case 'linux':
      return boot.firmware ? { ...boot, firmware: { ...variables, ...boot.firmware } } : boot;
    case 'firmware':
      return boot.image === undefined ? boot : { ...variables, ...boot };
  }
}

/** A disk, and what it is built on: nobody may write to that meanwhile. */
export async function lockWishes(disk: Pick<MachineSpec['disks'][number], 'path' | 'format' | 'readOnly'>): Promise<LockWish[]> {
  const own = { path: disk.path, write: !disk.readOnly };
  if (disk.format === 'raw') return [own];
  const { parents } = await friendly(() => diskInfo(disk.path, disk.format));
  return [own, ...parents.map(({ path }) => ({ path, write: false, of: disk.path }))];
}

const writes = (disk: VmConfig['disks'][number]): boolean => !disk.readOnly && disk.kind !== 'disc';

/** A drive takes any bytes; what is surely nothing for it, or only the beginning of a disc, would only puzzle its user inside the guest. */
async function checkMedium(kind: 'disc' | 'floppy', path: string): Promise<void> {
  const problem = await (kind === 'disc' ? discProblem(path) : floppyProblem(path));
  if (problem === undefined) return;
  throw new LodgeError({
    code: 'fileInvalid',
    message: `${path} cannot be used as a ${kind === 'disc' ? 'disc' : 'floppy disk'}. ${problem}`,
    fix: 'Choose another image, or take it out of the drive in the machine’s settings.',
  });
}

async function discProblem(path: string): Promise<string | undefined> {
  const { format, problem } = await inspectImage(path);
  return format === 'data' ? undefined : problem;
}

/** Archives were written to floppies as they are; only what a person took for another file is none. */
async function floppyProblem(path: string): Promise<string | undefined> {
  const { kind, format, problem } = await inspectImage(path);
  if (kind === 'disc') return 'It is the image of a disc, which belongs into a disc drive.';
  return format === 'text' ? problem : undefined;
}

/** `what` with its article-free name, for the sentence. */
export async function checkFile(path: string, what: string, writable: boolean): Promise<void> {
  let info;
  try {
    info = await stat(path);
    await access(path, writable ? constants.R_OK | constants.W_OK : constants.R_OK);
  } catch (e) {
    const code = (e as NodeJS.ErrnoException).code;
    const detail = (e as Error).message;
    if (code === 'ENOENT' || code === 'ENOTDIR') {
      const fix =
        what === 'built-in guest'
          ? 'Build it with `npm run build`.'
          : 'It may have been moved or deleted, or its disk is not mounted. Choose the file again in the machine’s settings.';
      throw new LodgeError({ code: 'fileMissing', message: `The ${what} is not there: ${path}`, fix, detail });
    }
    if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS') {
      const fix = writable && info ? 'Change its permissions, or attach it read-only.' : 'Change its permissions.';
      throw new LodgeError({
        code: 'permissionDenied',
        message: `The ${what} may not be ${info ? 'written' : 'read'}: ${path}`,
        fix,
        detail,
      });
    }
    throw new LodgeError({ code: 'fileMissing', message: `The ${what} cannot be read: ${path}`, detail });
  }
  if (info.isBlockDevice()) return;
  if (!info.isFile()) {
    throw new LodgeError({ code: 'fileInvalid', message: `The ${what} is not a file: ${path}`, fix: 'Choose an image file.' });
  }
  if (info.size === 0) {
    throw new LodgeError({
      code: 'fileInvalid',
      message: `The ${what} is empty (0 bytes): ${path}`,
      fix: 'Its download or copy probably failed. Get it again, or choose another file.',
    });
  }
}
