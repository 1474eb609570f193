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
import type { DmaChannel } from '../dma8237';
import { InFlight } from '../in-flight';
import { COMMANDS, type CommandName, DIR_CHANGED, Dor, DSR_RESET, Msr, Reg, St0, St1, St3, VERSION_82077 } from './registers';
import { advance, planTransfer, type Position, type TransferPlan } from './transfer';

/** Where the head of a drive stops. */
const LAST_CYLINDER = 83;
const SEEK_NS = 2e6;
const COMMAND_NS = 1e5;

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

/** Data between their command and its result. */
interface Transfer extends TransferPlan {
  readonly drive: Drive;
  readonly data: Uint8Array;
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
    const select = c[1]!;
    const drive = this.drives[select & 3];
    this.working = true;
    const plan = planTransfer(c, {
      format: this.formatOf(drive),
      cylinder: drive?.cylinder ?? 0,
      writable: kind !== 'write' || !drive?.slot.backend?.readOnly,
      room: kind === 'verify' || this.nonDma ? Infinity : this.deps.dma.remaining,
    });
    if ('st1' in plan) {
      const { st1, st2, at } = plan;
      this.later(COMMAND_NS, () => this.finish(select, St0.ABNORMAL, st1, st2, at, c[5]!));
      return;
    }
    // Only where there is a diskette is there a plan.
    const transfer: Transfer = { ...plan, drive: drive!, data: new Uint8Array(plan.sectors * SECTOR_BYTES) };
    if (kind === 'write') this.writeSectors(transfer);
    else this.readSectors(kind, transfer);
  }

  private endTransfer({ select, size, at, sectors, last, overshoot, multiTrack }: Transfer, end: TransferEnd): void {
    if (end === 'mediumFailed') return this.finish(select, St0.ABNORMAL, St1.DATA_ERROR, 0, at, size);
    if (end === 'badMemory') return this.finish(select, St0.ABNORMAL, St1.OVERRUN, 0, at, size);
    const after = advance(at, sectors, last, multiTrack);
    if (end === 'counted') this.finish(select, 0, 0, 0, after, size);
    else this.finish(select, St0.ABNORMAL, overshoot ? St1.NO_DATA : St1.END_OF_CYLINDER, 0, after, size);
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
}

const dmaEnd = (moved: { terminal: boolean } | undefined): TransferEnd =>
  moved ? (moved.terminal ? 'counted' : 'exhausted') : 'badMemory';
