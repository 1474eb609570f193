import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { loadFirmware } from './firmware-image';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lodge-firmware-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

function volume(bytes: number, guid = '00'.repeat(16)): Buffer {
  const image = Buffer.alloc(bytes, 0xff);
  Buffer.from(guid, 'hex').copy(image, 16);
  image.writeUInt32LE(bytes, 32);
  image.write('_FVH', 40, 'latin1');
  return image;
}
const NV = '8d2bf1ff96768b4ca9852747075b4f50';
const save = async (name: string, contents: Uint8Array): Promise<string> => {
  const path = join(folder, name);
  await writeFile(path, contents);
  return path;
};
const load = (image: string, variables?: string, onError = vi.fn()) =>
  loadFirmware({ image, ...(variables !== undefined && { variables }) }, onError);

describe('firmware images', () => {
  it('a BIOS, with the display’s ROM from beside it', async () => {
    const image = await save('bios.bin', Buffer.alloc(65536, 1));
    expect((await load(image)).vgaRom).toBeUndefined();
    await save('vgabios-stdvga.bin', Buffer.from([0x55, 0xaa]));
    const firmware = await load(image);
    expect([firmware.code.length, firmware.variables, firmware.vgaRom?.length]).toEqual([65536, undefined, 2]);
  });

  it('UEFI code takes its template once and keeps what is written', async () => {
    const image = await save('OVMF_CODE_4M.secboot.fd', volume(8192));
    const template = volume(4096, NV);
    await save('OVMF_VARS_4M.fd', template);
    const path = join(folder, 'nvram.fd');
    const first = (await load(image, path)).variables!;
    expect(Buffer.compare(await readFile(path), template)).toBe(0);
    first.contents.set([1, 2, 3], 100);
    first.changed(100, 3);
    await first.close();
    const second = (await load(image, path)).variables!;
    expect([...second.contents.subarray(100, 103)]).toEqual([1, 2, 3]);
    await second.close();
  });

  it('one file with both is divided; without a file for them, variables are forgotten', async () => {
    const image = await save('OVMF.fd', Buffer.concat([volume(4096, NV), volume(8192)]));
    const firmware = await load(image);
    expect([firmware.code.length, firmware.variables?.contents.length]).toEqual([8192, 4096]);
    firmware.variables!.contents[50] = 0;
    firmware.variables!.changed(50, 1);
    await firmware.variables!.close();
    expect((await readFile(image))[50]).toBe(0xff);
  });

  it('says what is wrong', async () => {
    await expect(load(join(folder, 'nowhere'))).rejects.toMatchObject({ code: 'fileMissing' });
    await expect(load(await save('tiny', Buffer.alloc(100)))).rejects.toMatchObject({ code: 'fileInvalid' });
    await expect(load(await save('odd', Buffer.alloc(70000)))).rejects.toMatchObject({ code: 'fileInvalid' });
    await expect(load(await save('CODE.fd', volume(8192)))).rejects.toMatchObject({ code: 'fileMissing' });
    const image = await save('X_CODE.fd', volume(8192));
    await save('X_VARS.fd', volume(4096, NV));
    const other = await save('other.fd', Buffer.alloc(8192));
    await expect(load(image, other)).rejects.toMatchObject({ code: 'fileInvalid' });
    expect((await readFile(other)).length).toBe(8192);
  });
});
