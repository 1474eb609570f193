/**
 * One channel of the bus master: three registers, and tables of physical regions in guest memory. Programming Interface for Bus
 * Master IDE Controller, revision 1.0 (Intel/Brad Hosler, 1994); PIIX3 data sheet §2.7. The tables are hostile.
 */
import { gives, QuickPort, takes, TAKES_ALL, WAIT } from '../../bus/quick-ports';
import type { IoHandler } from '../../bus/types';
import { gpa, type GuestMemory } from '../../memory/guest-memory';

const COMMAND = 0;
const STATUS = 2;
const TABLE = 4;
export const BUS_MASTER_PORTS = 8;

const START = 0x01;
/** The device writes to memory. */
const TO_MEMORY = 0x08;
export const MasterStatus = { ACTIVE: 0x01, ERROR: 0x02, INTERRUPT: 0x04 } as const;
/** Scratch bits in which firmware notes that a drive can do DMA. */
const DRIVE_CAPABLE = 0x60;

const ENTRY_BYTES = 8;
const END_OF_TABLE = 0x8000_0000;
/** A table must not cross 64 KiB. */
const MAX_ENTRIES = 65536 / ENTRY_BYTES;
/** Entries fetched at once: most tables are shorter. */
const FETCH_ENTRIES = 32;

export type PrdFault = 'tableNotInMemory' | 'tableTooLong';

/** Physical regions from the table on, until `bytes` are covered or the table ends. */
export function readPrdTable(
  mem: GuestMemory,
  table: number,
  bytes: number,
): { ranges: number[]; bytes: number; last: boolean } | PrdFault {
  const ranges: number[] = [];
  let covered = 0;
  for (let first = 0; first < MAX_ENTRIES; first += FETCH_ENTRIES) {
    const raw = new Uint8Array(FETCH_ENTRIES * ENTRY_BYTES);
    let count = FETCH_ENTRIES;
    if (!mem.readInto(gpa(table + first * ENTRY_BYTES), raw)) {
      // The table may end just below the end of memory: then one entry at a time.
      if (!mem.readInto(gpa(table + first * ENTRY_BYTES), raw.subarray(0, ENTRY_BYTES))) return 'tableNotInMemory';
      count = 1;
    }
    const view = new DataView(raw.buffer);
    for (let i = 0; i < count; i++) {
      const flags = view.getUint32(i * ENTRY_BYTES + 4, true);
      const length = flags & 0xfffe || 0x10000;
      const take = Math.min(length, bytes - covered);
      ranges.push(view.getUint32(i * ENTRY_BYTES, true) & ~1, take);
      const at = ranges.length - 2;
      ranges[at] = ranges[at]! >>> 0;
      covered += take;
      const last = (flags & END_OF_TABLE) !== 0;
      if (last || covered === bytes) return { ranges, bytes: covered, last: last && take === length };
    }
    if (count === 1) first += 1 - FETCH_ENTRIES;
  }
  return 'tableTooLong';
}

export class BusMasterChannel implements IoHandler {
  private command = 0;
  private status = 0;
  private table = 0;
  /** The channel has nothing under way: only a command, which waits, can make it set a bit of the status. */
  private settled = false;
  readonly quick: readonly QuickPort[];
  private readonly commandPort: QuickPort;
  private readonly statusPort: QuickPort;
  private readonly tablePort: QuickPort;
  /** The engine was started; the drive may be waiting for it. */
  onStart: () => void = () => undefined;

  /** `at`: of its first register in the function's range. */
  constructor(at: number) {
    this.commandPort = new QuickPort(at + COMMAND);
    this.statusPort = new QuickPort(at + STATUS);
    this.tablePort = new QuickPort(at + TABLE, 4);
    this.quick = [this.commandPort, this.statusPort, this.tablePort];
    this.publish();
  }

  reset(): void {
    this.command = this.status = this.table = 0;
    this.publish();
  }

  settle(settled: boolean): void {
    if (settled === this.settled) return;
    this.settled = settled;
    this.publish();
  }

  /** Of an engine that stands still, only the write that starts it does anything at once. */
  private publish(): void {
    const idle = !this.active;
    this.commandPort.set(gives(this.command) | (idle ? takes(START, 0) : 0));
    this.statusPort.set(gives(this.status) | (this.settled ? TAKES_ALL : 0));
    this.tablePort.set(idle ? TAKES_ALL : WAIT);
  }

  get active(): boolean {
    return (this.status & MasterStatus.ACTIVE) !== 0;
  }

  get toMemory(): boolean {
    return (this.command & TO_MEMORY) !== 0;
  }

  get tableAddress(): number {
    return this.table;
  }

  /** The drive's interrupt line rose. */
  interrupt(): void {
    this.status |= MasterStatus.INTERRUPT;
    this.publish();
  }

  /** The transfer is over; `exhausted`: the table was used up exactly. */
  finish(exhausted: boolean): void {
    if (exhausted) this.status &= ~MasterStatus.ACTIVE;
    this.publish();
  }

  fail(): void {
    this.status = (this.status & ~MasterStatus.ACTIVE) | MasterStatus.ERROR;
    this.publish();
  }

  read(offset: number, width: number): number {
    if (offset >= TABLE) return this.table >>> ((offset - TABLE) * 8);
    let value = 0;
    for (let i = 0; i < width; i++) {
      const at = offset + i;
      const byte = at === COMMAND ? this.command : at === STATUS ? this.status : 0;
      value |= byte << (8 * i);
    }
    return value;
  }

  write(offset: number, width: number, value: number): void {
    for (let i = 0; i < width; i++) this.writeByte(offset + i, (value >>> (8 * i)) & 0xff);
    this.publish();
  }

  private writeByte(at: number, value: number): void {
    if (at === COMMAND) {
      const started = (value & START) !== 0 && (this.command & START) === 0;
      this.command = value & (START | TO_MEMORY);
      if (!(value & START)) this.status &= ~MasterStatus.ACTIVE;
      if (started) {
        this.status |= MasterStatus.ACTIVE;
        this.onStart();
      }
    } else if (at === STATUS) {
      const kept = this.status & ~(value & (MasterStatus.ERROR | MasterStatus.INTERRUPT)) & ~DRIVE_CAPABLE;
      this.status = kept | (value & DRIVE_CAPABLE);
    } else if (at >= TABLE) {
      const shift = (at - TABLE) * 8;
      this.table = ((this.table & ~(0xff << shift)) | (value << shift)) & ~3;
      this.table >>>= 0;
    }
  }
}
