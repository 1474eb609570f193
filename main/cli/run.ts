/** `lodge run`: one machine that lives as long as the command, its serial line on the terminal. */
import type { ChildProcess } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Writable } from 'node:stream';
import {
  diskBusSchema,
  diskSchema,
  LodgeError,
  vmConfigSchema,
  type Disk,
  type ErrorCode,
  type StopReason,
  type VmConfig,
  type VmId,
} from '../../preload/contract';
import type { AppLayout, DataPaths } from '../lib/paths';
import { forkedSpawner } from '../process/node-spawner';
import type { MachineSpec } from '../process/protocol';
import { EventHub } from '../services/events';
import { Machines } from '../services/machines';
import { EscapeFilter } from './escape';

export interface RunOptions {
  readonly config: VmConfig;
  /** Listen for other shells under this name. */
  readonly name: string | undefined;
  /** COM1 first. */
  readonly serial: MachineSpec['serial'];
  readonly debugExit: boolean;
  readonly gdb?: MachineSpec['gdb'];
  readonly trace?: MachineSpec['trace'];
  /** The boot menu comes by itself. */
  readonly openMenu: boolean;
  readonly screenshot: string | undefined;
  readonly timeoutSeconds: number | undefined;
  /** Once it runs; when this is done, so is the run. */
  readonly whileRunning?: (machines: Machines, id: VmId) => Promise<void>;
}

export const EXIT_TIMEOUT = 124;
/** A machine that does not let go of its disks when told to end is killed after this. */
const STOP_MS = 3000;
const SIGNAL_STOP_MS = 1000;

/** Why it ended, as an exit code and, unless all is well, a text for stderr. */
export function exitOf(reason: StopReason): { code: number; message?: string } {
  switch (reason.kind) {
    case 'powerOff':
      return { code: 0 };
    case 'debugExit':
      return { code: reason.code & 0xff };
    case 'stopped':
      return { code: 1, message: 'the machine was stopped from outside' };
    case 'guestFault':
      return { code: 1, message: `${reason.message}\n${reason.report}` };
    case 'failed':
      return { code: 1, message: errorText(new LodgeError(reason.error)) };
    case 'crashed':
      return { code: 1, message: [reason.message, reason.detail].filter(Boolean).join('\n') };
  }
}

/** Where the message alone does not say why. */
const DETAIL_TELLS: ReadonlySet<ErrorCode> = new Set(['internal', 'acceleratorUnavailable']);

export const errorText = (error: LodgeError): string =>
  [error.message, error.fix, DETAIL_TELLS.has(error.code) ? error.detail : undefined].filter(Boolean).join('\n');

export async function run(options: RunOptions, child: ChildProcess, layout: AppLayout, paths: DataPaths): Promise<number> {
  const { config } = options;
  const trace = process.env['LODGE_TRACE'] !== undefined;
  const machines = new Machines({
    hub: new EventHub(),
    paths,
    layout,
    spawn: forkedSpawner(child),
    deadlines: { stopMs: STOP_MS },
    ...(trace && { onStderr: (text: string) => void process.stderr.write(text) }),
  });
  const vm = machines.addEphemeral(config, {
    serial: options.serial,
    debugExit: options.debugExit,
    ...(options.gdb && { gdb: options.gdb }),
    ...(options.trace && { trace: options.trace }),
    menuSeconds: 0,
    openMenu: options.openMenu,
    lastScreen: options.screenshot !== undefined ? {} : null,
  });
  const { id } = vm.definition;
  const ended = new Promise<{ reason: StopReason; screen: Buffer | null }>((done) =>
    machines.onceEnded(id, (reason, screen) => done({ reason, screen })),
  );

  /** The first cause decides the exit code. */
  let override: { code: number; message?: string } | undefined;
  const end = (cause: { code: number; message?: string }): void => {
    override ??= cause;
    machines.powerOff(id).catch(() => {});
  };
  let signalled = false;
  const onSignal = (signal: 'SIGINT' | 'SIGTERM' | 'SIGHUP'): void => {
    // Twice, or too slow: without ceremony.
    if (signalled) machines.killAll();
    signalled = true;
    setTimeout(() => machines.killAll(), SIGNAL_STOP_MS).unref();
    end({ code: { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 }[signal] });
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, onSignal);
  const restoreTerminal = child.stdin ? attachTerminal(child.stdin, () => end({ code: 0 })) : undefined;
  const timer =
    options.timeoutSeconds === undefined
      ? undefined
      : setTimeout(
          () => end({ code: EXIT_TIMEOUT, message: `the time limit of ${options.timeoutSeconds} s has passed` }),
          options.timeoutSeconds * 1000,
        );
  const control = options.name === undefined ? undefined : listen(options.name, machines, layout, paths);
  // A machine that was to be reachable must not run unreachable.
  control?.catch((e: unknown) => end({ code: 1, message: errorText(LodgeError.from(e)) }));
  // A start that fails ends the machine, and its stop reason says why; a child that was not needed goes.
  const started = await machines.start(id).catch(() => void child.kill('SIGKILL'));
  const work = started && options.whileRunning?.(machines, id);
  work?.then(
    () => end({ code: 0 }),
    (e: unknown) => end({ code: 1, message: errorText(LodgeError.from(e)) }),
  );
  const { reason, screen } = await ended;
  await work?.catch(() => {});
  clearTimeout(timer);
  restoreTerminal?.();
  await control?.then((server) => server.close()).catch(() => {});

  let exit = override ?? exitOf(reason);
  if (options.screenshot !== undefined) {
    if (!screen) process.stderr.write('lodge: there was no picture to save: the screen was off\n');
    else
      await writeFile(options.screenshot, screen).catch((e: Error) => {
        const message = `the picture could not be saved: ${e.message}`;
        exit = { code: exit.code || 1, message: [exit.message, message].filter(Boolean).join('\n') };
      });
  }
  if (exit.message !== undefined) process.stderr.write(`lodge: ${exit.message}\n`);
  await machines.close();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.off(signal, onSignal);
  return exit.code;
}

