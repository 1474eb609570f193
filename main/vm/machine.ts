/**
 * One running machine: engine, board, backends, and the transitions between running, paused and ended. It ends once, for one reason;
 * whatever ends it, disks are quiet and closed before the reason is told.
 */
import { randomFillSync } from 'node:crypto';
import { cpus as hostCpus } from 'node:os';
import type { CpuState, Go, NativeEvent } from '../../native/addon/types';
import { LodgeError } from '../../preload/contract/errors';
import type { Profile, VmCounters } from '../../preload/contract/performance';
import type { PointerInput } from '../../preload/contract/viewer';
import type { EngineInfo, StopReason } from '../../preload/contract/vm';
import type { PointerSink } from '../backend/input';
import type { UnclaimedAccess } from '../machine/bus/bus';
import { parseKeys } from '../machine/devices/i8042';
import type { MachineSpec } from '../process/protocol';
import { Board, type BoardDisk } from './board';
import { bootKernel } from './boot-kernel';
import { cpuReport, linearReader } from './cpu-report';
import { crashedCpu } from './cpu-snapshot';
import { DisplayHub, type Timers } from './display-hub';
import { loadAddon } from './engine';
import { ExitDispatcher } from './exits';
import { GdbServer } from './gdb/server';
import type { DebugTarget } from './gdb/session';
import { GuestClock } from './guest-clock';
import { KeyTyper } from './key-typer';
import { closeParts, friendly, openDisk, openParts, orNoMemory, type Parts } from './machine-parts';
import { Profiler } from './profiler';
import { RunLoop } from './run-loop';
import { TerminalBackend } from './serial/backends';
import { ViewerHub } from './viewer';

declare const __LODGE_VERSION__: string;

export interface MachineHooks {
  /** Once. Everything is closed when it is called. `screen`: as spec.lastScreen asked. */
  onEnded(reason: StopReason, screen: string | null | undefined): void;
  onNotice(level: 'info' | 'warning' | 'error', message: string): void;
  onScreenChanged(): void;
  /** The guest took a disc or floppy out. */
  onEjected(diskId: string): void;
}

export interface MachineCounters {
  readonly diskReadBytes: number;
  readonly diskWrittenBytes: number;
  readonly uptimeSeconds: number;
}

const hostTimers: Timers = {
  set: (callback, ms) => {
    const handle = setTimeout(callback, ms);
    return { dispose: () => clearTimeout(handle) };
  },
};

/** The engine parks its vCPUs within milliseconds; one that takes so long is stuck in something that will not end. */
const PARK_DEADLINE_MS = 5000;
/** The same disk's errors are told no more often. */
const NOTICE_PERIOD_MS = 10_000;
/** Where SYSCALL leads (SDM vol. 4). */
const MSR_LSTAR = 0xc0000082;
const textEncoder = new TextEncoder();

export class Machine {
  readonly viewers: ViewerHub;
  private readonly clock = new GuestClock();
  private readonly board: Board;
  private readonly loop: RunLoop;
  private readonly display: DisplayHub;
  private readonly typer: KeyTyper;
  private readonly profiler: Profiler;
  private readonly lastNotice = new Map<string, number>();
  private parked: (() => void)[] = [];
  private state: 'off' | 'running' | 'paused' | 'ended' = 'off';
  /** Transitions that park the vCPUs run one after the other. */
  private transition: Promise<void> = Promise.resolve();
  /** Processor 0 as the BIOS finds it. */
  private powerOn: CpuState | undefined;
  private resetPending = false;
  private gdb: GdbServer | undefined;
  /** A debugger has the processors stopped, whatever `state` says; `goOn` is how they continue for it. */
  private held: boolean;
  private goOn: Go[] = [];
  /** The guest cannot go on, and its debugger looks at it before the machine ends. */
  private lastWords: StopReason | undefined;
  private closed: Promise<void> | undefined;

