/** Images that qemu-img makes, in all its variants, read back equal; images that Lodge makes are equal to qemu-img. */
import { mkdtemp, rm, symlink, writeFile, mkdir, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { deflateSync } from 'node:zlib';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { checkDisk, convertDisk, createDisk, diskInfo, openDisk, resizeDisk } from '../../../main/storage';
import type { DiskFormat, DiskVariant } from '../../../preload/contract';
import { hasQemu, NO_QEMU, qemuCheck, QEMU_NAME, qemuImg } from './images';
import { FakeMemory, random, sectorBytes, wholeDisk } from './model';

let root: string;
let dir: string;
let raw: string;
let content: Uint8Array;
let n = 0;
const BYTES = 20 << 20;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'lodge-images-'));
  raw = join(root, 'source.raw');
  content = new Uint8Array(BYTES);
  const next = random(42);
  // Islands of data, some of them compressible, between zeroes.
  for (let i = 0; i < 60; i++) {
    const sector = Math.floor(next() * (BYTES / 512 - 300));
    content.set(sectorBytes(i + 1, sector, 1 + Math.floor(next() * 250)), sector * 512);
  }
  for (let at = 7 << 20; at < 8 << 20; at++) content[at] = Math.floor(next() * 256);
  await writeFile(raw, content);
});
beforeEach(async () => {
  dir = join(root, String(n++));
  await mkdir(dir);
});
afterAll(() => rm(root, { recursive: true, force: true }));

async function read(path: string, format: 'auto' | DiskFormat = 'auto'): Promise<Uint8Array> {
  const disk = await openDisk(path, { readOnly: true, format });
  try {
    return await wholeDisk(disk);
  } finally {
    await disk.close();
  }
}
const same = (a: Uint8Array, b: Uint8Array): boolean =>
  Buffer.compare(a.subarray(0, b.length), b) === 0 && a.subarray(b.length).every((byte) => byte === 0);

const MADE: [name: string, format: string, options: string, ...flags: string[]][] = [
  ...[512, 1024, 4096, 65536, 2 << 20].map((c): [string, string, string] => [
    `qcow2 v3, clusters of ${c}`,
    'qcow2',
    `cluster_size=${c}`,
  ]),
  ...[1, 2, 4, 8, 32, 64].map((w): [string, string, string] => [`qcow2, refcounts of ${w} bits`, 'qcow2', `refcount_bits=${w}`]),
  ['qcow2 v2', 'qcow2', 'compat=0.10'],
  ['qcow2, lazy refcounts', 'qcow2', 'lazy_refcounts=on'],
  ['qcow2, compressed', 'qcow2', 'cluster_size=65536', '-c'],
  ['qcow2 v2, compressed, small clusters', 'qcow2', 'compat=0.10,cluster_size=4096', '-c'],
  ['qcow2, compressed, large clusters', 'qcow2', 'cluster_size=2097152', '-c'],
  ['qcow2, metadata preallocated', 'qcow2', 'preallocation=metadata'],
  ['qcow2, fully preallocated', 'qcow2', 'preallocation=full'],
  ['vdi', 'vdi', 'static=off'],
  ['vdi, fixed', 'vdi', 'static=on'],
  ...['monolithicSparse', 'monolithicFlat', 'twoGbMaxExtentSparse', 'twoGbMaxExtentFlat', 'streamOptimized'].map(
    (s): [string, string, string] => [`vmdk ${s}`, 'vmdk', `subformat=${s}`],
  ),
  ['vmdk with zeroed grains', 'vmdk', 'zeroed_grain=on'],
  ['vhd, dynamic', 'vpc', 'subformat=dynamic,force_size=on'],
  ['vhd, fixed', 'vpc', 'subformat=fixed,force_size=on'],
  ['vhdx, dynamic', 'vhdx', 'subformat=dynamic,block_size=1048576'],
  ['vhdx, large blocks', 'vhdx', 'subformat=dynamic,block_size=33554432'],
  ['vhdx, fixed', 'vhdx', 'subformat=fixed'],
];

