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
  readdirSync,
  renameSync,
  rmSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { hashOf, runQuiet, say } from './common.mjs';
import { biosDisk, debianRoot, efiDisk as debianEfiDisk } from './debian-disk.mjs';
import { FIXTURES, dropOld } from './fixtures.mjs';
import { HOME, unpacked } from './packages.mjs';

/** What makes the disks and discs here; the kernels and the test guest on them have recipes of their own. */
const MEDIA_RECIPE = ['resources/tools/lib/media.mjs'];
const DEBIAN_RECIPE = ['resources/tools/lib/debian-disk.mjs'];
const LIST = basename(FIXTURES).replace('fixtures', `media-${hashOf([...MEDIA_RECIPE, ...DEBIAN_RECIPE]).slice(0, 12)}`);
/** Name → { path } or { problem }; several clones may share one cache. */
export const MEDIA = join(HOME, LIST);
const KERNEL = 'linux-image-cloud-amd64';
const COMMAND_LINE = 'console=ttyS0 panic=-1 quiet lodge.test=report';
const INSTALLER_PACKAGE = 'debian-installer-12-netboot-amd64';
const INSTALLERS = 'usr/lib/debian-installer/images/12/amd64';
const INSTALLER = `${INSTALLERS}/text/debian-installer/amd64`;
const GRAPHICAL_INSTALLER = `${INSTALLERS}/gtk/debian-installer/amd64`;
const INSTALLER_FILES = ['linux', 'initrd.gz', 'boot-screens/*'].flatMap((name) =>
  [INSTALLER, GRAPHICAL_INSTALLER].map((at) => `${at}/${name}`),
);

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

/** Debian's network installer in its graphical form, behind the menu its own discs have: VESA graphics, then a kernel with vga=788. */
function graphicalInstaller(target, work) {
  const from = join(unpacked(INSTALLER_PACKAGE, INSTALLER_FILES), GRAPHICAL_INSTALLER);
  const screens = readdirSync(join(from, 'boot-screens'));
  const files = {
    'isolinux.bin': join(unpacked('isolinux'), 'usr/lib/ISOLINUX/isolinux.bin'),
    'ldlinux.c32': join(unpacked('syslinux-common'), 'usr/lib/syslinux/modules/bios/ldlinux.c32'),
    'isolinux.cfg': join(from, 'boot-screens/syslinux.cfg'),
    ...Object.fromEntries(
      ['linux', 'initrd.gz', ...screens.map((name) => `boot-screens/${name}`)].map((name) => [
        `debian-installer/amd64/${name}`,
        join(from, name),
      ]),
    ),
  };
  disc(target, work, files, 'isolinux.bin');
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

/** A boot manager of 16-bit code alone, which asks when a key is pressed; mtools' boot sector of its partition starts it again. */
function managerDisk(target) {
  partitionedDisk(target, 2048);
  const options = ['--force', '--interrupt', '+k', '--enable', '+1', '--partition', '1', '--timeout', '540'];
  runQuiet(join(unpacked('mbr'), 'sbin/install-mbr'), [...options, target], { what: 'install-mbr' });
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
  'installer-kernel': inPackage(INSTALLER_PACKAGE, `${INSTALLER}/linux`, INSTALLER_FILES),
  'installer-initrd': inPackage(INSTALLER_PACKAGE, `${INSTALLER}/initrd.gz`, INSTALLER_FILES),
  'seabios.bin': inPackage('seabios', 'usr/share/seabios/bios-256k.bin'),
  'seabios-vga.bin': inPackage('seabios', 'usr/share/seabios/vgabios-stdvga.bin'),
  'ovmf-code.fd': inPackage('ovmf', 'usr/share/OVMF/OVMF_CODE_4M.fd'),
  'ovmf-vars.fd': inPackage('ovmf', 'usr/share/OVMF/OVMF_VARS_4M.fd'),
};
/** Made here, with a Debian kernel and the test guest's initrd. */
const MADE = { 'isolinux.iso': isolinuxDisc, 'grub.iso': grubDisc, 'syslinux.img': syslinuxDisk, 'efi.img': efiDisk };

/** Both disks of a small Debian, in one folder: they share a root file system. */
function debianDisks(folder, work) {
  const root = join(work, 'root.ext4');
  debianRoot(root, work);
  mkdirSync(folder);
  biosDisk(join(folder, 'debian.img'), work, root);
  debianEfiDisk(join(folder, 'debian-efi.img'), work, root);
}

/** What `recipe(target, work, kernel)` makes, kept under the hash of what it is made from. */
function make(name, recipe, sources, kernel) {
  const key = hashOf(sources, ...(kernel ? [kernel.kernel, kernel.initrd] : [])).slice(0, 12);
  const target = join(HOME, `${key}-${name}`);
  if (!existsSync(target)) {
    const work = mkdtempSync(join(HOME, 'new-'));
    try {
      const fresh = join(work, name);
      recipe(fresh, work, kernel);
      renameSync(fresh, target);
    } finally {
      rmSync(work, { recursive: true, force: true });
    }
  }
  // In use now, so not old.
  utimesSync(target, new Date(), new Date());
  return target;
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
      return make(name, recipe, MEDIA_RECIPE, kernel);
    });
  }
  add('installer-gtk.iso', () => make('installer-gtk.iso', graphicalInstaller, MEDIA_RECIPE));
  add('manager.img', () => make('manager.img', managerDisk, MEDIA_RECIPE));
  for (const name of ['debian.img', 'debian-efi.img']) add(name, () => join(make('debian', debianDisks, DEBIAN_RECIPE), name));
  dropOld(HOME, /^[0-9a-f]{12}-|^(media|new)-/);
  writeFileSync(MEDIA, JSON.stringify(media, null, 2));
  return media;
}
