/** Differencing VHDX: made here, and as Hyper-V leaves them, with blocks that are the image's own in part ([MS-VHDX] §2.5.1). */
import { copyFile, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { checkDisk, convertDisk, createDisk, diskInfo, openDisk } from '..';
import { crc32c } from './structures';

const MIB = 1 << 20;
const BYTES = 10 * MIB;
const BAT_AT = 3 * MIB;
/** With blocks of 1 MiB the bitmap's entry follows 4096 others. */
const BITMAP_ENTRY_AT = BAT_AT + 4096 * 8;
const PARTIAL = 7;
const PRESENT = 6;

let dir: string;
let base: string;
let path: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'lodge-vhdx-'));
  [base, path] = [join(dir, 'base.vhdx'), join(dir, 'child.vhdx')];
  await createDisk({ path: base, bytes: BYTES, format: 'vhdx' });
  const disk = await openDisk(base, { readOnly: false });
  await disk.writeBytes(0, new Uint8Array(3 * MIB).fill(1));
  await disk.close();
  await createDisk({ path, bytes: BYTES, format: 'vhdx', parent: base });
});
afterEach(() => rm(dir, { recursive: true, force: true }));

async function contents(file = path): Promise<Uint8Array> {
  const disk = await openDisk(file, { readOnly: true });
  const all = new Uint8Array(disk.bytes);
  await disk.readBytes(0, all);
  await disk.close();
  return all;
}

/** Block 1 of the disk is partial: of every eight sectors the image has the first two. */
async function makePartial(): Promise<Uint8Array> {
  const disk = await openDisk(path, { readOnly: false });
  await disk.writeBytes(MIB, new Uint8Array(MIB).fill(2));
  await disk.close();
  const image = await readFile(path);
  const bitmapAt = Math.ceil(image.length / MIB) * MIB;
  const bitmap = Buffer.alloc(MIB);
  bitmap.fill(0b11, 2048 / 8, (2 * 2048) / 8);
  image[BAT_AT + 8] = (image[BAT_AT + 8]! & ~7) | PARTIAL;
  image.writeBigUInt64LE(BigInt(bitmapAt) | BigInt(PRESENT), BITMAP_ENTRY_AT);
  await writeFile(path, Buffer.concat([image, Buffer.alloc(bitmapAt - image.length), bitmap]));
  const expected = new Uint8Array(BYTES).fill(1, 0, 3 * MIB);
  for (let at = MIB; at < 2 * MIB; at += 4096) expected.fill(2, at, at + 1024);
  return expected;
}

/** A log with one entry that puts `sector` at `position`, as a writer leaves it that ended before it could. */
async function leaveInLog(file: string, position: number, sector: Buffer): Promise<void> {
  const image = await readFile(file);
  const guid = Buffer.alloc(16, 0x5a);
  const entry = Buffer.alloc(8192);
  entry.write('loge', 0);
  entry.writeUInt32LE(8192, 8);
  entry.writeBigUInt64LE(7n, 16);
  entry.writeUInt32LE(1, 24);
  guid.copy(entry, 32);
  entry.writeBigUInt64LE(BigInt(image.length), 48);
  entry.writeBigUInt64LE(BigInt(image.length), 56);
  entry.write('desc', 64);
  sector.copy(entry, 68, 4092);
  sector.copy(entry, 72, 0, 8);
  entry.writeBigUInt64LE(BigInt(position), 80);
  entry.writeBigUInt64LE(7n, 88);
  entry.write('data', 4096);
  sector.copy(entry, 4096 + 8, 8, 4092);
  entry.writeUInt32LE(7, 4096 + 4092);
  entry.writeUInt32LE(crc32c(entry, 4), 4);
  entry.copy(image, MIB);
  for (const at of [65536, 131072]) {
    guid.copy(image, at + 48);
    image.writeUInt32LE(crc32c(image.subarray(at, at + 4096), 4), at + 4);
  }
  await writeFile(file, image);
}

describe('a VHDX log', () => {
  it('is applied to what is read, and to the file when that is written', async () => {
    const bat = (await readFile(base)).subarray(BAT_AT, BAT_AT + 4096);
    await leaveInLog(base, BAT_AT, Buffer.from(bat));
    const damaged = await readFile(base);
    damaged.fill(0, BAT_AT, BAT_AT + 4096);
    await writeFile(base, damaged);
    const expected = new Uint8Array(BYTES).fill(1, 0, 3 * MIB);
    expect(Buffer.compare(await contents(base), expected)).toBe(0);
    expect(await checkDisk(base)).toMatchObject({ ok: true, allocatedBytes: 8 * MIB });
    expect(Buffer.compare(await readFile(base), damaged)).toBe(0);
    await (await openDisk(base, { readOnly: false })).close();
    expect(Buffer.compare((await readFile(base)).subarray(BAT_AT, BAT_AT + 4096), bat)).toBe(0);
    expect(Buffer.compare(await contents(base), expected)).toBe(0);
  });

  it('that is torn is damage', async () => {
    await leaveInLog(base, BAT_AT, Buffer.alloc(4096));
    const torn = await readFile(base);
    torn[MIB + 5000]! ^= 1;
    await writeFile(base, torn);
    await expect(openDisk(base, { readOnly: true })).rejects.toMatchObject({
      message: expect.stringContaining('no complete entry') as string,
    });
  });
});