  /** Opens what the machine needs and builds it; nothing runs yet. Rejects with LodgeError and leaves nothing open. */
  static async create(spec: MachineSpec, hooks: MachineHooks, loadEngine = loadAddon): Promise<Machine> {
    let machine: Machine | undefined;
    const parts = await openParts(spec, hooks, loadEngine(spec.addonPath), () => machine?.loop.wake());
    try {
      machine = orNoMemory(() => new Machine(parts));
      return machine;
    } catch (error) {
      await closeParts(parts);
      throw LodgeError.from(error);
    }
  }

  private constructor(private readonly parts: Parts) {
    const { spec, hooks, native, serial, disks, firmware, kernel } = parts;
    const traces = process.env['LODGE_TRACE']?.split(',') ?? [];
    this.held = spec.gdb?.wait ?? false;
    this.board = new Board({
      native,
      exitBuffer: parts.exitBuffer,
      clock: this.clock,
      ramBytes: spec.memoryBytes,
      cpus: spec.cpus,
      cpuMegahertz: hostCpus()[0]?.speed ?? 0,
      version: __LODGE_VERSION__,
      serial,
      disks,
      debugExit: spec.debugExit,
      video: spec.video ?? 'vga',
      bios: spec.boot.kind === 'firmware' && !firmware,
      menuSeconds: spec.menuSeconds ?? 0,
      openMenu: spec.openMenu ?? false,
      ...(spec.bootFirst !== undefined && { bootFirst: spec.bootFirst }),
      ...(firmware && { flash: { ...firmware, ...(kernel && { kernel }) } }),
      ...(traces.includes('firmware') && { firmwareLog: (text: string) => void process.stderr.write(text) }),
      fillRandom: (into) => void randomFillSync(into),
      defer: (callback) => void setImmediate(callback),
      onReset: () => this.guestReset(() => this.reset()),
      onProcessorReset: () => this.guestReset(() => this.processorReset()),
      onPowerOff: () => this.end({ kind: 'powerOff' }),
      onDebugExit: (code) => this.end({ kind: 'debugExit', code }),
      // The reset at build time comes before there is anybody to tell.
      onLeds: (leds) => (this as { viewers?: ViewerHub }).viewers?.setLeds(leds),
      onPointerMode: () => (this as { viewers?: ViewerHub }).viewers?.pointerModeChanged(),
      onDiskError: (id, message) => this.diskFailed(id, message),
      onEjected: (disk) => this.ejected(disk),
    });
    if (traces.includes('bus')) this.board.bus.trace = traceAccess;
    if (traces.includes('bios')) this.board.traceBios((line) => void process.stderr.write(`bios: ${line}\n`));
    const dispatcher = new ExitDispatcher(parts.exitBuffer, this.board.bus);
    this.loop = new RunLoop({
      native,
      dispatch: (vcpu) => dispatcher.dispatch(vcpu),
      deliverPosted: () => dispatcher.deliverPosted(),
      onEvents: (events) => this.handle(events),
      onBug: (error) => this.end({ kind: 'failed', error: LodgeError.from(error).toData() }),
    });
    this.display = new DisplayHub(this.board.display, hostTimers, () => hooks.onScreenChanged());
    const { keyboard } = this.board.keyboardController;
    this.typer = new KeyTyper({ clock: this.clock, keyboard });
    this.profiler = new Profiler({
      native,
      timers: hostTimers,
      now: () => performance.now(),
      baseTier: parts.engine.accelerator === 'kvm' ? 'hardware' : 'interpreter',
    });
    this.viewers = new ViewerHub({
      display: this.display,
      terminals: serial.map((port) => (port instanceof TerminalBackend ? port : undefined)),
      keyboard,
      pointer: this.board.pointer,
      resize: this.board.resizeDisplay,
      activity: () => ({ ...this.counters(), netBytes: 0, cpuSeconds: cpuSeconds() }),
      timers: hostTimers,
      now: () => performance.now(),
    });
  }

  get engine(): EngineInfo {
    return this.parts.engine;
  }

