/** Registers of an AHCI controller. Serial ATA AHCI 1.3.1 §3. All are 32 bits wide; offsets are from the start of the block. */

export interface HbaRegister {
  readonly offset: number;
  readonly name: string;
  readonly reset: number;
  /** Bits the guest can write. */
  readonly writable?: number;
  /** Bits the guest clears by writing one. */
  readonly clear?: number;
}

export const Hba = { CAP: 0x00, GHC: 0x04, IS: 0x08, PI: 0x0c, VS: 0x10 } as const;
export const Ghc = { RESET: 0x1, INTERRUPTS: 0x2, AHCI: 0x8000_0000 } as const;
export const PORTS = 6;
export const SLOTS = 32;
/** 64-bit addresses, command queuing, list override, AHCI only, 3 Gb/s, 32 slots, 6 ports. */
const CAPABILITIES = (0xc000_0000 | (1 << 24) | (1 << 18) | (2 << 20) | ((SLOTS - 1) << 8) | (PORTS - 1)) >>> 0;

export const HBA_REGISTERS: readonly HbaRegister[] = [
  { offset: Hba.CAP, name: 'cap', reset: CAPABILITIES },
  { offset: Hba.GHC, name: 'ghc', reset: Ghc.AHCI, writable: Ghc.INTERRUPTS },
  { offset: Hba.IS, name: 'is', reset: 0, clear: (1 << PORTS) - 1 },
  { offset: Hba.PI, name: 'pi', reset: (1 << PORTS) - 1 },
  { offset: Hba.VS, name: 'vs', reset: 0x0001_0000 },
];

export const PORT_BASE = 0x100;
export const PORT_BYTES = 0x80;
export const Port = {
  CLB: 0x00, CLBU: 0x04, FB: 0x08, FBU: 0x0c, IS: 0x10, IE: 0x14, CMD: 0x18, TFD: 0x20, SIG: 0x24, SSTS: 0x28, SCTL: 0x2c, SERR: 0x30, SACT: 0x34,
  CI: 0x38, SNTF: 0x3c,
} as const; // prettier-ignore
export const PortCommand = {
  START: 0x1,
  SPIN_UP: 0x2,
  POWER: 0x4,
  OVERRIDE: 0x8,
  FIS_RECEIVE: 0x10,
  FIS_RUNNING: 0x4000,
  RUNNING: 0x8000,
  ATAPI: 0x100_0000,
} as const;
export const PortInterrupt = {
  D2H: 1 << 0, PIO_SETUP: 1 << 1, SET_DEVICE_BITS: 1 << 3, DESCRIPTOR: 1 << 5, CONNECT: 1 << 6, OVERFLOW: 1 << 24, HOST_BUS_FATAL: 1 << 29, TASK_FILE: 1 << 30,
} as const; // prettier-ignore
/** SERR: the presence of a device changed. */
export const ERROR_EXCHANGED = 1 << 26;
const INTERRUPTS = 0xfdc000ff;

/** CI and SACT are not in the table: writing one sets a bit, and only the controller clears it. */
export const PORT_REGISTERS: readonly HbaRegister[] = [
  { offset: Port.CLB, name: 'clb', reset: 0, writable: 0xfffffc00 },
  { offset: Port.CLBU, name: 'clbu', reset: 0, writable: 0xffffffff },
  { offset: Port.FB, name: 'fb', reset: 0, writable: 0xffffff00 },
  { offset: Port.FBU, name: 'fbu', reset: 0, writable: 0xffffffff },
  { offset: Port.IS, name: 'is', reset: 0, clear: 0xfd8000af },
  { offset: Port.IE, name: 'ie', reset: 0, writable: INTERRUPTS },
  {
    offset: Port.CMD,
    name: 'cmd',
    reset: PortCommand.SPIN_UP | PortCommand.POWER,
    writable: PortCommand.START | PortCommand.FIS_RECEIVE | PortCommand.ATAPI,
  },
  { offset: Port.TFD, name: 'tfd', reset: 0x7f },
  { offset: Port.SIG, name: 'sig', reset: 0xffffffff },
  { offset: Port.SSTS, name: 'ssts', reset: 0 },
  { offset: Port.SCTL, name: 'sctl', reset: 0, writable: 0xfff },
  { offset: Port.SERR, name: 'serr', reset: 0, clear: 0xffffffff },
  { offset: Port.SNTF, name: 'sntf', reset: 0, clear: 0xffff },
];

/** A block of registers with their masks. */
export class RegisterFile {
  private readonly rows = new Map<number, HbaRegister>();
  private readonly values = new Map<number, number>();

  constructor(table: readonly HbaRegister[]) {
    for (const row of table) this.rows.set(row.offset, row);
    this.reset();
  }

  reset(): void {
    for (const row of this.rows.values()) this.values.set(row.offset, row.reset);
  }

  /** Offsets without a register read as zero. */
  get(offset: number): number {
    return this.values.get(offset) ?? 0;
  }

  /** As the controller writes: masks do not apply. */
  set(offset: number, value: number): void {
    this.values.set(offset, value >>> 0);
  }

  /** As the guest writes. */
  write(offset: number, value: number): void {
    const row = this.rows.get(offset);
    if (!row) return;
    const mask = row.writable ?? 0;
    this.set(offset, ((this.get(offset) & ~mask) | (value & mask)) & ~(value & (row.clear ?? 0)));
  }
}
