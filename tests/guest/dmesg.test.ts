import { describe, expect, it } from 'vitest';
import { normalise, unexpected } from './dmesg';

describe('comparison of kernel messages', () => {
  it('does not depend on times and numbers', () => {
    expect(normalise('[    0.763383] acpi PNP0A03:00: fail at 0xfee00000 for 12 ms')).toBe('acpi PNP#A#:#: fail at # for # ms');
  });

  it('lets pass what QEMU shows too, and nothing else', () => {
    const known =
      "[    9.1] acpi PNP0A03:00: fail to add MMCONFIG information, can't access extended PCI configuration space under this bridge.";
    const other = '[    0.5] ACPI Error: AE_NOT_FOUND, During name lookup';
    expect(unexpected([known, '', other])).toEqual([other]);
  });
});
