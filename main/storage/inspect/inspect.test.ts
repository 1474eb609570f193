import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { imageInfoSchema } from '../../../preload/contract/vm';
import { guessOs } from './catalogue';
import { identify } from './formats';
import { createDisk } from '../disk';
import { inspectImage, prettyName } from './inspect';
import { inspectIso, ISO_SECTOR } from './iso9660';

let folder: string;
beforeAll(() => void (folder = mkdtempSync(join(tmpdir(), 'lodge-inspect-'))));
afterAll(() => rmSync(folder, { recursive: true }));

async function inspect(name: string, content: Uint8Array | string, sparseBytes?: number) {
  const path = join(folder, name);
  writeFileSync(path, content);
  if (sparseBytes !== undefined) truncateSync(path, sparseBytes);
  return imageInfoSchema.parse(await inspectImage(path));
}

function put(bytes: Uint8Array, at: number, what: string | number[]): Uint8Array {
  bytes.set(typeof what === 'string' ? [...what].map((c) => c.charCodeAt(0)) : what, at);
  return bytes;
}

/** A volume descriptor set as ECMA-119 has it, with an El Torito catalogue when asked. */
function iso(volumeId: string, bootable: boolean): Uint8Array {
  const image = new Uint8Array(24 * ISO_SECTOR);
  put(image, 16 * ISO_SECTOR, [1]);
  put(image, 16 * ISO_SECTOR + 1, 'CD001\x01');
  put(image, 16 * ISO_SECTOR + 40, volumeId.padEnd(32));
  if (bootable) {
    put(image, 17 * ISO_SECTOR, '\x00CD001\x01EL TORITO SPECIFICATION');
    put(image, 17 * ISO_SECTOR + 0x47, [20, 0, 0, 0]);
    put(image, 20 * ISO_SECTOR, [1]);
    put(image, 20 * ISO_SECTOR + 28, [0xaa, 0x55, 0x55, 0xaa]);
    put(image, 20 * ISO_SECTOR + 32, [0x88]);
  }
  put(image, 18 * ISO_SECTOR, '\xffCD001\x01');
  return image;
}

function mbr(entries: [number, number][]): Uint8Array {
  const sector = new Uint8Array(4096);
  entries.forEach(([status, type], i) => put(put(sector, 446 + i * 16, [status]), 450 + i * 16, [type]));
  return put(sector, 510, [0x55, 0xaa]);
}

