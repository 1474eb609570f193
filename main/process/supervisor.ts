/**
 * One VM process from spawn to exit. Nothing it says is believed before it is validated, nothing it fails to say is waited for
 * without end, and however it goes, exactly one `StopReason` comes out, after the process is gone.
 */
import { z } from 'zod';
import { LodgeError, type EngineInfo, type LodgeErrorData, type StopReason, type VmStats } from '../../preload/contract';
import { LineTail } from '../lib/lines';
import { silentLogger, type Logger } from '../lib/log';
import type { ProcessExit, SpawnOptions, Spawner, VmChannel } from './channel';
import { fromVmSchema, vmReplySchemas, type FromVm, type MachineSpec, type ToVm, type VmCall } from './protocol';

export interface Deadlines {
  /** Spawn to 'ready': loading code from a cold disk on a busy host. */
  readonly readyMs: number;
  /** 'start' to 'started': opening images, loading kernel and initrd, preparing memory. */
  readonly startMs: number;
  readonly replyMs: number;
  /** 'stop' to exit: flushing disks. */
  readonly stopMs: number;
  /** 'stopped' to exit: nothing is left to do. */
  readonly exitMs: number;
}
export const DEFAULT_DEADLINES: Deadlines = { readyMs: 20_000, startMs: 60_000, replyMs: 10_000, stopMs: 10_000, exitMs: 2_000 };

export interface SupervisorEvents {
  onStats(stats: VmStats, load: { used: number; waited: number }): void;
  onScreenChanged(): void;
  /** The guest took this disc or floppy out. */
  onEjected(diskId: string): void;
  onNotice(level: 'info' | 'warning' | 'error', message: string): void;
  /** Once, after the process is gone. `screen`: the last picture, PNG. */
  onEnd(reason: StopReason, screen: Buffer | null): void;
}

export interface SupervisorOptions {
  readonly spawn: Spawner;
  readonly process: SpawnOptions;
  readonly events: SupervisorEvents;
  readonly deadlines?: Partial<Deadlines>;
  readonly log?: Logger;
  /** Copies the process's stderr (tracing in development). */
  readonly onStderr?: (text: string) => void;
}

interface Pending {
  readonly call: VmCall;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: LodgeError) => void;
  readonly timer: NodeJS.Timeout;
}

/** Distinct malformed messages are worth a log line each; a flood of them is not. */
const MAX_LOGGED_VIOLATIONS = 20;
const MAX_SCREEN_BASE64 = 64 << 20;

export class Supervisor {
  private readonly deadlines: Deadlines;
  private readonly log: Logger;
  private readonly channel: VmChannel;
  private readonly stderr = new LineTail();
  private readonly pending = new Map<number, Pending>();
  private nextId = 1;
  private violations = 0;
  private phase: 'spawned' | 'ready' | 'starting' | 'running' | 'gone' = 'spawned';
  private ready = deferred<void>();
  private started = deferred<EngineInfo>();
  private readonly ended = deferred<void>();
  /** What it said, or what was decided about it, before it exited. */
  private reason: StopReason | undefined;
  private screen: Buffer | null = null;
  private stopping = false;
  private exitTimer: NodeJS.Timeout | undefined;

  constructor(private readonly options: SupervisorOptions) {
    this.deadlines = { ...DEFAULT_DEADLINES, ...options.deadlines };
    this.log = options.log ?? silentLogger;
    // Failures reach the caller through start() or onEnd; without these two a failure nobody waits for would be fatal.
    this.ready.promise.catch(() => {});
    this.started.promise.catch(() => {});
    this.channel = options.spawn(options.process, {
      onMessage: (message) => this.receive(message),
      onStderr: (text) => {
        this.stderr.push(text);
        options.onStderr?.(text);
      },
      onExit: (exit) => this.exited(exit),
    });
  }

  get pid(): number | undefined {
    return this.channel.pid;
  }

