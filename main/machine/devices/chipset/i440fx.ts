/**
 * 440FX host bridge (Intel 82441FX data sheet, 290549), as far as software sees it: identity, the PAM and SMRAM registers as storage.
 * Memory between C0000h and FFFFFh is always RAM here, so PAM's switching between ROM and RAM has nothing to switch.
 */
import { PciFunction } from '../pci';

export class I440fx extends PciFunction {
  constructor() {
    super('i440fx', { vendor: 0x8086, device: 0x1237, revision: 2, classCode: 0x060000, subsystemVendor: 0x1af4, subsystem: 0x1100 });
    this.defineRegisters([
      { offset: 0x50, width: 2, name: 'pmccfg', reset: 0, writable: 0xffff },
      ...[0, 1, 2, 3, 4, 5, 6].map((i) => ({ offset: 0x59 + i, width: 1 as const, name: `pam${i}`, reset: i === 0 ? 0x30 : 0x33, writable: 0x77 })),
      { offset: 0x72, width: 1, name: 'smram', reset: 0x02, writable: 0x78 },
    ]);
  }
}
