/** Deleting an image for good: with all the files that are part of it, and none that it is merely built on. */
import { lstat, unlink } from 'node:fs/promises';
import { ImageError, imageErrorOf } from '../image-error';
import { openDisk } from './open';

export async function deleteDisk(path: string): Promise<void> {
  const own = await lstat(path).catch((e: unknown) => {
    throw imageErrorOf(e, path);
  });
  if (!own.isFile()) {
    throw new ImageError(
      'fileInvalid',
      `${path} is not a file of its own, so it is not deleted.`,
      'Delete it with the host’s file manager.',
    );
  }
  const files = new Set([path]);
  try {
    const disk = await openDisk(path, { readOnly: true });
    // An image from elsewhere could name any file beside it as a part: only what is called like one goes.
    for (const file of disk.map.files) if (/\.vmdk$/i.test(file.path)) files.add(file.path);
    await disk.close();
  } catch {
    // What cannot be read as an image is still the file that was named.
  }
  try {
    // The named one last: while it is there, the others can be found through it.
    for (const file of [...files].reverse()) await unlink(file);
  } catch (e) {
    throw imageErrorOf(e, path);
  }
}
