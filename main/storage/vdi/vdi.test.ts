/** A VDI image whose header and map contradict each other, as after a power cut, is put right when it is opened for writing. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { checkDisk, createDisk, openDisk } from '..';

const MIB = 1 << 20;
const COUNT_AT = 0x184;
const MAP_AT = 0x200;

let dir: string;
let path: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'lodge-vdi-'));
  path = join(dir, 'disk.vdi');
  await createDisk({ path, bytes: 16 * MIB, format: 'vdi' });
  const disk = await openDisk(path, { readOnly: false });
  // Disk blocks 0, 2, 4 and 6 are at the places 0 to 3 of the file.
  for (let i = 0; i < 4; i++) await disk.writeBytes(2 * i * MIB, new Uint8Array(MIB).fill(i + 1));
  await disk.close();
});
afterEach(() => rm(dir, { recursive: true, force: true }));

async function change(edit: (image: Buffer) => void): Promise<void> {
  const image = await readFile(path);
  edit(image);
  await writeFile(path, image);
}

async function firstBytes(): Promise<number[]> {
  const disk = await openDisk(path, { readOnly: true });
  const byte = new Uint8Array(1);
  const all: number[] = [];
  for (let at = 0; at < 16 * MIB; at += MIB) {
    await disk.readBytes(at + 5000, byte);
    all.push(byte[0]!);
  }
  await disk.close();
  return all;
}

const WHOLE = [1, 0, 2, 0, 3, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0];

describe('a contradiction in a VDI image', () => {
  it.each([0, 2, 5])('a count of %i for four blocks', async (count) => {
    await change((image) => image.writeUInt32LE(count, COUNT_AT));
    expect(await checkDisk(path)).toMatchObject({ ok: false, errors: [`it counts ${count} blocks, but has 4`] });
    const disk = await openDisk(path, { readOnly: false });
    await disk.writeBytes(9 * MIB, new Uint8Array(MIB).fill(9));
    await disk.close();
    expect(await checkDisk(path)).toMatchObject({ ok: true });
    expect((await readFile(path)).readUInt32LE(COUNT_AT)).toBe(5);
    expect(await firstBytes()).toEqual(WHOLE.map((value, i) => (i === 9 ? 9 : value)));
  });

  it('a gap is closed with the block behind it', async () => {
    await change((image) => image.writeUInt32LE(0xffff_ffff, MAP_AT + 2 * 4));
    expect((await checkDisk(path)).ok).toBe(false);
    await change((image) => image.writeUInt32LE(3, COUNT_AT));
    expect(await checkDisk(path)).toMatchObject({ ok: false, errors: ['there is a gap between its blocks'] });
    await (await openDisk(path, { readOnly: false })).close();
    expect(await checkDisk(path)).toMatchObject({ ok: true });
    expect((await readFile(path)).readUInt32LE(MAP_AT + 6 * 4)).toBe(1);
    expect(await firstBytes()).toEqual(WHOLE.map((value, i) => (i === 2 ? 0 : value)));
  });

  it('two blocks at one place cannot be put right: the image can only be read', async () => {
    await change((image) => image.writeUInt32LE(0, MAP_AT + 2 * 4));
    await expect(openDisk(path, { readOnly: false })).rejects.toMatchObject({
      code: 'fileInvalid',
      message: expect.stringContaining('only be read') as string,
    });
    expect((await firstBytes()).slice(0, 4)).toEqual([1, 0, 1, 0]);
  });

  it('header and map go out in one write, however far apart they are', async () => {
    const big = join(dir, 'big.vdi');
    await createDisk({ path: big, bytes: 64 * 2 ** 30, format: 'vdi' });
    const disk = await openDisk(big, { readOnly: false });
    const file = disk.map.files[0]!;
    const writes: [number, number][] = [];
    const { write } = file;
    file.write = (at, from) => (writes.push([at, from.length]), write.call(file, at, from));
    await disk.writeBytes(60 * 2 ** 30, new Uint8Array(512).fill(1));
    const before = writes.length;
    await disk.flush();
    expect(writes.slice(before)).toEqual([[0, Math.ceil((MAP_AT + 60 * 1024 * 4 + 1) / 4096) * 4096]]);
    await disk.close();
  });
});