describe('a differencing VHDX image', () => {
  it('shows its parent, keeps what is written, and tells zeroes from the parent’s data', async () => {
    const expected = new Uint8Array(BYTES).fill(1, 0, 3 * MIB);
    const disk = await openDisk(path, { readOnly: false });
    await disk.writeBytes(MIB + 512, new Uint8Array(1024).fill(9));
    await disk.writeBytes(7 * MIB + 100 * 512, new Uint8Array(512).fill(8));
    await disk.writeZeroes(2 * MIB, MIB, true);
    await disk.close();
    expected
      .fill(9, MIB + 512, MIB + 1536)
      .fill(8, 7 * MIB + 51200, 7 * MIB + 51712)
      .fill(0, 2 * MIB, 3 * MIB);
    expect(Buffer.compare(await contents(), expected)).toBe(0);
    expect(await checkDisk(path)).toMatchObject({ ok: true, allocatedBytes: 2 * MIB });
    expect(await diskInfo(path)).toMatchObject({
      format: 'vhdx',
      variant: 'differencing',
      parents: [{ path: base, format: 'vhdx' }],
    });
    const flat = join(dir, 'flat.raw');
    await convertDisk(path, flat, { format: 'raw' });
    expect(Buffer.compare(await readFile(flat), expected)).toBe(0);
    expect((await contents(base))[MIB + 512]).toBe(1);
  });

  it('reads blocks that are its own in part, and goes on keeping their bitmap', async () => {
    const expected = await makePartial();
    expect(Buffer.compare(await contents(), expected)).toBe(0);
    const disk = await openDisk(path, { readOnly: false });
    // Across own and foreign sectors; up to the end of the block; from the block before.
    for (const [at, bytes, value] of [
      [MIB + 512, 8192, 5],
      [2 * MIB - 4096, 4096, 6],
      [MIB - 1024, 2048, 7],
    ] as const) {
      await disk.writeBytes(at, new Uint8Array(bytes).fill(value));
      expected.fill(value, at, at + bytes);
    }
    await disk.flush();
    const all = new Uint8Array(BYTES);
    await disk.readBytes(0, all);
    expect(Buffer.compare(all, expected)).toBe(0);
    await disk.close();
    expect(Buffer.compare(await contents(), expected)).toBe(0);
    expect((await checkDisk(path)).errors).toEqual([]);
    const image = await readFile(path);
    expect(image[BAT_AT + 8]! & 7).toBe(PARTIAL);
    const bitmapAt = Number(image.readBigUInt64LE(BITMAP_ENTRY_AT) & ~0xfffffn);
    // Sectors 1 to 16 of the block were written, 0 and the first two of each eight are its own anyway.
    expect([...image.subarray(bitmapAt + 256, bitmapAt + 260)]).toEqual([0xff, 0xff, 0x03, 0x03]);
    expect(image[bitmapAt + 511]).toBe(0xff);
  });

  it('a bitmap that is not there is damage, not data', async () => {
    await makePartial();
    const image = await readFile(path);
    image.fill(0, BITMAP_ENTRY_AT, BITMAP_ENTRY_AT + 8);
    await writeFile(path, image);
    const disk = await openDisk(path, { readOnly: true });
    await expect(disk.readBytes(MIB, new Uint8Array(512))).rejects.toMatchObject({
      name: 'HostIoError',
      message: expect.stringContaining('sector bitmap') as string,
    });
    await disk.close();
  });

  it('is refused when its parent is gone, was changed, or is built on it', async () => {
    await rename(base, `${base}.away`);
    await expect(openDisk(path, { readOnly: true })).rejects.toMatchObject({ code: 'fileMissing' });
    await rename(`${base}.away`, base);
    const disk = await openDisk(base, { readOnly: false });
    await disk.close();
    await expect(openDisk(path, { readOnly: true })).rejects.toMatchObject({
      code: 'fileInvalid',
      message: expect.stringContaining('changed since') as string,
    });
    await copyFile(path, base);
    await expect(openDisk(path, { readOnly: true })).rejects.toMatchObject({
      code: 'fileInvalid',
      message: expect.stringContaining('itself') as string,
    });
  });

  it('a parent outside its folder, or named in no known way, is refused', async () => {
    const image = await readFile(path);
    const name = Buffer.from('.\\base.vhdx', 'utf16le');
    const at = image.indexOf(name);
    Buffer.from('..\\etc\\shdw', 'utf16le').copy(image, at);
    await writeFile(path, image);
    await expect(openDisk(path, { readOnly: true })).rejects.toMatchObject({ name: 'ImageError' });
    image.fill(
      0xee,
      image.indexOf(Buffer.from('parent_linkage', 'utf16le')) - 44,
      image.indexOf(Buffer.from('parent_linkage', 'utf16le')) - 28,
    );
    await writeFile(path, image);
    await expect(openDisk(path, { readOnly: true })).rejects.toMatchObject({ code: 'fileInvalid' });
    expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283);
  });
});