  /** Loads what the machine boots and lets it run; false when it was ended meanwhile. */
  async start(): Promise<boolean> {
    const { native, spec } = this.parts;
    native.start();
    if (spec.cpuCap !== undefined) native.setCpuCap(spec.cpuCap);
    await this.boot();
    if (spec.gdb) this.gdb = await GdbServer.listen(spec.gdb.port, this.debugTarget());
    if (this.state !== 'off') {
      this.gdb?.close();
      return false;
    }
    this.state = 'running';
    this.letRun();
    this.traceCpus();
    return true;
  }

  private letRun(): void {
    if (this.held) return;
    this.clock.resume();
    this.parts.native.resume(this.goOn.splice(0));
  }

  pause(): Promise<void> {
    return this.serialize(async () => {
      if (this.state !== 'running') throw wrongState('pause', this.state);
      if (!this.held) await this.park();
      this.clock.pause();
      this.state = 'paused';
    });
  }

  resume(): Promise<void> {
    return this.serialize(() => {
      if (this.state !== 'paused') throw wrongState('resume', this.state);
      this.state = 'running';
      this.letRun();
    });
  }

  /** The reset button. A paused machine stays paused, at its first instruction. */
  reset(): Promise<void> {
    return this.serialize(async () => {
      if (this.state !== 'running' && this.state !== 'paused') throw wrongState('reset', this.state);
      if (this.state === 'running' && !this.held) await this.park();
      await this.board.quiesce();
      this.board.reset();
      this.parts.native.reset();
      await this.boot();
      if (this.state === 'running') this.letRun();
    });
  }

  /** A reset of the processor that its program means to survive; any other is one of the machine. */
  private async processorReset(): Promise<void> {
    const powerOn = this.powerOn;
    if (!this.board.resumesAfterReset || !powerOn) return this.reset();
    await this.serialize(async () => {
      if (this.state !== 'running' && this.state !== 'paused') return;
      if (this.state === 'running' && !this.held) await this.park();
      const { native } = this.parts;
      native.setCpuState(0, { ...powerOn, msrs: native.getCpuState(0).msrs });
      if (this.state === 'running') this.letRun();
    });
  }

  /** Percent of a host processor each of the guest's may use, from now on. */
  setCpuCap(percent: number): void {
    if (this.state !== 'ended') this.parts.native.setCpuCap(percent);
  }

  /** Of the host's processors all of the guest's together may use so many; 0: no limit. */
  setCpuQuota(processors: number): void {
    if (this.state !== 'ended') this.parts.native.setCpuQuota(processors);
  }

  /** Seconds since the start, of all the guest's processors together. */
  processorTime(): { used: number; waited: number } {
    const { vcpus } = this.parts.native.stats();
    return {
      used: vcpus.reduce((sum, vcpu) => sum + vcpu.cpuSeconds, 0),
      waited: vcpus.reduce((sum, vcpu) => sum + (vcpu.waitedSeconds ?? 0), 0),
    };
  }

  powerButton(): void {
    if (this.state !== 'running') throw wrongState('press the power button of', this.state);
    this.board.pm.pressPowerButton();
  }

  /** Types a key sequence; returns when it is queued, not when the guest has read it. */
  typeKeys(sequence: string): void {
    const keys = parseKeys(sequence);
    if (!keys.ok)
      throw new LodgeError({
        code: 'invalidInput',
        message: keys.error,
        fix: 'Write keys as text, and special keys as <enter> or <ctrl+alt+delete>.',
      });
    if (!this.typer.type(keys.value))
      throw new LodgeError({
        code: 'invalidState',
        message: 'The guest has not taken the keys typed before.',
        fix: 'Wait until it has, then try again.',
      });
    this.display.expectChange();
  }

  /** Whether the guest takes absolute positions. */
  point(event: PointerInput): boolean {
    const mouse: PointerSink = this.board.keyboardController.mouse;
    const { buttons, wheel } = event;
    if (event.type === 'mouse') mouse.relative(event.dx, event.dy, buttons, wheel);
    else mouse.pointer(event.x, event.y, buttons, wheel);
    this.display.expectChange();
    return mouse.absolute;
  }

