/** The data folder, before anything is kept in it. Electron's own start on one that cannot be written looks like a second Lodge: it just ends. */
import { mkdirSync, mkdtempSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { LodgeError } from '../../preload/contract';

/** Makes the folder; the error says what to do when it cannot be used. */
export function prepareDataFolder(folder: string): LodgeError | undefined {
  try {
    mkdirSync(folder, { recursive: true });
    // Permissions do not tell: the file system may be read-only, or full.
    rmdirSync(mkdtempSync(join(folder, '.writable-')));
    return undefined;
  } catch (e) {
    return new LodgeError({
      code: 'permissionDenied',
      message: `Lodge keeps its machines in ${folder}, and cannot write there.`,
      fix: 'Change its permissions, free some space, or start Lodge with another folder: --data FOLDER.',
      detail: (e as Error).message,
    });
  }
}