async function listen(
  name: string,
  machines: Machines,
  layout: AppLayout,
  paths: DataPaths,
): Promise<{ close(): Promise<void> }> {
  const [{ bind }, { ephemeralHandlers }, { listenLocal, connectAll }, { HostService }] = await Promise.all([
    import('../rpc/bind'),
    import('../rpc/handlers'),
    import('../rpc/local-socket'),
    import('../services/host'),
  ]);
  const others = await connectAll(paths.instanceDir);
  const taken = others.some((client) => client.note.kind === 'run' && client.note.name === name);
  for (const client of others) client.close();
  if (taken)
    throw new LodgeError({
      code: 'nameTaken',
      message: `A machine called “${name}” is running already.`,
      fix: 'Choose another --name, or stop that one.',
    });
  const host = new HostService({ mode: 'server', version: layout.version, addon: layout.addon });
  return listenLocal(paths.instanceDir, { kind: 'run', name }, bind(ephemeralHandlers(machines, host)));
}

/** Raw mode, so that Ctrl-C and the like reach the guest. Returns what undoes it. */
function attachTerminal(guest: Writable, leave: () => void): () => void {
  const { stdin } = process;
  const filter = new EscapeFilter();
  const onData = (bytes: Buffer): void => {
    const { forward, leave: wanted } = filter.push(bytes);
    if (forward.length > 0) guest.write(forward);
    if (wanted) leave();
  };
  const restore = (): void => {
    stdin.off('data', onData);
    stdin.setRawMode(false);
    stdin.pause();
  };
  guest.on('error', () => {});
  stdin.setRawMode(true);
  stdin.on('data', onData);
  process.once('exit', () => stdin.setRawMode(false));
  process.stderr.write('lodge: Ctrl-] or Ctrl-A X leaves the machine\r\n');
  return restore;
}

const SERIAL_PORTS_MAX = vmConfigSchema.shape.serialPorts.maxValue ?? 0;

/** What --serial was given, COM1 first; without any, COM1 is on the terminal. */
export function parseSerial(given: readonly string[]): MachineSpec['serial'] {
  const invalid = (message: string, fix: string): LodgeError => new LodgeError({ code: 'invalidInput', message, fix });
  if (given.length > SERIAL_PORTS_MAX)
    throw invalid(`A machine has ${SERIAL_PORTS_MAX} serial ports.`, `Give --serial ${SERIAL_PORTS_MAX} times at most.`);
  if (given.filter((text) => text === 'stdio').length > 1)
    throw invalid('Only one serial port can be on the terminal.', 'Send the other to a file, or to none.');
  const ports = given.map((text) =>
    text === 'stdio' || text === 'none' ? { kind: text as 'stdio' | 'none' } : { kind: 'file' as const, path: resolve(text) },
  );
  const files = ports.flatMap((port) => (port.kind === 'file' ? [port.path] : []));
  if (new Set(files).size < files.length)
    throw invalid('Both serial ports would go to the same file.', 'Give each a file of its own.');
  return ports.length > 0 ? ports : [{ kind: 'stdio' }];
}

const FORMATS: readonly string[] = diskSchema.shape.format.options;
const BUSES: readonly string[] = diskBusSchema.options;

/** FILE[,bus=virtio|ide|ahci][,format=…][,readonly]; a comma that is followed by anything else belongs to the name. */
export function parseDisk(text: string, index: number): Disk {
  let path = text;
  let bus: Disk['bus'] | undefined;
  let readOnly = false;
  let format: Disk['format'] = 'auto';
  const choose = <T extends string>(what: string, value: string, choices: readonly string[]): T => {
    if (choices.includes(value)) return value as T;
    throw new LodgeError({
      code: 'invalidInput',
      message: `There is no disk ${what} "${value}".`,
      fix: `Use ${choices.map((choice) => `${what}=${choice}`).join(' or ')}.`,
    });
  };
  for (;;) {
    const match = /^(.+),(bus=([^,]*)|format=([^,]*)|readonly)$/s.exec(path);
    if (!match) break;
    path = match[1]!;
    if (match[3] !== undefined) bus = choose('bus', match[3], BUSES);
    else if (match[4] !== undefined) format = choose('format', match[4], FORMATS);
    else readOnly = true;
  }
  const kind = /\.iso$/i.test(path) ? 'disc' : 'disk';
  return {
    id: `disk${index}`,
    path: resolve(path),
    bus: bus ?? (kind === 'disc' ? 'ide' : 'virtio'),
    format: kind === 'disc' ? 'raw' : format,
    readOnly: readOnly || kind === 'disc',
    kind,
  };
}

/** --cdrom and --floppy: FILE[,readonly]. */
export function parseMedium(kind: 'disc' | 'floppy', text: string, index: number): Disk {
  const readOnly = kind === 'disc' || text.endsWith(',readonly');
  return { id: `${kind}${index}`, path: resolve(text.replace(/,readonly$/, '')), bus: 'ide', format: 'raw', readOnly, kind };
}
