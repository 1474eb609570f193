import { beforeEach, expect, it } from 'vitest';
import type { Api } from '../api';
import type { Job } from '../model/types';
import { createJobStore } from './jobs';
import { createKeptStore, scaleKey } from './kept';
import { createNoticeStore } from './notices';

const job = (part: Partial<Job> = {}): Job => ({
  id: 'j1',
  kind: 'convert',
  path: '/d/disk.img',
  target: '/d/disk.vdi',
  progress: 0,
  state: 'running',
  ...part,
});

let answer: () => Promise<unknown>;
const calls: string[] = [];
const open = () => {
  const notices = createNoticeStore();
  const api = {
    call: (name: string) => {
      calls.push(name);
      return answer();
    },
  } as unknown as Api;
  let time = 1000;
  const jobs = createJobStore(api, notices, () => time);
  return { jobs, notices, tick: (ms: number) => (time += ms) };
};
const CONVERT = { path: '/d/disk.img', target: '/d/disk.vdi', format: 'vdi' as const };
beforeEach(() => void calls.splice(0));

it('follows a job, from when the page first heard of it', async () => {
  const { jobs, notices, tick } = open();
  answer = () => Promise.resolve(job());
  await jobs.getState().convert(CONVERT);
  tick(5000);
  jobs.getState().put(job({ progress: 0.5 }));
  expect(jobs.getState().byId['j1']).toMatchObject({ since: 1000, from: 0, job: { progress: 0.5 } });
  jobs.getState().put(job({ progress: 1, state: 'done' }));
  jobs.getState().put(job({ progress: 1, state: 'done' }));
  expect(notices.getState().toasts.map((t) => t.message)).toEqual(['The copy “disk.vdi” is ready.']);
  jobs.getState().dismiss('j1');
  expect(jobs.getState().byId).toEqual({});
});

it('tells the end even when its event was quicker than the answer', async () => {
  const { jobs, notices } = open();
  answer = () => {
    jobs.getState().put(job());
    jobs.getState().put(job({ state: 'failed', error: { code: 'insufficientSpace', message: 'The host is full.' } }));
    return Promise.resolve(job());
  };
  await jobs.getState().convert(CONVERT);
  expect(notices.getState().failure).toMatchObject({ context: 'Convert “disk.img”', error: { code: 'insufficientSpace' } });
  expect(jobs.getState().byId['j1']?.job.state).toBe('failed');
});

it('does not interrupt with what another window began, nor with what was cancelled', async () => {
  const { jobs, notices } = open();
  jobs.getState().put(job({ id: 'theirs' }));
  jobs.getState().put(job({ id: 'theirs', state: 'done' }));
  answer = () => Promise.resolve(job());
  await jobs.getState().convert(CONVERT);
  await jobs.getState().cancel('j1');
  jobs.getState().put(job({ state: 'cancelled' }));
  expect(calls).toEqual(['disk.convert', 'job.cancel']);
  expect(notices.getState()).toMatchObject({ toasts: [], failure: null });
});

it('learns from a snapshot what ended while the connection was lost', async () => {
  const { jobs, notices } = open();
  answer = () => Promise.resolve(job({ kind: 'resize', target: '/d/disk.img' }));
  await jobs.getState().resize({ path: '/d/disk.img', bytes: 2 ** 30 });
  jobs.getState().replace([job({ kind: 'resize', state: 'done', progress: 1 })]);
  expect(notices.getState().toasts).toHaveLength(1);
  jobs.getState().replace([]);
  expect(jobs.getState().byId).toEqual({});
});

it('keeps scales and media in the browser, and survives what is in there', () => {
  const map = new Map<string, string>([
    ['lodge.recentMedia', '["/a.iso", 7, "/b.iso", "/a.iso"]'],
    ['lodge.scale.vm.100x100', 'upside down'],
  ]);
  const storage = {
    get length() {
      return map.size;
    },
    key: (i: number) => [...map.keys()][i] ?? null,
    getItem: (k: string) => map.get(k) ?? null,
    setItem: (k: string, v: string) => void map.set(k, v),
  } as Storage;
  const kept = createKeptStore(storage);
  expect(kept.getState()).toMatchObject({ scales: {}, media: ['/a.iso', '/b.iso'] });
  kept.getState().usedMedium('/c.iso');
  kept.getState().forgetMedium('/a.iso');
  kept.getState().setScale(scaleKey('vm', { width: 100, height: 100 }), 'fit');
  expect(createKeptStore(storage).getState()).toMatchObject({
    scales: { 'vm.100x100': 'fit' },
    media: ['/c.iso', '/b.iso'],
  });
  map.set('lodge.recentMedia', '{');
  expect(createKeptStore(storage).getState().media).toEqual([]);
  const full = {
    ...storage,
    length: 0,
    setItem: () => {
      throw new Error('full');
    },
  } as unknown as Storage;
  const lost = createKeptStore(full);
  lost.getState().usedMedium('/x.iso');
  expect(lost.getState().media).toEqual(['/x.iso']);
});
