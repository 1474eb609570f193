/**
 * Every machine there is, stored or ephemeral, and what can be asked of it. State changes go through the lifecycle table;
 * each is told as one event. Nothing a VM process does can make a method here throw into another machine's business.
 */
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import {
  CONFIG_SCHEMA_VERSION,
  LodgeError,
  PROFILE_HERTZ,
  type BrokenVm,
  type Disk,
  type NewDisk,
  type PointerInput,
  type Profile,
  type StopReason,
  type Vm,
  type VmConfig,
  type VmCounters,
  type VmDefinition,
  type VmId,
  type VmStats,
} from '../../preload/contract';
import type { Inventory } from '../inventory/inventory';
import { DisposableStore } from '../lib/disposable';
import { silentLogger, type Logger } from '../lib/log';
import type { AppLayout, DataPaths } from '../lib/paths';
import type { Spawner } from '../process/channel';
import { Supervisor, type Deadlines } from '../process/supervisor';
import { createDisk } from '../storage';
import { checkDiskIds, checkPaths, freeDiskId, withDisk } from './config-checks';
import type { EventHub } from './events';
import { FileLocks } from './file-locks';
import { hostMemory } from './host';
import { refusal, transition, type LifecycleEvent, type UserAction } from './lifecycle';
import { liveProcess, newMachine, view, type Machine } from './machine-record';
import { checkFile, lockWishes, machineSpec, type RunOptions } from './machine-spec';
import { requireMemory } from './memory-admission';
import { ShareKeeper } from './share-keeper';
import { readThumbnail, writeThumbnail } from './thumbnails';

export interface MachinesOptions {
  readonly hub: EventHub;
  readonly paths: DataPaths;
  readonly layout: AppLayout;
  readonly spawn: Spawner;
  /** Without: only ephemeral machines. */
  readonly inventory?: Inventory;
  readonly log?: Logger;
  readonly deadlines?: Partial<Deadlines>;
  readonly onStderr?: (text: string) => void;
  /** For tests: what the host has. */
  readonly hostMemory?: typeof hostMemory;
}

/** The VM process sends once a second; one that floods does not flood the clients. */
const STATS_INTERVAL_MS = 500;
/** A profile's answer may be late by this. */
const PROFILE_GRACE_MS = 30_000;
const MAX_NOTICES_PER_RUN = 50;
/** What may change while the machine runs. */
const LIVE: readonly (keyof VmConfig)[] = ['name', 'notes', 'os', 'cpuCap', 'cpuShares'];

export class Machines {
  private readonly machines = new Map<VmId, Machine>();
  private readonly disposables = new DisposableStore();
  private readonly log: Logger;
  private readonly shares = this.disposables.add(new ShareKeeper(() => this.machines.values()));
  private closing = false;
  /** Clean-up after runs: locks, thumbnails. */
  private readonly saving = new Set<Promise<void>>();

  constructor(private readonly options: MachinesOptions) {
    this.log = options.log ?? silentLogger;
    this.disposables.add(
      options.hub.onFirstListener(() => {
        for (const vm of this.machines.values()) if (vm.picture.due) this.wantPicture(vm);
      }),
    );
  }

  /** Takes over what the inventory has; again after it found more. */
  async loadInventory(): Promise<void> {
    for (const stored of this.options.inventory?.list() ?? []) {
      if (this.machines.has(stored.definition.id)) continue;
      const vm = this.add(stored.definition, stored.folder, {});
      const picture = await readThumbnail(stored.folder);
      if (picture) vm.picture.set(picture);
    }
  }

  list(): Vm[] {
    return [...this.machines.values()].map(view);
  }

  broken(): BrokenVm[] {
    return this.options.inventory?.broken() ?? [];
  }

  get(id: VmId): Vm {
    return view(this.require(id));
  }

  /** Guests that would lose something if this process ended now. */
  get running(): Vm[] {
    return this.list().filter((vm) => vm.state !== 'stopped');
  }

  // ---- definitions ------------------------------------------------------------------------------------------------

  async create(config: VmConfig, newDisk?: NewDisk): Promise<Vm> {
    const inventory = this.requireInventory();
    this.checkName(config.name);
    checkDiskIds(config.disks);
    checkPaths(config);
    const stored = await inventory.create(config, async (folder, draft) => {
      if (!newDisk) return draft;
      const format = newDisk.format ?? 'raw';
      const path = join(folder, format === 'raw' ? 'disk.img' : `disk.${format}`);
      await createDisk({ path, bytes: Math.ceil(newDisk.bytes / 512) * 512, format, variant: newDisk.variant });
      const disk: Disk = { id: freeDiskId(draft.disks), path, bus: 'virtio', format, readOnly: false, kind: 'disk' };
      return { ...draft, disks: [disk, ...draft.disks] };
    });
    const vm = this.add(stored.definition, stored.folder, {});
    this.changed(vm);
    return view(vm);
  }

