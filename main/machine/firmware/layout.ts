/** Where firmware and boot loader put things in guest memory below 1 MiB, and the memory map that tells the OS. */
import { FIRMWARE_AREA_START, HIGH_RAM_START, LEGACY_VGA_START, type RamLayout } from '../memory/address-space';

/** Extended BIOS data area: the top KiB of conventional memory. */
export const EBDA_START = 0x9fc00;
export const BIOS_DATA_AREA = 0x400;
export const ACPI_START = 0xe0000;
export const ACPI_END = 0xf0000;
/** In the part of the BIOS ROM's segment that the ROM leaves free. */
export const SMBIOS_START = 0xf4000;
export const SMBIOS_END = 0xf8000;
export const MP_START = 0xf8000;
export const MP_END = 0xfa000;
export const PIR_START = 0xfa000;

export const E820 = { RAM: 1, RESERVED: 2 } as const;

export interface MemoryRange {
  readonly start: number;
  readonly bytes: number;
  readonly type: (typeof E820)[keyof typeof E820];
}

export function memoryMap({ low, high }: RamLayout): MemoryRange[] {
  const map: MemoryRange[] = [
    { start: 0, bytes: EBDA_START, type: E820.RAM },
    { start: EBDA_START, bytes: LEGACY_VGA_START - EBDA_START, type: E820.RESERVED },
    { start: FIRMWARE_AREA_START, bytes: 0x100000 - FIRMWARE_AREA_START, type: E820.RESERVED },
    { start: 0x100000, bytes: low - 0x100000, type: E820.RAM },
  ];
  if (high > 0) map.push({ start: HIGH_RAM_START, bytes: high, type: E820.RAM });
  return map;
}
