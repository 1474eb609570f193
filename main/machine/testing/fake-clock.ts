/** Guest time under a test's control. */
import type { Clock } from '../../backend/clock';
import type { Disposable } from '../../lib/disposable';

export class FakeClock implements Clock {
  private nanoseconds = 0;
  private timers: { deadline: number; callback: () => void }[] = [];
  constructor(public epochMilliseconds = Date.UTC(2024, 1, 29, 23, 59, 58)) {}

  now(): number {
    return this.nanoseconds;
  }
  wallClock(): number {
    return this.epochMilliseconds + this.nanoseconds / 1e6;
  }
  at(deadline: number, callback: () => void): Disposable {
    const timer = { deadline, callback };
    this.timers.push(timer);
    return { dispose: () => void (this.timers = this.timers.filter((t) => t !== timer)) };
  }
  get pending(): number {
    return this.timers.length;
  }
  advance(nanoseconds: number): void {
    const end = this.nanoseconds + nanoseconds;
    for (;;) {
      const next = this.timers.filter((t) => t.deadline <= end).sort((a, b) => a.deadline - b.deadline)[0];
      if (!next) break;
      this.timers = this.timers.filter((t) => t !== next);
      this.nanoseconds = Math.max(this.nanoseconds, next.deadline);
      next.callback();
    }
    this.nanoseconds = end;
  }
}
