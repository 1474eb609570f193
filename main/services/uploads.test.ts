import { mkdir, mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { receiveUpload, removeAbandonedParts, uploadName } from './uploads';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'lodge-upload-'));
});
afterEach(() => rm(dir, { recursive: true, force: true }));
const media = () => readdir(join(dir, 'media'));

it('streams a file to its place, and never over another', async () => {
  const first = await receiveUpload(Readable.from([Buffer.from('ab'), Buffer.from('c')]), {
    vmFolder: dir,
    name: 'a b.tar.gz',
    announced: 3,
  });
  const second = await receiveUpload(Readable.from([Buffer.from('x')]), { vmFolder: dir, name: 'a b.tar.gz' });
  expect([basename(first), basename(second)]).toEqual(['a b.tar.gz', 'a b.tar (2).gz']);
  expect(await readFile(first, 'utf8')).toBe('abc');
  expect(await media()).toHaveLength(2);
});

it('keeps a disc that comes again once, and a disk as often as it comes', async () => {
  const large = Buffer.alloc((1 << 20) + 7, 'disc');
  const other = Buffer.from(large);
  other[1 << 20]! ^= 1;
  const send = async (bytes: Buffer, name: string): Promise<string> =>
    basename(await receiveUpload(Readable.from([bytes]), { vmFolder: dir, name }));
  expect([await send(large, 'x.iso'), await send(large, 'x.iso')]).toEqual(['x.iso', 'x.iso']);
  expect([await send(other, 'x.iso'), await send(other, 'x.iso')]).toEqual(['x (2).iso', 'x (2).iso']);
  expect([await send(large, 'x.img'), await send(large, 'x.img')]).toEqual(['x.img', 'x (2).img']);
  expect((await media()).sort()).toEqual(['x (2).img', 'x (2).iso', 'x.img', 'x.iso']);
});

it('leaves nothing of an upload that is cancelled, too short, or empty', async () => {
  const source = new PassThrough();
  const upload = receiveUpload(source, { vmFolder: dir, name: 'x.iso', announced: 100 });
  source.write('half');
  setTimeout(() => source.destroy(), 20);
  await expect(upload).rejects.toMatchObject({ code: 'fileInvalid', message: expect.stringContaining('cancelled') as string });
  await expect(
    receiveUpload(Readable.from([Buffer.from('abc')]), { vmFolder: dir, name: 'x.iso', announced: 4 }),
  ).rejects.toMatchObject({ code: 'fileInvalid' });
  await expect(receiveUpload(Readable.from([]), { vmFolder: dir, name: 'x.iso' })).rejects.toMatchObject({ code: 'fileInvalid' });
  expect(await media()).toEqual([]);
});

it('refuses what cannot fit before a byte is written', async () => {
  const upload = receiveUpload(Readable.from([Buffer.from('abc')]), {
    vmFolder: dir,
    name: 'x.iso',
    announced: Number.MAX_SAFE_INTEGER,
  });
  await expect(upload).rejects.toMatchObject({ code: 'insufficientSpace' });
  expect(await media()).toEqual([]);
});

it.each([
  '../x.iso',
  '..',
  '.',
  '.hidden',
  'a/b.iso',
  'a\\b.iso',
  '/etc/passwd',
  'nul\0.iso',
  'line\n.iso',
  '',
  ' x',
  'x '.padEnd(300, 'y'),
])('refuses the name %j', (name) => {
  expect(() => uploadName(name)).toThrow(/Not a usable file name/);
});

it('removes what a killed server left of an upload, and nothing else', async () => {
  await removeAbandonedParts(dir);
  const folder = join(dir, 'media');
  await mkdir(folder);
  const long = new Date(Date.now() - 2 * 60 * 60 * 1000);
  for (const name of ['.old.iso.part-0123abcd', 'old.iso', '.old.iso.part-nothex', '.mine', '.new.iso.part-0123abcd']) {
    await writeFile(join(folder, name), 'x');
    if (!name.includes('new')) await utimes(join(folder, name), long, long);
  }
  await mkdir(join(folder, '.folder.part-0123abcd'));
  await removeAbandonedParts(dir);
  expect((await media()).sort()).toEqual([
    '.folder.part-0123abcd',
    '.mine',
    '.new.iso.part-0123abcd',
    '.old.iso.part-nothex',
    'old.iso',
  ]);
});
