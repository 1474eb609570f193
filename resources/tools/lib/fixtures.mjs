/**
 * Real kernels and an initramfs for guest tests, kept in the cache: Debian's linux-image packages through apt by name (as any
 * user, nothing is installed), busybox, and the modules the test guest loads. A fixture that cannot be had is left out and
 * its reason kept, so that its tests can say why they are skipped.
 */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { CACHE, at, hashOf, runQuiet, say, which } from './common.mjs';
import { cpio } from './cpio.mjs';

/** The 32-bit kernel needs apt to know the i386 architecture (`dpkg --add-architecture i386`); it is left out elsewhere. */
export const KERNELS = ['linux-image-cloud-amd64', 'linux-image-amd64', 'linux-image-686-pae:i386'];
const MODULES = ['virtio_pci', 'virtio_blk', 'virtio-rng', 'psmouse', 'bochs', 'ext4'];
/** Loaded when a test asks for them: controllers and drives that every boot would otherwise wait for. */
const STORAGE_MODULES = ['ata_piix', 'ahci', 'sd_mod', 'sr_mod', 'isofs', 'floppy'];
/** The drivers of the display adapter and the tablet that tests of them choose. */
const GRAPHICS_MODULES = ['virtio-gpu', 'virtio_input', 'evdev'];
const HOME = join(CACHE, 'guest');
/** What the fixtures are made from: several clones may share one cache. */
const RECIPE = hashOf(['tests/guest/init.sh', 'resources/tools/lib/fixtures.mjs', 'resources/tools/lib/cpio.mjs']).slice(0, 12);
/** Name → { kernel, initrd, release } or { problem }. */
export const FIXTURES = join(HOME, `fixtures-${RECIPE}.json`);

/** Downloads one package and returns the path of its .deb in `folder`. */
export function download(name, folder) {
  runQuiet('apt-get', ['-qq', 'download', name], { cwd: folder, what: `apt-get download ${name}`, timeoutSeconds: 600 });
  const [bare] = name.split(':');
  const file = readdirSync(folder).find((f) => f.startsWith(`${bare}_`) && f.endsWith('.deb'));
  if (!file) throw new Error(`apt-get made no ${name} package`);
  return join(folder, file);
}

/** The versioned package a meta package such as linux-image-amd64 stands for. */
function versionedPackage(meta) {
  const match = /^\s*\|?Depends:\s*(linux-image-\S+)/m.exec(
    runQuiet('apt-cache', ['depends', meta], { what: `apt-cache depends ${meta}` }),
  );
  if (!match) throw new Error(`apt knows no kernel behind ${meta}`);
  return meta.endsWith(':i386') && !match[1].endsWith(':i386') ? `${match[1]}:i386` : match[1];
}

/** Names of the modules a .ko file needs (its .modinfo section is a list of NUL-terminated key=value strings). */
const dependsOf = (file) => {
  const match = /\0depends=([^\0]*)\0/.exec(readFileSync(file, 'latin1'));
  return match?.[1] ? match[1].split(',') : [];
};
const moduleName = (file) => basename(file).replace(/\.ko$/, '').replaceAll('-', '_');

function findModules(folder) {
  const found = new Map();
  const walk = (path) => {
    for (const entry of readdirSync(path, { withFileTypes: true })) {
      const full = join(path, entry.name);
      if (entry.isDirectory()) walk(full);
      else if (entry.name.endsWith('.ko')) found.set(moduleName(entry.name), full);
    }
  };
  if (existsSync(folder)) walk(folder);
  return found;
}

/** The wanted modules and what they need, each after its dependencies. What is built into the kernel is no module. */
function loadOrder(modules, wanted) {
  const order = [];
  const visit = (name) => {
    const key = name.replaceAll('-', '_');
    const file = modules.get(key);
    if (!file || order.includes(key)) return;
    dependsOf(file).forEach(visit);
    order.push(key);
  };
  wanted.forEach(visit);
  return order;
}

