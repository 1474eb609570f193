/** Boot loaders and systems from real media, started by the built-in BIOS. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, type TestContext } from 'vitest';
import { unexpected } from './dmesg';
import { BOOT_SECONDS, boot, fixture, scratch, section, TIER } from './harness';
import { medium, ownMedium, ScreenRun } from './screen';

const start = (context: TestContext, name: string, memory = 128, ...more: string[]): ScreenRun =>
  new ScreenRun(['--disk', ownMedium(context, name), '--memory', String(memory), ...TIER, ...more]);

describe('GRUB 2', () => {
  it.for(['grub-rescue.iso', 'grub-rescue-floppy.img'])('%s: the menu, and its command line', async (name, context) => {
    const run = start(context, name);
    await run.waitForScreen(/GNU GRUB {2}version 2/, 30);
    await run.waitForScreen(/\*GNU\/Linux/, 10);
    await run.keys('c');
    await run.waitForScreen(/grub> *$/m, 10);
    await run.keys('echo The keyboard $grub_platform answers\n');
    await run.waitForScreen(/^The keyboard pc answers/m, 10);
    await run.keys('lsmmap\n');
    await run.waitForScreen(/base_addr = 0x0, length = 0x9fc00, available RAM/, 10);
    run.kill();
  });
});

describe('Debian’s kernel', () => {
  it.for(['grub.iso', 'isolinux.iso', 'syslinux.img'])('starts from %s', async (name, context) => {
    const run = start(context, name, 256);
    await run.waitFor(/LODGE-INIT kernel=/, BOOT_SECONDS);
    await run.waitFor(/LODGE-DONE/, BOOT_SECONDS);
    const exit = await run.ended(30);
    expect(exit.code, exit.stderr).toBe(0);
    expect(unexpected(section(exit.stdout, 'dmesg')), 'kernel messages that QEMU’s PC does not show').toEqual([]);
  });
});

/** A disk that was installed from the disc beside it. */
const disk = (context: TestContext): string[] => [
  ...['--disk', ownMedium(context, 'syslinux.img')],
  ...['--cdrom', medium(context, 'grub-rescue.iso')],
];
const SMALL = ['--memory', '128', ...TIER];

describe('the boot order', () => {
  it('a disk comes before the disc it was installed from; an empty one lets the disc start', async (context) => {
    const installed = new ScreenRun([...disk(context), ...SMALL]);
    await installed.waitForScreen(/SYSLINUX 6\./, 30);
    installed.kill();
    const empty = join(scratch(), 'empty.img');
    writeFileSync(empty, Buffer.alloc(1 << 20));
    const fresh = new ScreenRun(['--disk', empty, '--cdrom', medium(context, 'grub-rescue.iso'), ...SMALL]);
    await fresh.waitForScreen(/GNU GRUB {2}version 2/, 30);
    fresh.kill();
  });

  it('--boot puts the disc first; the menu offers both, and takes the choice', async (context) => {
    const run = new ScreenRun([...disk(context), '--boot', 'menu,cdrom', ...SMALL]);
    await run.waitForScreen(/Boot from:\n+ *1 {2}grub-rescue-cdrom\.iso\n *2 {2}\S*syslinux\.img/, 30);
    await run.keys('2');
    await run.waitForScreen(/SYSLINUX 6\./, 30);
    run.kill();
    const first = new ScreenRun([...disk(context), '--boot', 'cdrom', ...SMALL]);
    await first.waitForScreen(/GNU GRUB {2}version 2/, 30);
    first.kill();
  });
});

describe('F12', () => {
  it('pressed while the machine starts opens the menu, and the second entry boots', async (context) => {
    const run = await ScreenRun.served([...disk(context), ...SMALL]);
    // The splash is short: the key is pressed until the menu is there, which pays no attention to it.
    const menu = run.waitForScreen(/Boot from:\n+ *1 {2}\S*syslinux\.img\n *2 {2}grub-rescue-cdrom\.iso/, 30);
    const pressing = setInterval(() => void run.keys('<f12>').catch(() => {}), 200);
    await menu.finally(() => clearInterval(pressing));
    await run.keys('<down><enter>');
    await run.waitForScreen(/GNU GRUB {2}version 2/, 30);
    run.kill();
  });
});

describe('iPXE', () => {
  it('starts, finds no network and returns to the BIOS', async (context) => {
    const run = start(context, 'ipxe.iso');
    await run.waitForScreen(/iPXE initialising devices\.\.\.ok[^]*Open Source Network Boot Firmware/, 60);
    await run.waitForScreen(/Nothing here could be booted/, 60);
    run.kill();
  });
});

describe('Debian’s installer', () => {
  it('reaches its first question in text mode', { timeout: 700_000 }, async (context) => {
    const run = new ScreenRun([
      ...['--kernel', medium(context, 'installer-kernel'), '--initrd', medium(context, 'installer-initrd')],
      // Without a frame buffer driver the console stays in the VGA's text mode.
      ...['--append', 'vga=normal fb=false nomodeset quiet', '--memory', '1024', ...TIER],
    ]);
    await run.waitForScreen(/Select a language[^]*English/, 300);
    run.kill();
  });
});

describe('linux-image-686-pae', () => {
  it('boots to its init and powers off', async (context) => {
    const guest = fixture(context, 'linux-image-686-pae:i386');
    const run = boot(guest, { test: 'report', append: 'quiet' });
    const init = await run.waitFor(/LODGE-INIT kernel=(\S+) machine=(\S+) /, BOOT_SECONDS);
    expect(init.slice(1, 3)).toEqual([guest.release, 'i686']);
    await run.waitFor(/LODGE-DONE/, BOOT_SECONDS);
    const exit = await run.ended(30);
    expect(exit.code, exit.stderr).toBe(0);
    expect(unexpected(section(exit.stdout, 'dmesg')), 'kernel messages that QEMU’s PC does not show').toEqual([]);
  });
});
