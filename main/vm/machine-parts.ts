/** What a machine is made of on the host's side: its engine, its images, its serial ports. Opened together or not at all. */
import { basename } from 'node:path';
import { Exit, type NativeAddon, type NativeMachine } from '../../native/addon/types';
import { LodgeError } from '../../preload/contract/errors';
import type { EngineInfo } from '../../preload/contract/vm';
import type { MachineSpec } from '../process/protocol';
import { ImageError, openDisk as openImage } from '../storage';
import type { BoardDisk } from './board';
import type { Disassemble } from './cpu-report';
import { chooseEngine } from './engine';
import { type FirmwareFiles, type FirmwareImage, loadFirmware } from './firmware-image';
import { openFirmwareKernel, type FirmwareKernelFiles } from './firmware-kernel';
import type { MachineHooks } from './machine';
import { FileBackend, NullBackend, StdioBackend, TerminalBackend } from './serial/backends';
import type { CharPipe } from './serial/char-pipe';

export interface Parts {
  readonly spec: MachineSpec;
  readonly hooks: MachineHooks;
  readonly engine: EngineInfo;
  readonly native: NativeMachine;
  readonly exitBuffer: ArrayBuffer;
  readonly disassemble: Disassemble;
  readonly serial: readonly CharPipe[];
  /** Changes with the media. */
  readonly disks: BoardDisk[];
  readonly firmware?: FirmwareImage;
  /** What that is to start. */
  readonly kernel?: FirmwareKernelFiles;
}

/** `onWake`: the engine wants the JS thread. Rejects with LodgeError and leaves nothing open. */
export async function openParts(spec: MachineSpec, hooks: MachineHooks, addon: NativeAddon, onWake: () => void): Promise<Parts> {
  const choice = chooseEngine(addon.probeAccelerators(), spec);
  const exitBuffer = new ArrayBuffer(spec.cpus * Exit.STRIDE);
  const serial: CharPipe[] = [];
  const disks: BoardDisk[] = [];
  const opened: { native?: NativeMachine; firmware?: FirmwareImage; kernel?: FirmwareKernelFiles } = {};
  try {
    const native = orNoMemory(() =>
      addon.createMachine({
        accelerator: choice.accelerator,
        tier: choice.tier,
        cpuModel: spec.cpuModel ?? '',
        ...(spec.codeCacheMiB !== undefined && { codeCacheMiB: spec.codeCacheMiB }),
        ...(spec.trace && { trace: spec.trace }),
        cpus: spec.cpus,
        exitBuffer,
        onWake,
      }),
    );
    opened.native = native;
    for (const port of spec.serial) serial.push(openSerial(port, hooks));
    for (const disk of spec.disks) disks.push(await openDisk(disk, native));
    const { boot } = spec;
    const tell = (message: string): void => hooks.onNotice('error', message);
    const external = externalFirmware(boot);
    if (external) opened.firmware = await loadFirmware(external, tell);
    if (external && boot.kind === 'linux') opened.kernel = await openFirmwareKernel(boot, spec.memoryBytes, tell);
    return {
      ...{ spec, hooks, engine: choice.info, exitBuffer, serial, disks },
      ...opened,
      native,
      disassemble: (...args) => addon.disassemble(...args),
    };
  } catch (error) {
    await closeParts({ serial, disks, ...opened });
    throw friendly(error);
  }
}

/** Of a machine that never ran: nothing has to be flushed. */
export async function closeParts({
  serial,
  disks,
  firmware,
  kernel,
  native,
}: Pick<Parts, 'serial' | 'disks'> & Partial<Parts>): Promise<void> {
  await Promise.allSettled([
    ...serial.map((s) => s.close()),
    ...disks.map((d) => d.backend.close()),
    firmware?.variables?.close(),
    kernel?.close(),
  ]);
  native?.destroy();
}

/** The image that the processors start in; undefined: Lodge's own BIOS, or the kernel itself. */
function externalFirmware(boot: MachineSpec['boot']): FirmwareFiles | undefined {
  if (boot.kind === 'linux') return boot.firmware;
  return boot.image === undefined ? undefined : { ...boot, image: boot.image };
}

function openSerial(port: MachineSpec['serial'][number], hooks: MachineHooks): CharPipe {
  switch (port.kind) {
    case 'terminal':
      return new TerminalBackend();
    case 'stdio':
      return new StdioBackend(process.stdin, process.stdout);
    case 'file':
      return new FileBackend(port.path, (message) => hooks.onNotice('error', message));
    case 'none':
      return new NullBackend();
  }
}

export async function openDisk(disk: MachineSpec['disks'][number], native: NativeMachine): Promise<BoardDisk> {
  const { id, kind, bus, path, readOnly, format } = disk;
  return { id, kind, bus, label: basename(path), backend: await openImage(path, { readOnly, format, native }) };
}

/** What the engine refuses while a machine is built is nearly always memory. */
export function orNoMemory<T>(create: () => T): T {
  try {
    return create();
  } catch (cause) {
    if (cause instanceof LodgeError || !/memory|ENOMEM|memfd|mmap/i.test(String(cause))) throw cause;
    throw new LodgeError(
      {
        code: 'insufficientMemory',
        message: 'The host could not give the machine its memory.',
        fix: 'Give the machine less memory, or close other programs.',
        detail: String(cause),
      },
      { cause },
    );
  }
}

export function friendly(error: unknown): LodgeError {
  if (!(error instanceof ImageError)) return LodgeError.from(error);
  return new LodgeError(
    { code: error.code, message: error.message, ...(error.fix !== undefined && { fix: error.fix }) },
    { cause: error },
  );
}
