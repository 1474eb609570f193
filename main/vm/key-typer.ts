/** Types key events at a pace a guest follows: not before it has read the last one, and no faster than a BIOS or getty takes. */
import type { Clock } from '../backend/clock';
import type { KeyboardSink } from '../backend/input';
import type { Disposable } from '../lib/disposable';

export interface TypedKey {
  readonly code: string;
  readonly down: boolean;
}

const GAP_NS = 4e6;
/** A guest that does not read its keyboard for so long gets the next key anyway (the keyboard has its own limit). */
const PATIENCE_NS = 500e6;
/** Events that may wait; more than a screen full of text is a mistake. */
const QUEUE_LIMIT = 20_000;

export class KeyTyper implements Disposable {
  private queue: TypedKey[] = [];
  private timer: Disposable | undefined;
  private lastTyped = 0;

  constructor(private readonly deps: { clock: Clock; keyboard: KeyboardSink & { readonly idle: boolean } }) {}

  /** False: too much is waiting already, nothing was added. */
  type(keys: readonly TypedKey[]): boolean {
    if (this.queue.length + keys.length > QUEUE_LIMIT) return false;
    this.queue.push(...keys);
    if (!this.timer) this.next();
    return true;
  }

  dispose(): void {
    this.queue = [];
    this.timer?.dispose();
    this.timer = undefined;
  }

  private next(): void {
    this.timer = undefined;
    const { clock, keyboard } = this.deps;
    const key = this.queue[0];
    if (!key) return;
    if (keyboard.idle || clock.now() - this.lastTyped > PATIENCE_NS) {
      this.queue.shift();
      this.lastTyped = clock.now();
      keyboard.key(key.code, key.down);
    }
    if (this.queue.length > 0) this.timer = clock.at(clock.now() + GAP_NS, () => this.next());
  }
}
