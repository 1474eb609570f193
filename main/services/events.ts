/** The one ordered stream of events. Every transport subscribes here; a gap in `seq` tells a client to fetch a new snapshot. */
import type { LodgeEvent } from '../../preload/contract';
import { Emitter, type Disposable } from '../lib/disposable';
import { silentLogger, type Logger } from '../lib/log';

type WithoutSeq<E> = E extends { seq: number } ? Omit<E, 'seq'> : never;
export type EventBody = WithoutSeq<LodgeEvent>;

export class EventHub {
  private readonly emitter = new Emitter<LodgeEvent>();
  private readonly firstListener = new Emitter<void>();
  private lastSeq = 0;
  private count = 0;

  constructor(private readonly log: Logger = silentLogger) {}

  /** Of the last event that went out. */
  get seq(): number {
    return this.lastSeq;
  }

  get hasListeners(): boolean {
    return this.count > 0;
  }

  emit(body: EventBody): void {
    try {
      this.emitter.fire({ ...body, seq: ++this.lastSeq } as LodgeEvent);
    } catch (e) {
      // A client that cannot be told is that client's loss; what happened has happened.
      this.log.error({ error: e instanceof Error ? e.stack : String(e) }, 'an event listener failed');
    }
  }

  /** Somebody watches again after nobody did: time to catch up with what was not worth doing for nobody. */
  readonly onFirstListener = this.firstListener.event;

  subscribe(listener: (event: LodgeEvent) => void): Disposable {
    const subscription = this.emitter.event(listener);
    if (this.count++ === 0) this.firstListener.fire();
    let active = true;
    return {
      dispose: () => {
        if (!active) return;
        active = false;
        this.count--;
        subscription.dispose();
      },
    };
  }
}
