import { expect, it } from 'vitest';
import { Bus } from '../machine/bus/bus';
import type { PciBus } from '../machine/devices/pci';
import { FakeClock } from '../machine/testing/fake-clock';
import type { GuestMemory } from '../machine/memory/guest-memory';
import { Storage, type BoardDisk } from './storage';

const disk = (id: string, kind: BoardDisk['kind'], bus: BoardDisk['bus']): BoardDisk => ({
  ...{ id, kind, bus, label: `${id}.img` },
  backend: { bytes: 1 << 20, readOnly: false } as BoardDisk['backend'],
});

function storage(disks: readonly BoardDisk[]): Storage {
  let slot = 3;
  return new Storage({
    bus: new Bus(),
    pci: { plugAnywhere: () => slot++ } as unknown as PciBus,
    mem: {} as GuestMemory,
    clock: new FakeClock(),
    connect: () => ({ set: () => undefined, raise: () => undefined, lower: () => undefined, pulse: () => undefined }),
    defer: () => undefined,
    disks,
    onDiskError: () => undefined,
    onEjected: () => undefined,
  });
}

it('tries media in the order they were given, one of them first when asked, and empty drives last', () => {
  const all = storage([
    disk('disc', 'disc', 'ahci'),
    disk('fast', 'disk', 'virtio'),
    disk('a', 'floppy', 'ide'),
    disk('old', 'disk', 'ide'),
  ]);
  const labels = (first?: string): string[] => all.bootOrder(first).map(({ label }) => label);
  expect(labels()).toEqual(['disc.img', 'fast.img', 'a.img', 'old.img']);
  expect(labels('old')).toEqual(['old.img', 'disc.img', 'fast.img', 'a.img']);
  expect(labels('gone')).toEqual(labels());
  expect(all.bootPaths('a')).toEqual([
    '/pci@i0cf8/isa@1/fdc@03f0/floppy@0',
    '/pci@i0cf8/pci8086,2922@4/drive@0/disk@0',
    '/pci@i0cf8/scsi@3/disk@0,0',
    '/pci@i0cf8/ide@1,1/drive@0/disk@0',
  ]);
  // Numbers of the BIOS go by kind, not by the order of starting.
  expect(all.drives('disk').map(({ label }) => label)).toEqual(['fast.img', 'old.img']);
  expect(
    storage([disk('only', 'disk', 'virtio')])
      .bootOrder()
      .map(({ label }) => label),
  ).toEqual(['only.img', 'empty disc drive']);
});
