/**
 * Raw images: byte n of the file is byte n of the disk. Data moves between the file and guest memory in native code.
 *
 * Size: the last sector may be incomplete; the guest sees it whole, its missing bytes as zeroes, and a write of it makes the file
 * that much longer. Use by two machines at once is prevented where machines are known: by the control plane's registry of open
 * images (a lock file would outlive a killed process). Not offered: giving space back on discard; zeroes are written as zeroes.
 */
import { constants } from 'node:fs';
import { open, unlink, type FileHandle } from 'node:fs/promises';
import { HostIoError, SECTOR_BYTES, type BlockBackend, type GuestRanges } from '../../backend/block';
import { ImageError, imageErrorOf } from '../image-error';

/** The part of the engine that moves bytes between a file and guest memory; see NativeMachine. */
export interface BulkIo {
  fileRead(fd: number, fileOffset: number, ranges: GuestRanges): number | Promise<number>;
  fileWrite(fd: number, fileOffset: number, ranges: GuestRanges): number | Promise<number>;
  memFill(gpa: number, bytes: number, value: number): boolean;
}

export interface RawDiskOptions {
  readonly path: string;
  readonly readOnly: boolean;
  readonly native: BulkIo;
}

const ZEROES_BYTES = 1 << 20;
/** errno values of Linux; native errors carry the number. */
const ERRNO_KINDS: Readonly<Record<number, HostIoError['kind']>> = {
  9: 'readOnly', // EBADF: not open for writing
  13: 'readOnly', // EACCES
  27: 'noSpace', // EFBIG
  28: 'noSpace', // ENOSPC
  30: 'readOnly', // EROFS
  122: 'noSpace', // EDQUOT
};

export class RawDisk implements BlockBackend {
  readonly blockBytes = 4096;
  readonly discards = false;
  readonly bytes: number;
  private closed: Promise<void> | undefined;

  private constructor(
    private readonly file: FileHandle,
    private readonly path: string,
    readonly readOnly: boolean,
    fileBytes: number,
    private readonly native: BulkIo,
  ) {
    this.bytes = Math.ceil(fileBytes / SECTOR_BYTES) * SECTOR_BYTES;
  }

  static async open({ path, readOnly, native }: RawDiskOptions): Promise<RawDisk> {
    let file: FileHandle;
    try {
      file = await open(path, (readOnly ? constants.O_RDONLY : constants.O_RDWR) | constants.O_NONBLOCK);
    } catch (e) {
      throw imageErrorOf(e, path);
    }
    try {
      const stat = await file.stat();
      if (stat.isDirectory()) throw new ImageError('fileInvalid', `${path} is a folder.`, 'Choose an image file inside it.');
      if (!stat.isFile()) throw new ImageError('fileInvalid', `${path} is not an ordinary file.`, 'Choose a disk image file.');
      if (stat.size === 0) {
        throw new ImageError(
          'fileInvalid',
          `${path} is empty (0 bytes).`,
          'Choose another image, or create a new disk of the size you want.',
        );
      }
      return new RawDisk(file, path, readOnly, stat.size, native);
    } catch (e) {
      await file.close();
      throw imageErrorOf(e, path);
    }
  }

  read(offset: number, ranges: GuestRanges): void | Promise<void> {
    const wanted = this.check(offset, ranges);
    return this.finish(
      () => this.native.fileRead(this.file.fd, offset, ranges),
      (done) => {
        if (done < wanted) this.fillRest(ranges, done);
      },
    );
  }

  write(offset: number, ranges: GuestRanges): void | Promise<void> {
    if (this.readOnly) throw new HostIoError(`${this.path} is read-only`, 'readOnly');
    const wanted = this.check(offset, ranges);
    return this.finish(
      () => this.native.fileWrite(this.file.fd, offset, ranges),
      (done) => {
        if (done < wanted) throw new HostIoError(`${this.path} took only ${done} of ${wanted} bytes`, 'noSpace');
      },
    );
  }

  async flush(): Promise<void> {
    if (this.readOnly) return;
    await this.host(() => this.file.datasync());
  }

