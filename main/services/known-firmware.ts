/** Firmware images that distributions install, where they put them, so that nobody has to know the path. */
import { existsSync } from 'node:fs';
import type { Host } from '../../preload/contract';

export type KnownFirmware = NonNullable<Host['firmware']>[number];

/** Debian and Ubuntu, Fedora, openSUSE, Arch. The first that is there, of each name. */
const PLACES: readonly { readonly name: string; readonly paths: readonly string[] }[] = [
  {
    name: 'OVMF (UEFI)',
    paths: [
      '/usr/share/OVMF/OVMF_CODE_4M.fd',
      '/usr/share/OVMF/OVMF_CODE.fd',
      '/usr/share/edk2/ovmf/OVMF_CODE.fd',
      '/usr/share/edk2/x64/OVMF_CODE.4m.fd',
      '/usr/share/edk2-ovmf/x64/OVMF_CODE.fd',
      '/usr/share/qemu/ovmf-x86_64.bin',
    ],
  },
  { name: 'SeaBIOS', paths: ['/usr/share/seabios/bios-256k.bin', '/usr/share/qemu/bios-256k.bin'] },
];

export const knownFirmware = (isThere: (path: string) => boolean = existsSync): KnownFirmware[] =>
  PLACES.flatMap(({ name, paths }) => {
    const path = paths.find(isThere);
    return path === undefined ? [] : [{ name, path }];
  });
