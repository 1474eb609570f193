/** An installed Debian, started by GRUB from its own disk: on each controller up to a login, and from each format of disk image. */
import { describe, expect, it } from 'vitest';
import { DebianRun, asRaw, converted, debianDisk, expectCleanRoot, fileOnRoot } from './debian-disk';

/** Of a VM process beside guest memory and translated code. */
const OVERHEAD_MIB = 150;

describe('an installed Debian', () => {
  // Controllers and formats take turns, so that six starts show all of both.
  it.for([
    ['virtio', 'raw'],
    ['ide', 'vmdk'],
    ['ahci', 'vhdx'],
  ])('%s, %s: login on screen and serial line, power-off, clean disk', { timeout: 600_000 }, async ([bus, format], context) => {
    const disk = converted(debianDisk(context), format!);
    const run = new DebianRun(['--disk', `${disk},bus=${bus}`]);
    await run.logIn();
    const name = bus === 'virtio' ? 'vda1' : 'sda1';
    await run.command('findmnt -no SOURCE,FSTYPE / && echo written >kept', new RegExp(`^/dev/${name} +ext4`, 'm'));
    const overhead = await run.overheadMiB();
    expect(overhead, 'nothing was measured').toBeGreaterThan(20);
    expect(overhead).toBeLessThan(OVERHEAD_MIB);
    await run.powerOff();
    const raw = asRaw(disk);
    expectCleanRoot(raw);
    expect(fileOnRoot(raw, '/root/kept')).toBe('written\n');
  });

  // An entry of GRUB's menu starts the same kernel with a short script instead of systemd; LODGE_TEST_FULL=1 logs in here too.
  it.for([
    ['virtio', 'qcow2'],
    ['ide', 'vdi'],
    ['ahci', 'vhd'],
  ])('%s, %s: starts, finds what apt installed, writes, clean disk', { timeout: 600_000 }, async ([bus, format], context) => {
    const disk = converted(debianDisk(context), format!);
    const run = new DebianRun(['--disk', `${disk},bus=${bus}`]);
    if (process.env['LODGE_TEST_FULL']) {
      await run.logIn();
      await run.command('echo changed >/lodge-changed', /# *$/m);
      await run.powerOff();
    } else await run.check();
    const raw = asRaw(disk);
    expectCleanRoot(raw);
    expect(fileOnRoot(raw, '/lodge-changed')).toBe('changed\n');
  });
});
