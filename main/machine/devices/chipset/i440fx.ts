/**
 * 440FX host bridge (Intel 82441FX data sheet, 290549), as far as software sees it: identity, the PAM and SMRAM registers as storage.
 * Memory between C0000h and FFFFFh is always RAM here, so PAM's switching between ROM and RAM has nothing to switch.
 */
import { PciFunction } from '../pci';

const PAM0 = 0x59;
const PAM_REGISTERS = 7;
/** Reads and writes go to RAM; PAM0 has its segment, F0000h–FFFFFh, in the upper half. */
const PAM_RAM = 0x33;

export class I440fx extends PciFunction {
  constructor() {
    super('i440fx', {
      vendor: 0x8086,
      device: 0x1237,
      revision: 2,
      classCode: 0x060000,
      subsystemVendor: 0x1af4,
      subsystem: 0x1100,
    });
    this.defineRegisters([
      { offset: 0x50, width: 2, name: 'pmccfg', reset: 0, writable: 0xffff },
      // External firmware takes a PAM0 of 0 as the sign that it has yet to copy itself into RAM.
      ...Array.from({ length: PAM_REGISTERS }, (_, i) => ({
        offset: PAM0 + i,
        width: 1 as const,
        name: `pam${i}`,
        reset: 0,
        writable: 0x77,
      })),
      { offset: 0x72, width: 1, name: 'smram', reset: 0x02, writable: 0x78 },
    ]);
  }

  /** What firmware does before an OS starts. */
  setUp(): void {
    for (let i = 0; i < PAM_REGISTERS; i++) this.writeConfig(PAM0 + i, 1, i === 0 ? PAM_RAM & 0xf0 : PAM_RAM);
  }
}