/**
 * busybox-static has no eject: open the path in argv[1] without waiting for a disc, ioctl CDROMEJECT, exit with 0 or 1. Linux x86-64
 * system calls 2, 16 and 60.
 */
function ejectProgram() {
  const code = Buffer.from([
    0x48, 0x8b, 0x7c, 0x24, 0x10, // mov rdi, [rsp+16]: argv[1]
    0xbe, 0x00, 0x08, 0x00, 0x00, // mov esi, O_RDONLY | O_NONBLOCK
    0xb8, 0x02, 0x00, 0x00, 0x00, 0x0f, 0x05, // open
    0x89, 0xc7, // mov edi, eax
    0xbe, 0x09, 0x53, 0x00, 0x00, // mov esi, CDROMEJECT
    0x31, 0xd2, // xor edx, edx
    0xb8, 0x10, 0x00, 0x00, 0x00, 0x0f, 0x05, // ioctl
    0x31, 0xff, // xor edi, edi
    0x85, 0xc0, // test eax, eax
    0x40, 0x0f, 0x95, 0xc7, // setne dil
    0xb8, 0x3c, 0x00, 0x00, 0x00, 0x0f, 0x05, // exit
  ]); // prettier-ignore
  const head = Buffer.alloc(120);
  const [base, size] = [0x400000n, BigInt(head.length + code.length)];
  head.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  head.writeUInt16LE(2, 16); // executable
  head.writeUInt16LE(0x3e, 18); // x86-64
  head.writeUInt32LE(1, 20);
  head.writeBigUInt64LE(base + BigInt(head.length), 24);
  head.writeBigUInt64LE(64n, 32); // program headers
  head.writeUInt16LE(64, 52);
  head.writeUInt16LE(56, 54);
  head.writeUInt16LE(1, 56);
  head.writeUInt32LE(1, 64); // loaded,
  head.writeUInt32LE(5, 68); // read and executed
  head.writeBigUInt64LE(base, 80);
  head.writeBigUInt64LE(base, 88);
  head.writeBigUInt64LE(size, 96);
  head.writeBigUInt64LE(size, 104);
  head.writeBigUInt64LE(0x1000n, 112);
  return Buffer.concat([head, code]);
}

function makeInitrd(busybox, modules) {
  const order = loadOrder(modules, MODULES);
  const storage = loadOrder(modules, STORAGE_MODULES).filter((name) => !order.includes(name));
  const graphics = loadOrder(modules, GRAPHICS_MODULES).filter((name) => !order.includes(name));
  const folders = ['bin', 'dev', 'proc', 'sys', 'tmp', 'mnt', 'modules'];
  const applets = ['sh', 'insmod', 'mount'];
  return gzipSync(
    cpio([
      ...folders.map((name) => ({ name, kind: 'folder' })),
      { name: 'dev/console', kind: 'device', mode: 0o600, major: 5, minor: 1 },
      { name: 'bin/busybox', kind: 'file', data: readFileSync(busybox) },
      { name: 'bin/eject', kind: 'file', data: ejectProgram() },
      ...applets.map((name) => ({ name: `bin/${name}`, kind: 'link', data: 'busybox' })),
      ...[...order, ...storage, ...graphics].map((name) => ({
        name: `modules/${name}.ko`,
        kind: 'file',
        mode: 0o644,
        data: readFileSync(modules.get(name)),
      })),
      { name: 'modules/order', kind: 'file', mode: 0o644, data: order.map((name) => `${name}\n`).join('') },
      { name: 'modules/storage', kind: 'file', mode: 0o644, data: storage.map((name) => `${name}\n`).join('') },
      { name: 'modules/graphics', kind: 'file', mode: 0o644, data: graphics.map((name) => `${name}\n`).join('') },
      { name: 'init', kind: 'file', data: readFileSync(at('tests/guest/init.sh')) },
    ]),
    { level: 6 },
  );
}

