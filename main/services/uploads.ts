/** Image files that arrive from a browser: streamed to the VM folder, complete or not there at all. */
import { randomUUID } from 'node:crypto';
import { constants, createWriteStream } from 'node:fs';
import { link, lstat, mkdir, open, readdir, rename, statfs, unlink, type FileHandle } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { Transform, type Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { LodgeError } from '../../preload/contract';
import { refuse } from '../inventory/inventory';

export const MEDIA_FOLDER = 'media';
/** Left on the disk for what runs there. */
const RESERVE_BYTES = 256 * 2 ** 20;
/** NAME_MAX of Linux is 255 bytes; room for " (123)" and ".part-…". */
const MAX_NAME_BYTES = 180;

/** An upload that nothing was added to for this long has nobody behind it any more. */
const ABANDONED_MS = 60 * 60 * 1000;

/** Parts of uploads that a killed server left. Whole uploads are the user's files and stay. */
export async function removeAbandonedParts(vmFolder: string, now = Date.now()): Promise<void> {
  const folder = join(vmFolder, MEDIA_FOLDER);
  const names = await readdir(folder).catch(() => []);
  for (const name of names.filter((n) => /^\..+\.part-[0-9a-f]{8}$/.test(n))) {
    const path = join(folder, name);
    const info = await lstat(path).catch(() => undefined);
    if (info?.isFile() && now - info.mtimeMs > ABANDONED_MS) await unlink(path).catch(() => {});
  }
}

/** One plain file name, or an error: a name that tries to be a path is refused, not repaired. */
export function uploadName(name: string): string {
  const bad =
    name === '' ||
    name.startsWith('.') ||
    /[/\\\u0000-\u001f\u007f:*?"<>|]/.test(name) ||
    Buffer.byteLength(name) > MAX_NAME_BYTES ||
    name.trim() !== name;
  if (bad)
    throw new LodgeError({
      code: 'invalidInput',
      message: `Not a usable file name: ${JSON.stringify(name.slice(0, 200))}`,
      fix: 'Rename the file and drop it again.',
    });
  return name;
}

/** `announced`: Content-Length, when the client says one. Resolves with the absolute path of the finished file. */
export async function receiveUpload(
  source: Readable,
  options: { vmFolder: string; name: string; announced?: number | undefined },
): Promise<string> {
  const name = uploadName(options.name);
  const folder = join(options.vmFolder, MEDIA_FOLDER);
  await mkdir(folder, { recursive: true }).catch(refuse(`The folder for uploads cannot be made: ${folder}`));
  const room = (await freeBytes(folder)) - RESERVE_BYTES;
  const noRoom = (): LodgeError =>
    new LodgeError({
      code: 'insufficientSpace',
      message: `There is not enough room for ${name} in ${folder} (${Math.max(0, Math.floor(room / 2 ** 20))} MiB free).`,
      fix: 'Make room on that disk, or choose another VM folder in the preferences.',
    });
  if ((options.announced ?? 0) > room) throw noRoom();

  const part = join(folder, `.${name}.part-${randomUUID().slice(0, 8)}`);
  let received = 0;
  const count = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      received += chunk.length;
      if (received > room) done(noRoom());
      else done(null, chunk);
    },
  });
  try {
    await pipeline(source, count, createWriteStream(part, { flags: 'wx', mode: 0o600 }));
    if (options.announced !== undefined && received !== options.announced)
      throw new LodgeError({ code: 'fileInvalid', message: `The upload of ${name} broke off.`, fix: 'Drop it again.' });
    if (received === 0)
      throw new LodgeError({
        code: 'fileInvalid',
        message: `${name} is empty (0 bytes).`,
        fix: 'Its download probably failed. Get it again.',
      });
    return await publish(part, folder, name);
  } catch (e) {
    if (
      (e as NodeJS.ErrnoException).code === 'ERR_STREAM_PREMATURE_CLOSE' ||
      (e as NodeJS.ErrnoException).code === 'ECONNRESET'
    ) {
      throw new LodgeError({ code: 'fileInvalid', message: `The upload of ${name} was cancelled.` });
    }
    return refuse(`The upload of ${name} failed.`)(e);
  } finally {
    await unlink(part).catch(() => {});
  }
}

/** Never over an existing file: "debian.iso", "debian (2).iso"…; a disc that is there already, which nobody writes to, is there once. */
async function publish(part: string, folder: string, name: string): Promise<string> {
  const extension = extname(name);
  const stem = name.slice(0, name.length - extension.length);
  for (let n = 1; ; n++) {
    const target = join(folder, n === 1 ? name : `${stem} (${n})${extension}`);
    try {
      await link(part, target);
      return target;
    } catch (e) {
      const code = (e as NodeJS.ErrnoException).code;
      if (code === 'EEXIST') {
        if (/^\.iso$/i.test(extension) && (await sameContents(part, target))) return target;
        continue;
      }
      // exFAT and some network file systems have no hard links.
      if (code !== 'EPERM' && code !== 'ENOTSUP' && code !== 'ENOSYS') throw e;
      const unique = join(folder, `${stem}-${randomUUID().slice(0, 8)}${extension}`);
      await rename(part, unique);
      return unique;
    }
  }
}

const COMPARED_BYTES = 1 << 20;

/** Of two files; what cannot be read is not the same. */
async function sameContents(a: string, b: string): Promise<boolean> {
  const files: FileHandle[] = [];
  try {
    for (const path of [a, b]) files.push(await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK));
    const [one, other] = files as [FileHandle, FileHandle];
    const [size, otherInfo] = [(await one.stat()).size, await other.stat()];
    if (!otherInfo.isFile() || otherInfo.size !== size) return false;
    const [mine, theirs] = [Buffer.alloc(COMPARED_BYTES), Buffer.alloc(COMPARED_BYTES)];
    for (let at = 0; at < size; at += COMPARED_BYTES) {
      const bytes = Math.min(COMPARED_BYTES, size - at);
      const read = await Promise.all([one.read(mine, 0, bytes, at), other.read(theirs, 0, bytes, at)]);
      if (read.some(({ bytesRead }) => bytesRead !== bytes)) return false;
      if (!mine.subarray(0, bytes).equals(theirs.subarray(0, bytes))) return false;
    }
    return true;
  } catch {
    return false;
  } finally {
    for (const file of files) await file.close();
  }
}

/** What the file system can still take from this user. */
async function freeBytes(folder: string): Promise<number> {
  const info = await statfs(folder);
  return info.bavail * info.bsize;
}
