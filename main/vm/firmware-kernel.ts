/** Reads a kernel's files for external firmware, piece by piece as the firmware asks for them. */
import { readSync } from 'node:fs';
import { LodgeError } from '../../preload/contract/errors';
import type { FwCfgItem } from '../machine/bus/fw-cfg-items';
import { type FirmwareKernel, MAX_SETUP_BYTES, planFirmwareKernel } from '../machine/firmware/linux';
import { ramLayout } from '../machine/memory/address-space';
import { bootError, type LinuxBoot, openFile, type OpenFile } from './boot-linux';

export interface FirmwareKernelFiles extends FirmwareKernel {
  close(): Promise<void>;
}

/** `onError`: a file cannot be read while the machine runs. */
export async function openFirmwareKernel(
  boot: LinuxBoot,
  ramBytes: number,
  onError: (message: string) => void,
): Promise<FirmwareKernelFiles> {
  const kernel = await openFile(boot.kernel, 'kernel');
  let initrd: OpenFile | undefined;
  const close = async (): Promise<void> => {
    await kernel.file.close();
    await initrd?.file.close();
  };
  try {
    if (boot.initrd !== undefined) initrd = await openFile(boot.initrd, 'initrd');
    const kernelHead = new Uint8Array(Math.min(kernel.bytes, MAX_SETUP_BYTES));
    await kernel.file.read(kernelHead, 0, kernelHead.length, 0);
    const plan = planFirmwareKernel({
      kernelHead,
      kernelBytes: kernel.bytes,
      kernelPart: (from, bytes) => fileItem(kernel, from, bytes, boot.kernel, onError),
      initrdBytes: initrd?.bytes ?? 0,
      ...(initrd && { initrd: fileItem(initrd, 0, initrd.bytes, boot.initrd!, onError) }),
      commandLine: new TextEncoder().encode(boot.commandLine),
      ram: ramLayout(ramBytes),
    });
    if (plan.ok) return { ...plan.value, close };
    if (plan.error.kind !== 'notKernel') throw bootError(plan.error, boot);
    throw new LodgeError({
      code: 'fileInvalid',
      message: `${boot.kernel} is not a Linux kernel, and firmware starts no others.`,
      fix: 'Choose a Linux kernel, or leave the firmware out: Lodge itself starts multiboot and PVH kernels as well.',
    });
  } catch (error) {
    await close();
    throw error;
  }
}

function fileItem({ file }: OpenFile, from: number, bytes: number, path: string, onError: (message: string) => void): FwCfgItem {
  let told = false;
  return {
    bytes,
    read: (offset, into) => {
      let done = 0;
      let problem = 'it became shorter';
      try {
        for (let part = 1; done < into.length && part > 0; done += part)
          part = readSync(file.fd, into, done, into.length - done, from + offset + done);
      } catch (error) {
        problem = (error as Error).message;
      }
      if (done === into.length) return;
      into.fill(0, done);
      if (!told) onError(`${path} cannot be read to its end: ${problem}.`);
      told = true;
    },
  };
}