function makeKernel(meta, busybox) {
  const name = versionedPackage(meta);
  const folder = join(HOME, `${name.replace(':', '-')}-${RECIPE}`);
  if (!existsSync(join(folder, 'initrd.gz'))) {
    const work = mkdtempSync(join(HOME, 'new-'));
    try {
      say(`fetching ${name} for guest tests…`);
      const deb = download(name, work);
      // Kernel and modules only; of the big package most would be thrown away.
      runQuiet(
        'sh',
        ['-c', 'dpkg-deb --fsys-tarfile "$1" | tar -x -C "$2" --wildcards "./boot/vmlinuz-*" "*.ko"', 'sh', deb, work],
        {
          what: `Unpacking ${name}`,
        },
      );
      const ready = join(work, 'ready');
      mkdirSync(ready);
      const vmlinuz = readdirSync(join(work, 'boot')).find((f) => f.startsWith('vmlinuz-'));
      renameSync(join(work, 'boot', vmlinuz), join(ready, 'vmlinuz'));
      const modules = findModules(join(work, existsSync(join(work, 'usr/lib/modules')) ? 'usr/lib/modules' : 'lib/modules'));
      writeFileSync(join(ready, 'initrd.gz'), makeInitrd(busybox, modules));
      writeFileSync(join(ready, 'release'), vmlinuz.slice('vmlinuz-'.length));
      rmSync(folder, { recursive: true, force: true });
      renameSync(ready, folder);
    } finally {
      rmSync(work, { recursive: true, force: true });
    }
  }
  // In use now, so not old.
  utimesSync(folder, new Date(), new Date());
  return {
    kernel: join(folder, 'vmlinuz'),
    initrd: join(folder, 'initrd.gz'),
    release: readFileSync(join(folder, 'release'), 'utf8'),
  };
}

/** The program of busybox-static, for the processor of the kernel. */
function findBusybox(meta) {
  const suffix = meta.endsWith(':i386') ? ':i386' : '';
  const kept = join(HOME, `busybox${suffix.replace(':', '-')}`);
  if (existsSync(kept)) return kept;
  const work = mkdtempSync(join(HOME, 'new-'));
  try {
    const deb = download(`busybox-static${suffix}`, work);
    runQuiet('dpkg-deb', ['-x', deb, work], { what: 'Unpacking busybox-static' });
    const program = ['bin/busybox', 'usr/bin/busybox'].map((p) => join(work, p)).find((p) => existsSync(p));
    renameSync(program, kept);
    return kept;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

const KEEP_DAYS = 14;
/** Every change of a recipe and every new kernel leaves its predecessor behind. */
export function dropOld(folder, names) {
  const before = Date.now() - KEEP_DAYS * 86_400_000;
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    if (names.test(name) && statSync(path).mtimeMs <= before) rmSync(path, { recursive: true, force: true });
  }
}

let updated = false;
/** Package lists that are missing or older than the archive make any download fail: root can renew them, once. */
export function orAfterUpdate(attempt) {
  try {
    return attempt();
  } catch (error) {
    if (updated || process.getuid?.() !== 0 || !which('apt-get')) throw error;
    updated = true;
    runQuiet('apt-get', ['-qq', 'update'], { what: 'apt-get update', timeoutSeconds: 300 });
    return attempt();
  }
}

/** @returns {Record<string, { kernel: string, initrd: string, release: string } | { problem: string }>} also written to FIXTURES */
export function ensureFixtures() {
  mkdirSync(HOME, { recursive: true });
  const fixtures = {};
  const make = (meta) => {
    if (!which('apt-get') || !which('dpkg-deb')) throw new Error('Debian kernels are taken through apt, which is not here');
    return makeKernel(meta, findBusybox(meta));
  };
  for (const meta of KERNELS) {
    try {
      fixtures[meta] = orAfterUpdate(() => make(meta));
    } catch (error) {
      fixtures[meta] = { problem: `no ${meta}: ${error.message.split('\n').slice(0, 2).join(' ')}` };
      say(fixtures[meta].problem);
    }
  }
  dropOld(HOME, /^(linux-image-|fixtures-|new-)/);
  writeFileSync(FIXTURES, JSON.stringify(fixtures, null, 2));
  return fixtures;
}
