/** Damaged headers and tables of every format: opening, reading, checking and writing end in time, with data or with an error. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checkDisk, diskInfo, openDisk } from '../../../main/storage';
import { KINDS } from './images';
import { random, sectorBytes } from './model';

/** LODGE_FUZZ_RUNS: damages of each kind. */
const RUNS = Number(process.env['LODGE_FUZZ_RUNS'] ?? 20);
const BYTES = 12 << 20;
const LARGEST_GROWTH = 400 << 20;

let dir: string;
beforeAll(async () => void (dir = await mkdtemp(join(tmpdir(), 'lodge-fuzz-'))));
afterAll(() => rm(dir, { recursive: true, force: true }));

/** Where the tables of each format are, near the start of a small image. */
const TABLES: Record<string, [from: number, to: number][]> = {
  qcow2: [
    [0, 128],
    [65536, 65600],
    [131072, 131136],
    [196608, 196640],
    [262144, 262400],
  ],
  vdi: [
    [64, 512],
    [512, 600],
  ],
  vmdk: [
    [0, 80],
    [512, 1400],
    [10752, 14000],
  ],
  vhd: [
    [0, 512],
    [512, 1536],
    [1536, 1600],
    [2048, 2600],
  ],
  vhdx: [
    [65536, 65700],
    [131072, 131200],
    [196608, 196700],
    [2 << 20, (2 << 20) + 256],
    [(2 << 20) + 65536, (2 << 20) + 65800],
    [3 << 20, (3 << 20) + 64],
  ],
};
const VALUES = [0, 1, 0x7f, 0x80, 0xff];

/** An error with words, not a bug's. */
function expectPlain(error: unknown, about: string): void {
  const name = (error as Error).name;
  expect(['ImageError', 'HostIoError'], `${about}: ${(error as Error).stack}`).toContain(name);
}

describe('damaged images', () => {
  // A raw image has nothing that could be damaged.
  for (const kind of KINDS.filter(({ format }) => format !== 'raw')) {
    it(kind.name, { timeout: 120_000 }, async () => {
      // A folder of its own: VDI looks for parents among its neighbours.
      const path = join(await mkdtemp(join(dir, 'kind-')), 'image');
      await kind.make(path, BYTES, 0);
      const disk = await openDisk(path, { readOnly: false });
      for (let i = 0; i < 6; i++) await disk.writeBytes(i * (2 << 20), sectorBytes(i + 1, i * 4096, 40));
      await disk.close();
      const original = await readFile(path);
      const next = random(kind.name.length * 31 + 5);
      const before = process.memoryUsage().rss;
      let errors = 0;
      for (let run = 0; run < RUNS; run++) {
        const bytes = Buffer.from(original);
        const tables = TABLES[kind.format]!;
        const changes = 1 + Math.floor(next() * 3);
        const where: string[] = [];
        for (let c = 0; c < changes; c++) {
          const [from, to] = tables[Math.floor(next() * tables.length)]!;
          const at = from + Math.floor(next() * (to - from));
          const length = [1, 4, 8][Math.floor(next() * 3)]!;
          const value = VALUES[Math.floor(next() * VALUES.length)] ?? 0;
          bytes.fill(next() < 0.3 ? Math.floor(next() * 256) : value, at, Math.min(at + length, bytes.length));
          where.push(`${value} at ${at}+${length}`);
        }
        const cut = next() < 0.1 ? Math.floor(next() * bytes.length) + 1 : bytes.length;
        await writeFile(path, bytes.subarray(0, cut));
        const about = `${kind.name}, run ${run}: ${where.join(', ')}, ${cut} bytes`;
        const attempt = async (work: () => Promise<unknown>): Promise<void> => {
          try {
            await work();
          } catch (e) {
            errors++;
            expectPlain(e, about);
          }
        };
        await attempt(() => diskInfo(path));
        await attempt(() => checkDisk(path));
        for (const readOnly of [true, false]) {
          await attempt(async () => {
            const damaged = await openDisk(path, { readOnly, format: kind.format });
            try {
              const into = new Uint8Array(1 << 20);
              const end = Math.min(damaged.bytes, BYTES);
              for (let at = 0; at < end; at += into.length) {
                await attempt(() => damaged.readBytes(at, into.subarray(0, Math.min(into.length, end - at))));
              }
              if (!readOnly) {
                for (let at = 0; at + 4096 <= end; at += 1 << 20)
                  await attempt(() => damaged.writeBytes(at, sectorBytes(77, at / 512, 8)));
                await attempt(() => damaged.discard(0, Math.min(end, 4 << 20)));
              }
            } finally {
              await attempt(() => damaged.close());
            }
          });
        }
      }
      // Damage was done, and met.
      expect(errors).toBeGreaterThan(0);
      expect(process.memoryUsage().rss - before).toBeLessThan(LARGEST_GROWTH);
    });
  }
});
