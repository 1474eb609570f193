import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { LodgeEvent } from '../../preload/contract';
import { Api } from './client';
import { Feed, type Snapshot } from './feed';
import type { LinkState, Transport } from './transport';

const host = {
  cpuModel: 'x',
  logicalCpus: 1,
  memoryMiB: 1,
  availableMiB: 1,
  accelerators: [],
  mode: 'server' as const,
  version: '0',
};
const preferences = { theme: 'auto', hostKey: 'ControlRight', vmFolder: '/v', libraryView: 'list', closeAction: 'ask' } as const;
const notice = (seq: number): LodgeEvent => ({ type: 'notice', seq, level: 'info', message: `n${seq}` });

function harness() {
  const events = new Set<(e: unknown) => void>();
  const links = new Set<(s: LinkState) => void>();
  const pending: { resolve: (v: unknown) => void; reject: (e: Error) => void }[] = [];
  const transport = {
    kind: 'server',
    platform: 'test',
    call: () => new Promise((resolve, reject) => pending.push({ resolve, reject })),
    onEvent: (l: (e: unknown) => void) => (events.add(l), () => events.delete(l)),
    onLink: (l: (s: LinkState) => void) => (links.add(l), () => links.delete(l)),
  } as unknown as Transport;
  const seen: string[] = [];
  const feed = new Feed(new Api(transport), {
    onSnapshot: (s: Snapshot) => seen.push(`snapshot ${s.seq}`),
    onEvent: (e) => seen.push(`event ${e.seq}`),
    onError: () => seen.push('error'),
  });
  return {
    feed,
    seen,
    pending,
    events,
    links,
    link: (s: LinkState) => [...links].forEach((l) => l(s)),
    emit: (e: unknown) => [...events].forEach((l) => l(e)),
    answer: async (seq: number) => {
      pending.shift()!.resolve({ ok: true, value: { seq, vms: [], broken: [], host, preferences, notices: [] } });
      await vi.advanceTimersByTimeAsync(0);
    },
  };
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

describe('Feed', () => {
  it('takes a snapshot when the link opens and applies events in order', async () => {
    const h = harness();
    h.link('open');
    await h.answer(5);
    h.emit(notice(6));
    h.emit(notice(6));
    h.emit(notice(7));
    expect(h.seen).toEqual(['snapshot 5', 'event 6', 'event 7']);
  });

  it('holds events that come before the snapshot, and drops what the snapshot includes', async () => {
    const h = harness();
    h.link('open');
    for (const seq of [4, 5, 6]) h.emit(notice(seq));
    await h.answer(5);
    expect(h.seen).toEqual(['snapshot 5', 'event 6']);
  });

  it('a gap leads to exactly one refetch, however many events follow it', async () => {
    const h = harness();
    h.link('open');
    await h.answer(1);
    for (const seq of [4, 5, 6]) h.emit(notice(seq));
    expect(h.pending).toHaveLength(1);
    await h.answer(5);
    expect(h.pending).toHaveLength(0);
    expect(h.seen).toEqual(['snapshot 1', 'snapshot 5', 'event 6']);
  });

  it('does not spin when a snapshot is older than the gap', async () => {
    const h = harness();
    h.link('open');
    await h.answer(1);
    h.emit(notice(9));
    await h.answer(1);
    expect(h.pending).toHaveLength(0);
    await vi.advanceTimersByTimeAsync(500);
    await h.answer(8);
    expect(h.seen).toEqual(['snapshot 1', 'snapshot 1', 'snapshot 8', 'event 9']);
  });

  it('treats an event it cannot read as a gap', async () => {
    const h = harness();
    h.link('open');
    await h.answer(1);
    h.emit({ type: 'unheard of' });
    expect(h.pending).toHaveLength(1);
  });

  it('tries again after a failure, ever more slowly, and recovers', async () => {
    const h = harness();
    h.link('open');
    h.pending.shift()!.reject(new Error('gone'));
    await vi.advanceTimersByTimeAsync(0);
    expect(h.seen).toEqual(['error']);
    await vi.advanceTimersByTimeAsync(499);
    expect(h.pending).toHaveLength(0);
    await vi.advanceTimersByTimeAsync(1);
    expect(h.pending).toHaveLength(1);
    await h.answer(9);
    expect(h.seen).toEqual(['error', 'snapshot 9']);
  });

  it('refetches after the link came back and leaves no listener or timer behind', async () => {
    const h = harness();
    h.link('open');
    await h.answer(1);
    h.link('lost');
    h.link('open');
    expect(h.pending).toHaveLength(1);
    h.feed.dispose();
    expect([h.events.size, h.links.size, vi.getTimerCount()]).toEqual([0, 0, 0]);
  });
});
