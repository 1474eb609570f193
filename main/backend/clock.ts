/** Time as devices see it: guest time, which stands still while the VM is paused. */
import type { Disposable } from '../lib/disposable';

export interface Clock {
  /** Nanoseconds of guest uptime, monotonic; fractional below 2^53. */
  now(): number;
  /** Wall clock, milliseconds since 1970 (for the RTC). */
  wallClock(): number;
  /** Runs once at or after `deadline` (guest nanoseconds); never while paused. */
  at(deadline: number, callback: () => void): Disposable;
}
