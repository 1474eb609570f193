/** Image files that Lodge makes itself. */
import { open, statfs, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { LodgeError } from '../../preload/contract';
import { refuse } from '../inventory/inventory';

/** ext4's limit; more is a slip of the hand. */
const MAX_BYTES = 16 * 2 ** 40;

/** A raw image that takes no space until the guest writes; refuses to replace anything. */
export async function createRawDisk(path: string, bytes: number): Promise<void> {
  if (!Number.isSafeInteger(bytes) || bytes < 512 || bytes > MAX_BYTES) {
    throw new LodgeError({ code: 'invalidInput', message: `A disk cannot have ${bytes} bytes.`, fix: 'Choose between 1 MiB and 16 TiB.' });
  }
  const size = Math.ceil(bytes / 512) * 512;
  const file = await open(path, 'wx', 0o600).catch(refuse(`The new disk could not be made: ${path}`));
  try {
    await file.truncate(size);
    await file.close();
  } catch (e) {
    await file.close().catch(() => {});
    await unlink(path).catch(() => {});
    const limit = (e as NodeJS.ErrnoException).code === 'EFBIG';
    if (limit) throw new LodgeError({ code: 'insufficientSpace', message: `The file system of ${path} cannot hold a file of that size.`, fix: 'Make the disk smaller, or use another VM folder.' });
    refuse(`The new disk could not be made: ${path}`)(e);
  }
}

/** What a file system can still take from this user. */
export async function freeBytes(folder: string): Promise<number> {
  const info = await statfs(folder).catch(() => statfs(dirname(folder)));
  return info.bavail * info.bsize;
}
