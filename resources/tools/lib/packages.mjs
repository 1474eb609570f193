/** Files of Debian packages, taken through apt by name and kept in the cache; nothing is installed. */
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { CACHE, hashOf, runQuiet, say } from './common.mjs';
import { download, orAfterUpdate } from './fixtures.mjs';

/** Where boot media and what they are made from are kept. */
export const HOME = join(CACHE, 'media');

/** The folder with a package's files, or only those that match `only` (of a large one). */
export function unpacked(name, only = []) {
  const folder = join(HOME, 'packages', only.length > 0 ? `${name}-${hashOf([], ...only).slice(0, 8)}` : name);
  if (existsSync(folder)) return folder;
  mkdirSync(HOME, { recursive: true });
  const work = mkdtempSync(join(HOME, 'new-'));
  try {
    say(`fetching ${name} for guest tests…`);
    const deb = orAfterUpdate(() => download(name, work));
    const target = join(work, 'files');
    mkdirSync(target);
    const wanted = only.length > 0 ? `--wildcards ${only.map((path) => `"./${path}"`).join(' ')}` : '';
    runQuiet('sh', ['-c', `dpkg-deb --fsys-tarfile "$1" | tar -x -C "$2" ${wanted}`, 'sh', deb, target], {
      what: `Unpacking ${name}`,
    });
    mkdirSync(join(HOME, 'packages'), { recursive: true });
    renameSync(target, folder);
    return folder;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}
