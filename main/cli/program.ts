/** The verbs of `lodge`. Exit codes: 0 done, 1 refused or failed (the reason is on stderr), 2 a wrong command line; `run` has its own. */
import type { ChildProcess } from 'node:child_process';
import { resolve } from 'node:path';
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import {
  CODE_CACHE_MIB,
  CPU_MODELS,
  CPU_SHARES_MAX,
  CPUS_MAX,
  DISK_FORMATS,
  diskBusSchema,
  diskKindSchema,
  gdbPortSchema,
  LodgeError,
  MEMORY_MAX_MIB,
  MEMORY_MIN_MIB,
  PROFILE_HERTZ,
  PROFILE_SECONDS_MAX,
  ratesBetween,
  tierChoiceSchema,
  type Boot,
  type CpuModel,
  type DiskBus,
  type DiskFormat,
  type DiskKind,
  type Profile,
  type VmConfig,
} from '../../preload/contract';
import { dataPaths, type AppLayout } from '../lib/paths';
import { inBootOrder, parseBoot, type BootWish } from './boot-order';
import type { MachineSpec } from '../process/protocol';
import { addDiskVerbs } from './disk';
import { errorText, parseDisk, parseMedium, parseSerial, run } from './run';

interface Context {
  readonly layout: AppLayout;
  readonly child: ChildProcess | undefined;
  json: boolean;
  exitCode: number;
}

const integer =
  (min: number, max: number) =>
  (text: string): number => {
    const value = Number(text);
    if (!Number.isInteger(value) || value < min || value > max)
      throw new InvalidArgumentError(`Give a whole number from ${min} to ${max}.`);
    return value;
  };
const seconds = (text: string): number => {
  const value = Number(text);
  // setTimeout holds 2^31 - 1 milliseconds.
  if (!(value > 0) || value > 2_000_000) throw new InvalidArgumentError('Give a number of seconds above 0.');
  return value;
};
/** 512M, 20G; a plain number is bytes. */
export function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?$/i.exec(text);
  if (!match) throw new InvalidArgumentError('Give a size such as 512M or 20G.');
  const bytes = Math.round(Number(match[1]) * 1024 ** ' kmgt'.indexOf(match[2]!.toLowerCase() || ' '));
  if (bytes < 1 << 20) throw new InvalidArgumentError('A disk has at least 1 MiB.');
  return bytes;
}
const collect = (value: string, all: string[]): string[] => [...all, value];

interface MachineFlags {
  kernel?: string;
  initrd?: string;
  append?: string;
  module: string[];
  memory: number;
  cpus: number;
  cpuCap?: number;
  codeCache?: number;
  cpuShares?: number;
  disk: string[];
  firmware: string;
  firmwareVariables?: string;
  boot?: BootWish;
  cdrom: string[];
  floppy: string[];
  accelerator: VmConfig['accelerator'];
  tier: VmConfig['tier'];
  cpu: CpuModel;
  video: NonNullable<VmConfig['video']>;
}

interface ProfileFlags extends MachineFlags {
  data?: string;
  run?: boolean;
  builtin?: boolean;
  serial: string;
  delay?: number;
  seconds: number;
  hertz: number;
  symbols: string[];
  top: number;
  folded?: boolean;
}

/** The options that `run` and `create` share. */
const machineOptions = (command: Command): Command =>
  command
    .option('--kernel <file>', 'kernel to start directly: Linux (bzImage), multiboot 1 or 2, PVH')
    .option('--initrd <file>', 'initial RAM disk for it')
    .option('--append <text>', 'kernel command line')
    .option('--module <file[=command line]>', 'a further file for a multiboot or PVH kernel; may be repeated', collect, [])
    .option('--memory <MiB>', 'memory', integer(MEMORY_MIN_MIB, MEMORY_MAX_MIB), 512)
    .option('--cpus <n>', 'processors', integer(1, CPUS_MAX), 1)
    .option('--cpu-cap <percent>', 'of a host processor that each of them may use', integer(1, 100))
    .option('--disk <file[,bus=virtio|ide|ahci][,format=…][,readonly]>', 'disk image; may be repeated', collect, [])
    .option('--cdrom <file>', 'ISO image in a disc drive; may be repeated', collect, [])
    .option('--floppy <file[,readonly]>', 'image in a floppy drive; twice at most', collect, [])
    .option('--boot <order>', 'what is tried first, as in cdrom,disk,floppy; menu asks (run)', parseBoot)
    .option('--firmware <builtin|file>', 'what boots the disks: the built-in BIOS, or an image (SeaBIOS, OVMF)', 'builtin')
    .option('--firmware-variables <file>', 'where a UEFI image keeps its settings')
    .addOption(new Option('--accelerator <kind>', 'what runs the guest').choices(['auto', 'kvm', 'software']).default('auto'))
    .addOption(
      new Option('--tier <tier>', 'how the software accelerator runs it').choices(tierChoiceSchema.options).default('auto'),
    )
    .option('--code-cache <MiB>', `most memory that translated code may take (${CODE_CACHE_MIB})`, integer(4, 2048))
    .addOption(new Option('--cpu <model>', 'processor the guest is shown').choices(CPU_MODELS).default('host'))
    .addOption(new Option('--video <adapter>', 'display adapter').choices(['vga', 'virtio']).default('vga'));