  /** For `lodge run`: lives as long as it runs. */
  addEphemeral(config: VmConfig, run: RunOptions): Vm {
    const definition: VmDefinition = {
      ...config,
      schema: CONFIG_SCHEMA_VERSION,
      id: randomUUID(),
      createdAt: new Date().toISOString(),
    };
    return view(this.add(definition, undefined, run));
  }

  async update(id: VmId, change: Partial<VmConfig>): Promise<Vm> {
    const vm = this.requireStored(id);
    const touched = (Object.keys(change) as (keyof VmConfig)[]).filter(
      (key) => change[key] !== undefined && !same(change[key], vm.definition[key]),
    );
    if (touched.length === 0) return view(vm);
    if (vm.state !== 'stopped' && touched.some((key) => !LIVE.includes(key))) {
      throw new LodgeError({
        code: 'invalidState',
        message: `The hardware of “${vm.definition.name}” cannot be changed while it runs.`,
        fix: 'Power it off first.',
      });
    }
    if (change.name !== undefined) this.checkName(change.name, id);
    if (change.disks !== undefined) checkDiskIds(change.disks);
    checkPaths(change);
    vm.definition = (await this.requireInventory().update(id, change)).definition;
    if (touched.includes('cpuCap') && (vm.state === 'running' || vm.state === 'paused')) {
      await liveProcess(vm, 'have its processors capped').request({ name: 'cpuCap', percent: vm.definition.cpuCap ?? 100 });
    }
    this.changed(vm);
    return view(vm);
  }

  async remove(id: VmId, deleteFiles: boolean): Promise<void> {
    await Promise.all(this.saving);
    const vm = this.requireStored(id);
    if (vm.state !== 'stopped')
      throw new LodgeError({
        code: 'invalidState',
        message: `“${vm.definition.name}” cannot be removed while it runs.`,
        fix: 'Power it off first.',
      });
    // From here on nobody finds it, so nobody starts it from a folder that is going.
    this.machines.delete(id);
    try {
      await this.requireInventory().remove(id, deleteFiles);
    } catch (e) {
      this.machines.set(id, vm);
      throw e;
    }
    this.forget(vm);
  }

  async attach(id: VmId, disk: Omit<Disk, 'id'>): Promise<Vm> {
    const vm = this.require(id);
    const writes = !disk.readOnly && disk.kind !== 'disc';
    await checkFile(disk.path, disk.kind === 'disc' ? 'disc image' : 'disk image', writes);
    const { attached, disks } = withDisk(vm.definition, disk);
    if (vm.state !== 'stopped') {
      const process = liveProcess(vm, 'have a disk attached');
      const wishes = await lockWishes({ ...disk, readOnly: !writes });
      const lock = await FileLocks.acquire(this.options.paths.lockDir, vm.definition.name, wishes);
      try {
        await process.request({ name: 'attachDisk', disk: attached });
      } catch (e) {
        await lock.release();
        throw e;
      }
      // The machine may have ended with its answer.
      if (vm.locks) vm.locks.adopt(lock);
      else await lock.release();
    }
    return this.setDisks(vm, disks);
  }

  async detach(id: VmId, diskId: string, force = false): Promise<Vm> {
    const vm = this.require(id);
    if (!vm.definition.disks.some((d) => d.id === diskId))
      throw new LodgeError({ code: 'notFound', message: `“${vm.definition.name}” has no such disk.`, detail: diskId });
    if (vm.state !== 'stopped') await liveProcess(vm, 'have a disk detached').request({ name: 'detachDisk', diskId, force });
    return this.removeDisk(vm, diskId);
  }

  /** Also when the guest took it out. The VM process has closed the image, so others may have it. */
  private async removeDisk(vm: Machine, diskId: string): Promise<Vm> {
    const disk = vm.definition.disks.find((d) => d.id === diskId);
    if (disk) await vm.locks?.releaseOf(disk.path);
    return this.setDisks(
      vm,
      vm.definition.disks.filter((d) => d.id !== diskId),
    );
  }

