/** Direct boot of a kernel by content: multiboot, multiboot2 and PVH here, Linux bzImages in boot-linux. */
import { open, readFile, stat } from 'node:fs/promises';
import type { NativeMachine } from '../../native/addon/types';
import { LodgeError } from '../../preload/contract/errors';
import { type KernelFault, planKernel, type KernelPlan } from '../machine/firmware/kernels';
import { entryState } from '../machine/firmware/linux';
import type { RamLayout } from '../machine/memory/address-space';
import type { MachineSpec } from '../process/protocol';
import { bootLinux } from './boot-linux';

type LinuxBoot = Extract<MachineSpec['boot'], { kind: 'linux' }>;
type BootCalls = Pick<NativeMachine, 'memRead' | 'memWrite' | 'memFill' | 'fileRead' | 'getCpuState' | 'setCpuState'>;

/** These kernels are read as a whole; ones as big as this are none. */
const MAX_KERNEL_BYTES = 1 << 30;
/** A bzImage says so here; a Linux that is also an EFI program or carries foreign headers stays a Linux. */
const LINUX_MAGIC_AT = 0x202;
const LINUX_MAGIC = 'HdrS';
const RSDP_BYTES = 36;
const mib = (bytes: number): string => `${Math.ceil(bytes / 2 ** 20)} MiB`;

export async function bootKernel(native: BootCalls, boot: LinuxBoot, ram: RamLayout, rsdpAt: number): Promise<void> {
  if (await isLinux(boot.kernel)) {
    if (boot.modules?.length) {
      throw new LodgeError({
        code: 'invalidInput',
        message: 'A Linux kernel takes no modules from its loader.',
        fix: 'Give one initial RAM disk instead.',
      });
    }
    return bootLinux(native, boot, ram, rsdpAt);
  }
  const info = await stat(boot.kernel).catch(() => undefined);
  const file =
    info?.isFile() && info.size >= 12 && info.size <= MAX_KERNEL_BYTES
      ? await readFile(boot.kernel).catch(() => undefined)
      : undefined;
  // Whatever is wrong with the file is told in one place.
  if (!file) return bootLinux(native, boot, ram, rsdpAt);
  const sources = [...(boot.initrd === undefined ? [] : [{ path: boot.initrd, commandLine: '' }]), ...(boot.modules ?? [])];
  const modules = await Promise.all(
    sources.map(async ({ path, commandLine }) => ({ bytes: await moduleSize(path), commandLine })),
  );
  const rsdp = new Uint8Array(RSDP_BYTES);
  native.memRead(rsdpAt, rsdp);
  const plan = planKernel({ file, commandLine: boot.commandLine, modules, ram, rsdp, rsdpAt });
  if (!plan) return bootLinux(native, boot, ram, rsdpAt);
  if (!plan.ok) throw bootError(plan.error, boot);
  load(native, plan.value, file);
  for (const [i, at] of plan.value.modulesAt.entries()) await loadModule(native, sources[i]!.path, at, modules[i]!.bytes);
  const { entry } = plan.value;
  const state = entryState(native.getCpuState(0), {
    ...{
      longMode: false,
      rip: entry.eip,
      bootParams: 0,
      stack: 0,
      cr3: 0,
      gdt: entry.gdt,
      codeSelector: 0x10,
      dataSelector: 0x18,
    },
  });
  const gpr = [...state.gpr];
  gpr[0] = BigInt(entry.eax);
  gpr[3] = BigInt(entry.ebx);
  native.setCpuState(0, { ...state, gpr });
}

async function isLinux(path: string): Promise<boolean> {
  const file = await open(path, 'r').catch(() => undefined);
  if (!file) return true;
  try {
    const magic = Buffer.alloc(LINUX_MAGIC.length);
    const { bytesRead } = await file.read(magic, 0, magic.length, LINUX_MAGIC_AT).catch(() => ({ bytesRead: 0 }));
    return bytesRead === magic.length && magic.toString('latin1') === LINUX_MAGIC;
  } finally {
    await file.close();
  }
}

function load(native: BootCalls, { segments, writes }: KernelPlan, file: Uint8Array): void {
  const check = (done: boolean): void => {
    if (!done) throw new Error('a part of the kernel was planned outside of RAM');
  };
  for (const { fileOffset, fileBytes, at, memoryBytes } of segments) {
    if (fileBytes > 0) check(native.memWrite(at, file.subarray(fileOffset, fileOffset + fileBytes)));
    if (memoryBytes > fileBytes) check(native.memFill(at + fileBytes, memoryBytes - fileBytes, 0));
  }
  for (const { at, bytes } of writes) if (bytes.length > 0) check(native.memWrite(at, bytes));
}

async function moduleSize(path: string): Promise<number> {
  const info = await stat(path).catch(() => undefined);
  if (!info)
    throw new LodgeError({ code: 'fileMissing', message: `The module ${path} is not there.`, fix: 'Choose the file again.' });
  if (!info.isFile())
    throw new LodgeError({ code: 'fileInvalid', message: `The module ${path} is not a file.`, fix: 'Choose the file again.' });
  return info.size;
}

async function loadModule(native: BootCalls, path: string, at: number, bytes: number): Promise<void> {
  const file = await open(path, 'r');
  try {
    let done = 0;
    for (let part = 1; done < bytes && part > 0; done += part)
      part = await native.fileRead(file.fd, done, Float64Array.of(at + done, bytes - done));
    if (done < bytes)
      throw new LodgeError({
        code: 'fileInvalid',
        message: `${path} became shorter while it was read.`,
        fix: 'Start the machine again.',
      });
  } finally {
    await file.close();
  }
}

function bootError(fault: KernelFault, { kernel }: LinuxBoot): LodgeError {
  switch (fault.kind) {
    case 'damaged':
      return new LodgeError({
        code: 'fileInvalid',
        message: `${kernel} is a damaged kernel: its headers do not fit the file.`,
        fix: 'Copy or build it again.',
      });
    case 'unsupported':
      return new LodgeError({
        code: 'unsupported',
        message: `${kernel} asks its boot loader for something Lodge cannot do: ${fault.feature}.`,
        fix: 'Start it with a boot loader from a disk image.',
      });
    case 'kernelOutsideMemory':
      return new LodgeError({
        code: 'insufficientMemory',
        message: `${kernel} wants to lie where the machine has no memory (up to ${mib(fault.end)}).`,
        fix: 'Give the machine more memory.',
      });
    case 'modulesTooBig':
      return new LodgeError({
        code: 'insufficientMemory',
        message: `The modules do not fit: the kernel leaves ${mib(fault.room)}.`,
        fix: 'Give the machine more memory.',
      });
    case 'informationTooBig':
      return new LodgeError({
        code: 'invalidInput',
        message: 'The command lines of the kernel and its modules are too long.',
        fix: 'Shorten them.',
      });
  }
}