describe.skipIf(!hasQemu)(`images by qemu-img${hasQemu ? '' : `: ${NO_QEMU}`}`, () => {
  it.each(MADE)('%s', { timeout: 60_000 }, async (name, format, options, ...flags) => {
    const path = join(dir, 'image');
    await qemuImg('convert', ...flags, '-f', 'raw', '-O', format, '-o', options, raw, path);
    expect(same(await read(path), content)).toBe(true);
    expect((await checkDisk(path)).errors).toEqual([]);
    if (name.includes('streamOptimized')) {
      await expect(openDisk(path, { readOnly: false })).rejects.toMatchObject({
        code: 'fileInvalid',
        fix: expect.stringContaining('Convert') as string,
      });
      return;
    }
    // Written over: in the middle of data, across its edges, and in what was empty.
    const expected = new Uint8Array(content);
    const memory = new FakeMemory(4 << 20);
    const disk = await openDisk(path, { readOnly: false, native: memory });
    const next = random(7);
    for (let i = 0; i < 40; i++) {
      const sector = Math.floor(next() * (BYTES / 512 - 600));
      const data = sectorBytes(1000 + i, sector, 1 + Math.floor(next() * 600));
      await disk.writeBytes(sector * 512, data);
      expected.set(data, sector * 512);
    }
    await disk.writeZeroes(3 << 20, 3 << 20, true);
    expected.fill(0, 3 << 20, 6 << 20);
    await disk.close();
    expect(same(await read(path), expected)).toBe(true);
    await writeFile(join(dir, 'expected'), expected);
    const kind = format as string;
    expect(await qemuImg('compare', '-f', kind, '-F', 'raw', path, join(dir, 'expected'))).toContain('identical');
    const report = await qemuCheck(path, kind === 'vpc' ? 'vhd' : (kind as DiskFormat));
    expect(report?.corruptions ?? 0, report?.text).toBe(0);
    expect(report?.leaks ?? 0).toBe(0);
  });

  it('a chain of backing files, also of other formats, and an overlay that is larger than its base', async () => {
    await qemuImg('convert', '-O', 'vmdk', raw, join(dir, 'base.vmdk'));
    await qemuImg('create', '-q', '-f', 'qcow2', '-b', 'base.vmdk', '-F', 'vmdk', join(dir, 'a.qcow2'));
    await qemuImg('create', '-q', '-f', 'qcow2', '-b', 'a.qcow2', '-F', 'qcow2', join(dir, 'b.qcow2'), '30M');
    const disk = await openDisk(join(dir, 'b.qcow2'), { readOnly: false });
    const data = sectorBytes(9, 999, 100);
    await disk.writeBytes(999 * 512, data);
    await disk.writeZeroes(7 << 20, 1 << 20, true);
    await disk.close();
    const expected = new Uint8Array(30 << 20);
    expected.set(content);
    expected.set(data, 999 * 512);
    expected.fill(0, 7 << 20, 8 << 20);
    expect(same(await read(join(dir, 'b.qcow2')), expected)).toBe(true);
    expect((await diskInfo(join(dir, 'b.qcow2'))).parents.map((p) => p.format)).toEqual(['qcow2', 'vmdk']);
    await writeFile(join(dir, 'expected'), expected);
    expect(await qemuImg('compare', '-F', 'raw', '-f', 'qcow2', join(dir, 'b.qcow2'), join(dir, 'expected'))).toContain(
      'identical',
    );
    expect((await qemuCheck(join(dir, 'b.qcow2'), 'qcow2'))?.corruptions).toBe(0);
  });

  it('internal snapshots survive writing, discarding and their image’s growth in use', async () => {
    const path = join(dir, 'snap.qcow2');
    await qemuImg('convert', '-O', 'qcow2', raw, path);
    await qemuImg('snapshot', '-c', 'before', path);
    const disk = await openDisk(path, { readOnly: false });
    await disk.writeBytes(0, sectorBytes(5, 0, 5000));
    await disk.discard(10 << 20, 4 << 20);
    await disk.flush();
    await disk.writeBytes(12 << 20, sectorBytes(6, (12 << 20) / 512, 100));
    await disk.close();
    const report = await qemuCheck(path, 'qcow2');
    expect(report?.corruptions, report?.text).toBe(0);
    expect(report?.leaks, report?.text).toBe(0);
    expect(await checkDisk(path)).toMatchObject({ ok: true, leakedBytes: 0 });
    await expect(resizeDisk(path, 64 << 20)).rejects.toMatchObject({ code: 'fileInvalid' });
    await qemuImg('snapshot', '-a', 'before', path);
    expect(same(await read(path), content)).toBe(true);
  });

  it('an image marked dirty has its refcounts made right before it is written', async () => {
    const path = join(dir, 'dirty.qcow2');
    await qemuImg('convert', '-O', 'qcow2', '-o', 'lazy_refcounts=on', raw, path);
    const bytes = await readFile(path);
    bytes[79]! |= 1;
    // Refcounts of the data are gone, as after a crash with lazy refcounts.
    const block = Number(bytes.readBigUInt64BE(Number(bytes.readBigUInt64BE(48))));
    bytes.fill(0, block + 40, block + 200);
    await writeFile(path, bytes);
    expect(same(await read(path), content)).toBe(true);
    const disk = await openDisk(path, { readOnly: false });
    await disk.writeBytes(15 << 20, sectorBytes(5, (15 << 20) / 512, 500));
    await disk.close();
    const report = await qemuCheck(path, 'qcow2');
    expect(report?.corruptions, report?.text).toBe(0);
    expect((await readFile(path))[79]! & 1).toBe(0);
  });

  const OWN: [DiskFormat, DiskVariant][] = [
    ['raw', 'dynamic'],
    ['qcow2', 'dynamic'],
    ['vdi', 'dynamic'],
    ['vdi', 'fixed'],
    ['vmdk', 'dynamic'],
    ['vmdk', 'fixed'],
    ['vmdk', 'split'],
    ['vmdk', 'splitFixed'],
    ['vhd', 'dynamic'],
    ['vhd', 'fixed'],
    ['vhdx', 'dynamic'],
    ['vhdx', 'fixed'],
  ];
  it.each(OWN)('converts to %s (%s), and grows it', { timeout: 60_000 }, async (format, variant) => {
    const path = join(dir, 'disk.img');
    const progress: number[] = [];
    await convertDisk(raw, path, { format, variant, onProgress: (done) => progress.push(done) });
    expect(progress.at(-1)).toBe(1);
    expect(progress).toEqual([...progress].sort((a, b) => a - b));
    expect(await qemuImg('compare', '-f', QEMU_NAME[format], '-F', 'raw', path, raw)).toContain('identical');
    expect((await qemuCheck(path, format))?.corruptions ?? 0).toBe(0);
    const info = await diskInfo(path);
    expect(info).toMatchObject({ format, bytes: BYTES });
    if (info.variant.startsWith('twoGb') || info.variant === 'monolithicFlat') {
      await expect(resizeDisk(path, 33 << 20)).rejects.toMatchObject({ code: 'fileInvalid' });
      return;
    }
    await resizeDisk(path, 900 << 20);
    expect((await diskInfo(path)).bytes).toBe(900 << 20);
    const disk = await openDisk(path, { readOnly: false });
    await disk.writeBytes((900 << 20) - 512, sectorBytes(3, 0, 1));
    await disk.close();
    const grown = await openDisk(path, { readOnly: true });
    const start = new Uint8Array(BYTES);
    await grown.readBytes(0, start);
    await grown.close();
    expect(same(start, content)).toBe(true);
    expect((await qemuCheck(path, format))?.corruptions ?? 0).toBe(0);
    await expect(resizeDisk(path, 1 << 20)).rejects.toMatchObject({ code: 'fileInvalid' });
  });
});

