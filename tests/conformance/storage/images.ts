/** Images to test with: by Lodge and, where it is there, by qemu-img. */
import { execFile, spawnSync } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { createDisk } from '../../../main/storage';
import type { DiskFormat, DiskVariant } from '../../../preload/contract';

const run = promisify(execFile);

export const hasQemu = spawnSync('qemu-img', ['--version']).status === 0;
export const NO_QEMU = 'qemu-img is not installed (Debian: qemu-utils)';
export const QEMU_NAME: Record<DiskFormat, string> = {
  raw: 'raw',
  qcow2: 'qcow2',
  vdi: 'vdi',
  vmdk: 'vmdk',
  vhd: 'vpc',
  vhdx: 'vhdx',
};

export const qemuImg = async (...args: string[]): Promise<string> => (await run('qemu-img', args, { timeout: 60_000 })).stdout;

/** Corruptions and leaks as qemu-img counts them; undefined: it cannot check the format. */
export async function qemuCheck(
  path: string,
  format: DiskFormat,
): Promise<{ corruptions: number; leaks: number; text: string } | undefined> {
  const { status, stdout, stderr } = await run('qemu-img', ['check', '-f', QEMU_NAME[format], '--output=json', path], {
    timeout: 60_000,
  }).then(
    (out) => ({ ...out, status: 0 }),
    (e: { code?: number | string; stdout?: string; stderr?: string }) => ({
      stdout: e.stdout ?? '',
      stderr: e.stderr ?? String(e),
      status: e.code,
    }),
  );
  if (status === 63) return undefined;
  const text = stdout + stderr;
  if (status !== 0 && status !== 2 && status !== 3) return { corruptions: 1, leaks: 0, text };
  const report = JSON.parse(stdout) as { corruptions?: number; leaks?: number; 'check-errors': number };
  return { corruptions: (report.corruptions ?? 0) + report['check-errors'], leaks: report.leaks ?? 0, text };
}

export interface Kind {
  readonly name: string;
  readonly format: DiskFormat;
  /** Can qemu-img read it? */
  readonly qemu: boolean;
  /** Its tables cannot change in one sector: after a power cut they are right again once it was opened for writing. */
  readonly mended?: boolean;
  make(path: string, bytes: number, n: number): Promise<void>;
}

const own = (name: string, format: DiskFormat, variant?: DiskVariant): Kind => ({
  name,
  format,
  qemu: true,
  mended: format === 'vdi',
  make: (path, bytes) => createDisk({ path, bytes, format, variant }),
});

const over = (name: string, format: DiskFormat, baseFormat: DiskFormat, qemu: boolean): Kind => ({
  name,
  format,
  qemu,
  mended: format === 'vdi',
  make: async (path, bytes) => {
    const base = `${path}.base.${baseFormat}`;
    await createDisk({ path: base, bytes, format: baseFormat });
    await createDisk({ path, bytes, format, parent: base });
  },
});

export const KINDS: readonly Kind[] = [
  own('raw', 'raw'),
  own('qcow2', 'qcow2'),
  own('vdi', 'vdi'),
  own('vdi fixed', 'vdi', 'fixed'),
  {
    ...own('vdi with its map away from its header', 'vdi'),
    // As in large images, where both never share a page.
    make: async (path, bytes) => {
      await createDisk({ path, bytes, format: 'vdi' });
      const image = await readFile(path);
      const [from, to] = [image.readUInt32LE(0x154), 65536];
      image.writeUInt32LE(to, 0x154);
      image.copy(image, to, from, from + image.readUInt32LE(0x180) * 4);
      await writeFile(path, image);
    },
  },
  own('vmdk', 'vmdk'),
  own('vmdk split', 'vmdk', 'split'),
  own('vmdk flat', 'vmdk', 'fixed'),
  own('vhd', 'vhd'),
  own('vhd fixed', 'vhd', 'fixed'),
  own('vhdx', 'vhdx'),
  own('vhdx fixed', 'vhdx', 'fixed'),
  over('qcow2 on raw', 'qcow2', 'raw', true),
  over('vdi differencing', 'vdi', 'vdi', false),
  over('vhd differencing', 'vhd', 'vhd', false),
  over('vhdx differencing', 'vhdx', 'vhdx', false),
];

/** Images that only qemu-img makes. */
export const QEMU_KINDS: readonly Kind[] = [
  {
    name: 'qcow2 in all variants',
    format: 'qcow2',
    qemu: true,
    // Cluster sizes, versions and refcount widths by turns.
    make: async (path, bytes, n) => {
      const cluster = [512, 1024, 4096, 65536, 2 << 20][n % 5]!;
      const v2 = n % 4 === 3;
      const width = [1, 2, 4, 8, 16, 32, 64][n % 7]!;
      const options = v2
        ? `compat=0.10,cluster_size=${cluster}`
        : `compat=1.1,cluster_size=${cluster},refcount_bits=${width},lazy_refcounts=${n % 2 ? 'on' : 'off'}`;
      await qemuImg('create', '-q', '-f', 'qcow2', '-o', options, path, String(bytes));
    },
  },
  {
    name: 'qcow2 version 2 on qcow2',
    format: 'qcow2',
    qemu: true,
    make: async (path, bytes, n) => {
      const base = `${path}.base.qcow2`;
      await qemuImg('create', '-q', '-f', 'qcow2', '-o', 'compat=0.10', base, String(bytes));
      const options = `compat=0.10,cluster_size=${n % 2 ? 4096 : 65536}`;
      await qemuImg('create', '-q', '-f', 'qcow2', '-b', base, '-F', 'qcow2', '-o', options, path, String(bytes));
    },
  },
];
