/** A file on the host that holds (part of) an image. Reads past its end give zeroes; failures are HostIoError. */
import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { HostIoError } from '../../backend/block';
import { ImageError, imageErrorOf } from '../image-error';

/** errno values of Linux; native errors carry the number. */
const ERRNO_KINDS: Readonly<Record<number, HostIoError['kind']>> = {
  9: 'readOnly', // EBADF: not open for writing
  13: 'readOnly', // EACCES
  27: 'noSpace', // EFBIG
  28: 'noSpace', // ENOSPC
  30: 'readOnly', // EROFS
  122: 'noSpace', // EDQUOT
};

/** A guest's bad address stays what it is; everything else is the host's. */
export function hostError(error: unknown, path: string): unknown {
  if (error instanceof HostIoError) return error;
  const { code, errno, message } = error as { code?: string; errno?: number; message?: string };
  if (code === 'EFAULT') return error;
  const kind = ERRNO_KINDS[Math.abs(errno ?? 0)] ?? 'io';
  const cause = { cause: error };
  if (kind === 'noSpace') return new HostIoError(`There is no space left on the disk that holds ${path}`, kind, cause);
  return new HostIoError(`${path}: ${message ?? 'input/output error'}`, kind, cause);
}

/** The engine's way to make zeroes without writing them; see NativeMachine. */
export interface FileZeroing {
  fileZero(fd: number, fileOffset: number, bytes: number, giveBack: boolean): Promise<boolean>;
}

/** Where the host is asked whether it can give space back. */
const PROBE_BYTES = 4096;

export class HostFile {
  private closed: Promise<void> | undefined;
  private zeroing: FileZeroing | undefined;
  /** What reads give instead of the file's own bytes, by position; of a file that may not be written. */
  private readonly overlay = new Map<number, Uint8Array>();
  private keepsSpace = true;
  private punches = false;

  private constructor(
    private readonly handle: FileHandle,
    readonly path: string,
    readonly readOnly: boolean,
    /** Identity on the host: two paths may be one file. */
    readonly identity: string,
    private length: number,
  ) {}

  static async open(path: string, readOnly: boolean, zeroing?: FileZeroing): Promise<HostFile> {
    let handle: FileHandle;
    try {
      // Without O_NONBLOCK, opening a named pipe would wait for ever.
      handle = await open(path, (readOnly ? constants.O_RDONLY : constants.O_RDWR) | constants.O_NONBLOCK);
    } catch (e) {
      throw imageErrorOf(e, path);
    }
    try {
      const stat = await handle.stat();
      if (stat.isDirectory()) throw new ImageError('fileInvalid', `${path} is a folder.`, 'Choose an image file inside it.');
      if (!stat.isFile()) throw new ImageError('fileInvalid', `${path} is not an ordinary file.`, 'Choose a disk image file.');
      if (stat.size === 0) {
        throw new ImageError(
          'fileInvalid',
          `${path} is empty (0 bytes).`,
          'Choose another image, or create a new disk of the size you want.',
        );
      }
      const file = new HostFile(handle, path, readOnly, `${stat.dev}:${stat.ino}`, stat.size);
      if (zeroing && !readOnly) await file.probe(zeroing);
      return file;
    } catch (e) {
      await handle.close();
      throw imageErrorOf(e, path);
    }
  }

  /** A new file; an existing one is never touched. */
  static async create(path: string): Promise<HostFile> {
    try {
      const handle = await open(path, 'wx+', 0o600);
      const stat = await handle.stat();
      return new HostFile(handle, path, false, `${stat.dev}:${stat.ino}`, 0);
    } catch (e) {
      if ((e as NodeJS.ErrnoException).code === 'ENOENT') {
        const cause = { cause: e };
        throw new ImageError(
          'fileMissing',
          `The folder ${dirname(path)} does not exist.`,
          'Create it, or choose another one.',
          cause,
        );
      }
      throw imageErrorOf(e, path);
    }
  }

  get fd(): number {
    return this.handle.fd;
  }

  /** As far as it was written or set through this object. */
  get size(): number {
    return this.length;
  }

  /** Native code wrote up to here. */
  grewTo(end: number): void {
    if (end > this.length) this.length = end;
  }

  /** How many bytes were there; the rest of `into` is zeroed. */
  async read(at: number, into: Uint8Array): Promise<number> {
    let done = 0;
    try {
      while (done < into.length) {
        const { bytesRead } = await this.handle.read(into, done, into.length - done, at + done);
        if (bytesRead === 0) break;
        done += bytesRead;
      }
    } catch (e) {
      throw hostError(e, this.path);
    }
    into.fill(0, done);
    for (const [position, bytes] of this.overlay) {
      const from = Math.max(at, position);
      const to = Math.min(at + into.length, position + bytes.length);
      if (from < to) into.set(bytes.subarray(from - position, to - position), from - at);
    }
    return done;
  }

  /** As if it were written, for those who read through this object: changes that wait in an image's journal. */
  overlayWith(at: number, bytes: Uint8Array): void {
    this.overlay.set(at, bytes);
    this.grewTo(at + bytes.length);
  }

  async bytes(at: number, count: number): Promise<Uint8Array> {
    const into = new Uint8Array(count);
    await this.read(at, into);
    return into;
  }

  async write(at: number, from: Uint8Array): Promise<void> {
    try {
      for (let done = 0; done < from.length;) {
        const { bytesWritten } = await this.handle.write(from, done, from.length - done, at + done);
        done += bytesWritten;
      }
    } catch (e) {
      throw hostError(e, this.path);
    }
    this.grewTo(at + from.length);
  }

  async truncate(bytes: number): Promise<void> {
    try {
      await this.handle.truncate(bytes);
    } catch (e) {
      throw hostError(e, this.path);
    }
    this.length = bytes;
  }

  /** New bytes are zeroes and take up no space. */
  async extendTo(bytes: number): Promise<void> {
    if (bytes > this.length) await this.truncate(bytes);
  }

  /** Space of this file can be the host's again without the file becoming shorter. */
  get givesBack(): boolean {
    return this.punches;
  }

  /** The range reads as zeroes from now on; false: it does not, and they must be written. `giveBack`: its space is the host's. */
  async zeroRange(at: number, bytes: number, giveBack: boolean): Promise<boolean> {
    const { zeroing } = this;
    if (!zeroing || this.readOnly || !(giveBack ? this.punches : this.keepsSpace)) return false;
    // Behind the end there are zeroes anyway.
    const there = Math.min(bytes, this.length - at);
    if (there <= 0) return true;
    let done: boolean;
    try {
      done = await zeroing.fileZero(this.fd, at, there, giveBack);
    } catch (e) {
      throw hostError(e, this.path);
    }
    if (!done) {
      if (giveBack) this.punches = false;
      else this.keepsSpace = false;
    }
    return done;
  }

  /** Behind the end of the file there is nothing to lose. */
  private async probe(zeroing: FileZeroing): Promise<void> {
    this.zeroing = zeroing;
    const behind = Math.ceil(this.length / PROBE_BYTES) * PROBE_BYTES;
    this.punches = await zeroing.fileZero(this.fd, behind, PROBE_BYTES, true).catch(() => false);
  }

  async sync(): Promise<void> {
    if (this.readOnly) return;
    try {
      await this.handle.datasync();
    } catch (e) {
      throw hostError(e, this.path);
    }
  }

  /** Bytes on the host's disk: a sparse file takes less than its length. */
  async hostBytes(): Promise<number> {
    return (await this.handle.stat()).blocks * 512;
  }

  close(): Promise<void> {
    this.closed ??= this.handle.close();
    return this.closed;
  }
}
