import { createStore } from 'zustand/vanilla';
import type { Api } from '../api';
import { baseName } from '../model/format';
import type { Input, Job } from '../model/types';
import type { NoticeStore } from './notices';

export interface TrackedJob {
  readonly job: Job;
  /** When this page first heard of it, and how far it was then: what a guess of the time left goes by. */
  readonly since: number;
  readonly from: number;
}

export interface JobState {
  byId: Readonly<Record<string, TrackedJob>>;
  replace(jobs: readonly Job[]): void;
  put(job: Job): void;
  /** Throws what the service refused; how it ends is told by the notices of the page that began it. */
  convert(input: Input<'disk.convert'>): Promise<Job>;
  resize(input: Input<'disk.resize'>): Promise<Job>;
  cancel(id: string): Promise<void>;
  dismiss(id: string): void;
}

const WORDS = {
  convert: {
    done: (job: Job) => `The copy “${baseName(job.target)}” is ready.`,
    context: (job: Job) => `Convert “${baseName(job.path)}”`,
  },
  resize: {
    done: (job: Job) => `“${baseName(job.path)}” is larger now.`,
    context: (job: Job) => `Make “${baseName(job.path)}” larger`,
  },
} as const;

export const createJobStore = (api: Api, notices: NoticeStore, now: () => number = Date.now) =>
  createStore<JobState>()((set, get) => {
    /** Begun here: other windows show them too, but do not interrupt anybody. */
    const mine = new Set<string>();
    const begin = async (call: () => Promise<Job>): Promise<Job> => {
      const job = await call();
      mine.add(job.id);
      // Its events may have been quicker than the answer, even the last one.
      const known = get().byId[job.id];
      if (known === undefined) get().put(job);
      else if (known.job.state !== 'running') told(known.job);
      return job;
    };
    const told = (job: Job): void => {
      if (!mine.delete(job.id)) return;
      if (job.state === 'done') notices.getState().say('info', WORDS[job.kind].done(job));
      if (job.state === 'failed' && job.error !== undefined) notices.getState().fail(WORDS[job.kind].context(job), job.error);
    };
    return {
      byId: {},
      replace: (jobs) => {
        const before = get().byId;
        set({
          byId: Object.fromEntries(
            jobs.map((job) => {
              const known = before[job.id];
              return [job.id, { job, since: known?.since ?? now(), from: known?.from ?? job.progress }];
            }),
          ),
        });
        for (const job of jobs) if (job.state !== 'running') told(job);
      },
      put: (job) => {
        set((s) => {
          const known = s.byId[job.id];
          return { byId: { ...s.byId, [job.id]: { job, since: known?.since ?? now(), from: known?.from ?? job.progress } } };
        });
        if (job.state !== 'running') told(job);
      },
      convert: (input) => begin(() => api.call('disk.convert', input)),
      resize: (input) => begin(() => api.call('disk.resize', input)),
      cancel: async (id) => {
        try {
          await api.call('job.cancel', { id });
        } catch (e) {
          notices.getState().fail('Cancel', e);
        }
      },
      dismiss: (id) =>
        set((s) => {
          const { [id]: _gone, ...byId } = s.byId;
          return { byId };
        }),
    };
  });

export type JobStore = ReturnType<typeof createJobStore>;
