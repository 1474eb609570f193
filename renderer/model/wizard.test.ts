import { describe, expect, it } from 'vitest';
import { contract } from '../../preload/contract';
import { parseCatalogue } from './catalogue';
import type { Host, ImageInfo } from './types';
import {
  chooseOs,
  fileProblem,
  firstInvalidStep,
  freeName,
  initialDraft,
  memoryAdvice,
  summarize,
  toCreateInput,
  applyImage,
  validateStep,
  type WizardContext,
} from './wizard';

const host: Host = {
  cpuModel: 'x',
  logicalCpus: 8,
  memoryMiB: 16384,
  availableMiB: 9000,
  accelerators: [],
  mode: 'server',
  version: '0',
};
const catalogue = parseCatalogue([
  {
    id: 'linux',
    name: 'Linux',
    family: 'linux',
    recommended: { memoryMiB: 1024, cpus: 2, diskGiB: 20 },
    minimum: { memoryMiB: 128 },
  },
  {
    id: 'debian12',
    name: 'Debian 12',
    family: 'linux',
    recommended: { memoryMiB: 2048, cpus: 2, diskGiB: 25 },
    minimum: { memoryMiB: 512 },
  },
]);
const context: WizardContext = { host, catalogue, takenNames: ['Linux', 'debian 12'] };

const iso: ImageInfo = {
  path: '/images/debian.iso',
  kind: 'disc',
  format: 'iso9660',
  bytes: 6e8,
  suggestedName: 'Debian 12',
  suggestedOs: 'debian12',
  bootable: true,
};
const kernel: ImageInfo = {
  ...iso,
  path: '/boot/vmlinuz',
  kind: 'linuxKernel',
  format: 'bzImage',
  suggestedName: 'Linux 6.1',
  suggestedOs: 'linux',
};

describe('wizard', () => {
  it('proposes a free name and what the host can give', () => {
    const d = initialDraft(context);
    expect(d).toMatchObject({ name: 'Linux (2)', os: 'linux', cpus: 4, memoryMiB: 1024, bootKind: 'linux' });
    expect(freeName('Linux', ['linux', 'LINUX (2)'])).toBe('Linux (3)');
  });

  it('an ISO decides name, OS, memory, medium and offers a disk to install to', () => {
    const d = applyImage(initialDraft(context), iso, context);
    expect(d).toMatchObject({
      name: 'Debian 12 (2)',
      os: 'debian12',
      memoryMiB: 2048,
      bootKind: 'image',
      newDisk: true,
      diskGiB: 25,
    });
    expect(firstInvalidStep(d, context)).toBeNull();
    const input = toCreateInput(d);
    expect(contract['vm.create'].input.safeParse(input).success).toBe(true);
    expect(input.config.disks).toEqual([{ id: 'boot', path: iso.path, bus: 'ide', format: 'raw', readOnly: true, kind: 'disc' }]);
    expect(input.newDisk).toEqual({ bytes: 25 * 1024 ** 3 });
    const vhd: typeof d = { ...d, diskFormat: 'vhd', diskVariant: 'fixed' };
    expect(toCreateInput(vhd).newDisk).toEqual({ bytes: 25 * 1024 ** 3, format: 'vhd', variant: 'fixed' });
    expect(validateStep('storage', { ...vhd, diskGiB: 3000 }, context)).toHaveProperty('diskGiB');
    expect(validateStep('storage', { ...d, diskGiB: 3000 }, context)).toEqual({});
  });

  it('firmware is told from other files by its size only', () => {
    const file = (bytes: number) => ({ path: '/f', info: { ...iso, kind: 'unknown' as const, problem: 'Not an image.', bytes } });
    expect(fileProblem(file(4 << 20), 'firmware')).toBeNull();
    expect(fileProblem(file(0), 'firmware')).toMatch(/empty/);
    expect(fileProblem(file(700 << 20), 'firmware')).toMatch(/too large/);
    expect(fileProblem(file(4 << 20), 'image')).toBe('Not an image.');
  });

  it('never overwrites what the user typed', () => {
    const mine = { ...initialDraft(context), name: 'Mine', nameTouched: true, memoryMiB: 777, resourcesTouched: true };
    expect(applyImage(mine, iso, context)).toMatchObject({ name: 'Mine', memoryMiB: 777 });
    expect(chooseOs(mine, 'debian12', context)).toMatchObject({ name: 'Mine', memoryMiB: 777, os: 'debian12' });
  });

  it('a kernel boots directly', () => {
    const d = applyImage(initialDraft(context), kernel, context);
    expect(toCreateInput({ ...d, initrd: { path: '/boot/initrd' } }).config.boot).toEqual({
      kind: 'linux',
      kernel: '/boot/vmlinuz',
      initrd: '/boot/initrd',
      commandLine: 'console=ttyS0 console=tty0',
    });
    expect(summarize({ ...d, name: 'Box', initrd: { path: '/boot/initrd.gz' } }, context)).toBe(
      '“Box” is a Linux machine with 4 processors and 1 GiB of memory that starts the kernel vmlinuz with initrd.gz.',
    );
  });

  it('names what is wrong, at its field', () => {
    const d = initialDraft(context);
    expect(validateStep('system', { ...d, name: ' ' }, context).name).toMatch(/needs a name/);
    expect(validateStep('system', { ...d, name: 'DEBIAN 12' }, context).name).toMatch(/Another machine/);
    expect(validateStep('resources', { ...d, memoryMiB: 8 }, context).memoryMiB).toMatch(/At least 16/);
    expect(validateStep('resources', { ...d, memoryMiB: 99999 }, context).memoryMiB).toMatch(/16 GiB/);
    expect(validateStep('boot', d, context).kernel).toMatch(/Choose/);
    expect(validateStep('boot', { ...d, kernel: { path: iso.path, info: iso } }, context).kernel).toMatch(/not a Linux kernel/);
    expect(
      validateStep(
        'boot',
        { ...d, bootKind: 'image', image: { path: 'x', info: { ...iso, problem: 'The file is empty.' } } },
        context,
      ).image,
    ).toBe('The file is empty.');
    expect(validateStep('storage', { ...d, newDisk: true, diskGiB: 0 }, context).diskGiB).toBeDefined();
    expect(firstInvalidStep(d, context)).toBe('boot');
  });

  it('advises on memory from what is free now', () => {
    const os = catalogue[1]!;
    expect(memoryAdvice(1024, os, host)).toBeNull();
    expect(memoryAdvice(256, os, host)?.text).toMatch(/at least 512 MiB/);
    expect(memoryAdvice(8500, os, host)?.tone).toBe('amber');
    expect(memoryAdvice(12000, os, host)?.tone).toBe('red');
  });
});
