/** Everything a user can ask for, in one object: what the app, the server and their transports are built around. */
import { LodgeError, type Host, type ImageInfo, type Preferences, type VmConfig } from '../../preload/contract';
import { Inventory } from '../inventory/inventory';
import { defaultPreferences, PreferencesFile } from '../inventory/preferences';
import { DisposableStore } from '../lib/disposable';
import { silentLogger, type Logger } from '../lib/log';
import type { AppLayout, DataPaths } from '../lib/paths';
import type { Spawner } from '../process/channel';
import type { Deadlines } from '../process/supervisor';
import { Disks } from './disks';
import { EventHub } from './events';
import { HostService, hostMemory } from './host';
import { Machines } from './machines';
import { removeAbandonedParts } from './uploads';

export interface LodgeOptions {
  readonly paths: DataPaths;
  readonly layout: AppLayout;
  readonly mode: Host['mode'];
  readonly spawn: Spawner;
  readonly inspectImage: (path: string) => Promise<ImageInfo>;
  readonly log?: Logger;
  readonly deadlines?: Partial<Deadlines>;
  readonly hostMemory?: typeof hostMemory;
}

const HOST_INTERVAL_MS = 3000;
/** Smaller changes move no slider. */
const HOST_CHANGE_MIB = 64;

/** The first machine of a new user: starts offline, at once. */
export const FIRST_MACHINE: VmConfig = {
  name: 'Lodge Demo',
  os: 'other',
  notes: 'A small guest that comes with Lodge. It starts at once, shows the hardware it finds, and has a shell: type help.',
  cpus: 1,
  memoryMiB: 64,
  boot: { kind: 'builtin' },
  disks: [],
  serialPorts: 1,
  accelerator: 'auto',
  tier: 'auto',
};

export class Lodge {
  private readonly disposables = new DisposableStore();

  private constructor(
    readonly hub: EventHub,
    readonly host: HostService,
    readonly machines: Machines,
    readonly disks: Disks,
    readonly inspectImage: LodgeOptions['inspectImage'],
    readonly log: Logger,
    private readonly inventory: Inventory,
    private readonly preferencesFile: PreferencesFile,
    private readonly ownNotices: string[],
  ) {
    let last = hostMemory().availableMiB;
    const timer = setInterval(() => {
      if (!hub.hasListeners) return;
      const now = hostMemory().availableMiB;
      if (Math.abs(now - last) < HOST_CHANGE_MIB) return;
      last = now;
      hub.emit({ type: 'host', host: host.get() });
    }, HOST_INTERVAL_MS);
    timer.unref();
    this.disposables.addCallback(() => clearInterval(timer));
  }

  static async open(options: LodgeOptions): Promise<Lodge> {
    const { paths } = options;
    const log = options.log ?? silentLogger;
    const { preferences, notices } = await PreferencesFile.load(paths.preferencesFile, defaultPreferences(paths.defaultVmFolder));
    const inventory = await Inventory.open({ libraryFile: paths.libraryFile, vmFolder: preferences.value.vmFolder });
    await removeAbandonedParts(preferences.value.vmFolder);
    const hub = new EventHub(log);
    const host = new HostService({ mode: options.mode, version: options.layout.version, addon: options.layout.addon });
    const machines = new Machines({
      hub,
      paths,
      layout: options.layout,
      spawn: options.spawn,
      inventory,
      log,
      ...(options.deadlines && { deadlines: options.deadlines }),
      ...(options.hostMemory && { hostMemory: options.hostMemory }),
    });
    if (inventory.firstRun) {
      try {
        // There already when only the note of it could not be kept.
        if (!inventory.list().some(({ definition }) => definition.boot.kind === 'builtin')) await inventory.create(FIRST_MACHINE);
        await inventory.markBuiltinCreated();
      } catch (e) {
        // A VM folder that cannot be written must not keep the app from opening: the preferences are the way out.
        const { message, fix } = LodgeError.from(e);
        notices.push(`The first machine could not be made. ${[message, fix].filter(Boolean).join('. ').replaceAll('..', '.')}`);
      }
    }
    await machines.loadInventory();
    for (const notice of [...notices, ...inventory.notices]) log.warn({}, notice);
    for (const broken of inventory.broken()) log.warn({ folder: broken.folder }, broken.message);
    return new Lodge(
      hub,
      host,
      machines,
      new Disks({ hub, lockDir: paths.lockDir }),
      options.inspectImage,
      log,
      inventory,
      preferences,
      notices,
    );
  }

  get preferences(): Preferences {
    return this.preferencesFile.value;
  }

  get notices(): string[] {
    return [...this.ownNotices, ...this.inventory.notices];
  }

  async setPreferences(change: Partial<Preferences>): Promise<Preferences> {
    if (change.vmFolder !== undefined) {
      await this.inventory.setVmFolder(change.vmFolder);
      const known = new Set(this.machines.list().map((vm) => vm.definition.id));
      await this.machines.loadInventory();
      for (const vm of this.machines.list()) if (!known.has(vm.definition.id)) this.hub.emit({ type: 'vm', vm });
    }
    const preferences = await this.preferencesFile.set(
      Object.fromEntries(Object.entries(change).filter(([, v]) => v !== undefined)),
    );
    this.hub.emit({ type: 'preferences', preferences });
    return preferences;
  }

  /** Running machines are ended with their disks flushed. */
  async close(): Promise<void> {
    this.disposables.dispose();
    await this.disks.close();
    await this.machines.close();
  }
}
