import { expect, it } from 'vitest';
import { knownFirmware } from './known-firmware';

it('names each firmware once, by the first place it is at', () => {
  const there = new Set([
    '/usr/share/OVMF/OVMF_CODE.fd',
    '/usr/share/edk2/ovmf/OVMF_CODE.fd',
    '/usr/share/qemu/bios-256k.bin',
    '/usr/share/qemu/other.bin',
  ]);
  expect(knownFirmware((path) => there.has(path))).toEqual([
    { name: 'OVMF (UEFI)', path: '/usr/share/OVMF/OVMF_CODE.fd' },
    { name: 'SeaBIOS', path: '/usr/share/qemu/bios-256k.bin' },
  ]);
  expect(knownFirmware(() => false)).toEqual([]);
});