  private async setDisks(vm: Machine, disks: Disk[]): Promise<Vm> {
    if (vm.folder === undefined) vm.definition = { ...vm.definition, disks };
    else vm.definition = (await this.requireInventory().update(vm.definition.id, { disks })).definition;
    this.changed(vm);
    return view(vm);
  }

  // ---- life -------------------------------------------------------------------------------------------------------

  /** `bootFirst`: the disk or disc to start from; `bootMenu`: firmware asks for it. Both this once. */
  async start(
    id: VmId,
    { bootFirst, bootMenu }: { bootFirst?: string | undefined; bootMenu?: boolean | undefined } = {},
  ): Promise<Vm> {
    const vm = this.require(id);
    if (bootFirst !== undefined || bootMenu) this.checkChoice(vm, bootFirst);
    if (this.closing) throw new LodgeError({ code: 'invalidState', message: 'Lodge is closing.' });
    this.act(vm, 'start', { lastStop: undefined, engine: undefined, stats: undefined });
    vm.notices = 0;
    try {
      // Its last run may still be letting go of its images.
      await Promise.all(this.saving);
      const spec = await machineSpec(vm.definition, this.options.layout, {
        ...vm.run,
        ...(vm.folder !== undefined && { variables: join(vm.folder, 'nvram.fd') }),
        ...(bootFirst !== undefined && { bootFirst }),
        ...(bootMenu && { openMenu: true }),
      });
      this.admit(vm);
      vm.locks = await FileLocks.acquire(
        this.options.paths.lockDir,
        vm.definition.name,
        (await Promise.all(spec.disks.map(lockWishes))).flat(),
      );
      if (vm.state !== 'starting')
        throw new LodgeError({ code: 'invalidState', message: `“${vm.definition.name}” was stopped while it was starting.` });
      const process = new Supervisor({
        spawn: this.options.spawn,
        process: { name: vm.definition.name, serialStdio: spec.serial.some((s) => s.kind === 'stdio') },
        log: this.log,
        ...(this.options.deadlines && { deadlines: this.options.deadlines }),
        ...(this.options.onStderr && { onStderr: this.options.onStderr }),
        events: {
          onStats: (stats, load) => this.statsArrived(vm, stats, load),
          onScreenChanged: () => this.screenChanged(vm),
          onEjected: (diskId) => this.ejected(vm, diskId),
          onNotice: (level, message) => this.noticeArrived(vm, level, message),
          onEnd: (reason, screen) => this.ended(vm, reason, screen),
        },
      });
      vm.process = process;
      vm.engine = await process.start(spec);
      this.happened(vm, 'started');
      return view(vm);
    } catch (e) {
      const error = LodgeError.from(e);
      // Refused before there was a process; otherwise its end has told, or will.
      if (!vm.process && vm.state !== 'stopped')
        this.ended(vm, vm.state === 'stopping' ? { kind: 'stopped' } : { kind: 'failed', error: error.toData() }, null);
      throw error;
    }
  }

  /** What it starts from can be chosen, and the disk is there, if one is named. */
  private checkChoice({ definition: { name, boot, disks } }: Machine, diskId: string | undefined): void {
    if (diskId !== undefined && !disks.some((disk) => disk.id === diskId))
      throw new LodgeError({ code: 'notFound', message: `“${name}” has no such disk.`, detail: diskId });
    if (boot.kind !== 'firmware')
      throw new LodgeError({
        code: 'invalidInput',
        message: `“${name}” does not start from its disks.`,
        fix: 'Choose “Its disks and discs, in order” in its settings under Boot.',
      });
  }

  async pause(id: VmId): Promise<Vm> {
    return this.pauseOrResume(id, 'pause', 'paused', 'pauseFailed');
  }

  async resume(id: VmId): Promise<Vm> {
    return this.pauseOrResume(id, 'resume', 'resumed', 'resumeFailed');
  }

  private async pauseOrResume(id: VmId, call: 'pause' | 'resume', done: LifecycleEvent, failed: LifecycleEvent): Promise<Vm> {
    const vm = this.require(id);
    this.act(vm, call);
    try {
      await vm.process!.request({ name: call });
      this.happened(vm, done);
    } catch (e) {
      this.happened(vm, failed);
      throw e;
    }
    return view(vm);
  }

  async shutdown(id: VmId): Promise<Vm> {
    const vm = this.require(id);
    this.act(vm, 'shutdown');
    await vm.process!.request({ name: 'powerButton' });
    return view(vm);
  }

