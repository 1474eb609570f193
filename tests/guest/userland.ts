/**
 * A Debian with interpreters, OpenSSL, SQLite and a compiler: packages through mmdebstrap by name, kept in the cache as a tree. The host
 * runs its programs in a chroot, the guest from a disk made of the same files. Made as root only: chroot, owners and device files.
 */
import { spawnSync } from 'node:child_process';
import { closeSync, cpSync, existsSync, ftruncateSync, mkdirSync, mkdtempSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'; // prettier-ignore
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { CACHE, hashOf } from '../../resources/tools/lib/common.mjs';
import { cpio } from '../../resources/tools/lib/cpio.mjs';

const SUITE = 'bookworm';
const BASE = ['openssl', 'sqlite3', 'gcc', 'libc6-dev', 'coreutils', 'dash'];
const PYTHON = ['python3', 'libpython3.11-testsuite'];
/** Parts that run without Python. */
const NO_PYTHON = new Set(['perl', 'openssl', 'sqlite', 'gcc']);
/** Also the compilers for link-time optimization and preprocessing by itself: a fifth of the whole. */
const LEFT_OUT = ['/usr/share/doc/*', '/usr/share/man/*', '/usr/share/info/*', '/usr/share/locale/*', '/usr/lib/gcc/*/lto1'];
const SCRIPTS = join(import.meta.dirname, 'userland');
const DISK_BYTES = 640 << 20;

function run(command: string, args: readonly string[], cwd?: string): string {
  const result = spawnSync(command, args, { encoding: 'utf8', maxBuffer: 64 << 20, ...(cwd !== undefined && { cwd }) });
  if (result.status !== 0) throw new Error(`${command} failed: ${result.stderr || String(result.error)}`);
  return result.stdout;
}

/** The suite alone, from where this machine's own packages come: not every mirror keeps its updates for other architectures. */
function source(): string {
  const targets = run('apt-get', ['indextargets', '--format', '$(REPO_URI) $(CODENAME)', 'Identifier: Packages']);
  const found = targets.split('\n').map((line) => line.split(' ')).find(([, codename]) => codename === SUITE); // prettier-ignore
  if (!found) throw new Error(`no source of ${SUITE}`);
  return `deb ${found[0]} ${SUITE} main`;
}

/** The tree, which nobody writes to. */
function packages(home: string, wanted: readonly string[], architecture: Architecture): string {
  const foreign = architecture === 'amd64' ? [] : [architecture];
  const kept = join(home, `userland-${hashOf([], ...wanted, ...LEFT_OUT, SUITE, ...foreign).slice(0, 12)}`);
  if (existsSync(kept)) return kept;
  const work = mkdtempSync(join(home, 'new-userland-'));
  try {
    run('mmdebstrap', [
      ...['--quiet', '--mode=root', '--variant=extract', '--format=directory', `--include=${wanted.join(',')}`],
      ...foreign.map((name) => `--architectures=${name}`),
      ...['--aptopt=APT::Install-Recommends "false"', ...LEFT_OUT.map((path) => `--dpkgopt=path-exclude=${path}`)],
      ...[SUITE, join(work, 'tree'), ...foreign.map(source)],
    ]);
    for (const name of ['proc', 'userland']) mkdirSync(join(work, 'tree', name), { recursive: true });
    if (!existsSync(kept)) renameSync(join(work, 'tree'), kept);
    return kept;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

export type Architecture = 'amd64' | 'i386';

export interface Userland {
  readonly initrd: string;
  readonly disk: string;
  /** What the host's processor makes of these parts, as the guest prints it. */
  readonly expected: string;
}

/** Throws where it cannot be had. Of i386 the host runs the programs as they are, and so does the guest's 64-bit kernel. */
export function userland(
  parts: readonly string[],
  initrd: string,
  folder: string,
  architecture: Architecture = 'amd64',
): Userland {
  if (process.getuid?.() !== 0) throw new Error('it is made as root only');
  const home = join(CACHE, 'guest');
  mkdirSync(home, { recursive: true });
  const python = parts.every((part) => NO_PYTHON.has(part)) ? [] : PYTHON;
  const kept = packages(home, ['perl', ...python, ...BASE], architecture);
  // Beside what is kept, so that its files can be linked; scripts, keys and what programs leave behind are this run's own.
  const work = mkdtempSync(join(home, 'run-userland-'));
  const tree = join(work, 'tree');
  try {
    run('cp', ['-al', kept, tree]);
    cpSync(SCRIPTS, join(tree, 'userland'), { recursive: true });
    run('chroot', [tree, '/bin/sh', '/userland/keys.sh']);
    const expected = run('chroot', [tree, '/bin/sh', '/userland/run.sh', ...parts]);
    rmSync(join(tree, 'tmp'), { recursive: true });
    mkdirSync(join(tree, 'tmp'));
    const disk = join(folder, 'userland.img');
    const file = openSync(disk, 'w');
    ftruncateSync(file, DISK_BYTES);
    closeSync(file);
    run('mkfs.ext4', ['-q', '-F', '-O', '^has_journal', '-m', '0', '-d', tree, disk]);
    const both = join(folder, 'initrd.gz');
    const init = gzipSync(cpio([{ name: 'userland', kind: 'file', data: readFileSync(join(SCRIPTS, 'init.sh')) }]));
    writeFileSync(both, Buffer.concat([readFileSync(initrd), init]));
    return { initrd: both, disk, expected };
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}
