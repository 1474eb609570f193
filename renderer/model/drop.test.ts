import { describe, expect, it } from 'vitest';
import { isFloppyImage, mediumKind, planAttach } from './drop';
import type { ImageInfo, Vm } from './types';

const info: ImageInfo = {
  path: '/i/debian.iso',
  kind: 'disc',
  format: 'iso9660',
  bytes: 1,
  suggestedName: 'Debian',
  suggestedOs: 'debian',
  bootable: true,
};
const vm = (state: Vm['state'], disks: Vm['definition']['disks'] = []): Vm => ({
  definition: {
    schema: 2,
    id: '7d0c8a8e-3b1f-4d1c-9a53-0f8f6b9c1a01',
    createdAt: '2026-01-01T00:00:00Z',
    name: 'Box',
    os: 'other',
    notes: '',
    cpus: 1,
    memoryMiB: 64,
    boot: { kind: 'firmware' },
    disks,
    serialPorts: 1,
    accelerator: 'auto',
    tier: 'auto',
  },
  state,
  thumbnail: 0,
  ephemeral: false,
});

describe('planAttach', () => {
  it('says what will happen, for a stopped and for a running machine', () => {
    expect(planAttach(info, vm('stopped'))).toMatchObject({ possible: true, headline: 'Attach “debian.iso” to “Box”?' });
    expect(planAttach(info, vm('stopped')).consequence).toMatch(/read-only disc.*next start/);
    expect(planAttach(info, vm('running')).consequence).toMatch(/disc.*at once/);
    expect(planAttach({ ...info, kind: 'disk' }, vm('stopped')).consequence).toMatch(/can write to.*next start/);
    expect(planAttach({ ...info, kind: 'disk' }, vm('running'))).toMatchObject({
      possible: false,
      consequence: expect.stringMatching(/stopped/) as string,
    });
  });

  it.each<[string, ImageInfo, Vm]>([
    ['a problem', { ...info, problem: 'The file is empty.' }, vm('stopped')],
    ['a kernel', { ...info, kind: 'linuxKernel' }, vm('stopped')],
    ['an archive', { ...info, kind: 'archive' }, vm('stopped')],
    ['an unknown file', { ...info, kind: 'unknown' }, vm('stopped')],
    ['a busy machine', info, vm('starting')],
    [
      'a disk it has',
      info,
      vm('stopped', [{ id: 'a', path: info.path, bus: 'virtio', format: 'raw', readOnly: true, kind: 'disc' }]),
    ],
  ])('refuses %s with a reason', (_what, image, machine) => {
    const plan = planAttach(image, machine);
    expect(plan.possible).toBe(false);
    expect(plan.consequence.length).toBeGreaterThan(10);
  });
});

it('tells floppies from disks by their size', () => {
  const floppy: ImageInfo = { ...info, path: '/i/dos.img', kind: 'disk', format: 'raw', bytes: 1474560 };
  expect(isFloppyImage(floppy)).toBe(true);
  expect(mediumKind(floppy)).toBe('floppy');
  expect(mediumKind({ ...floppy, bytes: 1474561 })).toBeNull();
  expect(mediumKind(info)).toBe('disc');
  expect(mediumKind({ ...info, problem: 'It is empty.' })).toBeNull();
  expect(planAttach(floppy, vm('running')).consequence).toMatch(/floppy/);
});
