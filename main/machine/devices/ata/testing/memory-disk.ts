/** For tests: a disk in host memory that moves data to and from flat guest memory, at once or later. */
import { HostIoError, type BlockBackend } from '../../../../backend/block';

export class MemoryDisk implements BlockBackend {
  readonly blockBytes = 512;
  readonly data: Uint8Array;
  readonly discarded: [offset: number, bytes: number][] = [];
  flushes = 0;
  failure: Error | undefined;
  /** Held requests; each call of `release` lets all that wait go on. */
  slow = false;
  private waiting: (() => void)[] = [];

  constructor(
    readonly bytes: number,
    private readonly guest: Uint8Array,
    readonly readOnly = false,
    readonly discards = true,
  ) {
    this.data = new Uint8Array(bytes);
    for (let i = 0; i < bytes; i++) this.data[i] = (i >> 9) * 7 + i;
  }

  release(): void {
    for (const wake of this.waiting.splice(0)) wake();
  }

  read(offset: number, ranges: Float64Array): void | Promise<void> {
    return this.run(() => this.move(offset, ranges, (disk, memory) => memory.set(disk)));
  }
  write(offset: number, ranges: Float64Array): void | Promise<void> {
    return this.run(() => this.move(offset, ranges, (disk, memory) => disk.set(memory)));
  }
  async flush(): Promise<void> {
    this.flushes++;
  }
  /** Write-zeroes that were allowed to give space back. */
  readonly unmapped: [offset: number, bytes: number][] = [];
  async discard(offset: number, bytes: number): Promise<void> {
    this.discarded.push([offset, bytes]);
  }
  async writeZeroes(offset: number, bytes: number, giveBack: boolean): Promise<void> {
    if (giveBack) this.unmapped.push([offset, bytes]);
    this.data.fill(0, offset, offset + bytes);
  }
  async readBytes(offset: number, into: Uint8Array): Promise<void> {
    await this.run(() => void into.set(this.part(offset, into.length)));
  }
  async writeBytes(offset: number, from: Uint8Array): Promise<void> {
    await this.run(() => void this.part(offset, from.length).set(from));
  }
  async close(): Promise<void> {}

  private run(work: () => void): void | Promise<void> {
    if (this.failure) throw this.failure;
    if (!this.slow) return work();
    return new Promise<void>((resolve) => this.waiting.push(resolve)).then(() => {
      if (this.failure) throw this.failure;
      work();
    });
  }

  private part(offset: number, bytes: number): Uint8Array {
    if (!(offset >= 0 && offset + bytes <= this.bytes)) throw new HostIoError('outside', 'outOfRange');
    return this.data.subarray(offset, offset + bytes);
  }

  private move(offset: number, ranges: Float64Array, copy: (disk: Uint8Array, memory: Uint8Array) => void): void {
    let at = offset;
    for (let i = 0; i < ranges.length; i += 2) {
      const [gpa, bytes] = [ranges[i]!, ranges[i + 1]!];
      if (gpa + bytes > this.guest.length) throw Object.assign(new Error('not RAM'), { code: 'EFAULT' });
      copy(this.part(at, bytes), this.guest.subarray(gpa, gpa + bytes));
      at += bytes;
    }
  }
}

/** All that was begun and waits for nothing but the promises before it is done. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 50; i++) await Promise.resolve();
}
