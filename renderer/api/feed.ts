/**
 * One ordered stream from the service: a snapshot, then events in sequence. Any doubt (a gap, an event that does not parse, a
 * new link) leads to one refetch; events that arrive meanwhile wait and are applied if they are newer than the snapshot.
 */
import { eventSchema, type LodgeEvent, type Output } from '../../preload/contract';
import type { Api } from './client';

export type Snapshot = Output<'app.snapshot'>;

export interface FeedSink {
  onSnapshot(snapshot: Snapshot): void;
  onEvent(event: LodgeEvent): void;
  onError(error: unknown): void;
}

/** First wait after a failed refetch; doubled up to the last. */
const RETRY_MS = 500;
const RETRY_MAX_MS = 8000;
/** Events kept while a snapshot is on its way; more means the snapshot is hopelessly late and will be fetched again. */
const BUFFER_MAX = 10_000;

export class Feed {
  private seq: number | null = null;
  private fetching = false;
  private waiting: LodgeEvent[] = [];
  private retryMs = RETRY_MS;
  private retry: ReturnType<typeof setTimeout> | undefined;
  private disposed = false;
  private readonly unsubscribe: (() => void)[] = [];

  constructor(
    private readonly api: Api,
    private readonly sink: FeedSink,
  ) {
    this.unsubscribe.push(
      api.transport.onEvent((raw) => this.receive(raw)),
      api.transport.onLink((state) => {
        // Events may have been missed while the link was down.
        if (state === 'open') void this.refetch();
      }),
    );
  }

  dispose(): void {
    this.disposed = true;
    clearTimeout(this.retry);
    for (const u of this.unsubscribe) u();
  }

  private receive(raw: unknown): void {
    if (this.disposed) return;
    const parsed = eventSchema.safeParse(raw);
    if (!parsed.success) {
      void this.refetch();
      return;
    }
    const event = parsed.data;
    if (this.fetching || this.seq === null) {
      if (this.waiting.length < BUFFER_MAX) this.waiting.push(event);
      return;
    }
    if (event.seq <= this.seq) return;
    if (event.seq !== this.seq + 1) {
      this.waiting.push(event);
      void this.refetch();
      return;
    }
    this.seq = event.seq;
    this.sink.onEvent(event);
  }

  private async refetch(): Promise<void> {
    if (this.fetching || this.disposed) return;
    this.fetching = true;
    clearTimeout(this.retry);
    try {
      const snapshot = await this.api.call('app.snapshot');
      if (this.disposed) return;
      this.seq = snapshot.seq;
      this.sink.onSnapshot(snapshot);
    } catch (e) {
      if (this.disposed) return;
      this.seq = null;
      this.sink.onError(e);
      this.refetchLater();
      return;
    } finally {
      this.fetching = false;
    }
    const waiting = this.waiting.sort((a, b) => a.seq - b.seq);
    this.waiting = [];
    for (const [i, event] of waiting.entries()) {
      if (event.seq > this.seq + 1) {
        // The snapshot is older than the gap it was to close. It will catch up; asking at once again would only spin.
        this.waiting = waiting.slice(i);
        this.seq = null;
        this.refetchLater();
        return;
      }
      this.receive(event);
    }
    this.retryMs = RETRY_MS;
  }

  private refetchLater(): void {
    clearTimeout(this.retry);
    this.retry = setTimeout(() => void this.refetch(), this.retryMs);
    this.retryMs = Math.min(RETRY_MAX_MS, this.retryMs * 2);
  }
}
