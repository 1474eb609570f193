/** Space that a guest gives up becomes the host's again, in every format, and nothing else changes. */
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Exit, type NativeAddon, type NativeMachine } from '../../../native/addon/types';
import type { DiskFormat, DiskVariant } from '../../../preload/contract';
import { checkDisk, createDisk, openDisk, type BulkIo, type ImageDisk } from '..';

const MIB = 1 << 20;
const BYTES = 16 * MIB;
const engine = resolve('native/build/Release/lodge.node');
const built = existsSync(engine);
if (!built) console.warn(`discard.test.ts skipped: ${engine} has not been built`);
const native = built
  ? (createRequire(import.meta.url)(engine) as NativeAddon).createMachine({
      accelerator: 'software',
      tier: 'interpreter',
      cpus: 1,
      exitBuffer: new ArrayBuffer(Exit.STRIDE),
      onWake: () => undefined,
    })
  : (undefined as unknown as NativeMachine);

let dir: string;
beforeAll(async () => void (dir = await mkdtemp(join(tmpdir(), 'lodge-discard-'))));
afterAll(async () => {
  if (built) native.destroy();
  await rm(dir, { recursive: true, force: true });
});

const KINDS: readonly [DiskFormat, DiskVariant][] = [
  ['raw', 'dynamic'],
  ['qcow2', 'dynamic'],
  ['vdi', 'dynamic'],
  ['vdi', 'fixed'],
  ['vmdk', 'dynamic'],
  ['vmdk', 'splitFixed'],
  ['vhd', 'dynamic'],
  ['vhd', 'fixed'],
  ['vhdx', 'dynamic'],
];

async function hostBytes(disk: ImageDisk): Promise<number> {
  let sum = 0;
  for (const file of disk.map.files) sum += (await stat(file.path)).blocks * 512;
  return sum;
}

const CONTENT = new Uint8Array(BYTES);
for (let i = 0; i < BYTES; i++) CONTENT[i] = 1 + (((i >> 12) * 31 + i) % 255);
const content = (): Uint8Array => CONTENT.slice();

async function filled(
  name: string,
  format: DiskFormat,
  variant: DiskVariant,
  engine?: Pick<NativeMachine, keyof BulkIo>,
): Promise<{ path: string; disk: ImageDisk }> {
  const path = join(dir, `${name}.${format}`);
  await createDisk({ path, bytes: BYTES, format, variant });
  const disk = await openDisk(path, { readOnly: false, format, ...(engine && { native: engine }) });
  await disk.writeBytes(0, content());
  await disk.flush();
  return { path, disk };
}

async function whole(disk: ImageDisk): Promise<Uint8Array> {
  const into = new Uint8Array(disk.bytes);
  await disk.readBytes(0, into);
  return into;
}

describe.skipIf(!built)('giving space back', () => {
  it.each(KINDS)('%s (%s)', async (format, variant) => {
    const { path, disk } = await filled(`discard-${variant}`, format, variant, native);
    expect(disk.discards).toBe(true);
    const full = await hostBytes(disk);
    // Whole clusters of every format, parts of them, and sectors that share the host's blocks with others.
    await disk.discard(3 * MIB + 512, 9 * MIB);
    await disk.discard(14 * MIB, 4096);
    await disk.flush();
    expect(await hostBytes(disk)).toBeLessThan(full - 8.5 * MIB);
    const expected = content();
    const after = await whole(disk);
    for (const [from, to] of [
      [0, 3 * MIB + 512],
      [12 * MIB + 512, 14 * MIB],
      [14 * MIB + 4096, BYTES],
    ] as const) {
      expect(Buffer.compare(after.subarray(from, to), expected.subarray(from, to))).toBe(0);
    }
    await disk.writeBytes(5 * MIB, expected.subarray(5 * MIB, 6 * MIB));
    await disk.close();
    expect((await checkDisk(path)).errors).toEqual([]);
    const again = await openDisk(path, { readOnly: true, format });
    expect(Buffer.compare((await whole(again)).subarray(5 * MIB, 6 * MIB), expected.subarray(5 * MIB, 6 * MIB))).toBe(0);
    await again.close();
  });

  it.each([true, false])('zeroes of a raw image; its space may go: %s', async (giveBack) => {
    const { path, disk } = await filled(`zero-${giveBack}`, 'raw', 'dynamic', native);
    const full = await hostBytes(disk);
    await disk.writeZeroes(MIB, 8 * MIB, giveBack);
    await disk.flush();
    const now = await hostBytes(disk);
    if (giveBack) expect(now).toBeLessThanOrEqual(full - 8 * MIB);
    else expect(now).toBeGreaterThanOrEqual(full - MIB);
    await disk.close();
    const expected = content().fill(0, MIB, 9 * MIB);
    expect(Buffer.compare(await readFile(path), expected)).toBe(0);
  });

  it('without the engine a raw image does not offer it, and zeroes are written', async () => {
    const { path, disk } = await filled('plain', 'raw', 'dynamic');
    expect(disk.discards).toBe(false);
    await disk.discard(0, MIB);
    await disk.writeZeroes(MIB, MIB, true);
    await disk.close();
    expect(Buffer.compare(await readFile(path), content().fill(0, MIB, 2 * MIB))).toBe(0);
  });

  it('a host that turns out unable to is asked once, and zeroes are written', async () => {
    let asked = 0;
    const unable = new Proxy(native, {
      get: (target, name) =>
        name === 'fileZero' ? async (_fd: number, at: number) => at >= BYTES || (asked++, false) : Reflect.get(target, name),
    });
    const { path, disk } = await filled('unable', 'raw', 'dynamic', unable);
    for (let i = 0; i < 4; i++) await disk.writeZeroes(i * MIB, MIB, true);
    await disk.close();
    expect(asked).toBe(1);
    expect(Buffer.compare(await readFile(path), content().fill(0, 0, 4 * MIB))).toBe(0);
  });
});
