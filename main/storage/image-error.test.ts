import { expect, it } from 'vitest';
import { hostError } from './core/host-file';
import { createDisk } from './disk';
import { spaceErrorOf } from './image-error';

it('want of space in a file that Lodge made on the way is told of the file that was asked for', () => {
  const full = hostError({ errno: -28, message: 'write' }, '/disks/.copy.vdi.part-x/copy.vdi');
  expect(spaceErrorOf(full, '/disks/copy.vdi')).toMatchObject({
    code: 'insufficientSpace',
    message: 'There is not enough space for /disks/copy.vdi.',
    fix: 'Free some space, or choose another folder.',
  });
  const broken = hostError({ errno: -5, message: 'i/o error' }, '/disks/source.vdi');
  expect(spaceErrorOf(broken, '/disks/copy.vdi')).toBe(broken);
});

it('a size that no disk has is refused in words, not in twenty digits', async () => {
  const create = (bytes: number): Promise<void> => createDisk({ path: '/nowhere/disk.raw', bytes, format: 'raw' });
  await expect(create(99_999_999 * 2 ** 40)).rejects.toMatchObject({ message: 'A disk has at most 64 TiB.' });
  await expect(create(1000)).rejects.toMatchObject({ fix: 'Choose a multiple of 512 bytes.' });
});