  async reset(id: VmId): Promise<Vm> {
    const vm = this.require(id);
    this.act(vm, 'reset');
    await vm.process!.request({ name: 'reset' });
    return view(vm);
  }

  /** Pulls the plug: what the guest wrote reaches the image, what it kept in its caches is lost. Twice: kills. */
  async powerOff(id: VmId): Promise<Vm> {
    const vm = this.require(id);
    const again = vm.state === 'stopping';
    this.act(vm, 'powerOff');
    if (again) vm.process?.kill();
    await vm.process?.stop();
    return view(vm);
  }

  // ---- what it shows and takes ------------------------------------------------------------------------------------

  async screenshot(id: VmId, thumbnail: boolean): Promise<{ png: string }> {
    const vm = this.require(id);
    if (thumbnail) {
      const { png } = vm.picture;
      if (!png) throw new LodgeError({ code: 'notFound', message: `There is no picture of “${vm.definition.name}” yet.` });
      return { png: png.toString('base64') };
    }
    const png = (await liveProcess(vm, 'be photographed').request({ name: 'screenshot' })) as string | null;
    if (png === null)
      throw new LodgeError({
        code: 'invalidState',
        message: `The screen of “${vm.definition.name}” is off.`,
        fix: 'Press a key in it first.',
      });
    return { png };
  }

  async text(id: VmId): Promise<{ lines: string[] | null }> {
    return { lines: (await liveProcess(this.require(id), 'be read').request({ name: 'text' })) as string[] | null };
  }

  async stats(id: VmId): Promise<VmCounters> {
    return (await liveProcess(this.require(id), 'be measured').request({ name: 'counters' })) as VmCounters;
  }

  async profile(id: VmId, seconds: number, hertz = PROFILE_HERTZ): Promise<Profile> {
    const process = liveProcess(this.require(id), 'be profiled');
    return (await process.request({ name: 'profile', seconds, hertz }, seconds * 1000 + PROFILE_GRACE_MS)) as Profile;
  }

  async keys(id: VmId, keys: string): Promise<void> {
    await liveProcess(this.require(id), 'take keys').request({ name: 'keys', keys });
  }

  async pointer(id: VmId, event: PointerInput): Promise<{ absolute: boolean }> {
    const process = liveProcess(this.require(id), 'be pointed at');
    return { absolute: (await process.request({ name: 'pointer', event })) as boolean };
  }

  async serialWrite(id: VmId, port: number, data: string): Promise<void> {
    await liveProcess(this.require(id), 'take input').request({ name: 'serialWrite', port, data });
  }

  /** False: it is not running, and the connection is still the caller's. */
  openViewer(id: VmId, request: { headers: Record<string, string>; head: string } | undefined, transfer: unknown): boolean {
    return this.machines.get(id)?.process?.viewer(request, transfer) ?? false;
  }

  onceEnded(id: VmId, listener: (reason: StopReason, screen: Buffer | null) => void): void {
    this.require(id).whenEnded.push(listener);
  }

  /** Ends every machine with its disks flushed. New starts are refused from here on. */
  async close(): Promise<void> {
    this.closing = true;
    for (const vm of this.machines.values()) vm.picture.stop();
    // One that is stopping already is waited for, not killed.
    const stops = [...this.machines.values()].map(async (vm) => {
      if (vm.state === 'stopping') await vm.process?.stop();
      else if (vm.state !== 'stopped') await this.powerOff(vm.definition.id);
    });
    await Promise.allSettled(stops);
    await Promise.all(this.saving);
    this.disposables.dispose();
  }

  /** For signals that leave no time. */
  killAll(): void {
    for (const vm of this.machines.values()) vm.process?.kill();
  }

  // ---- what the VM process tells ----------------------------------------------------------------------------------

  private ended(vm: Machine, reason: StopReason, screen: Buffer | null): void {
    this.log.info({ vm: vm.definition.id, reason: reason.kind }, 'machine stopped');
    vm.picture.stop();
    vm.process = undefined;
    if (screen && vm.folder !== undefined) vm.picture.set(screen);
    const release = this.track(vm.locks?.release());
    vm.locks = undefined;
    if (vm.folder !== undefined && vm.picture.png) void this.track(writeThumbnail(vm.folder, vm.picture.png));
    vm.lastStop = reason;
    vm.state = 'stopped';
    vm.stats = undefined;
    vm.load = undefined;
    vm.quota = null;
    this.changed(vm);
    if (vm.folder === undefined) this.forget(vm);
    // The images are free when the caller hears of the end.
    void release.then(() => {
      for (const listener of vm.whenEnded.splice(0)) listener(reason, screen);
    });
  }

