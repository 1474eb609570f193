/** Guest time: monotonic, stands still while the machine is paused. Timers run on it; nothing ticks unless somebody waits. */
import type { Clock } from '../backend/clock';
import type { Disposable } from '../lib/disposable';

/** setTimeout takes 31 bits of milliseconds; a longer wait is made in steps. */
const TIMEOUT_MAX_MS = 2 ** 31 - 1;

interface Timer {
  readonly deadline: number;
  readonly callback: () => void;
  handle: NodeJS.Timeout | undefined;
}

export class GuestClock implements Clock, Disposable {
  /** Host nanoseconds at guest time 0; moves forward by each pause. */
  private origin: number;
  private pausedAt: number | undefined;
  private readonly timers = new Set<Timer>();

  /** Starts paused, at 0. */
  constructor(private readonly hostMs: () => number = () => performance.now()) {
    this.origin = hostMs() * 1e6;
    this.pausedAt = 0;
  }

  now(): number {
    return this.pausedAt ?? this.hostMs() * 1e6 - this.origin;
  }

  wallClock(): number {
    return performance.timeOrigin + performance.now();
  }

  at(deadline: number, callback: () => void): Disposable {
    const timer: Timer = { deadline, callback, handle: undefined };
    this.timers.add(timer);
    if (this.pausedAt === undefined) this.arm(timer);
    return { dispose: () => this.remove(timer) };
  }

  pause(): void {
    this.pausedAt ??= this.now();
    for (const timer of this.timers) clearTimeout(timer.handle);
  }

  resume(): void {
    if (this.pausedAt === undefined) return;
    this.origin = this.hostMs() * 1e6 - this.pausedAt;
    this.pausedAt = undefined;
    for (const timer of this.timers) this.arm(timer);
  }

  dispose(): void {
    this.pause();
    this.timers.clear();
  }

  private arm(timer: Timer): void {
    const ms = Math.ceil((timer.deadline - this.now()) / 1e6);
    timer.handle = setTimeout(() => this.fire(timer), Math.max(0, Math.min(ms, TIMEOUT_MAX_MS)));
  }

  private fire(timer: Timer): void {
    if (!this.timers.has(timer)) return;
    if (this.now() < timer.deadline) {
      this.arm(timer);
      return;
    }
    this.timers.delete(timer);
    timer.callback();
  }

  private remove(timer: Timer): void {
    clearTimeout(timer.handle);
    this.timers.delete(timer);
  }
}
