/**
 * A small Debian on a disk, as an installation leaves one: packages by mmdebstrap, ext4, GRUB; systemd with a login on the screen and on
 * the serial line. Its root file system is made once and put on two disks, for a BIOS (MBR) and for UEFI (GPT with a system partition).
 * Made as root only: owners and device files of the tree are real.
 */
import { closeSync, cpSync, ftruncateSync, mkdirSync, openSync, readFileSync, readSync, rmSync, statSync, writeFileSync, writeSync } from 'node:fs'; // prettier-ignore
import { join } from 'node:path';
import { SetupError, runQuiet, say } from './common.mjs';
import { unpacked } from './packages.mjs';

const SUITE = 'bookworm';
const PACKAGES = ['linux-image-amd64', 'initramfs-tools', 'zstd', 'systemd-sysv', 'udev', 'dbus', 'libpam-systemd'];
const MIB = 1 << 20;
const SECTOR = 512;
/** Where partitions begin; in front of them is room for GRUB. */
const ALIGNMENT = MIB;
const SYSTEM_PARTITION_BYTES = 40 * MIB;
const ROOT_UUID = '10d9e000-0000-4000-8000-000000000001';
const HOST_NAME = 'lodge-debian';
export const PASSWORD = 'lodge';

/** Drivers for what the tests' machines have; the rest of the kernel package is 300 MB of modules. */
const MODULES_KEPT = [
  'drivers/ata', 'drivers/block', 'drivers/scsi', 'drivers/virtio', 'drivers/char', 'drivers/input', 'drivers/cdrom', 'drivers/firmware',
  'drivers/acpi', 'fs/ext4', 'fs/jbd2', 'fs/fat', 'fs/nls', 'fs/isofs', 'fs/efivarfs', 'fs/autofs', 'fs/mbcache*', 'lib', 'crypto', 'arch',
]; // prettier-ignore
const NOT_INSTALLED = ['doc', 'man', 'info', 'locale', 'lintian', 'zoneinfo'].map((name) => `/usr/share/${name}/*`);
/** Work that a test's machine has no use for, in minutes of an interpreter. */
const MASKED = [
  'apt-daily.timer', 'apt-daily-upgrade.timer', 'dpkg-db-backup.timer', 'e2scrub_all.timer', 'e2scrub_reap.service', 'fstrim.timer',
  'systemd-tmpfiles-clean.timer',
]; // prettier-ignore

const COMMAND_LINE = `root=UUID=${ROOT_UUID} ro console=tty0 console=ttyS0 quiet nomodeset`;
/** Also the proof that a disk's contents survived: it reads what apt installed, changes something and leaves a clean file system. */
const CHECK = `#!/bin/sh
# Instead of init: a look at the disk, one change on it, and off.
mount -t proc proc /proc
cd / && sha256sum -c --quiet /usr/local/share/check.sha256 && echo LODGE-CHECK same || echo LODGE-CHECK different
mount -o remount,rw / && echo changed >/lodge-changed && sync && mount -o remount,ro / && echo LODGE-CHECK written
echo o >/proc/sysrq-trigger
sleep 60
`;
const MENU = `set timeout=3
insmod all_video
menuentry "Debian GNU/Linux" {
  linux /vmlinuz ${COMMAND_LINE}
  initrd /initrd.img
}
menuentry "Check of the disk" --hotkey=k {
  linux /vmlinuz ${COMMAND_LINE} init=/usr/local/sbin/check
  initrd /initrd.img
}
`;
const FIND_ROOT = `search --no-floppy --fs-uuid --set=root ${ROOT_UUID}\nset prefix=($root)/boot/grub\n`;

/** Writes a file of a tree, with the folders it needs. */
const writerOf =
  (tree) =>
  (path, text, mode = 0o644) => {
    mkdirSync(join(tree, path, '..'), { recursive: true });
    writeFileSync(join(tree, path), text, { mode });
  };

/** The tree, changed as an installer would change it. */
function settle(tree) {
  const write = writerOf(tree);
  write('etc/hostname', `${HOST_NAME}\n`);
  write('etc/hosts', `127.0.0.1 localhost ${HOST_NAME}\n`);
  write('etc/fstab', `UUID=${ROOT_UUID} / ext4 errors=remount-ro 0 1\n`);
  // With one, this is not the first start, which would set up every unit again.
  write('etc/machine-id', '10d9e00010d9e00010d9e00010d9e000\n');
  write('etc/adjtime', '0.0 0 0.0\n0\nUTC\n');
  for (const unit of MASKED) runQuiet('ln', ['-sf', '/dev/null', join(tree, 'etc/systemd/system', unit)]);
  // The usual hash is meant to take long.
  runQuiet('sh', ['-c', `echo root:${PASSWORD} | chroot "$1" chpasswd -c SHA256 -s 1000`, 'sh', tree], { what: 'chpasswd' });
  write('usr/local/sbin/check', CHECK, 0o755);
  runQuiet('sh', [
    '-c',
    'cd "$1" && mkdir -p usr/local/share && sha256sum usr/bin/bash usr/lib/systemd/systemd usr/bin/perl >usr/local/share/check.sha256',
    'sh',
    tree,
  ]);
  cpSync(join(unpacked('grub-pc-bin'), 'usr/lib/grub/i386-pc'), join(tree, 'boot/grub/i386-pc'), {
    recursive: true,
    filter: (path) => !/\.(img|image|module|exec)$/.test(path),
  });
  write('boot/grub/grub.cfg', MENU);
}

