/** Firmware of others, unchanged: SeaBIOS and OVMF start what the built-in BIOS starts. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { unexpected } from './dmesg';
import { BOOT_SECONDS, scratch, section, TIER } from './harness';
import { medium, ownMedium, ScreenRun } from './screen';

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
});

describe('OVMF', () => {
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