  private track(work: Promise<void> | undefined): Promise<void> {
    const tracked = (work ?? Promise.resolve()).catch((e: unknown) =>
      this.log.warn({ error: String(e) }, 'clean-up after a machine failed'),
    );
    this.saving.add(tracked);
    return tracked.finally(() => this.saving.delete(tracked));
  }

  private statsArrived(vm: Machine, stats: VmStats, load: { used: number; waited: number }): void {
    const now = Date.now();
    vm.stats = stats;
    vm.load = load;
    this.shares.wake();
    if (now - vm.lastStatsAt < STATS_INTERVAL_MS) return;
    vm.lastStatsAt = now;
    this.changed(vm);
  }

  private ejected(vm: Machine, diskId: string): void {
    const disk = vm.definition.disks.find((d) => d.id === diskId);
    if (!disk || disk.kind === 'disk') return;
    this.removeDisk(vm, diskId).catch((e: unknown) =>
      this.log.warn({ error: String(e) }, 'an ejected disc could not be forgotten'),
    );
  }

  private noticeArrived(vm: Machine, level: 'info' | 'warning' | 'error', message: string): void {
    if (vm.notices++ < MAX_NOTICES_PER_RUN) this.options.hub.emit({ type: 'notice', level, message, vmId: vm.definition.id });
  }

  private screenChanged(vm: Machine): void {
    if (vm.folder === undefined) return; // never shown in a library
    vm.picture.due = true;
    this.wantPicture(vm);
  }

  /** Only while somebody looks. */
  private wantPicture(vm: Machine): void {
    if (!this.options.hub.hasListeners) return;
    vm.picture.schedule(
      () => vm.process,
      () => this.changed(vm),
    );
  }

  // ---- helpers ----------------------------------------------------------------------------------------------------

  private add(definition: VmDefinition, folder: string | undefined, run: RunOptions): Machine {
    const vm = newMachine(definition, folder, run);
    this.machines.set(definition.id, vm);
    return vm;
  }

  private forget(vm: Machine): void {
    this.machines.delete(vm.definition.id);
    this.options.hub.emit({ type: 'vmRemoved', id: vm.definition.id });
  }

  private changed(vm: Machine): void {
    this.options.hub.emit({ type: 'vm', vm: view(vm) });
  }

  /** What a user asked for: refused with a sentence, or done at once. */
  private act(vm: Machine, action: UserAction, change?: Partial<Machine>): void {
    const next = transition(vm.state, action);
    if (next === undefined) throw refusal(vm.definition.name, vm.state, action);
    Object.assign(vm, change);
    if (next === vm.state) return;
    vm.state = next;
    this.changed(vm);
  }

  /** What the VM process reported; too late is no error. */
  private happened(vm: Machine, event: LifecycleEvent): void {
    const next = transition(vm.state, event);
    if (next === undefined || next === vm.state) return;
    vm.state = next;
    this.changed(vm);
  }

  private admit(vm: Machine): void {
    const others = [...this.machines.values()].filter((m) => m !== vm);
    requireMemory(vm, others, (this.options.hostMemory ?? hostMemory)());
  }

  private require(id: VmId): Machine {
    const vm = this.machines.get(id);
    if (!vm)
      throw new LodgeError({
        code: 'notFound',
        message: 'There is no such machine.',
        fix: 'It may have been removed. Look at the list again.',
        detail: id,
      });
    return vm;
  }

  private requireStored(id: VmId): Machine {
    const vm = this.require(id);
    if (vm.folder === undefined)
      throw new LodgeError({
        code: 'unsupported',
        message: `“${vm.definition.name}” is not in the library and goes away when it stops.`,
      });
    return vm;
  }

  private requireInventory(): Inventory {
    if (!this.options.inventory)
      throw new LodgeError({
        code: 'unsupported',
        message: 'This Lodge runs one machine and has no library.',
        fix: 'Use `lodge serve` or the app.',
      });
    return this.options.inventory;
  }

  private checkName(name: string, except?: VmId): void {
    const wanted = name.trim().toLocaleLowerCase();
    for (const vm of this.machines.values()) {
      if (vm.definition.id !== except && vm.definition.name.trim().toLocaleLowerCase() === wanted) {
        throw new LodgeError({
          code: 'nameTaken',
          message: `There is a machine called “${vm.definition.name}” already.`,
          fix: 'Choose another name.',
        });
      }
    }
  }
}

const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);
