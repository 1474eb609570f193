/** stress-ng and every library it needs, taken through apt by name, as a second initramfs behind the fixture's own; kept in the cache. */
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  realpathSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { CACHE } from '../../resources/tools/lib/common.mjs';
import { cpio } from '../../resources/tools/lib/cpio.mjs';

const TRIPLET = { amd64: 'x86_64-linux-gnu', i386: 'i386-linux-gnu' } as const;
const LOADER = { amd64: 'lib64/ld-linux-x86-64.so.2', i386: 'lib/ld-linux.so.2' } as const;
export type Arch = keyof typeof TRIPLET;

const SCRIPT = `#!/bin/sh
/bin/busybox --install -s /bin
export PATH=/bin:/usr/bin LD_LIBRARY_PATH=/usr/lib/stress
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev; mount -t tmpfs tmp /tmp
seconds=$(sed -n 's/.*lodge\\.seconds=\\([0-9]*\\).*/\\1/p' /proc/cmdline)
echo "LODGE-INIT cpus=$(nproc)"
stress-ng --cpu 4 --vm 2 --vm-bytes 24M --switch 2 --verify --metrics-brief --temp-path /tmp --timeout "$seconds"s
echo "LODGE-STRESS code=$?"
echo "LODGE-BEGIN dmesg"; dmesg; echo "LODGE-END dmesg"
echo "LODGE-BEGIN interrupts"; cat /proc/interrupts; echo "LODGE-END interrupts"
poweroff -f
`;

function run(command: string, args: readonly string[], cwd?: string): string {
  const result = spawnSync(command, args, { encoding: 'utf8', maxBuffer: 64 << 20, ...(cwd !== undefined && { cwd }) });
  if (result.status !== 0) throw new Error(`${command} ${args.join(' ')} failed: ${result.stderr || String(result.error)}`);
  return result.stdout;
}

/** Sonames a shared object or program asks for. */
const needed = (file: string): string[] => [...run('readelf', ['-d', file]).matchAll(/\(NEEDED\).*\[(.+)\]/g)].map((m) => m[1]!);

function packages(arch: Arch): string[] {
  const options = ['recommends', 'suggests', 'conflicts', 'breaks', 'replaces', 'enhances'].map((kind) => `--no-${kind}`);
  const lines = run('apt-cache', ['depends', '--recurse', ...options, `stress-ng:${arch}`]).split('\n');
  const libraries = lines.filter((line) => /^(lib|zlib1g|stress-ng)\S*$/.test(line) && !line.startsWith('libc6-i686'));
  const named = libraries.map((name) => (name.includes(':') || arch === 'amd64' ? name : `${name}:${arch}`));
  // Some are virtual, or have no code for this architecture.
  const policy = run('apt-cache', ['policy', ...new Set(named)]);
  return [...policy.matchAll(/^(\S+):\n {2}Installed: .*\n {2}Candidate: (?!\(none\))/gm)].map((match) => match[1]!);
}

function build(arch: Arch, folder: string): Buffer {
  const debs = join(folder, 'debs');
  const root = join(folder, 'root');
  mkdirSync(debs);
  run('apt-get', ['-qq', 'download', ...packages(arch)], debs);
  for (const deb of readdirSync(debs)) run('dpkg', ['-x', join(debs, deb), root]);
  const folders = ['lib', 'usr/lib'].map((top) => join(root, top, TRIPLET[arch]));
  const library = (name: string): string => {
    const found = folders.map((f) => join(f, name)).find((path) => existsSync(path));
    if (found === undefined) throw new Error(`no package of stress-ng’s has ${name}`);
    return realpathSync(found);
  };
  const wanted = new Map<string, string>();
  const visit = (file: string): void => {
    for (const name of needed(file)) {
      if (wanted.has(name) || name.startsWith('ld-linux')) continue;
      wanted.set(name, library(name));
      visit(wanted.get(name)!);
    }
  };
  const program = join(root, 'usr/bin/stress-ng');
  visit(program);
  const loader = LOADER[arch];
  const loaderFolder = dirname(loader);
  return gzipSync(
    cpio([
      ...['usr', 'usr/bin', 'usr/lib', 'usr/lib/stress', loaderFolder].map((name) => ({ name, kind: 'folder' as const })),
      { name: 'usr/bin/stress-ng', kind: 'file', data: readFileSync(program) },
      { name: loader, kind: 'file', data: readFileSync(library(basename(loader))) },
      ...[...wanted].map(([name, path]) => ({ name: `usr/lib/stress/${name}`, kind: 'file' as const, data: readFileSync(path) })),
      { name: 'stress', kind: 'file', data: SCRIPT },
    ]),
    { level: 6 },
  );
}

/** The fixture's initrd with stress-ng in it. Throws where apt cannot give the packages. */
export function stressInitrd(arch: Arch, initrd: string, folder: string): string {
  const home = join(CACHE, 'guest');
  mkdirSync(home, { recursive: true });
  const kept = join(home, `stress-ng-${arch}-1.gz`);
  if (!existsSync(kept)) {
    const work = mkdtempSync(join(home, 'stress-'));
    try {
      writeFileSync(join(work, 'archive'), build(arch, work));
      renameSync(join(work, 'archive'), kept);
    } finally {
      rmSync(work, { recursive: true, force: true });
    }
  }
  const both = join(folder, `initrd-${arch}.gz`);
  writeFileSync(both, Buffer.concat([readFileSync(initrd), readFileSync(kept)]));
  return both;
}
