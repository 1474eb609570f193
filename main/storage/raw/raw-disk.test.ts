import {
  mkdtempSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
  mkdirSync,
  truncateSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { HostIoError } from '../../backend/block';
import { LodgeError } from '../../../preload/contract';
import { createRawDisk, RawDisk, type BulkIo } from './raw-disk';

let folder: string;
beforeEach(() => void (folder = mkdtempSync(join(tmpdir(), 'lodge-raw-'))));
afterEach(() => rmSync(folder, { recursive: true }));

const ram = new Uint8Array(1 << 16);
/** The engine's contract over an array. */
function engine(): BulkIo & { failWith?: Error; slow?: boolean } {
  const io: BulkIo & { failWith?: Error; slow?: boolean } = {
    fileRead(fd, offset, ranges) {
      if (io.failWith) throw io.failWith;
      let done = 0;
      for (let i = 0; i < ranges.length; i += 2) {
        const n = readSync(fd, ram, ranges[i]!, ranges[i + 1]!, offset + done);
        done += n;
        if (n < ranges[i + 1]!) break;
      }
      return io.slow ? Promise.resolve(done) : done;
    },
    fileWrite(fd, offset, ranges) {
      if (io.failWith) return Promise.reject(io.failWith);
      let done = 0;
      for (let i = 0; i < ranges.length; i += 2) done += writeSync(fd, ram, ranges[i]!, ranges[i + 1]!, offset + done);
      return done;
    },
    memFill: (at, bytes, value) => at + bytes <= ram.length && (ram.fill(value, at, at + bytes), true),
  };
  return io;
}

describe('RawDisk', () => {
  it('moves bytes between the file and scattered guest memory', async () => {
    const path = join(folder, 'a.img');
    writeFileSync(
      path,
      new Uint8Array(4096).map((_, i) => i >> 4),
    );
    const disk = await RawDisk.open({ path, readOnly: false, native: engine() });
    expect(disk.bytes).toBe(4096);
    disk.read(512, Float64Array.of(100, 256, 1000, 256));
    expect([ram[100], ram[355], ram[1000], ram[1255]]).toEqual([32, 47, 48, 63]);
    ram.fill(0xcc, 0, 512);
    await disk.write(1024, Float64Array.of(0, 512));
    await disk.flush();
    expect(readFileSync(path)[1024]).toBe(0xcc);
    await disk.writeZeroes(1024, 512);
    const into = new Uint8Array(4);
    await disk.readBytes(1024, into);
    expect([...into]).toEqual([0, 0, 0, 0]);
    await disk.close();
    await disk.close();
  });

  it.each([false, true])(
    'shows an incomplete last sector padded with zeroes, and makes it whole when written (slow: %s)',
    async (slow) => {
      const path = join(folder, 'odd.img');
      writeFileSync(path, new Uint8Array(700).fill(7));
      const native = Object.assign(engine(), { slow });
      const disk = await RawDisk.open({ path, readOnly: false, native });
      expect(disk.bytes).toBe(1024);
      ram.fill(0xff);
      await disk.read(512, Float64Array.of(0, 100, 200, 412));
      expect([ram[99], ram[200 + 87], ram[200 + 88], ram[200 + 411], ram[200 + 412]]).toEqual([7, 7, 0, 0, 0xff]);
      await disk.write(512, Float64Array.of(0, 512));
      expect(statSync(path).size).toBe(1024);
      await disk.close();
    },
  );

  it('refuses what lies outside, and writes to a read-only disk', async () => {
    const path = join(folder, 'ro.img');
    writeFileSync(path, new Uint8Array(1024));
    const disk = await RawDisk.open({ path, readOnly: true, native: engine() });
    expect(() => disk.read(1024, Float64Array.of(0, 512))).toThrow(HostIoError);
    expect(() => disk.read(Number.NaN, Float64Array.of(0, 512))).toThrow(HostIoError);
    expect(() => disk.write(0, Float64Array.of(0, 512))).toThrow(/read-only/);
    await expect(disk.writeZeroes(0, 512)).rejects.toMatchObject({ kind: 'readOnly' });
    await disk.close();
  });

  it('says what the host said: no space, I/O error; a bad guest address stays the guest’s', async () => {
    const path = join(folder, 'x.img');
    writeFileSync(path, new Uint8Array(1024));
    const native = engine();
    const disk = await RawDisk.open({ path, readOnly: false, native });
    native.failWith = Object.assign(new Error('ENOSPC'), { errno: 28 });
    await expect(disk.write(0, Float64Array.of(0, 512))).rejects.toMatchObject({ name: 'HostIoError', kind: 'noSpace' });
    native.failWith = Object.assign(new Error('EIO'), { errno: 5 });
    expect(() => disk.read(0, Float64Array.of(0, 512))).toThrow(HostIoError);
    native.failWith = Object.assign(new Error('no RAM there'), { code: 'EFAULT' });
    expect(() => disk.read(0, Float64Array.of(0, 512))).toThrow(expect.objectContaining({ code: 'EFAULT' }));
    await disk.close();
  });

  it('opens only what can be a disk, and says why not', async () => {
    const open = (name: string): Promise<RawDisk> =>
      RawDisk.open({ path: join(folder, name), readOnly: false, native: engine() });
    writeFileSync(join(folder, 'empty.img'), '');
    mkdirSync(join(folder, 'dir'));
    await expect(open('missing.img')).rejects.toMatchObject({ code: 'fileMissing' });
    await expect(open('empty.img')).rejects.toMatchObject({ code: 'fileInvalid', message: expect.stringContaining('empty') });
    await expect(open('dir')).rejects.toMatchObject({ code: 'fileInvalid' });
    const error = LodgeError.from(await open('empty.img').catch((e: unknown) => e));
    expect([error.code, error.fix !== undefined]).toEqual(['fileInvalid', true]);
  });
});

describe('createRawDisk', () => {
  it('makes a sparse file and never overwrites one', async () => {
    const path = join(folder, 'new.img');
    await createRawDisk(path, 1 << 30);
    const stat = statSync(path);
    expect([stat.size, stat.blocks * 512 < 1 << 20]).toEqual([1 << 30, true]);
    await expect(createRawDisk(path, 1 << 20)).rejects.toMatchObject({ code: 'nameTaken' });
    await expect(createRawDisk(join(folder, 'b.img'), 1000)).rejects.toMatchObject({ code: 'fileInvalid' });
    await expect(createRawDisk(join(folder, 'no', 'b.img'), 1024)).rejects.toMatchObject({ code: 'fileMissing' });
    truncateSync(path, 0);
  });
});
