/** What the served app's file picker shows. Whoever holds the token acts as the user who started the server, as on a desktop. */
import type { Dirent } from 'node:fs';
import { readdir, stat, statfs } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, isAbsolute, join, normalize } from 'node:path';
import { LodgeError, type Output } from '../../preload/contract';

/** Nobody picks from more, and a folder of a million files must not stall the server. */
const MAX_ENTRIES = 2000;

/** What the file system that holds `path` has left for this user; of one that does not exist yet, its nearest folder that does. */
export async function freeSpace(wanted: string): Promise<Output<'files.space'>> {
  let path = absolutePath(wanted);
  for (;;) {
    try {
      const { bavail, blocks, bsize } = await statfs(path);
      return { freeBytes: bavail * bsize, totalBytes: blocks * bsize };
    } catch (e) {
      const code = (e as NodeJS.ErrnoException).code;
      const parent = dirname(path);
      if ((code !== 'ENOENT' && code !== 'ENOTDIR') || parent === path)
        throw new LodgeError({
          code: code === 'EACCES' ? 'permissionDenied' : 'fileMissing',
          message: `The free space of ${path} cannot be told.`,
          fix: 'Choose another folder.',
          detail: (e as Error).message,
        });
      path = parent;
    }
  }
}

function absolutePath(wanted: string): string {
  const path = normalize(wanted);
  if (!isAbsolute(path) || path.includes('\0'))
    throw new LodgeError({ code: 'invalidInput', message: `Not an absolute path: ${JSON.stringify(wanted)}` });
  return path;
}

export async function listFiles(wanted: string | undefined): Promise<Output<'files.list'>> {
  const path = absolutePath(wanted ?? homedir());
  let found: Dirent[];
  try {
    found = await readdir(path, { withFileTypes: true });
  } catch (e) {
    const code = (e as NodeJS.ErrnoException).code;
    if (code === 'EACCES' || code === 'EPERM')
      throw new LodgeError({
        code: 'permissionDenied',
        message: `The folder ${path} may not be read.`,
        fix: 'Choose another folder.',
      });
    throw new LodgeError({
      code: 'fileMissing',
      message: `The folder ${path} cannot be opened.`,
      fix: 'Choose another folder.',
      detail: (e as Error).message,
    });
  }
  const visible = found
    .filter((e) => !e.name.startsWith('.'))
    .sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }));
  const described = await Promise.all(
    visible.slice(0, MAX_ENTRIES).map(async (entry) => {
      const full = join(path, entry.name);
      // Follows links; what cannot be looked at, and sockets and the like, are not offered.
      const info = await stat(full).catch(() => undefined);
      if (!info || !(info.isDirectory() || info.isFile() || info.isBlockDevice())) return undefined;
      return { name: entry.name, path: full, directory: info.isDirectory(), bytes: info.isDirectory() ? 0 : info.size };
    }),
  );
  const entries = described.filter((e) => e !== undefined);
  const parent = dirname(path);
  return {
    path,
    parent: parent === path ? null : parent,
    entries: [...entries.filter((e) => e.directory), ...entries.filter((e) => !e.directory)],
  };
}