  writeSerial(port: number, data: string): void {
    const backend = this.parts.serial[port];
    if (!backend) throw new LodgeError({ code: 'notFound', message: `The machine has no serial port ${port + 1}.` });
    backend.inject(textEncoder.encode(data));
  }

  /** A disc or floppy into a drive of the running machine. */
  async attachDisk(spec: MachineSpec['disks'][number]): Promise<void> {
    const { storage } = this.board;
    const { native, disks } = this.parts;
    if (this.state !== 'running' && this.state !== 'paused') throw wrongState('attach a disk to', this.state);
    if (spec.kind === 'disk' || spec.bus === 'virtio') {
      throw new LodgeError({
        code: 'unsupported',
        message: 'Disks cannot be added while the machine runs; discs can.',
        fix: 'Shut the machine down first.',
      });
    }
    const full = (): LodgeError =>
      new LodgeError({
        code: 'invalidState',
        message: `The machine has no empty ${spec.kind} drive.`,
        fix: `Eject the ${spec.kind} that is in it first.`,
      });
    if (!storage.hasEmptyDrive(spec.kind)) throw full();
    let disk: BoardDisk;
    try {
      disk = await openDisk(spec, native);
    } catch (error) {
      throw friendly(error);
    }
    if (this.closed === undefined && storage.insert(disk)) {
      disks.push(disk);
      return;
    }
    await disk.backend.close();
    throw full();
  }

  /** Takes a disc or floppy out; one that the guest locked in only with `force`. */
  async detachDisk(id: string, force: boolean): Promise<void> {
    const { storage } = this.board;
    const disk = this.parts.disks.find((d) => d.id === id);
    if (!disk) return; // the guest was quicker
    if (!storage.isChangeable(id)) {
      throw new LodgeError({
        code: 'unsupported',
        message: 'Disks cannot be removed while the machine runs; discs can.',
        fix: 'Shut the machine down first.',
      });
    }
    const removal = await storage.remove(id, force);
    if (removal === 'locked') {
      throw new LodgeError({
        code: 'mediumLocked',
        message: `The guest is using ${disk.label} and has locked it in; it was asked to let it go.`,
        fix: 'Eject it inside the guest, or take it out by force: programs that read it will fail.',
      });
    }
    if (removal === 'removed') await this.forget(disk);
  }

  /** PNG, base64; null: the screen is off. */
  screenshot(maxWidth?: number): string | null {
    const png = this.display.screenshot(maxWidth);
    return png && Buffer.from(png.buffer, png.byteOffset, png.byteLength).toString('base64');
  }

  text(): string[] | null {
    return this.display.text();
  }

  counters(): MachineCounters {
    const { readBytes, writtenBytes } = this.board.storage.counters;
    return {
      diskReadBytes: readBytes,
      diskWrittenBytes: writtenBytes,
      uptimeSeconds: this.clock.now() / 1e9,
    };
  }

  performance(): VmCounters {
    return {
      atSeconds: performance.now() / 1000,
      uptimeSeconds: this.clock.now() / 1e9,
      cpuSeconds: cpuSeconds(),
      residentBytes: process.memoryUsage.rss(),
      vcpus: this.parts.native.stats().vcpus,
      disk: this.board.storage.counters,
      display: { frames: this.display.frames },
    };
  }

  async profile(seconds: number, hertz: number): Promise<Profile> {
    if (this.state !== 'running' && this.state !== 'paused') throw wrongState('profile', this.state);
    const profile = await this.profiler.run(seconds, hertz);
    const syscallEntry = await this.syscallEntry();
    return { ...profile, ...(syscallEntry !== undefined && { syscallEntry }) };
  }

  /** MSR LSTAR of the first processor; undefined when the guest has not set it, or the machine is ending. */
  private async syscallEntry(): Promise<string | undefined> {
    let entry = 0n;
    await this.serialize(async () => {
      if (this.state !== 'running' && this.state !== 'paused') return;
      const parks = this.state === 'running';
      if (parks) await this.park();
      entry = this.parts.native.getCpuState(0).msrs[String(MSR_LSTAR)] ?? 0n;
      if (parks) this.parts.native.resume();
    }).catch((error: unknown) => {
      if (this.state !== 'ended') throw error;
    });
    return entry === 0n ? undefined : `0x${entry.toString(16)}`;
  }

