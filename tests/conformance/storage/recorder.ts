/**
 * What a process does to its image files, in order, and what the files may hold when it ends in the middle: killed (what was
 * begun is there or not, what was done is there) or with the host's power cut (of what was not synced any part may be there, in
 * any order, down to single sectors; sizes of a file change in their order, as journals keep them).
 */
import { fstatSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { HostFile } from '../../../main/storage/core/host-file';
import { FakeMemory, SECTOR } from './model';

interface Change {
  readonly file: string;
  readonly kind: 'write' | 'size';
  readonly at: number;
  /** Of a change of size: none. */
  readonly data: Uint8Array;
  readonly begun: number;
  done: number;
}

interface Sync {
  readonly file: string;
  readonly begun: number;
  done: number;
}

export class Recorder {
  private readonly initial = new Map<string, Buffer>();
  private readonly changes: Change[] = [];
  private readonly syncs: Sync[] = [];
  private clock = 0;

  /** Moments are counted, not measured. */
  now(): number {
    return ++this.clock;
  }

  /** `data` as it is now, for good. */
  async around<T>(change: Pick<Change, 'file' | 'kind' | 'at' | 'data'>, work: () => T | Promise<T>): Promise<T> {
    if (!this.initial.has(change.file)) this.initial.set(change.file, readFileSync(change.file));
    const entry: Change = { ...change, data: change.data.slice(), begun: this.now(), done: Infinity };
    this.changes.push(entry);
    const result = await work();
    entry.done = this.now();
    return result;
  }

  async sync(file: string, work: () => Promise<void>): Promise<void> {
    const entry: Sync = { file, begun: this.now(), done: Infinity };
    this.syncs.push(entry);
    await work();
    entry.done = this.now();
  }

  /** The files as they may be found after an end at the moment `end`. */
  crash(end: number, how: 'kill' | 'power', random: () => number): void {
    for (const [file, before] of this.initial) {
      const all = this.changes.filter((change) => change.file === file && change.begun <= end);
      const synced = Math.max(
        0,
        ...this.syncs.filter((sync) => sync.file === file && sync.done <= end).map((sync) => sync.begun),
      );
      let image: Buffer = Buffer.from(before);
      let sizesEnded = false;
      for (const { kind, at, data, done } of all) {
        const sure = how === 'kill' ? done <= end : done < synced;
        const there = sure || random() < 0.5;
        if (kind === 'size') {
          sizesEnded ||= !there;
          if (!sizesEnded) image = resized(image, at);
          continue;
        }
        if (!there) continue;
        if (image.length < at + data.length) image = resized(image, at + data.length);
        const whole = sure || how === 'kill' || random() < 0.7;
        for (let done = 0; done < data.length;) {
          const part = whole ? data.length : Math.min(SECTOR - ((at + done) % SECTOR), data.length - done);
          if (whole || random() < 0.5) image.set(data.subarray(done, done + part), at + done);
          done += part;
        }
      }
      writeFileSync(file, image);
    }
  }
}

function resized(image: Buffer, bytes: number): Buffer {
  if (bytes <= image.length) return image.subarray(0, bytes);
  return Buffer.concat([image], bytes);
}

/** Guest memory whose transfers are recorded. */
export class RecordingMemory extends FakeMemory {
  constructor(
    bytes: number,
    private readonly recorder: Recorder,
  ) {
    super(bytes);
  }

  override fileWrite(fd: number, at: number, ranges: Float64Array): Promise<number> {
    const parts: Uint8Array[] = [];
    for (let i = 0; i < ranges.length; i += 2) parts.push(this.bytes.subarray(ranges[i]!, ranges[i]! + ranges[i + 1]!));
    const data = Buffer.concat(parts);
    return this.recorder.around({ file: pathOf(fd), kind: 'write', at, data }, () => super.fileWrite(fd, at, ranges));
  }

  override fileZero(fd: number, at: number, bytes: number): Promise<boolean> {
    const file = pathOf(fd);
    const there = Math.min(bytes, fstatSync(fd).size - at);
    // A question, not a change.
    if (there <= 0) return super.fileZero(fd, at, bytes);
    return this.recorder.around({ file, kind: 'write', at, data: new Uint8Array(there) }, () => super.fileZero(fd, at, bytes));
  }
}

const pathOf = (fd: number): string => readlinkSync(`/proc/self/fd/${fd}`);

/** Every change that goes through a HostFile, while `work` runs. */
export async function recording<T>(recorder: Recorder, work: () => Promise<T>): Promise<T> {
  const { write, truncate, sync } = HostFile.prototype;
  HostFile.prototype.write = function (this: HostFile, at: number, from: Uint8Array) {
    return recorder.around({ file: this.path, kind: 'write', at, data: from }, () => write.call(this, at, from));
  };
  HostFile.prototype.truncate = function (this: HostFile, bytes: number) {
    return recorder.around({ file: this.path, kind: 'size', at: bytes, data: new Uint8Array(0) }, () =>
      truncate.call(this, bytes),
    );
  };
  HostFile.prototype.sync = function (this: HostFile) {
    return recorder.sync(this.path, () => sync.call(this));
  };
  try {
    return await work();
  } finally {
    Object.assign(HostFile.prototype, { write, truncate, sync });
  }
}