  /** Contents after a discard are whatever they were: allowed, and free. */
  async discard(offset: number, bytes: number): Promise<void> {
    this.checkRange(offset, bytes);
  }

  async writeZeroes(offset: number, bytes: number): Promise<void> {
    if (this.readOnly) throw new HostIoError(`${this.path} is read-only`, 'readOnly');
    this.checkRange(offset, bytes);
    const zeroes = new Uint8Array(Math.min(bytes, ZEROES_BYTES));
    for (let done = 0; done < bytes;) {
      const { bytesWritten } = await this.host(() =>
        this.file.write(zeroes, 0, Math.min(zeroes.length, bytes - done), offset + done),
      );
      done += bytesWritten;
    }
  }

  async readBytes(offset: number, into: Uint8Array): Promise<void> {
    this.checkRange(offset, into.length);
    for (let done = 0; done < into.length;) {
      const { bytesRead } = await this.host(() => this.file.read(into, done, into.length - done, offset + done));
      if (bytesRead === 0) {
        into.fill(0, done);
        return;
      }
      done += bytesRead;
    }
  }

  close(): Promise<void> {
    this.closed ??= this.flush().finally(() => this.file.close());
    return this.closed;
  }

  private check(offset: number, ranges: GuestRanges): number {
    let bytes = 0;
    for (let i = 1; i < ranges.length; i += 2) bytes += ranges[i]!;
    this.checkRange(offset, bytes);
    return bytes;
  }

  private checkRange(offset: number, bytes: number): void {
    if (!(offset >= 0 && bytes >= 0 && offset + bytes <= this.bytes)) {
      throw new HostIoError(`${bytes} bytes at ${offset} are outside ${this.path}`, 'outOfRange');
    }
  }

  /** The bytes past the end of the file, up to the end of its last sector. */
  private fillRest(ranges: GuestRanges, from: number): void {
    let skip = from;
    for (let i = 0; i < ranges.length; i += 2) {
      const length = ranges[i + 1]!;
      if (skip < length && !this.native.memFill(ranges[i]! + skip, length - skip, 0)) {
        throw Object.assign(new Error('a range is not RAM'), { code: 'EFAULT' });
      }
      skip = Math.max(0, skip - length);
    }
  }

  private finish(begin: () => number | Promise<number>, end: (done: number) => void): void | Promise<void> {
    let done: number | Promise<number>;
    try {
      done = begin();
    } catch (e) {
      throw this.hostError(e);
    }
    if (typeof done === 'number') {
      end(done);
      return undefined;
    }
    return done.then(end, (e: unknown) => {
      throw this.hostError(e);
    });
  }

  private async host<T>(operation: () => Promise<T>): Promise<T> {
    try {
      return await operation();
    } catch (e) {
      throw this.hostError(e);
    }
  }

  /** A guest's bad address stays what it is; everything else is the host's. */
  private hostError(error: unknown): unknown {
    if (error instanceof HostIoError) return error;
    const { code, errno, message } = error as { code?: string; errno?: number; message?: string };
    if (code === 'EFAULT') return error;
    const kind = ERRNO_KINDS[Math.abs(errno ?? 0)] ?? 'io';
    const cause = { cause: error };
    if (kind === 'noSpace') return new HostIoError(`There is no space left on the disk that holds ${this.path}`, kind, cause);
    return new HostIoError(`${this.path}: ${message ?? 'input/output error'}`, kind, cause);
  }
}

/** A new, empty image; it takes up no space until the guest writes. */
export async function createRawDisk(path: string, bytes: number): Promise<void> {
  if (!(Number.isSafeInteger(bytes) && bytes >= SECTOR_BYTES && bytes % SECTOR_BYTES === 0)) {
    throw new ImageError('fileInvalid', `A disk cannot have ${bytes} bytes.`, 'Choose a multiple of 512 bytes.');
  }
  let file: FileHandle;
  try {
    file = await open(path, 'wx', 0o600);
  } catch (e) {
    throw imageErrorOf(e, path);
  }
  try {
    await file.truncate(bytes);
    await file.sync();
  } catch (e) {
    await unlink(path).catch(() => undefined);
    throw imageErrorOf(e, path);
  } finally {
    await file.close();
  }
}