  /** Resolves when the guest runs. Rejects with the reason it does not; onEnd follows then as well. */
  async start(spec: MachineSpec): Promise<EngineInfo> {
    await this.withDeadline(this.ready.promise, this.deadlines.readyMs, 'The machine’s process did not come up in time.');
    if (this.phase !== 'ready') throw this.goneError();
    this.phase = 'starting';
    this.send({ type: 'start', spec });
    return this.withDeadline(this.started.promise, this.deadlines.startMs, 'The machine did not start in time.');
  }

  /** The validated value of a successful reply. */
  request(call: VmCall, timeoutMs = this.deadlines.replyMs): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.phase !== 'running') {
        reject(this.goneError());
        return;
      }
      const id = this.nextId++;
      const timer = setTimeout(() => {
        this.pending.delete(id);
        reject(
          new LodgeError({
            code: 'timeout',
            message: `The machine did not answer in time (${call.name}).`,
            fix: 'The host may be very busy. Try again; if it stays like this, power the machine off.',
          }),
        );
      }, timeoutMs);
      this.pending.set(id, { call, resolve, reject, timer });
      this.send({ type: 'request', id, call });
    });
  }

  /** Hands a viewer's connection over; false when the process is gone (the caller still owns the connection then). */
  viewer(request: { headers: Record<string, string>; head: string } | undefined, transfer: unknown): boolean {
    if (this.phase !== 'running') return false;
    const message: ToVm = { type: 'viewer', ...(request && { request }) };
    if (!this.channel.send(message, transfer)) return false;
    // Node polls a socket it sent away, and drops what arrives, until the other process has confirmed it; what is sent after a
    // handle waits for just that. A viewer answered any earlier loses its first words now and then.
    if (request) this.send({ type: 'viewerReleased' });
    return true;
  }

  /** Flushes disks and ends the process; kills it when that takes too long. Resolves when it is gone. */
  async stop(timeoutMs = this.deadlines.stopMs): Promise<void> {
    if (this.phase === 'gone') return;
    if (!this.stopping) {
      this.stopping = true;
      if (this.phase === 'spawned' || this.phase === 'ready') this.kill();
      else this.send({ type: 'stop' });
    }
    const timer = setTimeout(() => this.kill(), timeoutMs);
    await this.ended.promise;
    clearTimeout(timer);
  }

  /** At once, without flushing. */
  kill(): void {
    this.stopping = true;
    this.channel.kill();
  }

  private send(message: ToVm): void {
    // A send that fails means that the process is going; its exit tells.
    this.channel.send(message);
  }

  private receive(raw: unknown): void {
    const parsed = fromVmSchema.safeParse(raw);
    if (!parsed.success) return this.violation(z.prettifyError(parsed.error));
    const message: FromVm = parsed.data;
    switch (message.type) {
      case 'ready':
        if (this.phase !== 'spawned') return this.violation('ready twice');
        this.phase = 'ready';
        this.ready.resolve();
        return;
      case 'started':
        if (this.phase !== 'starting') return this.violation('started without start');
        this.phase = 'running';
        this.started.resolve(message.engine);
        return;
      case 'reply':
        return this.reply(message.id, message.result);
      case 'stats':
        return this.options.events.onStats(message.stats, message.load);
      case 'screenChanged':
        return this.options.events.onScreenChanged();
      case 'ejected':
        return this.options.events.onEjected(message.diskId);
      case 'notice':
        return this.options.events.onNotice(message.level, message.message.slice(0, 2000));
      case 'stopped':
        if (this.reason) return this.violation('stopped twice');
        this.reason = message.reason;
        if (typeof message.screen === 'string' && message.screen.length <= MAX_SCREEN_BASE64)
          this.screen = Buffer.from(message.screen, 'base64');
        this.exitTimer = setTimeout(() => this.channel.kill(), this.deadlines.exitMs);
        return;
      default:
        message satisfies never;
    }
  }

  private reply(id: number, result: { ok: true; value?: unknown } | { ok: false; error: LodgeErrorData }): void {
    const pending = this.pending.get(id);
    if (!pending) return; // it timed out
    this.pending.delete(id);
    clearTimeout(pending.timer);
    if (!result.ok) return pending.reject(new LodgeError(result.error));
    const name = pending.call.name;
    if (isAnswered(name)) {
      const value = vmReplySchemas[name].safeParse(result.value);
      if (value.success) return pending.resolve(value.data);
      this.violation(`reply to ${name}: ${z.prettifyError(value.error)}`);
      return pending.reject(
        new LodgeError({ code: 'internal', message: `The machine gave an answer that makes no sense (${name}).` }),
      );
    }
    pending.resolve(result.value);
  }

  private violation(what: string): void {
    if (this.violations++ < MAX_LOGGED_VIOLATIONS) this.log.warn({ pid: this.pid, what }, 'message of a VM process ignored');
  }

  private exited(exit: ProcessExit): void {
    if (this.phase === 'gone') return;
    const startedOnce = this.phase === 'running';
    this.phase = 'gone';
    clearTimeout(this.exitTimer);
    // Even exit code 0 is a crash when nobody asked for it: Electron reports 0 for some processes that crashed.
    const reason: StopReason =
      this.reason ??
      (this.stopping ? { kind: 'stopped' } : { kind: 'crashed', message: crashMessage(exit), detail: this.stderr.text() });
    const failure = startFailure(reason);
    this.ready.reject(failure);
    if (!startedOnce) this.started.reject(failure);
    for (const { timer, reject } of this.pending.values()) {
      clearTimeout(timer);
      reject(this.goneError());
    }
    this.pending.clear();
    this.log.info({ pid: this.pid, exit, reason: reason.kind }, 'VM process ended');
    try {
      this.options.events.onEnd(reason, this.screen);
    } finally {
      this.ended.resolve();
    }
  }

  /** A start that hangs ends the process; its reason is the timeout, not the kill. */
  private async withDeadline<T>(promise: Promise<T>, ms: number, message: string): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        const detail = this.stderr.text();
        const error = new LodgeError({
          code: 'timeout',
          message,
          fix: 'Try again. If the host is very busy, close something first.',
          ...(detail && { detail }),
        });
        this.reason ??= { kind: 'failed', error: error.toData() };
        this.channel.kill();
        reject(error);
      }, ms);
    });
    try {
      return await Promise.race([promise, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  private goneError(): LodgeError {
    return this.phase === 'gone'
      ? new LodgeError({ code: 'invalidState', message: 'The machine has stopped.' })
      : new LodgeError({ code: 'invalidState', message: 'The machine is still starting.', fix: 'Wait a moment and try again.' });
  }
}

const isAnswered = (name: VmCall['name']): name is keyof typeof vmReplySchemas => Object.hasOwn(vmReplySchemas, name);

function crashMessage({ code, signal }: ProcessExit): string {
  if (signal === 'SIGKILL')
    return 'The machine’s process was killed from outside (SIGKILL; the host may have run out of memory).';
  if (signal) return `The machine’s process crashed (${signal}).`;
  if (code === null) return 'The machine’s process could not be started.';
  return `The machine’s process ended unexpectedly (exit code ${code}).`;
}

function startFailure(reason: StopReason): LodgeError {
  switch (reason.kind) {
    case 'failed':
      return new LodgeError(reason.error);
    case 'crashed':
      return new LodgeError({
        code: 'vmCrashed',
        message: reason.message,
        fix: 'Start it again. If it happens again, copy the detail into a bug report.',
        ...(reason.detail && { detail: reason.detail }),
      });
    case 'guestFault':
      return new LodgeError({ code: 'vmCrashed', message: reason.message, detail: reason.report });
    case 'powerOff':
    case 'stopped':
    case 'debugExit':
      return new LodgeError({ code: 'invalidState', message: 'The machine was stopped while it was starting.' });
  }
}

interface Deferred<T> {
  readonly promise: Promise<T>;
  readonly resolve: (value: T) => void;
  readonly reject: (error: unknown) => void;
}

function deferred<T>(): Deferred<T> {
  let resolve!: (value: T) => void;
  let reject!: (error: unknown) => void;
  const promise = new Promise<T>((res, rej) => {
    resolve = res;
    reject = rej;
  });
  return { promise, resolve, reject };
}
