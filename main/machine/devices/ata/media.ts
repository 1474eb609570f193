/**
 * A drive's place for a medium that the user and the guest can both take out: optical discs and floppies. Knows nothing of tray
 * motors; it keeps who holds the medium, whether the guest locked it in, and that nobody closes an image that is being read.
 */
import type { BlockBackend } from '../../../backend/block';

export interface Medium {
  /** The user's name for it; comes back when it is taken out. */
  readonly id: string;
  readonly backend: BlockBackend;
}

export class MediaSlot {
  private current: Medium | undefined;
  private users = 0;
  private waiting: (() => void)[] = [];
  /** The guest asked that the medium stays (PREVENT ALLOW MEDIUM REMOVAL). */
  locked = false;
  /** For the drive: the medium came or went by the user's hand. */
  onInserted: () => void = () => undefined;
  onRemoved: () => void = () => undefined;
  /** For the drive: the user asks for a medium that is locked in. */
  onEjectRequest: () => void = () => undefined;

  /** `onEjected`: the guest took it out; the owner closes it. Nothing uses it any more then. */
  constructor(private readonly onEjected: (medium: Medium) => void) {}

  get medium(): Medium | undefined {
    return this.current;
  }

  get backend(): BlockBackend | undefined {
    return this.current?.backend;
  }

  /** False: there is one already. */
  insert(medium: Medium): boolean {
    if (this.current) return false;
    this.current = medium;
    this.onInserted();
    return true;
  }

  /** Out by the user's hand. Undefined: it is locked in, the guest was asked to let it go, and `force` was not given. */
  async remove(force: boolean): Promise<Medium | undefined> {
    if (this.locked && !force) {
      this.onEjectRequest();
      return undefined;
    }
    const taken = this.current;
    this.current = undefined;
    this.locked = false;
    if (taken) this.onRemoved();
    await this.idle();
    return taken;
  }

  /** Out by the guest's command. */
  eject(): void {
    const taken = this.current;
    if (!taken) return;
    this.current = undefined;
    void Promise.resolve(this.idle()).then(() => this.onEjected(taken));
  }

  /** Keeps the image open while `work` goes on. */
  use(work: () => void | Promise<void>): void | Promise<void> {
    const running = work();
    if (!running) return undefined;
    this.users++;
    return running.finally(() => {
      if (--this.users === 0) for (const wake of this.waiting.splice(0)) wake();
    });
  }

  idle(): Promise<void> | void {
    if (this.users > 0) return new Promise((resolve) => this.waiting.push(resolve));
  }
}
