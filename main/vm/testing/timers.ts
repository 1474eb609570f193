/** For tests: timers that run when told to. */
import type { Timers } from '../display-hub';

export function fakeTimers(): Timers & { advance(ms: number): void; pending(): number; now(): number } {
  let now = 0;
  let order = 0;
  const waiting = new Map<number, { at: number; run: () => void }>();
  return {
    now: () => now,
    pending: () => waiting.size,
    set(callback, ms) {
      const id = order++;
      waiting.set(id, { at: now + ms, run: callback });
      return { dispose: () => void waiting.delete(id) };
    },
    advance(ms) {
      const end = now + ms;
      for (;;) {
        const next = [...waiting].filter(([, t]) => t.at <= end).sort((a, b) => a[1].at - b[1].at || a[0] - b[0])[0];
        if (!next) break;
        waiting.delete(next[0]);
        now = Math.max(now, next[1].at);
        next[1].run();
      }
      now = end;
    },
  };
}
