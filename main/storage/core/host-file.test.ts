import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { HostFile } from './host-file';

let dir: string;
beforeAll(async () => void (dir = await mkdtemp(join(tmpdir(), 'lodge-files-'))));
afterAll(() => rm(dir, { recursive: true, force: true }));

describe('a new file', () => {
  it('in a folder that is not there: the folder is named, not the file', async () => {
    await expect(HostFile.create(join(dir, 'nowhere', 'disk.raw'))).rejects.toMatchObject({
      code: 'fileMissing',
      message: `The folder ${join(dir, 'nowhere')} does not exist.`,
    });
  });

  it('never takes the place of another', async () => {
    const path = join(dir, 'disk.raw');
    await (await HostFile.create(path)).close();
    await expect(HostFile.create(path)).rejects.toMatchObject({ message: `${path} exists already.` });
  });
});
