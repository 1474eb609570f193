/** Ports, register bits, result bytes and commands of the 82077AA (Intel data sheet 290166, §2 and §5). */

export const FLOPPY_IRQ = 6;
export const FLOPPY_DMA = 2;
export const FLOPPY_DRIVES = 2;
/** Offsets from 3F0h; 3F0h and 3F1h do not answer in AT mode, 3F6h is the IDE controller's. */
export const Reg = { DOR: 2, TDR: 3, MSR: 4, FIFO: 5, DIR: 7 } as const;
export const Dor = { DRIVE: 0x03, NOT_RESET: 0x04, GATE: 0x08, MOTOR0: 0x10 } as const;
export const Msr = { READY: 0x80, TO_HOST: 0x40, NON_DMA: 0x20, BUSY: 0x10 } as const;
export const DSR_RESET = 0x80;
export const DIR_CHANGED = 0x80;
export const St0 = { ABNORMAL: 0x40, INVALID: 0x80, POLLED: 0xc0, SEEK_END: 0x20, CHECK: 0x10 } as const;
export const St1 = {
  END_OF_CYLINDER: 0x80,
  DATA_ERROR: 0x20,
  OVERRUN: 0x10,
  NO_DATA: 0x04,
  NOT_WRITABLE: 0x02,
  MISSING_MARK: 0x01,
} as const;
export const St2 = { WRONG_CYLINDER: 0x10, MISSING_MARK: 0x01 } as const;
export const St3 = { PROTECTED: 0x40, READY: 0x20, TRACK0: 0x10, TWO_SIDES: 0x08 } as const;
export const VERSION_82077 = 0x90;

/** The controller's ports; 3F6h between them belongs to IDE. */
export const FLOPPY_PORTS = [
  { port: 0x3f2, offset: 2, count: 4 },
  { port: 0x3f7, offset: 7, count: 1 },
] as const;

export type CommandName =
  | 'read' | 'write' | 'verify' | 'readId' | 'format' | 'recalibrate' | 'seek' | 'senseInterrupt' | 'senseDrive' | 'specify' | 'configure' | 'lock'
  | 'perpendicular' | 'dumpRegisters' | 'version'; // prettier-ignore

/** Opcode bits that are compared, their value, the command's length in bytes. */
export const COMMANDS: readonly (readonly [mask: number, value: number, bytes: number, name: CommandName])[] = [
  [0x1f, 0x06, 9, 'read'], [0x1f, 0x0c, 9, 'read'], [0x9f, 0x02, 9, 'read'],
  [0x3f, 0x05, 9, 'write'], [0x3f, 0x09, 9, 'write'],
  [0x1f, 0x16, 9, 'verify'],
  [0xbf, 0x0a, 2, 'readId'],
  [0xbf, 0x0d, 6, 'format'],
  [0xff, 0x07, 2, 'recalibrate'],
  [0x3f, 0x0f, 3, 'seek'],
  [0xff, 0x08, 1, 'senseInterrupt'],
  [0xff, 0x04, 2, 'senseDrive'],
  [0xff, 0x03, 3, 'specify'],
  [0xff, 0x13, 4, 'configure'],
  [0x7f, 0x14, 1, 'lock'],
  [0xff, 0x12, 2, 'perpendicular'],
  [0xff, 0x0e, 1, 'dumpRegisters'],
  [0xff, 0x10, 1, 'version'],
]; // prettier-ignore