function firmwareOf({ firmware, firmwareVariables }: MachineFlags): Extract<Boot, { kind: 'firmware' }> {
  if (firmware === 'builtin' && firmwareVariables !== undefined) {
    throw new LodgeError({
      code: 'invalidInput',
      message: 'The built-in BIOS keeps no variables.',
      fix: 'Give --firmware FILE as well, or leave --firmware-variables out.',
    });
  }
  return {
    kind: 'firmware',
    ...(firmware !== 'builtin' && { image: resolve(firmware) }),
    ...(firmwareVariables !== undefined && { variables: resolve(firmwareVariables) }),
  };
}

/** Firmware that starts the kernel, where an image is named. */
function kernelFirmware(flags: MachineFlags): Pick<Extract<Boot, { kind: 'linux' }>, 'firmware'> {
  const { kind: _kind, image, ...variables } = firmwareOf(flags);
  if (image === undefined) return {};
  if (flags.module.length > 0) {
    throw new LodgeError({
      code: 'invalidInput',
      message: 'Firmware starts Linux kernels only, and those take no modules.',
      fix: 'Leave --firmware or --module out.',
    });
  }
  return { firmware: { image, ...variables } };
}

/** FILE[=COMMAND LINE]; the file's name may contain no equals sign. */
function parseModule(text: string): { path: string; commandLine: string } {
  const [path = '', ...rest] = text.split('=');
  return { path: resolve(path), commandLine: rest.join('=') };
}

function configOf(flags: MachineFlags, name: string, builtin: boolean): VmConfig {
  if (flags.kernel === undefined && (flags.initrd !== undefined || flags.append !== undefined || flags.module.length > 0)) {
    throw new LodgeError({
      code: 'invalidInput',
      message: '--initrd, --append and --module belong to a kernel.',
      fix: 'Add --kernel FILE.',
    });
  }
  if (builtin && flags.kernel !== undefined) {
    throw new LodgeError({
      code: 'invalidInput',
      message: '--builtin and --kernel are two different things to start.',
      fix: 'Leave one of them out.',
    });
  }
  const boot: Boot = builtin
    ? { kind: 'builtin' }
    : flags.kernel === undefined
      ? firmwareOf(flags)
      : {
          kind: 'linux',
          kernel: resolve(flags.kernel),
          commandLine: flags.append ?? '',
          ...(flags.module.length > 0 && { modules: flags.module.map(parseModule) }),
          ...(flags.initrd !== undefined && { initrd: resolve(flags.initrd) }),
          ...kernelFirmware(flags),
        };
  if (flags.boot && boot.kind !== 'firmware') {
    throw new LodgeError({
      code: 'invalidInput',
      message: '--boot orders disks, but this machine starts a kernel.',
      fix: `Leave --boot or ${builtin ? '--builtin' : '--kernel'} out.`,
    });
  }
  const disks = [
    ...flags.disk.map(parseDisk),
    ...flags.cdrom.map((text, i) => parseMedium('disc', text, i)),
    ...flags.floppy.map((text, i) => parseMedium('floppy', text, i)),
  ];
  return {
    name,
    os: builtin || flags.kernel === undefined ? 'other' : 'linux',
    notes: '',
    cpus: flags.cpus,
    ...(flags.cpuCap !== undefined && { cpuCap: flags.cpuCap }),
    ...(flags.cpuShares !== undefined && { cpuShares: flags.cpuShares }),
    memoryMiB: flags.memory,
    boot,
    disks: flags.boot ? inBootOrder(disks, flags.boot) : disks,
    serialPorts: 1,
    accelerator: flags.accelerator,
    tier: flags.tier,
    ...(flags.codeCache !== undefined && { codeCacheMiB: flags.codeCache }),
    ...(flags.cpu !== 'host' && { cpuModel: flags.cpu }),
    ...(flags.video !== 'vga' && { video: flags.video }),
  };
}

