/** Free space, and deleting images with all their parts and nothing else. */
import { mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createDisk, deleteDisk } from '../storage';
import { freeSpace } from './files';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'lodge-images-'));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

it('tells the space of a folder that does not exist yet', async () => {
  const here = await freeSpace(dir);
  const later = await freeSpace(join(dir, 'a', 'b', 'disk.qcow2'));
  expect(here.totalBytes).toBeGreaterThan(0);
  expect(later.totalBytes).toBe(here.totalBytes);
  await expect(freeSpace('relative')).rejects.toMatchObject({ code: 'invalidInput' });
});

it('deletes every part of an image and none of its neighbours', async () => {
  await createDisk({ path: join(dir, 'a.vmdk'), bytes: 3 * 2 ** 31, format: 'vmdk', variant: 'split' });
  await createDisk({ path: join(dir, 'b.qcow2'), bytes: 2 ** 24, format: 'qcow2' });
  expect((await readdir(dir)).length).toBeGreaterThan(3);
  await deleteDisk(join(dir, 'a.vmdk'));
  expect(await readdir(dir)).toEqual(['b.qcow2']);
});

it('keeps what an image is built on', async () => {
  await createDisk({ path: join(dir, 'base.qcow2'), bytes: 2 ** 24, format: 'qcow2' });
  await createDisk({ path: join(dir, 'top.qcow2'), bytes: 2 ** 24, format: 'qcow2', parent: join(dir, 'base.qcow2') });
  await deleteDisk(join(dir, 'top.qcow2'));
  expect(await readdir(dir)).toEqual(['base.qcow2']);
});

it('deletes no file that a foreign descriptor names as its part', async () => {
  await writeFile(join(dir, 'letters.txt'), 'x'.repeat(1 << 20));
  const descriptor = [
    '# Disk DescriptorFile',
    'version=1',
    'CID=12345678',
    'parentCID=ffffffff',
    'createType="monolithicFlat"',
    'RW 2048 FLAT "letters.txt" 0',
  ];
  await writeFile(join(dir, 'evil.vmdk'), `${descriptor.join('\n')}\n`);
  await deleteDisk(join(dir, 'evil.vmdk'));
  expect(await readdir(dir)).toEqual(['letters.txt']);
});

it('deletes a damaged image, but neither folders nor links', async () => {
  await writeFile(join(dir, 'broken.qcow2'), 'QFI\xfb nothing of use');
  await deleteDisk(join(dir, 'broken.qcow2'));
  await mkdir(join(dir, 'folder'));
  await writeFile(join(dir, 'target'), 'x');
  await symlink(join(dir, 'target'), join(dir, 'link'));
  await expect(deleteDisk(join(dir, 'folder'))).rejects.toMatchObject({ code: 'fileInvalid' });
  await expect(deleteDisk(join(dir, 'link'))).rejects.toMatchObject({ code: 'fileInvalid' });
  await expect(deleteDisk(join(dir, 'gone'))).rejects.toMatchObject({ code: 'fileMissing' });
  expect((await readdir(dir)).sort()).toEqual(['folder', 'link', 'target']);
});