describe('what an image may name', () => {
  it('stays in its folder, follows no loop, and no link out of it', async () => {
    await mkdir(join(dir, 'vm'));
    await writeFile(join(dir, 'secret'), new Uint8Array(1 << 20).fill(7));
    const image = join(dir, 'vm', 'disk.qcow2');
    const over = async (name: string): Promise<void> => {
      await rm(image, { force: true });
      await createDisk({ path: image, bytes: 1 << 20, format: 'qcow2' });
      const bytes = await readFile(image);
      bytes.writeBigUInt64BE(112n, 8);
      bytes.writeUInt32BE(name.length, 16);
      bytes.write(name, 112);
      await writeFile(image, bytes);
    };
    for (const name of ['../secret', join(dir, 'secret'), '/etc/passwd', 'file:/etc/passwd']) {
      await over(name);
      await expect(openDisk(image, { readOnly: true }), name).rejects.toMatchObject({ code: 'permissionDenied' });
    }
    await symlink(join(dir, 'secret'), join(dir, 'vm', 'innocent'));
    await over('innocent');
    await expect(openDisk(image, { readOnly: true })).rejects.toMatchObject({ code: 'permissionDenied' });
    const allowed = await openDisk(image, { readOnly: true, related: [join(dir, 'secret')] });
    const byte = new Uint8Array(1);
    await allowed.readBytes(5000, byte);
    expect(byte[0]).toBe(7);
    await allowed.close();
    for (const name of ['json:{"driver":"host_device"}', 'nbd://10.0.0.1/x']) {
      await over(name);
      await expect(openDisk(image, { readOnly: true }), name).rejects.toMatchObject({ code: 'fileInvalid' });
    }
    await over('disk.qcow2');
    await expect(openDisk(image, { readOnly: true })).rejects.toMatchObject({
      code: 'fileInvalid',
      message: expect.stringContaining('itself') as string,
    });
    await over('missing');
    await expect(openDisk(image, { readOnly: true })).rejects.toMatchObject({ code: 'fileMissing' });
    expect(dirname(image)).toBe(join(dir, 'vm'));
  });

  it('a compressed cluster that unpacks to more than a cluster is an error, not memory', async () => {
    const image = join(dir, 'bomb.qcow2');
    await createDisk({ path: image, bytes: 64 << 20, format: 'qcow2' });
    const disk = await openDisk(image, { readOnly: false });
    await disk.writeBytes(0, new Uint8Array(512).fill(1));
    await disk.close();
    const bytes = await readFile(image);
    const l2 = Number(bytes.readBigUInt64BE(3 * 65536) & 0xffffffffffffffn);
    const bomb = deflateSync(new Uint8Array(32 << 20)).subarray(2);
    bytes.writeBigUInt64BE((1n << 62n) | (127n << 54n) | BigInt(bytes.length), l2);
    await writeFile(image, Buffer.concat([bytes, bomb]));
    const again = await openDisk(image, { readOnly: true });
    await expect(again.readBytes(0, new Uint8Array(512))).rejects.toMatchObject({ name: 'HostIoError' });
    await again.close();
  });
});
