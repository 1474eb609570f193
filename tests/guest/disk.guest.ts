/** An installed Debian, started by GRUB from its own disk: on each controller up to a login, and from each format of disk image. */
import { describe, expect, it } from 'vitest';
import { DebianRun, debianDisk, expectCleanRoot, fileOnRoot } from './debian-disk';

describe('an installed Debian', () => {
  it.for(['virtio', 'ide', 'ahci'])('%s: login on screen and serial line, power-off, clean disk', async (bus, context) => {
    const disk = debianDisk(context);
    const run = new DebianRun(['--disk', `${disk},bus=${bus}`]);
    await run.logIn();
    const name = bus === 'virtio' ? 'vda1' : 'sda1';
    await run.command(`findmnt -no SOURCE,FSTYPE / && echo written >kept`, new RegExp(`^/dev/${name} +ext4`, 'm'));
    await run.powerOff();
    expectCleanRoot(disk);
    expect(fileOnRoot(disk, '/root/kept')).toBe('written\n');
  });
});
