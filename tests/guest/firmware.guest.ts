/** Firmware of others, unchanged: SeaBIOS and OVMF start what the built-in BIOS starts. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, type TestContext } from 'vitest';
import { unexpected } from './dmesg';
import { DebianRun, debianDisk, EFI_ROOT_AT, expectCleanRoot, fileOnRoot } from './debian-disk';
import { BOOT_SECONDS, boot, fixture, scratch, section, TIER } from './harness';
import { changedArea, medium, ownMedium, ScreenRun, type Picture } from './screen';

/** What firmware reads through fw_cfg: kernel, initial RAM disk and command line. */
async function startsKernel(context: TestContext, image: string): Promise<string> {
  const guest = fixture(context, 'linux-image-cloud-amd64');
  const run = boot(guest, { append: 'lodge.with=firmware', extra: ['--firmware', medium(context, image)] });
  await run.waitFor(/Command line:[^\n]*lodge\.with=firmware/, BOOT_SECONDS);
  const [, release] = await run.waitFor(/LODGE-INIT kernel=(\S+)/, BOOT_SECONDS);
  expect(release).toBe(guest.release);
  const exit = await run.ended(60);
  expect(exit.code, exit.stderr).toBe(0);
  return exit.stdout;
}

describe('SeaBIOS', () => {
  it('boots Debian from a FAT disk, with its own VGA BIOS', async (context) => {
    const run = new ScreenRun([
      ...['--firmware', medium(context, 'seabios.bin'), '--disk', ownMedium(context, 'syslinux.img')],
      ...['--memory', '256', ...TIER],
    ]);
    await run.waitForScreen(/SeaBIOS \(version 1\.\d+[^]*Booting from Hard Disk/, 60);
    await run.waitFor(/LODGE-DONE/, BOOT_SECONDS);
    const exit = await run.ended(30);
    expect(exit.code, exit.stderr).toBe(0);
    expect(unexpected(section(exit.stdout, 'dmesg')), 'kernel messages that QEMU’s PC does not show').toEqual([]);
  });

  it('starts a kernel without any disk', async (context) => {
    await startsKernel(context, 'seabios.bin');
  });

  it('starts an installed Debian from its IDE disk, up to its login', { timeout: 500_000 }, async (context) => {
    const disk = debianDisk(context);
    const run = new DebianRun(['--firmware', medium(context, 'seabios.bin'), '--disk', `${disk},bus=ide`]);
    await run.logIn();
    await run.command('findmnt -no SOURCE / && echo written >kept', /^\/dev\/sda1$/m);
    await run.powerOff();
    expectCleanRoot(disk);
    expect(fileOnRoot(disk, '/root/kept')).toBe('written\n');
  });
});

describe('OVMF', () => {
  it('starts a kernel without any disk, as an EFI program', async (context) => {
    const text = await startsKernel(context, 'ovmf-code.fd');
    expect(text).toMatch(/efi: EFI v2\.[^]*SMBIOS=/);
  });

  it('starts an installed Debian from a system partition on SATA, up to its login', { timeout: 500_000 }, async (context) => {
    const disk = debianDisk(context, 'debian-efi.img');
    const variables = join(scratch(), 'variables.fd');
    const run = new DebianRun([
      ...['--firmware', medium(context, 'ovmf-code.fd'), '--firmware-variables', variables],
      ...['--disk', `${disk},bus=ahci`],
    ]);
    // Its console is a serial line too: GRUB shows its menu there.
    await run.waitFor(/Check of the disk/, 200);
    await run.waitFor(/lodge-debian login: /, 200);
    run.type('root\n');
    await run.waitFor(/Password:/, 30);
    run.type('lodge\n');
    await run.waitFor(/root@lodge-debian:~# /, 60);
    run.type('ls /sys/firmware/efi/efivars | grep -c Boot0; systemctl poweroff\n');
    const [, found] = await run.waitFor(/[\r\n](\d+)\r?\n/, 30);
    expect(Number(found), 'boot entries that the kernel finds in the variables').toBeGreaterThan(0);
    const exit = await run.ended(90);
    expect(exit.code, exit.stderr).toBe(0);
    expectCleanRoot(disk, EFI_ROOT_AT);
  });

  it('shows its setup to who asks by Escape, and starts what is chosen there', async (context) => {
    const run = new ScreenRun([
      ...['--firmware', medium(context, 'ovmf-code.fd'), '--cdrom', medium(context, 'grub-rescue.iso')],
      ...['--boot', 'menu', '--memory', '256', ...TIER],
    ]);
    // The key counts only while the logo is there, which is not long: it is pressed until it was heard.
    const setup = run.waitFor(/256 MB RAM[^]*Boot Maintenance Manager/, 90);
    const asking = setInterval(() => void run.keys('<escape>').catch(() => {}), 1000);
    await setup.finally(() => clearInterval(asking));
    const front = await run.waitForPicture('setup', 30, ({ width, height }) => width >= 640 && height >= 480);
    await run.keys('<down><down><enter>');
    // What is drawn goes to the serial line as well, between commands that place it.
    await run.waitFor(/Boot Manager Menu/, 30);
    await run.waitFor(/EFI Internal Shell/, 30);
    const differs = (picture: Picture): boolean =>
      picture.width === front.width && picture.height === front.height && (changedArea(front, picture)?.pixels ?? 0) > 1000;
    await run.waitForPicture('boot manager', 30, differs);
    await run.keys('<down><enter>');
    await run.waitFor(/Shell> /, 60);
    run.kill();
  });

  it('starts Debian’s kernel as an EFI program, and keeps its variables', { timeout: 500_000 }, async (context) => {
    const template = medium(context, 'ovmf-vars.fd');
    const variables = join(scratch(), 'variables.fd');
    const run = new ScreenRun([
      ...['--firmware', medium(context, 'ovmf-code.fd'), '--firmware-variables', variables],
      ...['--disk', ownMedium(context, 'efi.img'), '--memory', '512', ...TIER],
    ]);
    await run.waitFor(/UEFI Interactive Shell/, 120);
    await run.waitFor(/LODGE-INIT kernel=/, 200);
    await run.waitFor(/LODGE-DONE/, BOOT_SECONDS);
    expect((await run.ended(30)).code).toBe(0);
    const [before, after] = [readFileSync(template), readFileSync(variables)];
    expect(after.length).toBe(before.length);
    // The name of a variable that firmware writes at its first start.
    expect(before.includes(Buffer.from('Boot0001', 'utf16le'))).toBe(false);
    expect(after.includes(Buffer.from('Boot0001', 'utf16le'))).toBe(true);
  });
});
