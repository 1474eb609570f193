/**
 * A Lodge that exists only in the page, to develop and look at the user interface without an engine: machines change state,
 * the screen and a serial port show a boot, files can be browsed. Development and tests only; no build includes it.
 */
import {
  FRAME_HEADER_BYTES,
  LodgeError,
  preferencesSchema,
  RECT_HEADER_BYTES,
  vmConfigSchema,
  type CallResult,
  type Disk,
  type DiskBus,
  type DiskInfo,
  type DiskKind,
  type Handlers,
  type Host,
  type ImageInfo,
  type Job,
  type LodgeEvent,
  type Preferences,
  type ViewerToVm,
  type Vm,
  type VmConfig,
  type VmState,
} from '../../preload/contract';
import type { LinkState, Transport, UploadOptions, ViewerHandlers, ViewerSocket } from '../api';

const uuid = (n: number): string => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`;
const GIB = 1024 ** 3;

const config = (part: Partial<VmConfig>): VmConfig => ({
  name: 'Machine',
  os: 'linux',
  notes: '',
  cpus: 2,
  memoryMiB: 2048,
  boot: { kind: 'firmware' },
  disks: [],
  serialPorts: 1,
  accelerator: 'auto',
  tier: 'auto',
  ...part,
});
const machine = (n: number, state: VmState, part: Partial<VmConfig>, extra: Partial<Vm> = {}): Vm => ({
  definition: { schema: 2, id: uuid(n), createdAt: '2026-03-01T10:00:00Z', ...config(part) },
  state,
  thumbnail: state === 'stopped' ? 0 : 1,
  ephemeral: false,
  ...extra,
});
const disk = (path: string, kind: DiskKind = 'disk', bus: DiskBus = kind === 'disk' ? 'virtio' : 'ide'): Disk => ({
  id: path.slice(-12),
  path,
  bus,
  format: kind === 'disk' ? 'auto' : 'raw',
  readOnly: kind === 'disc',
  kind,
});

const ENGINE = {
  accelerator: 'software' as const,
  tier: 'interpreter' as const,
  reason: 'This host offers no hardware virtualization: /dev/kvm is not there.',
};

export type Scenario = 'full' | 'empty' | 'first';

export class MockTransport implements Transport {
  readonly kind = 'server';
  readonly platform = 'linux';
  private readonly events = new Set<(event: unknown) => void>();
  private seq = 1;
  private readonly vms = new Map<string, Vm>();
  private readonly screens = new Map<string, MockMachine>();
  private preferences: Preferences = {
    theme: 'light',
    hostKey: 'ControlRight',
    vmFolder: '/home/ada/Lodge',
    libraryView: 'list',
    closeAction: 'ask',
  };
  private readonly host: Host = {
    cpuModel: 'AMD Ryzen 7 7840U',
    logicalCpus: 16,
    memoryMiB: 32000,
    availableMiB: 19400,
    accelerators: [
      { kind: 'kvm', available: false, reason: 'This host offers no hardware virtualization: /dev/kvm is not there.', tiers: [] },
      { kind: 'software', available: true, reason: 'Lodge’s own CPU works on every host.', tiers: ['interpreter'] },
    ],
    mode: 'server',
    version: '0.1.0',
  };
  private readonly images = new Map<string, DiskInfo>(IMAGES.map((image) => [image.path, image]));
  private readonly jobs = new Map<string, Job>();
  private readonly timer: ReturnType<typeof setInterval>;

  constructor(
    private readonly scenario: Scenario = 'full',
    options: Partial<Preferences> = {},
  ) {
    this.preferences = { ...this.preferences, ...options };
    for (const vm of scenario === 'empty' ? [] : MACHINES.slice(0, scenario === 'first' ? 1 : undefined)) {
      this.vms.set(vm.definition.id, vm);
      if (vm.state !== 'stopped') this.screens.set(vm.definition.id, new MockMachine());
    }
    this.timer = setInterval(() => this.tick(), 1000);
  }

  async call(name: string, input: unknown): Promise<CallResult<unknown>> {
    const handler = (this.handlers as unknown as Record<string, (input: unknown) => Promise<unknown>>)[name];
    await new Promise((resolve) => setTimeout(resolve, 30));
    try {
      if (handler === undefined) throw new LodgeError({ code: 'notFound', message: `No procedure ${name}.` });
      return { ok: true, value: await handler(input) };
    } catch (e) {
      return { ok: false, error: LodgeError.from(e).toData() };
    }
  }
  onEvent(listener: (event: unknown) => void): () => void {
    this.events.add(listener);
    return () => this.events.delete(listener);
  }
  onLink(listener: (state: LinkState) => void): () => void {
    queueMicrotask(() => listener('open'));
    return () => {};
  }
  openVmWindow(): boolean {
    return false;
  }
  async pathForFile(file: File, options: UploadOptions = {}): Promise<string> {
    for (let i = 1; i <= 4; i++) {
      await new Promise((resolve) => setTimeout(resolve, 60));
      options.onProgress?.((file.size * i) / 4, file.size);
    }
    return `/home/ada/Lodge/media/${file.name}`;
  }
  openViewer(vmId: string, handlers: ViewerHandlers): ViewerSocket {
    const screen = this.screens.get(vmId);
    if (screen === undefined) {
      const timer = setTimeout(() => handlers.onClose(), 20);
      return { send: () => {}, close: () => clearTimeout(timer) };
    }
    return screen.attach(handlers);
  }
  dispose(): void {
    clearInterval(this.timer);
    this.events.clear();
  }

  private emit(event: LodgeEvent): void {
    for (const l of this.events) l(event);
  }
  private find(id: string): Vm {
    const vm = this.vms.get(id);
    if (vm === undefined) throw new LodgeError({ code: 'notFound', message: 'There is no such machine.' });
    return vm;
  }
  private put(vm: Vm): Vm {
    this.vms.set(vm.definition.id, vm);
    this.emit({ type: 'vm', seq: ++this.seq, vm });
    return vm;
  }
  private change(id: string, part: Partial<Vm>): Vm {
    return this.put({ ...this.find(id), ...part });
  }
  private stop(id: string, kind: 'powerOff' | 'stopped'): Vm {
    const { engine: _engine, stats: _stats, ...rest } = this.find(id);
    this.screens.delete(id);
    return this.put({ ...rest, state: 'stopped', lastStop: { kind } });
  }
  private tick(): void {
    for (const vm of this.vms.values()) {
      if (vm.state !== 'running') continue;
      const t = (vm.stats?.uptimeSeconds ?? 0) + 1;
      this.change(vm.definition.id, {
        thumbnail: vm.thumbnail + (t % 3 === 0 ? 1 : 0),
        engine: vm.engine ?? ENGINE,
        stats: {
          cpuPercent: Math.abs(Math.sin(t / 5) * 40 + Math.sin(t * 1.7) * 18),
          residentBytes: vm.definition.memoryMiB * 1024 * 1024 * 0.31,
          diskReadBytes: t * 4e5,
          diskWrittenBytes: t * 1.2e5,
          netReceivedBytes: 0,
          netSentBytes: 0,
          uptimeSeconds: t,
        },
      });
      this.screens.get(vm.definition.id)?.tick(t);
    }
  }

  private image(path: string): DiskInfo {
    const found = this.images.get(path);
    if (found === undefined)
      throw new LodgeError({
        code: 'fileMissing',
        message: `There is no file ${path}.`,
        fix: 'Put it back where it was, or remove it here.',
      });
    return found;
  }
  private tell(job: Job): Job {
    this.jobs.set(job.id, job);
    this.emit({ type: 'job', seq: ++this.seq, job });
    return job;
  }
  private begin(what: Pick<Job, 'kind' | 'path' | 'target'>, done: () => void): Job {
    const id = `job-${this.jobs.size + 1}`;
    const step = (): void => {
      const job = this.jobs.get(id)!;
      if (job.state !== 'running') return;
      if (job.progress >= 0.99) {
        done();
        this.tell({ ...job, progress: 1, state: 'done' });
        return;
      }
      this.tell({ ...job, progress: Math.min(1, job.progress + 0.04) });
      setTimeout(step, 250);
    };
    setTimeout(step, 250);
    return this.tell({ ...what, id, progress: 0, state: 'running' });
  }

  private readonly handlers: Partial<Handlers> = {
    'app.snapshot': () =>
      Promise.resolve({
        seq: this.seq,
        vms: [...this.vms.values()],
        broken:
          this.scenario === 'full'
            ? [
                {
                  folder: '/home/ada/Lodge/old-build-3fa1',
                  setAside: 'machine.json.broken-20260301',
                  message: 'Its settings file ends in the middle of a line.',
                },
              ]
            : [],
        host: this.host,
        preferences: this.preferences,
        notices: [],
        jobs: [...this.jobs.values()],
      }),
    'preferences.set': (patch) => {
      this.preferences = preferencesSchema.parse({ ...this.preferences, ...patch });
      this.emit({ type: 'preferences', seq: ++this.seq, preferences: this.preferences });
      return Promise.resolve(this.preferences);
    },
    'vm.create': ({ config: c, newDisk }) => {
      const n = this.vms.size + 1;
      const disks = newDisk === undefined ? c.disks : [...c.disks, disk(`/home/ada/Lodge/${c.name}/disk.raw`)];
      return Promise.resolve(this.put(machine(n, 'stopped', { ...c, disks })));
    },
    'vm.update': ({ id, config: c }) => {
      const vm = this.find(id);
      return Promise.resolve(
        this.change(id, { definition: { ...vm.definition, ...vmConfigSchema.partial().parse(c) } as Vm['definition'] }),
      );
    },
    'vm.remove': ({ id }) => {
      this.vms.delete(id);
      this.emit({ type: 'vmRemoved', seq: ++this.seq, id });
      return Promise.resolve(null);
    },
    'vm.start': async ({ id }) => {
      const { lastStop: _lastStop, ...vm } = this.find(id);
      if (vm.definition.memoryMiB > this.host.availableMiB)
        throw new LodgeError({
          code: 'insufficientMemory',
          message: `“${vm.definition.name}” asks for ${vm.definition.memoryMiB} MiB, but only ${this.host.availableMiB} MiB are free.`,
          fix: 'Close programs or other machines, or give this machine less memory.',
        });
      this.put({ ...vm, state: 'starting' });
      await new Promise((resolve) => setTimeout(resolve, 500));
      this.screens.set(id, new MockMachine());
      return this.change(id, { state: 'running', engine: ENGINE, thumbnail: vm.thumbnail + 1 });
    },
    'vm.pause': ({ id }) => Promise.resolve(this.change(id, { state: 'paused' })),
    'vm.resume': ({ id }) => Promise.resolve(this.change(id, { state: 'running' })),
    'vm.shutdown': ({ id }) => {
      setTimeout(() => this.stop(id, 'powerOff'), 900);
      return Promise.resolve(this.change(id, { state: 'stopping' }));
    },
    'vm.stats': ({ id }) => {
      const { definition, stats } = this.find(id);
      const t = performance.now() / 1000;
      const busy = t * 0.4 + Math.sin(t / 4) * 0.6;
      return Promise.resolve({
        atSeconds: t,
        uptimeSeconds: stats?.uptimeSeconds ?? 0,
        cpuSeconds: busy * definition.cpus,
        residentBytes: definition.memoryMiB * 1024 * 1024 * (0.4 + Math.sin(t / 9) * 0.1),
        vcpus: Array.from({ length: definition.cpus }, (_, i) => ({
          cpuSeconds: busy + i * Math.sin(t / 7),
          halted: false,
          haltedSeconds: Math.max(0, t - busy),
          exits: { portIn: t * 120, portOut: t * 300, mmioRead: t * 20, mmioWrite: t * 60 },
          doorbells: t * 40,
        })),
        disk: { readBytes: t * 4e6, writtenBytes: t * 1.2e6, reads: t * 90, writes: t * 30 },
        display: { frames: t * 24 },
      });
    },
    'vm.reset': ({ id }) => Promise.resolve(this.change(id, { state: 'running' })),
    'vm.powerOff': ({ id }) => Promise.resolve(this.stop(id, 'stopped')),
    'vm.detach': ({ id, diskId, force }) => {
      const vm = this.find(id);
      const taken = vm.definition.disks.find((d) => d.id === diskId);
      // Debian holds on to its installer.
      if (vm.state === 'running' && taken !== undefined && /debian/.test(taken.path) && taken.kind === 'disc' && force !== true)
        throw new LodgeError({
          code: 'mediumLocked',
          message: 'The guest is using debian-12.11.0-amd64-netinst.iso and has locked it in; it was asked to let it go.',
          fix: 'Eject it inside the guest, or take it out by force: programs that read it will fail.',
        });
      return Promise.resolve(
        this.change(id, { definition: { ...vm.definition, disks: vm.definition.disks.filter((d) => d.id !== diskId) } }),
      );
    },
    'disk.create': ({ path, bytes, format = 'raw', variant = 'dynamic' }) => {
      if (this.images.has(path))
        throw new LodgeError({ code: 'nameTaken', message: `${path} exists already.`, fix: 'Choose another name.' });
      const made = image(path, format, bytes, 196_608, variant);
      this.images.set(path, made);
      return Promise.resolve(made);
    },
    'disk.info': ({ path }) => Promise.resolve(this.image(path)),
    'disk.check': ({ path }) => {
      const { format, hostBytes } = this.image(path);
      return Promise.resolve({ path, format, ok: true, errors: [], leakedBytes: 0, allocatedBytes: hostBytes });
    },
    'disk.convert': ({ path, target, format }) => {
      const source = this.image(path);
      return Promise.resolve(
        this.begin({ kind: 'convert', path, target }, () =>
          this.images.set(target, image(target, format, source.bytes, source.hostBytes)),
        ),
      );
    },
    'disk.resize': ({ path, bytes }) => {
      const before = this.image(path);
      return Promise.resolve(
        this.begin({ kind: 'resize', path, target: path }, () => this.images.set(path, { ...before, bytes })),
      );
    },
    'disk.delete': ({ path }) => {
      this.images.delete(path);
      return Promise.resolve(null);
    },
    'job.cancel': ({ id }) => {
      const job = this.jobs.get(id);
      if (job?.state === 'running') this.tell({ ...job, state: 'cancelled' });
      return Promise.resolve(null);
    },
    'files.space': () => Promise.resolve({ freeBytes: 143 * GIB, totalBytes: 476 * GIB }),
    'vm.attach': ({ id, path, kind }) => {
      const vm = this.find(id);
      return Promise.resolve(
        this.change(id, {
          definition: {
            ...vm.definition,
            disks: [...vm.definition.disks, disk(path, kind ?? (/\.iso$/.test(path) ? 'disc' : 'disk'))],
          },
        }),
      );
    },
    'vm.screenshot': ({ id }) => Promise.resolve({ png: (this.screens.get(id) ?? new MockMachine()).png() }),
    'vm.keys': () => Promise.resolve(null),
    'image.inspect': ({ path }) => Promise.resolve(inspect(path)),
    'files.list': ({ path = '/home/ada' }) => {
      const names = FILES[path];
      if (names === undefined) throw new LodgeError({ code: 'notFound', message: `There is no folder ${path}.` });
      const prefix = path === '/' ? '' : path;
      return Promise.resolve({
        path,
        parent: path === '/' ? null : path.slice(0, path.lastIndexOf('/')) || '/',
        entries: names.map((name) => {
          const directory = name.endsWith('/');
          const plain = name.replace('/', '');
          return { name: plain, path: `${prefix}/${plain}`, directory, bytes: directory ? 0 : plain.length * 47e6 };
        }),
      });
    },
  };
}

const image = (path: string, format: DiskInfo['format'], bytes: number, hostBytes: number, variant = 'dynamic'): DiskInfo => ({
  path,
  format,
  variant,
  bytes,
  hostBytes,
  parents: [],
  snapshots: 0,
});
const IMAGES: readonly DiskInfo[] = [
  image('/home/ada/Lodge/debian-12/disk.raw', 'raw', 20 * GIB, 3.4 * GIB),
  image('/home/ada/Lodge/alpine/disk.raw', 'raw', 2 * GIB, 0.2 * GIB),
  image('/home/ada/Lodge/arch/disk.qcow2', 'qcow2', 64 * GIB, 18.6 * GIB),
  image('/home/ada/Lodge/arch/scratch.vhdx', 'vhdx', 32 * GIB, 0.01 * GIB),
];

const FILES: Readonly<Record<string, readonly string[]>> = {
  '/': ['boot/', 'home/'],
  '/boot': ['vmlinuz-6.1.0-21-amd64', 'initrd.img-6.1.0-21-amd64'],
  '/home': ['ada/'],
  '/home/ada': ['Downloads/', 'Lodge/', 'notes.txt'],
  '/home/ada/Lodge': [],
  '/home/ada/Downloads': [
    'debian-12.11.0-amd64-netinst.iso',
    'alpine-virt-3.20.0-x86_64.iso',
    'data.img',
    'empty.img',
    'windows.qcow2',
  ],
};

function inspect(path: string): ImageInfo {
  const base = { path, bytes: 658_505_728, suggestedName: '', suggestedOs: 'other', bootable: false };
  if (/vmlinuz/.test(path))
    return {
      ...base,
      kind: 'linuxKernel',
      format: 'bzImage',
      bytes: 8.2e6,
      label: '6.1.0-21-amd64',
      suggestedName: 'Linux 6.1',
      suggestedOs: 'linux',
      bootable: true,
    };
  if (/initrd/.test(path)) return { ...base, kind: 'archive', format: 'gzip', bytes: 31e6 };
  if (/empty/.test(path))
    return {
      ...base,
      kind: 'unknown',
      format: 'empty',
      bytes: 0,
      problem: 'This file is empty (0 bytes). The download may have been cut off; get it again.',
    };
  if (/debian.*\.iso$/.test(path))
    return {
      ...base,
      kind: 'disc',
      format: 'iso9660',
      label: 'Debian 12.11.0 amd64 n',
      suggestedName: 'Debian 12',
      suggestedOs: 'debian',
      bootable: true,
    };
  if (/\.iso$/.test(path))
    return {
      ...base,
      kind: 'disc',
      format: 'iso9660',
      label: 'ALPINE',
      suggestedName: 'Alpine Linux',
      suggestedOs: 'alpine',
      bootable: true,
    };
  if (/\.(img|raw)$/.test(path))
    return { ...base, kind: 'disk', format: 'raw', bytes: 4 * GIB, suggestedName: 'Data', bootable: true };
  if (/qcow2$/.test(path))
    return {
      ...base,
      kind: 'disk',
      format: 'qcow2',
      problem: 'qcow2 images cannot be used yet. Convert it to a raw image first.',
    };
  throw new LodgeError({
    code: 'fileMissing',
    message: `There is no file ${path}.`,
    fix: 'Check the path, or choose the file with Browse.',
  });
}

const MACHINES: readonly Vm[] = [
  machine(
    1,
    'stopped',
    { name: 'Lodge Demo', os: 'other', cpus: 1, memoryMiB: 64, boot: { kind: 'builtin' } },
    { lastStop: { kind: 'powerOff' } },
  ),
  machine(
    2,
    'running',
    {
      name: 'Debian 12',
      os: 'debian',
      notes: 'Mail server test bed.\nRoot password is in the vault.',
      boot: {
        kind: 'linux',
        kernel: '/boot/vmlinuz-6.1.0-21-amd64',
        initrd: '/boot/initrd.img-6.1.0-21-amd64',
        commandLine: 'console=ttyS0 console=tty0 root=/dev/vda1',
      },
      disks: [disk('/home/ada/Lodge/debian-12/disk.raw'), disk('/home/ada/Downloads/debian-12.11.0-amd64-netinst.iso', 'disc')],
      serialPorts: 2,
    },
    { engine: ENGINE },
  ),
  machine(
    3,
    'paused',
    { name: 'Alpine router', os: 'alpine', cpus: 1, memoryMiB: 256, disks: [disk('/home/ada/Lodge/alpine/disk.raw')] },
    { engine: ENGINE },
  ),
  machine(
    4,
    'stopped',
    {
      name: 'Fedora nightly',
      os: 'fedora',
      cpus: 4,
      memoryMiB: 4096,
      boot: { kind: 'linux', kernel: '/srv/kernels/nightly/bzImage', commandLine: 'console=ttyS0' },
    },
    {
      lastStop: {
        kind: 'guestFault',
        message: 'The guest could not handle an exception while it was handling another (triple fault).',
        report:
          'RIP 0010:ffffffff81c01a2e  RSP ffffffff82603f18\nCR0 80050033  CR2 ffffffffffffffd8  CR3 000000000260a000  CR4 00000020\nRAX 0000000000000000  RBX ffffffff82a1c000  RCX 0000000000000100  RDX 0000000000000d01\nIDT ffffffff82a3e000 limit 0fff   GDT fffffe0000001000 limit 007f',
      },
    },
  ),
  machine(5, 'stopped', {
    name: 'Windows 10 for the scanner',
    os: 'windows10',
    cpus: 4,
    memoryMiB: 24000,
    disks: [disk('/home/ada/Lodge/w10/disk.raw')],
  }),
  machine(
    6,
    'stopped',
    {
      name: 'Arch build box',
      os: 'arch',
      cpus: 8,
      memoryMiB: 8192,
      disks: [
        disk('/home/ada/Lodge/arch/disk.qcow2'),
        disk('/home/ada/Lodge/arch/scratch.vhdx', 'disk', 'ahci'),
        disk('/home/ada/Lodge/arch/old-server.vmdk', 'disk', 'ahci'),
        disk('/home/ada/Downloads/archlinux-2026.03.01-x86_64.iso', 'disc'),
      ],
    },
    { lastStop: { kind: 'stopped' } },
  ),
];

const BOOT_LINES = [
  '[    0.000000] Linux version 6.1.0-21-amd64 (debian-kernel@lists.debian.org)',
  '[    0.000000] Command line: console=ttyS0 console=tty0 root=/dev/vda1',
  '[    0.000000] BIOS-provided physical RAM map:',
  '[    0.000000] BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable',
  '[    0.003120] Detected 2994.372 MHz processor',
  '[    0.118734] smpboot: CPU0: Lodge Virtual CPU (family: 0x6, model: 0xf, stepping: 0x1)',
  '[    0.201776] PCI: Using configuration type 1 for base access',
  '[    0.377402] clocksource: Switched to clocksource kvm-clock',
  '[    0.541220] Serial: 8250/16550 driver, 4 ports, IRQ sharing enabled',
  '[    0.604118] virtio_blk virtio0: [vda] 41943040 512-byte logical blocks (21.5 GB/20.0 GiB)',
  '[    0.688400] input: AT Translated Set 2 keyboard as /devices/platform/i8042/serio0/input/input0',
  '[    0.913381] EXT4-fs (vda1): mounted filesystem with ordered data mode.',
  '[    1.204412] systemd[1]: Detected architecture x86-64.',
  '',
  'Debian GNU/Linux 12 lodge tty1',
  '',
  'lodge login: ',
];

/** A picture and a serial port, through the real viewer protocol. */
class MockMachine {
  private readonly canvas = document.createElement('canvas');
  private readonly context = this.canvas.getContext('2d', { alpha: false, willReadFrequently: true })!;
  private readonly viewers = new Set<ViewerHandlers>();
  private typed = '';
  private frame = 0;
  private cursor = true;

  constructor() {
    this.canvas.width = 720;
    this.canvas.height = 400;
    this.draw();
  }

  attach(handlers: ViewerHandlers): ViewerSocket {
    const text = (message: unknown): void => handlers.onText(JSON.stringify(message));
    setTimeout(() => handlers.onOpen(), 5);
    return {
      send: (message: ViewerToVm) => {
        switch (message.type) {
          case 'attach':
            this.viewers.add(handlers);
            text({ type: 'screen', width: 720, height: 400, mode: 'text' });
            text({ type: 'pointer', absolute: false });
            text({ type: 'leds', capsLock: false, numLock: true, scrollLock: false });
            handlers.onBinary(this.rectangle(0, 0, 720, 400));
            handlers.onBinary(
              this.serial(`${BOOT_LINES.slice(0, -1).join('\r\n')}\r\n\r\n\x1b[1;32mroot@lodge\x1b[0m:\x1b[1;34m~\x1b[0m# `),
            );
            break;
          case 'key':
            if (!message.down) break;
            if (message.code === 'Backspace') this.typed = this.typed.slice(0, -1);
            else if (message.code.startsWith('Key')) this.typed += message.code.slice(3).toLowerCase();
            else if (message.code.startsWith('Digit')) this.typed += message.code.slice(5);
            else if (message.code === 'Space') this.typed += ' ';
            this.draw();
            break;
          case 'serial':
            handlers.onBinary(this.serial(message.data.replace('\r', '\r\n\x1b[1;32mroot@lodge\x1b[0m:\x1b[1;34m~\x1b[0m# ')));
            break;
          case 'frameDrawn':
          case 'mouse':
          case 'pointer':
          case 'releaseKeys':
            break;
        }
      },
      close: () => this.viewers.delete(handlers),
    };
  }

  tick(t: number): void {
    this.cursor = !this.cursor;
    this.draw();
    for (const v of this.viewers)
      v.onText(JSON.stringify({ type: 'activity', diskRead: t % 3 === 0, diskWrite: t % 4 === 0, net: false, cpuPercent: 20 }));
  }

  png(): string {
    return this.canvas.toDataURL('image/png').split(',')[1]!;
  }

  private draw(): void {
    const { context } = this;
    context.fillStyle = '#000';
    context.fillRect(0, 0, 720, 400);
    context.font = '15px "DejaVu Sans Mono", monospace';
    context.textBaseline = 'top';
    context.fillStyle = '#aaa';
    BOOT_LINES.forEach((line, y) => {
      const shown = y === BOOT_LINES.length - 1 ? line + this.typed + (this.cursor ? '_' : '') : line;
      context.fillText(shown.slice(0, 80), 0, y * 16, 720);
    });
    const frame = this.rectangle(0, 0, 720, 400);
    for (const v of this.viewers) v.onBinary(frame);
  }

  private rectangle(x: number, y: number, width: number, height: number): ArrayBuffer {
    const pixels = this.context.getImageData(x, y, width, height).data;
    const bytes = new Uint8Array(FRAME_HEADER_BYTES + RECT_HEADER_BYTES + pixels.length);
    const view = new DataView(bytes.buffer);
    view.setUint8(0, 1);
    view.setUint16(2, 1, true);
    view.setUint32(4, ++this.frame, true);
    [x, y, width, height].forEach((v, i) => view.setUint16(FRAME_HEADER_BYTES + i * 2, v, true));
    bytes.set(pixels, FRAME_HEADER_BYTES + RECT_HEADER_BYTES);
    return bytes.buffer;
  }

  private serial(text: string): ArrayBuffer {
    return new Uint8Array([2, 0, ...new TextEncoder().encode(text)]).buffer;
  }
}