describe('inspectImage', () => {
  it('recognises discs, their volume id and whether they boot', async () => {
    expect(await inspect('x.iso', iso('Debian 12.5.0 amd64 n', true))).toMatchObject({
      kind: 'disc',
      format: 'iso9660',
      label: 'Debian 12.5.0 amd64 n',
      bootable: true,
      suggestedName: 'Debian 12.5.0',
      suggestedOs: 'debian',
    });
    const data = await inspect('holiday-pictures.iso', iso('', false));
    expect(data).toMatchObject({ kind: 'disc', bootable: false, suggestedName: 'Holiday pictures', suggestedOs: 'other' });
    expect(data.label).toBeUndefined();
    expect(await inspect('grub-rescue.iso', iso('ISOIMAGE', true))).toMatchObject({
      label: 'ISOIMAGE',
      suggestedName: 'Grub rescue',
    });
  });

  it('recognises disks by their partition table or file system', async () => {
    expect(await inspect('a.img', mbr([[0x80, 0x83]]))).toMatchObject({
      kind: 'disk',
      format: 'raw',
      label: 'MBR',
      bootable: true,
    });
    expect(await inspect('gpt.bin', put(mbr([[0, 0xee]]), 512, 'EFI PART'))).toMatchObject({
      kind: 'disk',
      label: 'GPT',
      bootable: true,
    });
    expect(await inspect('data.img', put(new Uint8Array(4096), 1080, [0x53, 0xef]))).toMatchObject({
      kind: 'disk',
      bootable: false,
    });
    expect(await inspect('blank.img', new Uint8Array(0), 1 << 20)).toMatchObject({
      kind: 'disk',
      format: 'raw',
      bootable: false,
      bytes: 1 << 20,
    });
    expect(await inspect('blank', new Uint8Array(4096))).toMatchObject({
      kind: 'unknown',
      problem: expect.any(String) as string,
    });
  });

  it('recognises a Linux kernel and its version', async () => {
    const kernel = put(put(new Uint8Array(8192), 0x202, 'HdrS'), 0x1fe, [0x55, 0xaa]);
    put(kernel, 0x20e, [0x00, 0x10]);
    put(kernel, 0x1200, '6.1.0-44-cloud-amd64 (debian@build) #1\0');
    expect(await inspect('vmlinuz', kernel)).toMatchObject({
      kind: 'linuxKernel',
      label: 'Linux 6.1.0-44-cloud-amd64',
      suggestedOs: 'linux',
      bootable: true,
    });
  });

  it.each([
    ['a.qcow2', [0x51, 0x46, 0x49, 0xfb], 'disk', 'qcow2', /cannot be used: it is of qcow2 version 0/],
    ['a.gz', [0x1f, 0x8b, 8], 'archive', 'gzip', /unpack/],
    ['a.zip', [0x50, 0x4b, 3, 4], 'archive', 'zip', /unpack/],
    ['initrd', [...'070701'].map((c) => c.charCodeAt(0)), 'unknown', 'cpio', /RAM disk/],
    ['program', [0x7f, 0x45, 0x4c, 0x46], 'unknown', 'elf', /ELF/],
    ['notes.txt', [...'Grüße, hello\n'].flatMap((c) => [...new TextEncoder().encode(c)]), 'unknown', 'text', /text file/],
  ])('says what is wrong with %s', async (name, bytes, kind, format, problem) => {
    const info = await inspect(name, Uint8Array.from(bytes as number[]));
    expect(info).toMatchObject({ kind, format, bootable: kind === 'disk' });
    expect(info.problem).toMatch(problem);
  });

  it('finds a fixed VHD by its footer', async () => {
    await createDisk({ path: join(folder, 'b.img'), bytes: 1 << 20, format: 'vhd', variant: 'fixed' });
    const info = await inspectImage(join(folder, 'b.img'));
    expect(info).toMatchObject({ kind: 'disk', format: 'vhd', bytes: 1 << 20 });
    expect(info.problem).toBeUndefined();
  });

  it('answers for empty files, folders and pipes; throws only for what is not there', async () => {
    expect(await inspect('zero.iso', '')).toMatchObject({ kind: 'unknown', problem: 'This file is empty (0 bytes).' });
    expect(imageInfoSchema.parse(await inspectImage(folder)).problem).toMatch(/folder/);
    execFileSync('mkfifo', [join(folder, 'pipe')]);
    expect((await inspectImage(join(folder, 'pipe'))).problem).toMatch(/ordinary/);
    await expect(inspectImage(join(folder, 'nowhere'))).rejects.toMatchObject({ code: 'fileMissing' });
  });

  it('has an answer for any bytes', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ maxLength: 2048 }),
        fc.nat(8000),
        fc.constantFrom('HdrS', 'CD001', 'EFI PART', 'conectix', 'FAT'),
        async (bytes, at, magic) => {
          const image = put(iso('X', true), Math.min(at * 6, 20000), [...bytes]);
          put(image, at, magic);
          put(image, 510, [0x55, 0xaa]);
          identify(image, image.subarray(-512), image.length, false);
          identify(bytes, bytes.subarray(-512), bytes.length, true);
          await inspectIso(async (sector) => image.subarray(sector * ISO_SECTOR, (sector + 1) * ISO_SECTOR));
          imageInfoSchema.parse(await inspect('fuzz.img', bytes));
        },
      ),
      { numRuns: 200 },
    );
  });
});

describe('guesses', () => {
  it.each([
    ['Debian 12.5.0 amd64 n', 'debian', 'Debian 12.5.0'],
    ['Ubuntu 24.04.1 LTS amd64', 'ubuntu', 'Ubuntu 24.04.1'],
    ['Ubuntu-Server 22.04 LTS amd64', 'ubuntu', 'Ubuntu 22.04'],
    ['Fedora-WS-Live-40-1-14', 'fedora', 'Fedora Linux 40'],
    ['ARCH_202402', 'arch', 'Arch Linux 202402'],
    ['alpine-virt 3.19.1 x86_64', 'alpine', 'Alpine Linux 3.19.1'],
    ['CCCOMA_X64FRE_EN-US_DV9', 'windows11', 'Windows 11'],
    ['14_0_RELEASE_AMD64_CD', 'freebsd', 'FreeBSD 14'],
    ['OpenBSD/amd64   7.4 Install CD', 'openbsd', 'OpenBSD 7.4'],
  ])('%s', (label, id, name) => {
    expect(guessOs(label, 'x.iso')).toEqual({ id, name });
  });

  it('falls back to the file name, then to nothing', () => {
    expect(guessOs('CDROM', 'debian-12.5.0-amd64-netinst.iso')).toEqual({ id: 'debian', name: 'Debian 12.5.0' });
    expect(guessOs(undefined, 'stuff.img')).toBeUndefined();
    expect(prettyName('my_server-disk.img')).toBe('My server disk');
    expect(prettyName('.iso')).toBe('New machine');
  });
});