  /** Ends the machine; the first reason counts. Safe from within an exit. */
  end(reason: StopReason): void {
    if (this.state === 'ended') return;
    const ran = this.state !== 'off';
    this.state = 'ended';
    this.loop.end();
    this.gdb?.close();
    this.clock.pause();
    this.typer.dispose();
    this.profiler.end();
    // Whoever waits for a transition learns that the machine is gone.
    for (const wake of this.parked.splice(0)) wake();
    // Not from within the engine's call into JS.
    setImmediate(() => {
      this.closed ??= this.close(ran).then(
        (screen) => this.parts.hooks.onEnded(reason, screen),
        (error: unknown) => this.parts.hooks.onEnded({ kind: 'failed', error: LodgeError.from(error).toData() }, undefined),
      );
    });
  }

  private async close(ran: boolean): Promise<string | null | undefined> {
    const { native, serial, disks, spec, firmware, kernel } = this.parts;
    const screen = spec.lastScreen && ran ? this.screenshot(spec.lastScreen.maxWidth) : undefined;
    // The other processors run on until they are told; nothing of theirs is answered any more.
    if (ran) native.pause();
    await this.board.quiesce();
    const results = await Promise.allSettled(
      disks.map(async ({ backend }) => {
        if (!backend.readOnly) await backend.flush();
        await backend.close();
      }),
    );
    await Promise.allSettled([...serial.map((port) => port.close()), firmware?.variables?.close(), kernel?.close()]);
    this.viewers.dispose();
    this.display.dispose();
    this.board.dispose();
    this.clock.dispose();
    native.destroy();
    const failed = results.find((r) => r.status === 'rejected');
    if (failed) throw failed.reason;
    return screen;
  }

  private async boot(): Promise<void> {
    const { native, spec } = this.parts;
    if (spec.boot.kind === 'firmware' || this.parts.firmware) {
      this.board.loadFirmware();
      this.powerOn = native.getCpuState(0);
      return;
    }
    const rsdp = this.board.setUpPlatform();
    this.board.loadBiosData();
    await bootKernel(native, spec.boot, this.board.space.layout, rsdp);
  }

  private serialize(work: () => void | Promise<void>): Promise<void> {
    const next = this.transition.then(work);
    this.transition = next.catch(() => undefined);
    return next;
  }

