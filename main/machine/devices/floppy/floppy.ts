/**
 * Floppy disk controller (Intel 82077AA data sheet, 290166) with two drives, in PC/AT mode: ports 3F2–3F5 and 3F7, IRQ 6, DRQ 2.
 * Offers READ and WRITE (also deleted data, MT, by DMA or programmed I/O), VERIFY, READ TRACK as far as data go, READ ID, FORMAT, RECALIBRATE, SEEK (also
 * relative), SENSE INTERRUPT and DRIVE STATUS, SPECIFY, CONFIGURE, LOCK, PERPENDICULAR, DUMPREG, VERSION. Not offered: SCAN, tape, power-down.
 * Seeks and transfers take a fraction of a real drive's time. Whatever the guest writes ends in a result or an "invalid command".
 */
import { HostIoError, SECTOR_BYTES } from '../../../backend/block';
import type { Clock } from '../../../backend/clock';
import { floppyFormat, type FloppyFormat } from '../../bus/floppies';
import type { Device, IoHandler, IrqLine } from '../../bus/types';
import type { MediaSlot } from '../ata';
import { InFlight } from '../in-flight';
import type { DmaChannel } from '../dma8237';

export const FLOPPY_IRQ = 6;
export const FLOPPY_DMA = 2;
/** Offsets from 3F0h; 3F0h and 3F1h do not answer in AT mode, 3F6h is the IDE controller's. */
const Reg = { DOR: 2, TDR: 3, MSR: 4, FIFO: 5, DIR: 7 } as const;
const Dor = { DRIVE: 0x03, NOT_RESET: 0x04, GATE: 0x08, MOTOR0: 0x10 } as const;
const Msr = { READY: 0x80, TO_HOST: 0x40, NON_DMA: 0x20, BUSY: 0x10 } as const;
const DSR_RESET = 0x80;
const DIR_CHANGED = 0x80;
const St0 = { ABNORMAL: 0x40, INVALID: 0x80, POLLED: 0xc0, SEEK_END: 0x20, CHECK: 0x10 } as const;
const St1 = {
  END_OF_CYLINDER: 0x80,
  DATA_ERROR: 0x20,
  OVERRUN: 0x10,
  NO_DATA: 0x04,
  NOT_WRITABLE: 0x02,
  MISSING_MARK: 0x01,
} as const;
const St2 = { WRONG_CYLINDER: 0x10, MISSING_MARK: 0x01 } as const;
const St3 = { PROTECTED: 0x40, READY: 0x20, TRACK0: 0x10, TWO_SIDES: 0x08 } as const;
const VERSION_82077 = 0x90;
/** Where the head of a drive stops. */
const LAST_CYLINDER = 83;
const SEEK_NS = 2e6;
const COMMAND_NS = 1e5;
const DRIVES = 2;

type CommandName =
  | 'read' | 'write' | 'verify' | 'readId' | 'format' | 'recalibrate' | 'seek' | 'senseInterrupt' | 'senseDrive' | 'specify' | 'configure' | 'lock'
  | 'perpendicular' | 'dumpRegisters' | 'version'; // prettier-ignore

