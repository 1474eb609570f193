/** Disk images apart from machines: made, looked at, checked, converted, grown. Long work is a job that can be watched and cancelled. */
import { randomUUID } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { dirname, isAbsolute } from 'node:path';
import { LodgeError, type DiskCheck, type DiskFormat, type DiskInfo, type DiskVariant, type Job } from '../../preload/contract';
import { checkDisk, convertDisk, createDisk, deleteDisk, diskInfo, resizeDisk, type CreateDiskOptions } from '../storage';
import type { EventHub } from './events';
import { FileLocks, type LockWish } from './file-locks';

export interface DisksOptions {
  readonly hub: EventHub;
  readonly lockDir: string;
}

/** Ended jobs that are still told to those who ask. */
const ENDED_JOBS = 20;
/** A bar needs no more. */
const PROGRESS_INTERVAL_MS = 250;

export class Disks {
  private readonly all = new Map<string, { job: Job; readonly abort: AbortController; ended: Promise<void> }>();

  constructor(private readonly options: DisksOptions) {}

  jobs(): Job[] {
    return [...this.all.values()].map(({ job }) => job);
  }

  async create(options: Omit<CreateDiskOptions, 'format'> & { format?: DiskFormat | undefined }): Promise<DiskInfo> {
    absolute(options.path);
    if (options.parent !== undefined) absolute(options.parent);
    return friendly(async () => {
      await createDisk({ ...options, bytes: Math.ceil(options.bytes / 512) * 512, format: options.format ?? 'raw' });
      return diskInfo(options.path);
    });
  }

  info(path: string): Promise<DiskInfo> {
    absolute(path);
    return friendly(() => diskInfo(path));
  }

  /** For good, with every file that is part of it. */
  async delete(path: string): Promise<void> {
    absolute(path);
    if (!(await exists(path))) throw new LodgeError({ code: 'fileMissing', message: `${path} is not there any more.` });
    await friendly(() => this.locked([{ path, write: true }], 'disk delete', () => deleteDisk(path)));
  }

  /** A machine that writes it meanwhile would make it look damaged. */
  check(path: string): Promise<DiskCheck> {
    absolute(path);
    return friendly(() => this.locked([{ path, write: false }], 'disk check', () => checkDisk(path)));
  }

  async convert(options: { path: string; target: string; format: DiskFormat; variant?: DiskVariant | undefined }): Promise<Job> {
    const { path, target, format, variant } = options;
    absolute(path);
    absolute(target);
    // What can be refused at once is not a job that fails.
    await friendly(() => diskInfo(path));
    if (await exists(target)) {
      throw new LodgeError({ code: 'nameTaken', message: `${target} exists already.`, fix: 'Choose another name.' });
    }
    if (!(await exists(dirname(target)))) {
      throw new LodgeError({
        code: 'fileMissing',
        message: `The folder ${dirname(target)} does not exist.`,
        fix: 'Choose another folder.',
      });
    }
    return this.begin({ kind: 'convert', path, target }, (signal, onProgress) =>
      this.locked([{ path, write: false }], 'disk convert', () =>
        convertDisk(path, target, { format, variant, signal, onProgress }),
      ),
    );
  }

  async resize(path: string, bytes: number): Promise<Job> {
    absolute(path);
    await friendly(() => diskInfo(path));
    return this.begin({ kind: 'resize', path, target: path }, (signal, onProgress) =>
      this.locked([{ path, write: true }], 'disk resize', () =>
        resizeDisk(path, Math.ceil(bytes / 512) * 512, { signal, onProgress }),
      ),
    );
  }

  /** Of a job that is over: nothing. */
  cancel(id: string): void {
    this.all.get(id)?.abort.abort();
  }

  /** Resolves with its last state. */
  async ended(id: string): Promise<Job> {
    const entry = this.all.get(id);
    if (!entry) throw new LodgeError({ code: 'notFound', message: 'There is no such job any more.', detail: id });
    await entry.ended;
    return entry.job;
  }

  async close(): Promise<void> {
    for (const { abort } of this.all.values()) abort.abort();
    await Promise.all([...this.all.values()].map(({ ended }) => ended));
  }

  private begin(
    what: Pick<Job, 'kind' | 'path' | 'target'>,
    work: (signal: AbortSignal, onProgress: (done: number) => void) => Promise<void>,
  ): Job {
    const abort = new AbortController();
    const entry = { job: { ...what, id: randomUUID(), progress: 0, state: 'running' } as Job, abort, ended: Promise.resolve() };
    const change = (next: Partial<Job>): void => {
      entry.job = { ...entry.job, ...next };
      this.options.hub.emit({ type: 'job', job: entry.job });
    };
    let told = Date.now();
    this.all.set(entry.job.id, entry);
    change({});
    const begun = entry.job;
    entry.ended = friendly(() =>
      work(abort.signal, (done) => {
        entry.job = { ...entry.job, progress: Math.min(1, done) };
        if (Date.now() - told < PROGRESS_INTERVAL_MS) return;
        told = Date.now();
        change({});
      }),
    ).then(
      () => change({ state: 'done', progress: 1 }),
      (e: unknown) =>
        change(abort.signal.aborted ? { state: 'cancelled' } : { state: 'failed', error: LodgeError.from(e).toData() }),
    );
    void entry.ended.then(() => {
      const over = [...this.all].filter(([, { job }]) => job.state !== 'running');
      for (const [id] of over.slice(0, Math.max(0, over.length - ENDED_JOBS))) this.all.delete(id);
    });
    return begun;
  }

  private async locked<T>(wishes: LockWish[], owner: string, work: () => Promise<T>): Promise<T> {
    const locks = await FileLocks.acquire(this.options.lockDir, owner, wishes);
    try {
      return await work();
    } finally {
      await locks.release();
    }
  }
}

function absolute(path: string): void {
  if (!isAbsolute(path)) throw new LodgeError({ code: 'invalidInput', message: `Not an absolute path: ${path.slice(0, 300)}` });
}

const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );

/** A damaged image is met while reading it: the host's failure to the guest, the file's to a person. */
export async function friendly<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (e) {
    if (!(e instanceof Error) || e.name !== 'HostIoError') throw e;
    const code = (e as { kind?: string }).kind === 'noSpace' ? 'insufficientSpace' : 'fileInvalid';
    throw new LodgeError({ code, message: `${e.message}.`.replace(/\.\.$/, '.') }, { cause: e });
  }
}
