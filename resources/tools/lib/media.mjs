/**
 * Boot media for guest tests, made from Debian packages by name and kept in the cache: boot loaders' own images, and discs and disks
 * that carry a Debian kernel behind them. What cannot be made is left out and its reason kept, as with the kernels.
 */
import {
  closeSync,
  copyFileSync,
  existsSync,
  ftruncateSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { CACHE, hashOf, runQuiet, say } from './common.mjs';
import { download, orAfterUpdate } from './fixtures.mjs';

const HOME = join(CACHE, 'media');
/** Name → { path } or { problem }. */
export const MEDIA = join(HOME, 'media.json');
const KERNEL = 'linux-image-cloud-amd64';
const COMMAND_LINE = 'console=ttyS0 panic=-1 quiet lodge.test=report';
const INSTALLER = 'usr/lib/debian-installer/images/12/amd64/text/debian-installer/amd64';

/** The files of a package, or only those that match `only` (of a large one). */
function unpacked(name, only = []) {
  const folder = join(HOME, 'packages', name);
  if (existsSync(folder)) return folder;
  const work = mkdtempSync(join(HOME, 'new-'));
  try {
    say(`fetching ${name} for guest tests…`);
    const deb = orAfterUpdate(() => download(name, work));
    const target = join(work, 'files');
    mkdirSync(target);
    const wanted = only.length > 0 ? `--wildcards ${only.map((path) => `"./${path}"`).join(' ')}` : '';
    runQuiet('sh', ['-c', `dpkg-deb --fsys-tarfile "$1" | tar -x -C "$2" ${wanted}`, 'sh', deb, target], {
      what: `Unpacking ${name}`,
    });
    mkdirSync(join(HOME, 'packages'), { recursive: true });
    renameSync(target, folder);
    return folder;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

const inPackage = (name, path, only) => () => {
  const file = join(unpacked(name, only), path);
  if (!existsSync(file)) throw new Error(`the package ${name} has no ${path}`);
  return file;
};

/** `files`: path on the disc → what is there. */
function disc(target, work, files, bootImage) {
  const root = join(work, 'disc');
  for (const [path, from] of Object.entries(files)) {
    const to = join(root, path);
    mkdirSync(join(to, '..'), { recursive: true });
    if (Buffer.isBuffer(from)) writeFileSync(to, from);
    else copyFileSync(from, to);
  }
  const boot = ['-b', bootImage, '-c', 'boot.catalog', '-no-emul-boot', '-boot-load-size', '4', '-boot-info-table'];
  runQuiet('xorriso', ['-as', 'mkisofs', '-quiet', '-o', target, '-R', '-J', '-V', 'LODGE', ...boot, root], {
    what: 'Making a disc image',
  });
}

const loaderConfig = (kernel, initrd) =>
  Buffer.from(
    `default linux\nprompt 1\ntimeout 20\nlabel linux\n  kernel ${kernel}\n  append initrd=${initrd} ${COMMAND_LINE}\n`,
  );

function isolinuxDisc(target, work, { kernel, initrd }) {
  const files = {
    'isolinux/isolinux.bin': join(unpacked('isolinux'), 'usr/lib/ISOLINUX/isolinux.bin'),
    'isolinux/ldlinux.c32': join(unpacked('syslinux-common'), 'usr/lib/syslinux/modules/bios/ldlinux.c32'),
    'isolinux/isolinux.cfg': loaderConfig('/vmlinuz', '/initrd.gz'),
    vmlinuz: kernel,
    'initrd.gz': initrd,
  };
  disc(target, work, files, 'isolinux/isolinux.bin');
}

function grubDisc(target, work, { kernel, initrd }) {
  const core = join(work, 'core.img');
  const modules = ['iso9660', 'biosdisk', 'normal', 'linux', 'configfile', 'echo'];
  const directory = join(unpacked('grub-pc-bin'), 'usr/lib/grub/i386-pc');
  const program = join(unpacked('grub-common'), 'usr/bin/grub-mkimage');
  runQuiet(program, ['-d', directory, '-O', 'i386-pc-eltorito', '-o', core, '-p', '/boot/grub', ...modules], {
    what: 'grub-mkimage',
  });
  const menu = `set timeout=2\nmenuentry "Debian from the disc" {\n  linux /boot/vmlinuz ${COMMAND_LINE}\n  initrd /boot/initrd.gz\n}\n`;
  const files = {
    'boot/core.img': core,
    'boot/grub/grub.cfg': Buffer.from(menu),
    'boot/vmlinuz': kernel,
    'boot/initrd.gz': initrd,
  };
  disc(target, work, files, 'boot/core.img');
}

/** A disk as people partition one: an MBR with `bootCode`, and one active FAT16 partition from `start` on. */
function partitionedDisk(target, start, bootCode = Buffer.alloc(0)) {
  const bytes = 48 << 20;
  const sectors = bytes / 512 - start;
  const mbr = Buffer.alloc(512);
  bootCode.copy(mbr);
  mbr.set([0x80, 32, 33, 0, 0x0e, 0xfe, 0xff, 0xff], 446);
  mbr.writeUInt32LE(start, 454);
  mbr.writeUInt32LE(sectors, 458);
  mbr.writeUInt16LE(0xaa55, 510);
  const file = openSync(target, 'w');
  ftruncateSync(file, bytes);
  writeSync(file, mbr, 0, 512, 0);
  closeSync(file);
  const geometry = ['-h', '255', '-s', '63', '-H', String(start), '-T', String(sectors)];
  runQuiet('mformat', ['-i', `${target}@@${start * 512}`, ...geometry, '-v', 'LODGE', '::'], { what: 'mformat' });
}

function fill(volume, files) {
  for (const [name, from] of Object.entries(files)) runQuiet('mcopy', ['-i', volume, from, `::/${name}`], { what: 'mcopy' });
}

function syslinuxDisk(target, work, { kernel, initrd }) {
  const start = 2048;
  partitionedDisk(target, start, readFileSync(join(unpacked('syslinux'), 'usr/lib/SYSLINUX/mbr.bin')));
  const config = join(work, 'syslinux.cfg');
  writeFileSync(config, loaderConfig('/vmlinuz', '/initrd.gz'));
  runQuiet(join(unpacked('syslinux'), 'usr/bin/syslinux'), ['--install', '--offset', String(start * 512), target], {
    what: 'syslinux',
  });
  fill(`${target}@@${start * 512}`, { 'syslinux.cfg': config, vmlinuz: kernel, 'initrd.gz': initrd });
}

/** The shell of UEFI runs startup.nsh of the first disk it can read: it starts the kernel as an EFI program. */
function efiDisk(target, work, { kernel, initrd }) {
  const start = 2048;
  partitionedDisk(target, start);
  const script = join(work, 'startup.nsh');
  writeFileSync(script, `fs0:\r\nvmlinuz.efi initrd=\\initrd.gz ${COMMAND_LINE}\r\n`);
  fill(`${target}@@${start * 512}`, { 'startup.nsh': script, 'vmlinuz.efi': kernel, 'initrd.gz': initrd });
}

/** Images that are in a package as they are. */
const READY = {
  'grub-rescue.iso': inPackage('grub-rescue-pc', 'usr/lib/grub-rescue/grub-rescue-cdrom.iso'),
  'grub-rescue-floppy.img': inPackage('grub-rescue-pc', 'usr/lib/grub-rescue/grub-rescue-floppy.img'),
  'ipxe.iso': inPackage('ipxe', 'usr/lib/ipxe/ipxe.iso'),
  'memtest-64.iso': inPackage('memtest86+', 'usr/lib/memtest86+/memtest86+x64.iso'),
  'memtest-32.iso': inPackage('memtest86+', 'usr/lib/memtest86+/memtest86+ia32.iso'),
  'installer-kernel': inPackage('debian-installer-12-netboot-amd64', `${INSTALLER}/linux`, [
    `${INSTALLER}/linux`,
    `${INSTALLER}/initrd.gz`,
  ]),
  'installer-initrd': inPackage('debian-installer-12-netboot-amd64', `${INSTALLER}/initrd.gz`, [
    `${INSTALLER}/linux`,
    `${INSTALLER}/initrd.gz`,
  ]),
  'seabios.bin': inPackage('seabios', 'usr/share/seabios/bios-256k.bin'),
  'seabios-vga.bin': inPackage('seabios', 'usr/share/seabios/vgabios-stdvga.bin'),
  'ovmf-code.fd': inPackage('ovmf', 'usr/share/OVMF/OVMF_CODE_4M.fd'),
  'ovmf-vars.fd': inPackage('ovmf', 'usr/share/OVMF/OVMF_VARS_4M.fd'),
};
/** Made here, with a Debian kernel and the test guest's initrd. */
const MADE = { 'isolinux.iso': isolinuxDisc, 'grub.iso': grubDisc, 'syslinux.img': syslinuxDisk, 'efi.img': efiDisk };

function make(name, recipe, kernel) {
  const key = hashOf(['resources/tools/lib/media.mjs'], kernel.kernel, kernel.initrd).slice(0, 12);
  const target = join(HOME, `${key}-${name}`);
  if (existsSync(target)) return target;
  const work = mkdtempSync(join(HOME, 'new-'));
  try {
    const image = join(work, name);
    recipe(image, work, kernel);
    renameSync(image, target);
    return target;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** @returns {Record<string, { path: string } | { problem: string }>} also written to MEDIA */
export function ensureMedia(kernels) {
  mkdirSync(HOME, { recursive: true });
  const media = {};
  const add = (name, attempt) => {
    try {
      media[name] = { path: attempt() };
    } catch (error) {
      media[name] = { problem: `no ${name}: ${error.message.split('\n').slice(0, 2).join(' ')}` };
      say(media[name].problem);
    }
  };
  for (const [name, find] of Object.entries(READY)) add(name, find);
  for (const [name, recipe] of Object.entries(MADE)) {
    add(name, () => {
      const kernel = kernels[KERNEL];
      if (!kernel || kernel.problem !== undefined) throw new Error(kernel?.problem ?? `no ${KERNEL}`);
      return make(name, recipe, kernel);
    });
  }
  writeFileSync(MEDIA, JSON.stringify(media, null, 2));
  return media;
}
