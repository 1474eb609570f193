/** The memory side of a request: guest memory, moved by native code, or host memory. Always `bytes` long, cut with `slice`. */
import { HostIoError, type GuestRanges } from '../../backend/block';
import { hostError, type HostFile } from './host-file';

/** The part of the engine that moves bytes between a file and guest memory; see NativeMachine. */
export interface BulkIo {
  fileRead(fd: number, fileOffset: number, ranges: GuestRanges): number | Promise<number>;
  fileWrite(fd: number, fileOffset: number, ranges: GuestRanges): number | Promise<number>;
  /** False: the host cannot make zeroes without writing them. */
  fileZero(fd: number, fileOffset: number, bytes: number, giveBack: boolean): Promise<boolean>;
  memFill(gpa: number, bytes: number, value: number): boolean;
  memWrite(gpa: number, from: Uint8Array): boolean;
}

export interface Transfer {
  readonly bytes: number;
  slice(from: number, bytes: number): Transfer;
  /** Bytes the file does not have are zeroes. */
  fromFile(file: HostFile, at: number): void | Promise<void>;
  toFile(file: HostFile, at: number): void | Promise<void>;
  zero(): void;
  /** Host bytes into the memory; as many as it is long. */
  put(bytes: Uint8Array): void;
}

const notRam = (): Error => Object.assign(new Error('a range is not RAM'), { code: 'EFAULT' });

export class GuestTransfer implements Transfer {
  readonly bytes: number;

  constructor(
    private readonly native: BulkIo,
    private readonly ranges: GuestRanges,
  ) {
    let bytes = 0;
    for (let i = 1; i < ranges.length; i += 2) bytes += ranges[i]!;
    this.bytes = bytes;
  }

  slice(from: number, bytes: number): Transfer {
    if (from === 0 && bytes === this.bytes) return this;
    const cut: number[] = [];
    let skip = from;
    let left = bytes;
    for (let i = 0; i < this.ranges.length && left > 0; i += 2) {
      const length = this.ranges[i + 1]!;
      if (skip < length) {
        const take = Math.min(length - skip, left);
        cut.push(this.ranges[i]! + skip, take);
        left -= take;
        skip = 0;
      } else skip -= length;
    }
    return new GuestTransfer(this.native, Float64Array.from(cut));
  }

  fromFile(file: HostFile, at: number): void | Promise<void> {
    return this.finish(
      file,
      () => this.native.fileRead(file.fd, at, this.ranges),
      (done) => {
        if (done < this.bytes) this.slice(done, this.bytes - done).zero();
      },
    );
  }

  toFile(file: HostFile, at: number): void | Promise<void> {
    return this.finish(
      file,
      () => this.native.fileWrite(file.fd, at, this.ranges),
      (done) => {
        file.grewTo(at + done);
        if (done < this.bytes) throw new HostIoError(`${file.path} took only ${done} of ${this.bytes} bytes`, 'noSpace');
      },
    );
  }

  zero(): void {
    for (let i = 0; i < this.ranges.length; i += 2) {
      if (!this.native.memFill(this.ranges[i]!, this.ranges[i + 1]!, 0)) throw notRam();
    }
  }

  put(bytes: Uint8Array): void {
    let done = 0;
    for (let i = 0; i < this.ranges.length; i += 2) {
      const length = this.ranges[i + 1]!;
      if (!this.native.memWrite(this.ranges[i]!, bytes.subarray(done, done + length))) throw notRam();
      done += length;
    }
  }

  private finish(file: HostFile, begin: () => number | Promise<number>, end: (done: number) => void): void | Promise<void> {
    let done: number | Promise<number>;
    try {
      done = begin();
    } catch (e) {
      throw hostError(e, file.path);
    }
    if (typeof done === 'number') return end(done);
    return done.then(end, (e: unknown) => {
      throw hostError(e, file.path);
    });
  }
}

export class HostTransfer implements Transfer {
  constructor(private readonly memory: Uint8Array) {}

  get bytes(): number {
    return this.memory.length;
  }

  slice(from: number, bytes: number): Transfer {
    return from === 0 && bytes === this.memory.length ? this : new HostTransfer(this.memory.subarray(from, from + bytes));
  }

  async fromFile(file: HostFile, at: number): Promise<void> {
    await file.read(at, this.memory);
  }

  toFile(file: HostFile, at: number): Promise<void> {
    return file.write(at, this.memory);
  }

  zero(): void {
    this.memory.fill(0);
  }

  put(bytes: Uint8Array): void {
    this.memory.set(bytes.subarray(0, this.memory.length));
  }
}
