/**
 * A Lodge that exists only in the page, to develop and look at the user interface without an engine: machines change state,
 * the screen and a serial port show a boot, files can be browsed. Development and tests only; no build includes it.
 */
import {
  LodgeError,
  preferencesSchema,
  vmConfigSchema,
  type CallResult,
  type DiskInfo,
  type Handlers,
  type Host,
  type Job,
  type LodgeEvent,
  type Preferences,
  type Vm,
} from '../../preload/contract';
import type { LinkState, Transport, UploadOptions, ViewerHandlers, ViewerSocket } from '../api';
import { disk, ENGINE, FILES, GIB, image, IMAGES, inspect, machine, MACHINES } from './mock-data';
import { MockMachine } from './mock-machine';

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
