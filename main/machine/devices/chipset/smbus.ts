/**
 * SMBus host controller of the PIIX4 (82371AB data sheet, §7.3; 16 ports at SMBBA). The bus has no devices: every transaction ends with
 * the error that an address without an answer gives. It is here because systems look for it and complain when it is missing.
 */
import { SMBUS_PORTS } from '../../bus/pc';
import type { IoHandler } from '../../bus/types';

const Reg = { STATUS: 0, CONTROL: 2, COMMAND: 3, ADDRESS: 4, DATA0: 5, DATA1: 6, BLOCK: 7 } as const;
const STATUS_DEVICE_ERROR = 4;
const STATUS_CLEARABLE = 0x1e;
const CONTROL_START = 0x40;
const CONTROL_STORED = 0x1d;
const STORED = new Set<number>([Reg.COMMAND, Reg.ADDRESS, Reg.DATA0, Reg.DATA1]);

export class SmbusHost implements IoHandler {
  private status = 0;
  private readonly registers = new Uint8Array(SMBUS_PORTS);

  reset(): void {
    this.status = 0;
    this.registers.fill(0);
  }

  read(offset: number): number {
    return offset === Reg.STATUS ? this.status : this.registers[offset]!;
  }

  write(offset: number, _width: number, value: number): void {
    if (offset === Reg.STATUS) this.status &= ~(value & STATUS_CLEARABLE);
    else if (offset === Reg.CONTROL) {
      this.registers[offset] = value & CONTROL_STORED;
      if (value & CONTROL_START) this.status |= STATUS_DEVICE_ERROR;
    } else if (STORED.has(offset)) this.registers[offset] = value;
  }
}