/** Which kernel modules a tree has: those of MODULES_KEPT, or all. */
function moduleFilter({ modules }) {
  if (modules === 'all') return [];
  const path = (name) => `/lib/modules/*/kernel/${name}`;
  return [
    ...['drivers', 'fs', 'net', 'sound', 'samples'].map((name) => `path-exclude=${path(`${name}/*`)}`),
    ...MODULES_KEPT.map((name) => `path-include=${path(`${name}*`)}`),
  ];
}

/** What the guest tests start. `settle` changes the tree further. */
const SMALL = { packages: PACKAGES, modules: 'tests', bytes: 448 * MIB, settle: () => undefined };

/** An ext4 file system with the system, as a file of its own; `kind` as SMALL. */
export function debianRoot(target, work, kind = SMALL) {
  if (process.getuid?.() !== 0) throw new SetupError('a Debian disk is made as root only');
  const tree = join(work, 'tree');
  const paths = [...NOT_INSTALLED.map((path) => `path-exclude=${path}`), ...moduleFilter(kind)];
  const initramfs =
    'mkdir -p "$1/etc/initramfs-tools/conf.d" && printf "MODULES=list\\nCOMPRESS=zstd\\n" >"$1/etc/initramfs-tools/conf.d/lodge" && ' +
    'printf "%s\\n" virtio_pci virtio_blk ata_piix ahci sd_mod ext4 >"$1/etc/initramfs-tools/modules"';
  say('installing a Debian (about a minute)…');
  const options = [
    '--mode=root',
    '--variant=minbase',
    `--include=${kind.packages.join(',')}`,
    '--aptopt=APT::Install-Recommends "false"',
  ];
  runQuiet(
    'mmdebstrap',
    [...options, ...paths.map((path) => `--dpkgopt=${path}`), `--essential-hook=${initramfs}`, '--format=directory', SUITE, tree],
    {
      what: 'mmdebstrap',
      cwd: work,
      env: { ...process.env, TMPDIR: work },
    },
  );
  settle(tree);
  kind.settle(tree);
  // Every clone's image is the same but for the packages' versions and times.
  const identity = ['-U', ROOT_UUID, '-L', 'debian', '-E', `hash_seed=${ROOT_UUID}`];
  runQuiet('mkfs.ext4', ['-q', '-F', '-m', '1', ...identity, '-d', tree, target, `${kind.bytes / 1024}k`], { what: 'mkfs.ext4' });
  rmSync(tree, { recursive: true, force: true });
}

const DESKTOP_PACKAGES = [
  'xserver-xorg-core', 'xserver-xorg-input-libinput', 'x11-xserver-utils', 'xfonts-base', 'fonts-dejavu-core', 'adwaita-icon-theme', 'dbus-x11',
  'dbus-user-session', 'lightdm', 'lightdm-gtk-greeter', 'xfce4-session', 'xfce4-settings', 'xfwm4', 'xfce4-panel', 'xfdesktop4', 'thunar',
  'xfce4-terminal', 'mousepad',
]; // prettier-ignore
export const DESKTOP_IS_UP = 'LODGE-DESKTOP up';

/** Xfce on X, logged in at once; when its session is there it says so on the serial line. */
export const DESKTOP = {
  packages: [...PACKAGES, ...DESKTOP_PACKAGES],
  modules: 'all',
  bytes: 2200 * MIB,
  settle(tree) {
    const write = writerOf(tree);
    runQuiet('chroot', [tree, 'useradd', '-m', '-s', '/bin/bash', '-G', 'dialout', 'ada'], { what: 'useradd' });
    write('etc/lightdm/lightdm.conf', '[Seat:*]\nautologin-user=ada\nautologin-session=xfce\n');
    const says = `sh -c "echo ${DESKTOP_IS_UP} >/dev/ttyS0"`;
    write('etc/xdg/autostart/says-so.desktop', `[Desktop Entry]\nType=Application\nName=Says so\nExec=${says}\n`);
    const kernel = COMMAND_LINE.replace(' nomodeset', '');
    write('boot/grub/grub.cfg', MENU.replace('timeout=3', 'timeout=0').replaceAll(COMMAND_LINE, kernel));
  },
};

function grubImage(format, target, work, modules, config) {
  const early = join(work, `early-${format}.cfg`);
  writeFileSync(early, config);
  const platform = format === 'i386-pc' ? 'grub-pc-bin' : 'grub-efi-amd64-bin';
  const directory = join(unpacked(platform), 'usr/lib/grub', format === 'i386-pc' ? 'i386-pc' : 'x86_64-efi');
  const program = join(unpacked('grub-common'), 'usr/bin/grub-mkimage');
  runQuiet(program, ['-d', directory, '-O', format, '-o', target, '-p', '/boot/grub', '-c', early, ...modules], {
    what: 'grub-mkimage',
  });
  return directory;
}

/** Copies `source` into `target` at `at`, holes left holes. */
function place(source, target, at) {
  const [from, to] = [openSync(source, 'r'), openSync(target, 'r+')];
  const block = Buffer.alloc(MIB);
  try {
    for (let offset = 0, bytes; (bytes = readSync(from, block, 0, block.length, offset)) > 0; offset += bytes)
      if (block.subarray(0, bytes).some((byte) => byte !== 0)) writeSync(to, block, 0, bytes, at + offset);
  } finally {
    closeSync(from);
    closeSync(to);
  }
}

function blank(target, bytes) {
  const file = openSync(target, 'w');
  ftruncateSync(file, bytes);
  closeSync(file);
}

const partition = (target, script) =>
  runQuiet('sh', ['-c', 'printf "%s" "$2" | sfdisk --quiet --no-reread --no-tell-kernel "$1"', 'sh', target, script], {
    what: 'sfdisk',
  });

/**
 * MBR, GRUB behind it, one partition. What grub-install does with boot.img and core.img: the boot code without its partition table goes
 * into the first sector, the core into the gap. boot.img loads sector 1, where diskboot.img, the core's first sector, begins.
 */
export function biosDisk(target, work, root) {
  blank(target, ALIGNMENT + statSync(root).size);
  partition(target, `label: dos\nlabel-id: 0x10d9e001\nstart=${ALIGNMENT / SECTOR}, type=83, bootable\n`);
  const core = join(work, 'core.img');
  const directory = grubImage('i386-pc', core, work, ['biosdisk', 'part_msdos', 'ext2', 'search', 'search_fs_uuid'], FIND_ROOT);
  const image = readFileSync(core);
  if (image.length > ALIGNMENT - SECTOR) throw new SetupError('GRUB does not fit in front of the partition');
  const file = openSync(target, 'r+');
  writeSync(file, readFileSync(join(directory, 'boot.img')), 0, 440, 0);
  writeSync(file, image, 0, image.length, SECTOR);
  closeSync(file);
  place(root, target, ALIGNMENT);
}

/** GPT, a system partition with GRUB where firmware looks for it on its own, and the same root. */
export function efiDisk(target, work, root) {
  const rootAt = ALIGNMENT + SYSTEM_PARTITION_BYTES;
  blank(target, rootAt + statSync(root).size + ALIGNMENT);
  const sectors = (bytes) => bytes / SECTOR;
  const esp = `start=${sectors(ALIGNMENT)}, size=${sectors(SYSTEM_PARTITION_BYTES)}, type=uefi, name=esp\n`;
  const main = `start=${sectors(rootAt)}, size=${sectors(statSync(root).size)}, type=linux, name=root\n`;
  partition(target, `label: gpt\nlabel-id: 10D9E000-0000-4000-8000-000000000002\n${esp}${main}`);
  const loader = join(work, 'bootx64.efi');
  const modules = [
    'part_gpt',
    'part_msdos',
    'fat',
    'ext2',
    'search',
    'search_fs_uuid',
    'normal',
    'configfile',
    'linux',
    'all_video',
    'echo',
    'test',
    'halt',
    'reboot',
    'ls',
    'cat',
  ];
  grubImage('x86_64-efi', loader, work, modules, `${FIND_ROOT}configfile ($root)/boot/grub/grub.cfg\n`);
  const volume = `${target}@@${ALIGNMENT}`;
  const geometry = ['-h', '255', '-s', '63', '-H', String(sectors(ALIGNMENT)), '-T', String(sectors(SYSTEM_PARTITION_BYTES))];
  runQuiet('mformat', ['-i', volume, ...geometry, '-v', 'ESP', '::'], { what: 'mformat' });
  runQuiet('mmd', ['-i', volume, '::/EFI', '::/EFI/BOOT'], { what: 'mmd' });
  runQuiet('mcopy', ['-i', volume, loader, '::/EFI/BOOT/BOOTX64.EFI'], { what: 'mcopy' });
  place(root, target, rootAt);
}