  /** All vCPUs stand at an instruction boundary when this resolves. */
  private async park(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const deadline = setTimeout(
        () => reject(new LodgeError({ code: 'timeout', message: 'The guest’s processors did not stop in time.' })),
        PARK_DEADLINE_MS,
      );
      this.parked.push(() => {
        clearTimeout(deadline);
        resolve();
      });
      this.parts.native.pause();
    });
    if (this.state === 'ended') throw wrongState('pause', this.state);
  }

  /** From within an exit: the vCPU goes on for some instructions, as it would on the way to a real reset. */
  private guestReset(reset: () => Promise<void>): void {
    if (this.resetPending) return;
    this.resetPending = true;
    setImmediate(() => {
      this.resetPending = false;
      reset().catch((error: unknown) => {
        if (this.state !== 'ended') this.end({ kind: 'failed', error: LodgeError.from(error).toData() });
      });
    });
  }

  private handle(events: readonly NativeEvent[]): void {
    for (const event of events) {
      switch (event.type) {
        case 'doorbell':
          this.board.doorbells.ring(event.id, event.value);
          break;
        case 'paused':
          for (const wake of this.parked.splice(0)) wake();
          break;
        case 'debug':
          // One that came while its debugger was leaving.
          if (!this.tellDebugger(event.vcpu, event.cause, event.address) && this.state === 'running') this.letRun();
          break;
        case 'stopped': {
          const report = this.report(event.vcpu, event.state);
          const reason: StopReason =
            event.reason === 'tripleFault'
              ? {
                  kind: 'guestFault',
                  message: event.message,
                  report,
                  cpu: crashedCpu(event.vcpu, event.state, linearReader(this.parts.native, event.state), this.parts.disassemble),
                }
              : { kind: 'failed', error: { code: 'internal', message: event.message, detail: report } };
          if (event.reason === 'tripleFault' && this.board.resumesAfterReset) this.guestReset(() => this.processorReset());
          else if (this.tellDebugger(event.vcpu, 'fault')) this.lastWords = reason;
          else this.end(reason);
          break;
        }
      }
    }
  }

  /** The processors have stopped for this. False: nobody is there to hear of it. */
  private tellDebugger(vcpu: number, cause: 'breakpoint' | 'watchpoint' | 'step' | 'fault', address = 0n): boolean {
    if (!this.gdb?.connected || this.state === 'ended') return false;
    this.held = true;
    this.clock.pause();
    return this.gdb.stopped({ vcpu, cause, address });
  }

  private debugTarget(): DebugTarget {
    const { native, spec } = this.parts;
    return {
      cpus: spec.cpus,
      stop: () =>
        this.serialize(async () => {
          if (this.state === 'ended') throw wrongState('debug', this.state);
          if (!this.held && this.state === 'running') await this.park();
          this.clock.pause();
          this.held = true;
        }),
      resume: (how) => {
        if (this.state === 'ended') return;
        if (this.lastWords) return this.end(this.lastWords);
        this.held = false;
        this.goOn = how;
        if (this.state === 'running') this.letRun();
      },
      getState: (vcpu) => native.getCpuState(vcpu),
      setState: (vcpu, state) => native.setCpuState(vcpu, state),
      setPoints: (points) => {
        if (this.state !== 'ended') native.setDebugPoints(points);
      },
      read: (physical, into) => native.memRead(physical, into),
      write: (physical, from) => native.memWrite(physical, from),
      reset: () => this.reset(),
      powerOff: () => this.end({ kind: 'stopped' }),
    };
  }

  /** LODGE_TRACE=cpu: where the first processor is, once a second. */
  private traceCpus(): void {
    if (!process.env['LODGE_TRACE']?.split(',').includes('cpu')) return;
    const look = async (): Promise<void> => {
      if (this.state !== 'running' || this.held) return;
      await this.park();
      process.stderr.write(`${this.report(0, this.parts.native.getCpuState(0))}\n`);
      if (!this.held) this.parts.native.resume();
    };
    setInterval(() => void this.serialize(look).catch(() => undefined), 1000).unref();
  }

  private report(vcpu: number, state: CpuState): string {
    return cpuReport(vcpu, state, linearReader(this.parts.native, state), this.parts.disassemble);
  }

  private ejected(disk: BoardDisk): void {
    this.forget(disk).then(
      () => this.parts.hooks.onEjected(disk.id),
      (error: unknown) => this.diskFailed(disk.id, LodgeError.from(error).message),
    );
  }

  private async forget(disk: BoardDisk): Promise<void> {
    const { disks } = this.parts;
    const at = disks.indexOf(disk);
    if (at >= 0) disks.splice(at, 1);
    if (!disk.backend.readOnly) await disk.backend.flush();
    await disk.backend.close();
  }

  private diskFailed(id: string, message: string): void {
    const now = performance.now();
    if (now - (this.lastNotice.get(id) ?? -Infinity) < NOTICE_PERIOD_MS) return;
    this.lastNotice.set(id, now);
    this.parts.hooks.onNotice('error', message);
  }
}

/** LODGE_TRACE=bus: accesses that no device claims, on standard error. */
function traceAccess({ space, direction, address, width, value }: UnclaimedAccess): void {
  process.stderr.write(
    `unclaimed ${space} ${direction}${width * 8} 0x${address.toString(16)}${direction === 'write' ? ` = 0x${value.toString(16)}` : ''}\n`,
  );
}

export function cpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

const wrongState = (what: string, state: string): LodgeError =>
  new LodgeError({
    code: 'invalidState',
    message: `Lodge cannot ${what} a machine that is ${state === 'ended' || state === 'off' ? 'not running' : state}.`,
  });