/** --gdb: PORT[,wait]. */
export function parseGdb(text: string): NonNullable<MachineSpec['gdb']> {
  const [port = '', ...options] = text.split(',');
  const parsed = gdbPortSchema.safeParse(/^\d+$/.test(port) ? Number(port) : NaN);
  if (!parsed.success || options.some((option) => option !== 'wait')) {
    throw new InvalidArgumentError('It is a port from 1024 to 65535, and may be followed by “,wait”.');
  }
  return { port: parsed.data, wait: options.length > 0 };
}

export async function main(argv: readonly string[], layout: AppLayout, child: ChildProcess | undefined): Promise<number> {
  const context: Context = { layout, child, json: argv.includes('--json'), exitCode: 0 };
  try {
    await program(context).parseAsync([...argv], { from: 'user' });
    return context.exitCode;
  } catch (e) {
    if (e instanceof CommanderError) return e.exitCode === 0 ? 0 : 2; // it has printed its message
    const error = LodgeError.from(e);
    if (context.json) process.stderr.write(JSON.stringify({ error: error.toData() }) + '\n');
    else process.stderr.write(`lodge: ${errorText(error)}\n`);
    return 1;
  } finally {
    // Forked for a run that never came about.
    if (child && child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
    child?.unref();
  }
}

function program(context: Context): Command {
  const { layout, child } = context;
  const lodge = new Command('lodge')
    .version(layout.version)
    .description('Virtual machines with their own hypervisor engine')
    .exitOverride()
    .showHelpAfterError('(lodge --help lists what there is)');
  lodge.configureOutput({ outputError: (text, write) => write(`lodge: ${text.replace(/^error: /, '')}`) });

  const data = (command: Command): Command => command.option('--data <dir>', 'data folder of the Lodge meant');
  const verb = (usage: string, description: string): Command =>
    data(lodge.command(usage).description(description)).option('--json', 'print JSON');
  const print = (value: unknown, text: string): void =>
    void process.stdout.write(context.json ? JSON.stringify(value, null, 2) + '\n' : text === '' ? '' : text + '\n');

  machineOptions(
    data(lodge.command('run').description('run a machine that is gone when it stops; its serial line is on the terminal')),
  )
    .option('--builtin', 'the guest that comes with Lodge')
    .option('--name <name>', 'lets screenshot, text, keys and stop reach it from another shell')
    .option(
      '--serial <stdio|none|file>',
      'where the first serial port goes (default: stdio); given again, the second',
      collect,
      [],
    )
    .addOption(new Option('--display <kind>', 'show a window (the app does that)').choices(['none']).default('none'))
    .option('--screenshot <file.png>', 'save the last picture')
    .option('--timeout <seconds>', 'stop then, with exit code 124', seconds)
    .option('--gdb <port>[,wait]', 'let gdb attach (target remote :port); wait: before the first instruction', parseGdb)
    .option('--debug-exit', 'add isa-debug-exit at port 0xf4; its code becomes the exit code')
    .action(
      async (
        flags: MachineFlags & {
          data?: string;
          builtin?: boolean;
          name?: string;
          serial: string[];
          screenshot?: string;
          timeout?: number;
          debugExit?: boolean;
          gdb?: MachineSpec['gdb'];
        },
      ) => {
        if (!child) throw new Error('the VM process was not forked');
        const media = flags.disk.length + flags.cdrom.length + flags.floppy.length;
        if (flags.kernel === undefined && !flags.builtin && media === 0 && flags.firmware === 'builtin') {
          throw new LodgeError({
            code: 'invalidInput',
            message: 'There is nothing to run.',
            fix: 'Give --kernel FILE, --disk FILE, --cdrom FILE or --builtin.',
          });
        }
        context.exitCode = await run(
          {
            config: configOf(flags, flags.name ?? 'run', flags.builtin === true),
            name: flags.name,
            serial: parseSerial(flags.serial),
            debugExit: flags.debugExit === true,
            ...(flags.gdb && { gdb: flags.gdb }),
            openMenu: flags.boot?.menu === true,
            screenshot: flags.screenshot === undefined ? undefined : resolve(flags.screenshot),
            timeoutSeconds: flags.timeout,
          },
          child,
          layout,
          dataPaths({ dataDir: flags.data }),
        );
      },
    );

  data(lodge.command('serve').description('serve the app to a browser'))
    .option('--port <n>', 'port; 0 is any free one', integer(0, 65535))
    .option('--host <address>', 'address to listen on', '127.0.0.1')
    .option('--json', 'print the address as JSON')
    .action(async (flags: { port?: number; host: string; data?: string }) => {
      const { serveUntilSignal } = await import('./serve');
      await serveUntilSignal(
        { host: flags.host, port: flags.port, paths: dataPaths({ dataDir: flags.data }), layout },
        context.json,
      );
    });

  machineOptions(verb('create <name>', 'add a machine to the library'))
    .option('--cpu-shares <n>', 'weight of each of its processors on a busy host, normally 100', integer(1, CPU_SHARES_MAX))
    .option('--builtin', 'starts the guest that comes with Lodge')
    .option('--new-disk <size>', 'with an empty disk, e.g. 20G', parseSize)
    .addOption(new Option('--disk-format <format>', 'of that disk').choices(DISK_FORMATS).default('raw'))
    .action(
      async (
        name: string,
        flags: MachineFlags & { data?: string; builtin?: boolean; newDisk?: number; diskFormat: DiskFormat },
      ) => {
        if (flags.boot?.menu) {
          throw new LodgeError({
            code: 'invalidInput',
            message: 'The boot menu is no part of a machine.',
            fix: 'Press F12 when it starts, or start it with `lodge start --menu`.',
          });
        }
        const { create } = await import('./verbs');
        const vm = await create(
          dataPaths({ dataDir: flags.data }),
          layout,
          configOf(flags, name, flags.builtin === true),
          flags.newDisk === undefined ? undefined : { bytes: flags.newDisk, format: flags.diskFormat },
        );
        print(vm, vm.definition.id);
      },
    );

  verb('list', 'machines and their states').action(async (flags: { data?: string }) => {
    const { list, listText } = await import('./verbs');
    const { vms, broken } = await list(dataPaths({ dataDir: flags.data }), layout);
    print(vms, listText(vms));
    for (const problem of broken) process.stderr.write(`lodge: ${problem.message}\n`);
  });

  verb('host', 'what this computer has').action(async (flags: { data?: string }) => {
    const { host, hostText } = await import('./verbs');
    const value = await host(dataPaths({ dataDir: flags.data }), layout);
    print(value, hostText(value));
  });

  const simple = [
    ['stop', 'vm.powerOff', 'power a machine off; its disks are flushed'],
    ['shutdown', 'vm.shutdown', 'press its power button: asks the guest to shut down'],
    ['pause', 'vm.pause', 'hold a machine'],
    ['resume', 'vm.resume', 'let a paused machine go on'],
    ['reset', 'vm.reset', 'press its reset button'],
    ['show', 'vm.get', 'everything about a machine, as JSON'],
  ] as const;
  verb('start <vm>', 'start a machine in the running Lodge')
    .option('--from <disk>', 'start from this disk or disc (its id) this once')
    .option('--menu', 'its firmware asks what to start from, this once')
    .action(async (vm: string, flags: { data?: string; from?: string; menu?: boolean }) => {
      const { withMachine } = await import('./verbs');
      const bootFirst = flags.from;
      print(
        await withMachine(dataPaths({ dataDir: flags.data }), vm, (client, id) =>
          client.call('vm.start', {
            id,
            ...(bootFirst !== undefined && { bootFirst }),
            ...(flags.menu === true && { bootMenu: true }),
          }),
        ),
        '',
      );
    });

  for (const [name, call, description] of simple) {
    verb(`${name} <vm>`, description).action(async (vm: string, flags: { data?: string }) => {
      const { withMachine } = await import('./verbs');
      const after = await withMachine(dataPaths({ dataDir: flags.data }), vm, (client, id) => client.call(call, { id }));
      if (name === 'show') context.json = true;
      print(after, '');
    });
  }

  verb('remove <vm>', 'move a machine to the trash folder')
    .option('--delete-files', 'delete its folder for good')
    .action(async (vm: string, flags: { data?: string; deleteFiles?: boolean }) => {
      const { withMachine } = await import('./verbs');
      await withMachine(dataPaths({ dataDir: flags.data }), vm, (client, id) =>
        client.call('vm.remove', { id, deleteFiles: flags.deleteFiles === true }),
      );
      print({}, '');
    });

  verb('attach <vm> <file>', 'attach a disk, or put a disc or floppy into its drive')
    .addOption(new Option('--kind <kind>', 'instead of what its contents say').choices(diskKindSchema.options))
    .addOption(new Option('--bus <bus>', 'controller').choices(diskBusSchema.options))
    .action(async (vm: string, file: string, flags: { data?: string; kind?: DiskKind; bus?: DiskBus }) => {
      const { withMachine } = await import('./verbs');
      const { kind, bus } = flags;
      print(
        await withMachine(dataPaths({ dataDir: flags.data }), vm, (client, id) =>
          client.call('vm.attach', { id, path: resolve(file), ...(kind && { kind }), ...(bus && { bus }) }),
        ),
        '',
      );
    });

  verb('detach <vm> <disk>', 'detach a disk, or eject a disc or floppy, by its id')
    .option('--force', 'also a disc that the guest has locked in')
    .action(async (vm: string, diskId: string, flags: { data?: string; force?: boolean }) => {
      const { withMachine } = await import('./verbs');
      print(
        await withMachine(dataPaths({ dataDir: flags.data }), vm, (client, id) =>
          client.call('vm.detach', { id, diskId, force: flags.force === true }),
        ),
        '',
      );
    });

  verb('screenshot <vm> <file.png>', 'save the screen as a PNG').action(
    async (vm: string, file: string, flags: { data?: string }) => {
      const { withMachine, savePicture } = await import('./verbs');
      const { png } = await withMachine(dataPaths({ dataDir: flags.data }), vm, (client, id) =>
        client.call('vm.screenshot', { id }),
      );
      print(await savePicture(resolve(file), png), '');
    },
  );

  verb('text <vm>', 'the text screen as characters').action(async (vm: string, flags: { data?: string }) => {
    const { withMachine } = await import('./verbs');
    const { lines } = await withMachine(dataPaths({ dataDir: flags.data }), vm, (client, id) => client.call('vm.text', { id }));
    if (lines === null && !context.json)
      throw new LodgeError({
        code: 'invalidState',
        message: 'The guest’s screen is in a graphics mode.',
        fix: 'Use `lodge screenshot`.',
      });
    print({ lines }, lines?.map((line) => line.trimEnd()).join('\n') ?? '');
  });

  verb('stats <vm>', 'how busy a machine is: rates over a second, or, as JSON, counters since its start')
    .option('--watch', 'again every second')
    .action(async (vm: string, flags: { data?: string; watch?: boolean }) => {
      const { withMachine } = await import('./verbs');
      const { ratesText } = await import('./stats');
      const second = (): Promise<void> => new Promise((done) => setTimeout(done, 1000));
      await withMachine(dataPaths({ dataDir: flags.data }), vm, async (client, id) => {
        let before = await client.call('vm.stats', { id });
        for (;;) {
          // One line a reading: each is a document of its own.
          if (context.json) process.stdout.write(JSON.stringify(before) + '\n');
          if (context.json && !flags.watch) return;
          await second();
          const now = await client.call('vm.stats', { id });
          const rates = ratesBetween(before, now);
          if (!context.json && rates) process.stdout.write(`${ratesText(rates, now)}\n${flags.watch ? '\n' : ''}`);
          if (!flags.watch) return;
          before = now;
        }
      });
    });

  machineOptions(verb('profile [vm]', 'where a guest’s time goes: samples of its processors, by function'))
    .option('--run', 'start a machine for it, as `lodge run` does, with its options')
    .option('--builtin', 'with --run: the guest that comes with Lodge')
    .option('--serial <none|file>', 'with --run: where the first serial port goes', 'none')
    .option('--delay <seconds>', 'with --run: let it run so long first', seconds)
    .option('--seconds <n>', `how long, ${PROFILE_SECONDS_MAX} at most`, seconds, 10)
    .option('--hertz <n>', 'samples a second', integer(50, 10_000), PROFILE_HERTZ)
    .option('--symbols <file>', 'System.map, a copy of /proc/kallsyms, or an ELF file; may be repeated', collect, [])
    .option('--top <n>', 'lines of the table', integer(1, 10_000), 30)
    .option('--folded', 'print stacks for flame graphs instead')
    .action(async (vm: string | undefined, flags: ProfileFlags) => {
      const { readSymbols, reportOf, reportText, foldedText } = await import('./profile');
      const usage = (message: string, fix: string): LodgeError => new LodgeError({ code: 'invalidInput', message, fix });
      if (vm === undefined && !flags.run)
        throw usage('There is nothing to profile.', 'Name a running machine, or give --run and what to run.');
      if (vm !== undefined && flags.run) throw usage('--run starts a machine of its own.', 'Leave out the name, or --run.');
      if (flags.serial === 'stdio') throw usage('Standard output is for the profile.', 'Send the serial port to a file.');
      const symbols = await readSymbols(flags.symbols.map((path) => resolve(path)));
      const { seconds: length, hertz } = flags;
      const tell = (profile: Profile): void => {
        const report = reportOf(profile, symbols);
        for (const warning of report.warnings) process.stderr.write(`lodge: ${warning}\n`);
        print(report, flags.folded ? foldedText(report) : reportText(report, flags.top));
      };
      if (vm !== undefined) {
        const { withMachine } = await import('./verbs');
        tell(
          await withMachine(dataPaths({ dataDir: flags.data }), vm, (client, id) =>
            client.call('vm.profile', { id, seconds: length, hertz }),
          ),
        );
        return;
      }
      if (!child) throw new Error('the VM process was not forked');
      context.exitCode = await run(
        {
          config: configOf(flags, 'profile', flags.builtin === true),
          name: undefined,
          serial: parseSerial([flags.serial]),
          openMenu: false,
          debugExit: false,
          screenshot: undefined,
          timeoutSeconds: undefined,
          whileRunning: async (machines, id) => {
            if (flags.delay !== undefined) await new Promise((done) => setTimeout(done, flags.delay! * 1000));
            tell(await machines.profile(id, length, hertz));
          },
        },
        child,
        layout,
        dataPaths({ dataDir: flags.data }),
      );
    });

  verb('keys <vm> <keys>', "type: text, '\\n' for Enter, named keys as <ctrl+alt+delete>").action(
    async (vm: string, keys: string, flags: { data?: string }) => {
      const { withMachine, unescape } = await import('./verbs');
      await withMachine(dataPaths({ dataDir: flags.data }), vm, (client, id) =>
        client.call('vm.keys', { id, keys: unescape(keys) }),
      );
      print({}, '');
    },
  );

  verb('mouse <vm> <dx> <dy>', 'move the mouse, in pixels to the right and down, and hold its buttons until the next time')
    .option('--buttons <mask>', '1 left, 2 right, 4 middle, added up', integer(0, 7), 0)
    .action(async (vm: string, dx: string, dy: string, flags: { data?: string; buttons: number }) => {
      const { withMachine } = await import('./verbs');
      const motion = integer(-10_000, 10_000);
      const event = { type: 'mouse' as const, dx: motion(dx), dy: motion(dy), buttons: flags.buttons, wheel: 0 };
      print(
        await withMachine(dataPaths({ dataDir: flags.data }), vm, (client, id) => client.call('vm.pointer', { id, event })),
        '',
      );
    });

  verb('serial <vm> <text>', "write to a serial port's input; '\\n' is a line feed")
    .option('--port <n>', 'which port', integer(0, 3), 0)
    .action(async (vm: string, text: string, flags: { data?: string; port: number }) => {
      const { withMachine, unescape } = await import('./verbs');
      await withMachine(dataPaths({ dataDir: flags.data }), vm, (client, id) =>
        client.call('vm.serialWrite', { id, port: flags.port, data: unescape(text) }),
      );
      print({}, '');
    });

  addDiskVerbs(lodge, context, parseSize);
  return lodge;
}