/** Opcode bits that are compared, their value, the command's length in bytes. */
const COMMANDS: readonly (readonly [mask: number, value: number, bytes: number, name: CommandName])[] = [
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

interface Drive {
  readonly slot: MediaSlot;
  cylinder: number;
  changed: boolean;
}

/** Programmed I/O of the execution phase. */
interface Execution {
  readonly toHost: boolean;
  readonly data: Uint8Array;
  position: number;
  readonly done: () => void;
}

/** Where a transfer stands: what the result phase reports. */
interface Position {
  cylinder: number;
  head: number;
  sector: number;
}

/** Data between their command and its result. */
interface Transfer {
  readonly drive: Drive;
  readonly select: number;
  readonly size: number;
  readonly at: Position;
  readonly data: Uint8Array;
  /** Parts of `data` and their places on the medium. */
  readonly pieces: readonly (readonly [offset: number, from: number, to: number])[];
  /** What the other side takes or gives; the last sector may be moved in part. */
  readonly limit: number;
  /** The last sector of the track that was asked for, and that this is past what the track has. */
  readonly last: number;
  readonly overshoot: boolean;
  readonly multiTrack: boolean;
}

/** `counted`: by the DMA controller's terminal count; `exhausted`: the track's or the command's last sector was reached. */
type TransferEnd = 'counted' | 'exhausted' | 'mediumFailed' | 'badMemory';

export interface FloppyDeps {
  readonly irq: IrqLine;
  readonly dma: DmaChannel;
  readonly clock: Clock;
  /** Drives A and B; absent: not connected. */
  readonly slots: readonly MediaSlot[];
  readonly onHostError: (drive: number, error: HostIoError) => void;
}

export class FloppyController implements Device, IoHandler {
  readonly name = 'floppy';
  readonly counters = { readBytes: 0, writtenBytes: 0, reads: 0, writes: 0, refused: 0, hostErrors: 0 };
  private readonly drives: readonly Drive[];
  private dor = 0;
  private rate = 2;
  private tape = 0;
  private command: number[] = [];
  private commandBytes = 0;
  private result: number[] = [];
  private execution: Execution | undefined;
  /** A command is between its last byte and its result. */
  private working = false;
  private seeking = 0;
  /** For SENSE INTERRUPT: ST0 of drives whose seek ended, and of all four after a reset. */
  private readonly interrupts: number[] = [];
  private specified: [number, number] = [0, 0];
  private config: [number, number] = [0, 0];
  private perpendicular = 0;
  private locked = false;
  private nonDma = false;
  private readonly inFlight = new InFlight();
  private generation = 0;

  constructor(private readonly deps: FloppyDeps) {
    this.drives = deps.slots.map((slot) => ({ slot, cylinder: 0, changed: true }));
    for (const drive of this.drives) {
      drive.slot.onInserted = () => (drive.changed = true);
      drive.slot.onRemoved = () => (drive.changed = true);
    }
  }

  reset(): void {
    this.dor = 0;
    this.rate = 2;
    this.locked = false;
    for (const drive of this.drives) {
      drive.cylinder = 0;
      drive.changed = true;
    }
    this.resetState();
  }

  quiesce(): Promise<void> | void {
    this.resetState();
    return this.inFlight.idle();
  }

  read(offset: number): number {
    switch (offset) {
      case Reg.DOR:
        return this.dor;
      case Reg.TDR:
        return this.tape;
      case Reg.MSR:
        return this.status();
      case Reg.FIFO:
        return this.readFifo();
      case Reg.DIR: {
        const drive = this.selected;
        return drive?.changed && this.dor & (Dor.MOTOR0 << (this.dor & Dor.DRIVE)) ? DIR_CHANGED : 0;
      }
      default:
        return 0xff;
    }
  }

  write(offset: number, _width: number, value: number): void {
    switch (offset) {
      case Reg.DOR: {
        const before = this.dor;
        this.dor = value;
        if (!(value & Dor.NOT_RESET)) this.resetState();
        else if (!(before & Dor.NOT_RESET)) this.resetEnds();
        else this.updateIrq();
        return;
      }
      case Reg.TDR:
        this.tape = value & 3;
        return;
      case Reg.MSR:
        this.rate = value & 3;
        if (value & DSR_RESET && this.dor & Dor.NOT_RESET) {
          this.resetState();
          this.resetEnds();
        }
        return;
      case Reg.FIFO:
        this.writeFifo(value);
        return;
      case Reg.DIR:
        this.rate = value & 3;
        return;
    }
  }

  private get selected(): Drive | undefined {
    return this.drives[this.dor & Dor.DRIVE];
  }

  // ---- phases -----------------------------------------------------------------------------------------------------

  private status(): number {
    if (!(this.dor & Dor.NOT_RESET)) return 0;
    if (this.execution) return Msr.READY | Msr.NON_DMA | Msr.BUSY | (this.execution.toHost ? Msr.TO_HOST : 0);
    if (this.working) return Msr.BUSY;
    if (this.result.length > 0) return Msr.READY | Msr.TO_HOST | Msr.BUSY;
    return Msr.READY | (this.command.length > 0 ? Msr.BUSY : 0) | this.seeking;
  }

  private readFifo(): number {
    const { execution } = this;
    if (execution?.toHost) {
      const byte = execution.data[execution.position++]!;
      if (execution.position === execution.data.length) this.endExecution(execution);
      return byte;
    }
    if (this.working || this.result.length === 0) return 0;
    this.interruptLevel = false;
    this.updateIrq();
    return this.result.shift()!;
  }

  private writeFifo(value: number): void {
    if (!(this.dor & Dor.NOT_RESET)) return;
    const { execution } = this;
    if (execution) {
      if (execution.toHost) return;
      execution.data[execution.position++] = value;
      if (execution.position === execution.data.length) this.endExecution(execution);
      return;
    }
    if (this.working || this.result.length > 0) return;
    if (this.command.length === 0) {
      const row = COMMANDS.find(([mask, code]) => (value & mask) === code);
      if (!row) {
        this.counters.refused++;
        this.result = [St0.INVALID];
        return;
      }
      this.commandBytes = row[2];
    }
    this.command.push(value);
    if (this.command.length === this.commandBytes) {
      const { command } = this;
      this.command = [];
      this.execute(COMMANDS.find(([mask, code]) => (command[0]! & mask) === code)![3], command);
    }
  }

  private endExecution(execution: Execution): void {
    this.execution = undefined;
    this.working = true;
    this.interruptLevel = false;
    this.updateIrq();
    execution.done();
  }

  private interruptLevel = false;

  private raise(): void {
    this.interruptLevel = true;
    this.updateIrq();
  }

  private updateIrq(): void {
    this.deps.irq.set(this.interruptLevel && (this.dor & Dor.GATE) !== 0);
  }

  private later(nanoseconds: number, callback: () => void): void {
    const { generation } = this;
    const { clock } = this.deps;
    clock.at(clock.now() + nanoseconds, () => {
      if (generation === this.generation) callback();
    });
  }

  private resetState(): void {
    this.generation++;
    this.command = [];
    this.result = [];
    this.execution = undefined;
    this.working = false;
    this.seeking = 0;
    this.interrupts.length = 0;
    this.perpendicular = 0;
    if (!this.locked) this.config = [0, 0];
    this.interruptLevel = false;
    this.updateIrq();
  }

  /** §8.0: after a reset polling reports each of four drives once. */
  private resetEnds(): void {
    this.later(COMMAND_NS, () => {
      for (let drive = 0; drive < 4; drive++) this.interrupts.push(St0.POLLED | drive);
      this.raise();
    });
  }

  // ---- commands ---------------------------------------------------------------------------------------------------

  private execute(name: CommandName, c: readonly number[]): void {
    switch (name) {
      case 'read':
      case 'verify':
      case 'write':
        this.transfer(name, c);
        return;
      case 'readId':
        this.readId(c);
        return;
      case 'format':
        this.format(c);
        return;
      case 'recalibrate':
        this.seek(c[1]! & 3, 0);
        return;
      case 'seek': {
        const drive = c[1]! & 3;
        const here = this.drives[drive]?.cylinder ?? 0;
        // Bit 7: relative; bit 6: inwards.
        this.seek(drive, c[0]! & 0x80 ? here + (c[0]! & 0x40 ? c[2]! : -c[2]!) : c[2]!);
        return;
      }
      case 'senseInterrupt': {
        const st0 = this.interrupts.shift();
        if (st0 === undefined) {
          this.result = [St0.INVALID];
          return;
        }
        if (this.interrupts.length === 0 || (st0 & St0.POLLED) === St0.POLLED) {
          this.interruptLevel = false;
          this.updateIrq();
        }
        this.result = [st0, this.drives[st0 & 3]?.cylinder ?? 0];
        return;
      }
      case 'senseDrive': {
        const drive = this.drives[c[1]! & 3];
        const backend = drive?.slot.backend;
        const shown = (drive && drive.cylinder === 0 ? St3.TRACK0 : 0) | (backend?.readOnly ? St3.PROTECTED : 0);
        this.result = [(c[1]! & 7) | St3.READY | St3.TWO_SIDES | shown];
        return;
      }
      case 'specify':
        this.specified = [c[1]!, c[2]!];
        this.nonDma = (c[2]! & 1) !== 0;
        return;
      case 'configure':
        this.config = [c[2]!, c[3]!];
        return;
      case 'lock':
        this.locked = (c[0]! & 0x80) !== 0;
        this.result = [this.locked ? 0x10 : 0];
        return;
      case 'perpendicular':
        this.perpendicular = c[1]!;
        return;
      case 'dumpRegisters': {
        const cylinders = [0, 1, 2, 3].map((i) => this.drives[i]?.cylinder ?? 0);
        this.result = [
          ...cylinders,
          ...this.specified,
          0,
          (this.locked ? 0x80 : 0) | (this.perpendicular & 0x7f),
          ...this.config,
        ];
        return;
      }
      case 'version':
        this.result = [VERSION_82077];
        return;
    }
  }

  private seek(index: number, cylinder: number): void {
    const drive = this.drives[index];
    this.seeking |= 1 << index;
    this.later(SEEK_NS, () => {
      this.seeking &= ~(1 << index);
      if (!drive) {
        // Track 0 is never seen.
        this.interrupts.push(St0.ABNORMAL | St0.SEEK_END | St0.CHECK | index);
        this.raise();
        return;
      }
      const target = Math.max(0, Math.min(LAST_CYLINDER, cylinder));
      // The change line falls with a step pulse while a diskette is in.
      if (drive.slot.medium && (target !== drive.cylinder || cylinder === 0)) drive.changed = false;
      drive.cylinder = target;
      this.interrupts.push(St0.SEEK_END | index);
      this.raise();
    });
  }

  /** Why the medium cannot be read at all: no diskette, or not at this rate. */
  private formatOf(drive: Drive | undefined): FloppyFormat | undefined {
    const backend = drive?.slot.backend;
    if (!backend) return undefined;
    const format = floppyFormat(backend.bytes);
    return format.rate === this.rate ? format : undefined;
  }

  private finish(select: number, st0: number, st1: number, st2: number, at: Position, size: number): void {
    this.working = false;
    if (st1 & ~St1.END_OF_CYLINDER) this.counters.refused++;
    this.result = [st0 | (select & 7), st1, st2, at.cylinder, at.head, at.sector, size];
    this.raise();
  }

  private readId(c: readonly number[]): void {
    const drive = this.drives[c[1]! & 3];
    const head = (c[1]! >> 2) & 1;
    this.working = true;
    this.later(COMMAND_NS, () => {
      const format = this.formatOf(drive);
      const at = { cylinder: drive?.cylinder ?? 0, head, sector: 1 };
      const readable = format && head < format.heads && at.cylinder < format.cylinders;
      if (readable) this.finish(c[1]!, 0, 0, 0, at, 2);
      else this.finish(c[1]!, St0.ABNORMAL, St1.MISSING_MARK, 0, at, 2);
    });
  }

  private transfer(kind: 'read' | 'verify' | 'write', c: readonly number[]): void {
    const [code, select, cylinder, head, sector, size, end] = c as [number, number, number, number, number, number, number];
    const drive = this.drives[select & 3];
    const at: Position = { cylinder, head, sector };
    const format = this.formatOf(drive);
    const refuse = (st1: number, st2: number): void =>
      this.later(COMMAND_NS, () => this.finish(select, St0.ABNORMAL, st1, st2, at, size));
    this.working = true;
    if (!drive || !format || drive.cylinder >= format.cylinders || ((select >> 2) & 1) >= format.heads)
      return refuse(St1.MISSING_MARK, St2.MISSING_MARK);
    if (kind === 'write' && drive.slot.backend!.readOnly) return refuse(St1.NOT_WRITABLE, 0);
    if (cylinder !== drive.cylinder) return refuse(St1.NO_DATA, St2.WRONG_CYLINDER);
    if (head !== ((select >> 2) & 1) || size !== 2 || sector < 1 || sector > format.sectors) return refuse(St1.NO_DATA, 0);
    // Sectors from here to the end of the track, and with MT the other side's; past what the track has, no data are found.
    const last = Math.min(end, format.sectors);
    const bothSides = (code & 0x80) !== 0 && head === 0 && format.heads === 2;
    const here = Math.max(0, last - sector + 1);
    const available = here + (bothSides ? last : 0);
    if (available === 0) return refuse(St1.NO_DATA, 0);
    const limit =
      kind === 'verify' || this.nonDma ? available * SECTOR_BYTES : Math.min(available * SECTOR_BYTES, this.deps.dma.remaining);
    const sectors = Math.ceil(limit / SECTOR_BYTES);
    if (sectors === 0) return refuse(St1.OVERRUN, 0);
    const data = new Uint8Array(sectors * SECTOR_BYTES);
    const first = (cylinder * format.heads + head) * format.sectors + sector - 1;
    const onThisSide = Math.min(sectors, here) * SECTOR_BYTES;
    const pieces: [offset: number, from: number, to: number][] = [[first * SECTOR_BYTES, 0, onThisSide]];
    if (onThisSide < data.length)
      pieces.push([(cylinder * format.heads + 1) * format.sectors * SECTOR_BYTES, onThisSide, data.length]);
    const overshoot = end > format.sectors;
    const transfer: Transfer = { drive, select, size, at, data, pieces, limit, last, overshoot, multiTrack: (code & 0x80) !== 0 };
    if (kind === 'write') this.writeSectors(transfer);
    else this.readSectors(kind, transfer);
  }

  private endTransfer({ select, size, at, data, last, overshoot, multiTrack }: Transfer, end: TransferEnd): void {
    const result = (st0: number, st1: number): void => this.finish(select, st0, st1, 0, at, size);
    if (end === 'mediumFailed') return result(St0.ABNORMAL, St1.DATA_ERROR);
    if (end === 'badMemory') return result(St0.ABNORMAL, St1.OVERRUN);
    this.advance(at, data.length / SECTOR_BYTES, last, multiTrack);
    if (end === 'counted') result(0, 0);
    else result(St0.ABNORMAL, overshoot ? St1.NO_DATA : St1.END_OF_CYLINDER);
  }

  private readSectors(kind: 'read' | 'verify', transfer: Transfer): void {
    const { data, limit } = transfer;
    this.onMedium(transfer, false, () => {
      this.counters.readBytes += data.length;
      this.counters.reads++;
      if (kind === 'verify') this.endTransfer(transfer, 'counted');
      else if (this.nonDma) this.exchange(true, data, () => this.endTransfer(transfer, 'exhausted'));
      else this.endTransfer(transfer, dmaEnd(this.deps.dma.toMemory(data.subarray(0, limit))));
    });
  }

  private writeSectors(transfer: Transfer): void {
    const { data, limit } = transfer;
    const store = (end: TransferEnd): void => {
      this.onMedium(transfer, true, () => {
        this.counters.writtenBytes += data.length;
        this.counters.writes++;
        this.endTransfer(transfer, end);
      });
    };
    if (this.nonDma) {
      this.exchange(false, data, () => store('exhausted'));
      return;
    }
    this.later(COMMAND_NS, () => {
      const end = dmaEnd(this.deps.dma.fromMemory(data.subarray(0, limit)));
      if (end === 'badMemory') this.endTransfer(transfer, end);
      else store(end);
    });
  }

  private onMedium(transfer: Transfer, write: boolean, done: () => void): void {
    const { drive, select, data, pieces } = transfer;
    const work = async (): Promise<void> => {
      for (const [offset, from, to] of pieces) await this.access(drive, offset, data.subarray(from, to), write);
    };
    this.run(select, work, () => this.endTransfer(transfer, 'mediumFailed'), done);
  }

  private format(c: readonly number[]): void {
    const [, select, size, count, , fill] = c as [number, number, number, number, number, number];
    const drive = this.drives[select & 3];
    const head = (select >> 2) & 1;
    const format = this.formatOf(drive);
    const at: Position = { cylinder: drive?.cylinder ?? 0, head, sector: 1 };
    this.working = true;
    const end = (st0: number, st1: number): void => this.finish(select, st0, st1, 0, at, size);
    this.later(COMMAND_NS, () => {
      if (!drive || !format || at.cylinder >= format.cylinders || head >= format.heads)
        return end(St0.ABNORMAL, St1.MISSING_MARK);
      if (drive.slot.backend!.readOnly) return end(St0.ABNORMAL, St1.NOT_WRITABLE);
      // The image has the tracks it has: another layout cannot be made on it.
      if (size !== 2 || count !== format.sectors) return end(St0.ABNORMAL, St1.NO_DATA);
      const ids = new Uint8Array(count * 4);
      const fillTrack = (): void => {
        const track = new Uint8Array(count * SECTOR_BYTES).fill(fill);
        const offset = (at.cylinder * format.heads + head) * count * SECTOR_BYTES;
        this.run(
          select,
          () => this.access(drive, offset, track, true),
          () => end(St0.ABNORMAL, St1.DATA_ERROR),
          () => end(0, 0),
        );
      };
      if (this.nonDma) this.exchange(false, ids, fillTrack);
      else if (this.deps.dma.fromMemory(ids)) fillTrack();
      else end(St0.ABNORMAL, St1.OVERRUN);
    });
  }

  /** Sectors past the end of a short image read as zeroes and are not written. */
  private async access(drive: Drive, offset: number, data: Uint8Array, write: boolean): Promise<void> {
    await drive.slot.use(async () => {
      const { backend } = drive.slot;
      if (!backend) throw new HostIoError('The diskette was taken out', 'outOfRange');
      const there = data.subarray(0, Math.max(0, Math.min(data.length, backend.bytes - offset)));
      if (there.length === 0) return;
      if (write) await backend.writeBytes(offset, there);
      else await backend.readBytes(offset, there);
    });
  }

  private run(select: number, work: () => Promise<void>, failed: () => void, done: () => void): void {
    const { generation } = this;
    this.inFlight.run(
      work,
      () => {
        if (generation === this.generation) this.later(COMMAND_NS, done);
      },
      (error) => {
        const failure = error instanceof HostIoError ? error : new HostIoError(String((error as Error)?.message ?? error), 'io');
        if (failure.kind !== 'outOfRange' && failure.kind !== 'readOnly') {
          this.counters.hostErrors++;
          this.deps.onHostError(select & 3, failure);
        }
        if (generation === this.generation) failed();
      },
    );
  }

  private exchange(toHost: boolean, data: Uint8Array, done: () => void): void {
    this.execution = { toHost, data, position: 0, done };
    this.raise();
  }

  /** The result phase names the sector after the last one (table 5-8). */
  private advance(at: Position, sectors: number, last: number, multiTrack: boolean): void {
    for (let n = 0; n < sectors; n++) {
      if (at.sector < last) {
        at.sector++;
        continue;
      }
      at.sector = 1;
      if (multiTrack) {
        at.head ^= 1;
        if (at.head === 0) at.cylinder++;
      } else at.cylinder++;
    }
  }
}

const dmaEnd = (moved: { terminal: boolean } | undefined): TransferEnd =>
  moved ? (moved.terminal ? 'counted' : 'exhausted') : 'badMemory';

export const FLOPPY_DRIVES = DRIVES;

/** The controller's ports; 3F6h between them belongs to IDE. */
export const FLOPPY_PORTS = [
  { port: 0x3f2, offset: 2, count: 4 },
  { port: 0x3f7, offset: 7, count: 1 },
] as const;
