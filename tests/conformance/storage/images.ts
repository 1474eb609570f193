/** Images to test with: by Lodge and, where it is there, by qemu-img. */
import { execFile, spawnSync } from 'node:child_process';
import { promisify } from 'node:util';
import { createDisk } from '../../../main/storage';
import type { DiskFormat } from '../../../preload/contract';

const run = promisify(execFile);

export const hasQemu = spawnSync('qemu-img', ['--version']).status === 0;
export const NO_QEMU = 'qemu-img is not installed (Debian: qemu-utils)';
export const QEMU_NAME: Record<DiskFormat, string> = { raw: 'raw', qcow2: 'qcow2', vdi: 'vdi', vmdk: 'vmdk', vhd: 'vpc', vhdx: 'vhdx' };

export const qemuImg = async (...args: string[]): Promise<string> => (await run('qemu-img', args, { timeout: 60_000 })).stdout;

/** Corruptions and leaks as qemu-img counts them; undefined: it cannot check the format. */
export async function qemuCheck(path: string, format: DiskFormat): Promise<{ corruptions: number; leaks: number; text: string } | undefined> {
  const result = spawnSync('qemu-img', ['check', '-f', QEMU_NAME[format], '--output=json', path], { encoding: 'utf8', timeout: 60_000 });
  if (result.status === 63) return undefined;
  const text = result.stdout + result.stderr;
  if (result.status !== 0 && result.status !== 2 && result.status !== 3) return { corruptions: 1, leaks: 0, text };
  const report = JSON.parse(result.stdout) as { corruptions?: number; leaks?: number; 'check-errors': number };
  return { corruptions: (report.corruptions ?? 0) + report['check-errors'], leaks: report.leaks ?? 0, text };
}

export interface Kind {
  readonly name: string;
  readonly format: DiskFormat;
  /** Can qemu-img read it? */
  readonly qemu: boolean;
  make(path: string, bytes: number, n: number): Promise<void>;
}

const own = (name: string, format: DiskFormat, variant?: 'fixed' | 'split'): Kind => ({
  name,
  format,
  qemu: true,
  make: (path, bytes) => createDisk({ path, bytes, format, variant }),
});

/** On top of a base whose every 8th sector is written, so that what shows through is told from zeroes. */
const over = (name: string, format: DiskFormat, baseFormat: DiskFormat, qemu: boolean): Kind => ({
  name,
  format,
  qemu,
  make: async (path, bytes) => {
    const base = `${path}.base.${baseFormat}`;
    await createDisk({ path: base, bytes, format: baseFormat });
    await createDisk({ path, bytes, format, parent: base });
  },
});

export const KINDS: readonly Kind[] = [
  own('qcow2', 'qcow2'),
  own('vdi', 'vdi'),
  own('vmdk', 'vmdk'),
  own('vmdk split', 'vmdk', 'split'),
  own('vhd', 'vhd'),
  own('vhdx', 'vhdx'),
  over('qcow2 on raw', 'qcow2', 'raw', true),
  over('vdi differencing', 'vdi', 'vdi', false),
  over('vhd differencing', 'vhd', 'vhd', false),
];

/** Cluster sizes, versions and refcount widths by turns. */
export const QEMU_KIND: Kind = {
  name: 'qcow2 in all variants',
  format: 'qcow2',
  qemu: true,
  make: async (path, bytes, n) => {
    const cluster = [512, 1024, 4096, 65536, 2 << 20][n % 5]!;
    const v2 = n % 4 === 3;
    const width = [1, 2, 4, 8, 16, 32, 64][n % 7]!;
    const options = v2 ? `compat=0.10,cluster_size=${cluster}` : `compat=1.1,cluster_size=${cluster},refcount_bits=${width},lazy_refcounts=${n % 2 ? 'on' : 'off'}`;
    await qemuImg('create', '-q', '-f', 'qcow2', '-o', options, path, String(bytes));
  },
};
