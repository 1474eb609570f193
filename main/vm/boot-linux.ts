/** Reads kernel and initrd from the host and puts them where the plan says; the CPU is left at the kernel's entry. */
import { open, type FileHandle } from 'node:fs/promises';
import type { NativeMachine } from '../../native/addon/types';
import { LodgeError } from '../../preload/contract/errors';
import { entryState, HEADER_PROBE_BYTES, type LinuxBootFault, planLinuxBoot } from '../machine/firmware/linux';
import type { RamLayout } from '../machine/memory/address-space';
import type { MachineSpec } from '../process/protocol';

export type LinuxBoot = Extract<MachineSpec['boot'], { kind: 'linux' }>;
type BootCalls = Pick<NativeMachine, 'memWrite' | 'fileRead' | 'getCpuState' | 'setCpuState'>;

/** One system call reads less than 2 GiB. */
const READ_BYTES = 1 << 30;

const mib = (bytes: number): string => `${Math.ceil(bytes / 2 ** 20)} MiB`;

export async function bootLinux(native: BootCalls, boot: LinuxBoot, ram: RamLayout, rsdp: number): Promise<void> {
  const kernel = await openFile(boot.kernel, 'kernel');
  let initrd: OpenFile | undefined;
  try {
    if (boot.initrd !== undefined) initrd = await openFile(boot.initrd, 'initrd');
    const head = new Uint8Array(Math.min(kernel.bytes, HEADER_PROBE_BYTES));
    await kernel.file.read(head, 0, head.length, 0);
    const plan = planLinuxBoot({
      kernelHead: head,
      kernelBytes: kernel.bytes,
      initrdBytes: initrd?.bytes ?? 0,
      commandLine: new TextEncoder().encode(boot.commandLine),
      ram,
      rsdp,
    });
    if (!plan.ok) throw bootError(plan.error, boot);
    const { header, kernelAt, initrdAt, writes, entry } = plan.value;
    await load(native, kernel, header.setupBytes, kernelAt, kernel.bytes - header.setupBytes, boot.kernel);
    if (initrd) await load(native, initrd, 0, initrdAt, initrd.bytes, boot.initrd!);
    for (const { at, bytes } of writes)
      if (!native.memWrite(at, bytes)) throw new Error(`no RAM at 0x${at.toString(16)} for the boot parameters`);
    native.setCpuState(0, entryState(native.getCpuState(0), entry));
  } finally {
    await kernel.file.close();
    await initrd?.file.close();
  }
}

export interface OpenFile {
  readonly file: FileHandle;
  readonly bytes: number;
}

export async function openFile(path: string, what: 'kernel' | 'initrd'): Promise<OpenFile> {
  const noun = what === 'kernel' ? 'kernel' : 'initial RAM disk';
  const fix = `Choose the ${noun} file again in the machine’s settings.`;
  let file: FileHandle;
  try {
    file = await open(path, 'r');
  } catch (cause) {
    const denied = (cause as NodeJS.ErrnoException).code === 'EACCES';
    const message = denied ? `The ${noun} ${path} may not be read.` : `The ${noun} ${path} is not there.`;
    throw new LodgeError({ code: denied ? 'permissionDenied' : 'fileMissing', message, fix, detail: String(cause) }, { cause });
  }
  const stat = await file.stat();
  if (stat.isFile() && stat.size > 0) return { file, bytes: stat.size };
  await file.close();
  const is = stat.isFile() ? 'is empty (0 bytes)' : 'is not a file';
  throw new LodgeError({ code: 'fileInvalid', message: `The ${noun} ${path} ${is}.`, fix });
}

async function load(native: BootCalls, source: OpenFile, from: number, at: number, bytes: number, path: string): Promise<void> {
  let done = 0;
  try {
    for (let part = 1; done < bytes && part > 0; done += part) {
      part = await native.fileRead(source.file.fd, from + done, Float64Array.of(at + done, Math.min(bytes - done, READ_BYTES)));
    }
  } catch (cause) {
    throw new LodgeError(
      {
        code: 'fileInvalid',
        message: `${path} could not be read to its end.`,
        fix: 'Check the disk it is on.',
        detail: String(cause),
      },
      { cause },
    );
  }
  if (done !== bytes) {
    throw new LodgeError({
      code: 'fileInvalid',
      message: `${path} became shorter while it was read.`,
      fix: 'Start the machine again.',
    });
  }
}

export function bootError(fault: LinuxBootFault, boot: LinuxBoot): LodgeError {
  const kernelFix = 'Choose a Linux kernel image for x86 (a file such as vmlinuz or bzImage).';
  switch (fault.kind) {
    case 'tooShort':
      return new LodgeError({
        code: 'fileInvalid',
        message: `${boot.kernel} is too short to be a Linux kernel.`,
        fix: kernelFix,
      });
    case 'notKernel':
      return new LodgeError({ code: 'fileInvalid', message: `${boot.kernel} is not a Linux kernel.`, fix: kernelFix });
    case 'zImage':
    case 'tooOld':
      return new LodgeError({
        code: 'fileInvalid',
        message: `${boot.kernel} is a Linux kernel from before 2007.`,
        fix: 'Choose a kernel of version 2.6.20 or newer.',
      });
    case 'truncated':
      return new LodgeError({
        code: 'fileInvalid',
        message: `${boot.kernel} is incomplete: it should have ${fault.expected} bytes.`,
        fix: 'Copy or download the kernel again.',
      });
    case 'kernelTooBig':
      return new LodgeError({
        code: 'insufficientMemory',
        message: `The kernel needs ${mib(fault.needed)} of memory to start, more than the machine has.`,
        fix: 'Give the machine more memory.',
      });
    case 'initrdTooBig':
      return new LodgeError({
        code: 'insufficientMemory',
        message: `The initial RAM disk ${boot.initrd ?? ''} does not fit: the kernel leaves ${mib(fault.room)}.`,
        fix: 'Give the machine more memory.',
      });
    case 'commandLineTooLong':
      return new LodgeError({
        code: 'invalidInput',
        message: `The kernel’s command line is longer than the ${fault.limit} bytes this kernel takes.`,
        fix: 'Shorten it.',
      });
  }
}
