/** Folders for sockets and locks: ours alone, wherever the temporary folder is. */
import { chmod, lstat, mkdir } from 'node:fs/promises';
import { LodgeError } from '../../preload/contract';

/** Somebody else may have made a folder of that name in a shared temporary folder first; that one is not used. */
export async function ensurePrivateDir(dir: string): Promise<void> {
  await mkdir(dir, { recursive: true, mode: 0o700 });
  if (process.platform === 'win32') return;
  const info = await lstat(dir);
  if (!info.isDirectory() || info.uid !== process.getuid!()) {
    throw new LodgeError({
      code: 'permissionDenied',
      message: `The folder ${dir} belongs to somebody else, so Lodge does not use it.`,
      fix: 'Remove it, or set XDG_RUNTIME_DIR to a folder of your own.',
    });
  }
  if ((info.mode & 0o077) !== 0) await chmod(dir, 0o700);
}
