/** What the page's own Lodge has: machines in every state, disk images, folders and images to choose. */
import {
  LodgeError,
  type Disk,
  type DiskBus,
  type DiskInfo,
  type DiskKind,
  type ImageInfo,
  type Vm,
  type VmConfig,
  type VmState,
} from '../../preload/contract';

const uuid = (n: number): string => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`;
export const GIB = 1024 ** 3;

const config = (part: Partial<VmConfig>): VmConfig => ({
  name: 'Machine',
  os: 'linux',
  notes: '',
  cpus: 2,
  memoryMiB: 2048,
  boot: { kind: 'firmware' },
  disks: [],
  serialPorts: 1,
  accelerator: 'auto',
  tier: 'auto',
  ...part,
});
export const machine = (n: number, state: VmState, part: Partial<VmConfig>, extra: Partial<Vm> = {}): Vm => ({
  definition: { schema: 2, id: uuid(n), createdAt: '2026-03-01T10:00:00Z', ...config(part) },
  state,
  thumbnail: state === 'stopped' ? 0 : 1,
  ephemeral: false,
  ...extra,
});
export const disk = (path: string, kind: DiskKind = 'disk', bus: DiskBus = kind === 'disk' ? 'virtio' : 'ide'): Disk => ({
  id: path.slice(-12),
  path,
  bus,
  format: kind === 'disk' ? 'auto' : 'raw',
  readOnly: kind === 'disc',
  kind,
});

export const ENGINE = {
  accelerator: 'software' as const,
  tier: 'interpreter' as const,
  reason: 'This host offers no hardware virtualization: /dev/kvm is not there.',
};

export const image = (
  path: string,
  format: DiskInfo['format'],
  bytes: number,
  hostBytes: number,
  variant = 'dynamic',
): DiskInfo => ({
  path,
  format,
  variant,
  bytes,
  hostBytes,
  parents: [],
  snapshots: 0,
});
export const IMAGES: readonly DiskInfo[] = [
  image('/home/ada/Lodge/debian-12/disk.raw', 'raw', 20 * GIB, 3.4 * GIB),
  image('/home/ada/Lodge/alpine/disk.raw', 'raw', 2 * GIB, 0.2 * GIB),
  image('/home/ada/Lodge/arch/disk.qcow2', 'qcow2', 64 * GIB, 18.6 * GIB),
  image('/home/ada/Lodge/arch/scratch.vhdx', 'vhdx', 32 * GIB, 0.01 * GIB),
];

export const FILES: Readonly<Record<string, readonly string[]>> = {
  '/': ['boot/', 'home/'],
  '/boot': ['vmlinuz-6.1.0-21-amd64', 'initrd.img-6.1.0-21-amd64'],
  '/home': ['ada/'],
  '/home/ada': ['Downloads/', 'Lodge/', 'notes.txt'],
  '/home/ada/Lodge': [],
  '/home/ada/Downloads': [
    'debian-12.11.0-amd64-netinst.iso',
    'alpine-virt-3.20.0-x86_64.iso',
    'data.img',
    'empty.img',
    'windows.qcow2',
  ],
};

export function inspect(path: string): ImageInfo {
  const base = { path, bytes: 658_505_728, suggestedName: '', suggestedOs: 'other', bootable: false };
  if (/vmlinuz/.test(path))
    return {
      ...base,
      kind: 'linuxKernel',
      format: 'bzImage',
      bytes: 8.2e6,
      label: '6.1.0-21-amd64',
      suggestedName: 'Linux 6.1',
      suggestedOs: 'linux',
      bootable: true,
    };
  if (/initrd/.test(path)) return { ...base, kind: 'archive', format: 'gzip', bytes: 31e6 };
  if (/empty/.test(path))
    return {
      ...base,
      kind: 'unknown',
      format: 'empty',
      bytes: 0,
      problem: 'This file is empty (0 bytes). The download may have been cut off; get it again.',
    };
  if (/debian.*\.iso$/.test(path))
    return {
      ...base,
      kind: 'disc',
      format: 'iso9660',
      label: 'Debian 12.11.0 amd64 n',
      suggestedName: 'Debian 12',
      suggestedOs: 'debian',
      bootable: true,
    };
  if (/\.iso$/.test(path))
    return {
      ...base,
      kind: 'disc',
      format: 'iso9660',
      label: 'ALPINE',
      suggestedName: 'Alpine Linux',
      suggestedOs: 'alpine',
      bootable: true,
    };
  if (/\.(img|raw)$/.test(path))
    return { ...base, kind: 'disk', format: 'raw', bytes: 4 * GIB, suggestedName: 'Data', bootable: true };
  if (/qcow2$/.test(path))
    return {
      ...base,
      kind: 'disk',
      format: 'qcow2',
      problem: 'qcow2 images cannot be used yet. Convert it to a raw image first.',
    };
  throw new LodgeError({
    code: 'fileMissing',
    message: `There is no file ${path}.`,
    fix: 'Check the path, or choose the file with Browse.',
  });
}

export const MACHINES: readonly Vm[] = [
  machine(
    1,
    'stopped',
    { name: 'Lodge Demo', os: 'other', cpus: 1, memoryMiB: 64, boot: { kind: 'builtin' } },
    { lastStop: { kind: 'powerOff' } },
  ),
  machine(
    2,
    'running',
    {
      name: 'Debian 12',
      os: 'debian',
      notes: 'Mail server test bed.\nRoot password is in the vault.',
      boot: {
        kind: 'linux',
        kernel: '/boot/vmlinuz-6.1.0-21-amd64',
        initrd: '/boot/initrd.img-6.1.0-21-amd64',
        commandLine: 'console=ttyS0 console=tty0 root=/dev/vda1',
      },
      disks: [disk('/home/ada/Lodge/debian-12/disk.raw'), disk('/home/ada/Downloads/debian-12.11.0-amd64-netinst.iso', 'disc')],
      serialPorts: 2,
    },
    { engine: ENGINE },
  ),
  machine(
    3,
    'paused',
    { name: 'Alpine router', os: 'alpine', cpus: 1, memoryMiB: 256, disks: [disk('/home/ada/Lodge/alpine/disk.raw')] },
    { engine: ENGINE },
  ),
  machine(
    4,
    'stopped',
    {
      name: 'Fedora nightly',
      os: 'fedora',
      cpus: 4,
      memoryMiB: 4096,
      boot: { kind: 'linux', kernel: '/srv/kernels/nightly/bzImage', commandLine: 'console=ttyS0' },
    },
    {
      lastStop: {
        kind: 'guestFault',
        message: 'The guest could not handle an exception while it was handling another (triple fault).',
        report:
          'RIP 0010:ffffffff81c01a2e  RSP ffffffff82603f18\nCR0 80050033  CR2 ffffffffffffffd8  CR3 000000000260a000  CR4 00000020\nRAX 0000000000000000  RBX ffffffff82a1c000  RCX 0000000000000100  RDX 0000000000000d01\nIDT ffffffff82a3e000 limit 0fff   GDT fffffe0000001000 limit 007f',
      },
    },
  ),
  machine(5, 'stopped', {
    name: 'Windows 10 for the scanner',
    os: 'windows10',
    cpus: 4,
    memoryMiB: 24000,
    disks: [disk('/home/ada/Lodge/w10/disk.raw')],
  }),
  machine(
    6,
    'stopped',
    {
      name: 'Arch build box',
      os: 'arch',
      cpus: 8,
      memoryMiB: 8192,
      disks: [
        disk('/home/ada/Lodge/arch/disk.qcow2'),
        disk('/home/ada/Lodge/arch/scratch.vhdx', 'disk', 'ahci'),
        disk('/home/ada/Lodge/arch/old-server.vmdk', 'disk', 'ahci'),
        disk('/home/ada/Downloads/archlinux-2026.03.01-x86_64.iso', 'disc'),
      ],
    },
    { lastStop: { kind: 'stopped' } },
  ),
];
