/**
 * One port of the controller: command list → drive → received FIS. AHCI 1.3.1 §5 (port state machine), §6.2 (errors), §10.4 (resets).
 * A command other than a queued one runs alone; queued ones run side by side. Lists, tables and addresses are the guest's: what is
 * not in memory is a host bus fatal error of this port and nothing else.
 */
import type { GuestMemory } from '../../memory/guest-memory';
import { gpa } from '../../memory/guest-memory';
import { readRanges, sliceRanges, writeRanges } from '../../memory/ranges';
import {
  AtaError,
  AtaStatus,
  isBadAddress,
  SIGNATURES,
  type AtaDrive,
  type Move,
  type Operation,
  type Registers,
  type Taskfile,
} from '../ata';
import { InFlight } from '../in-flight';
import {
  d2hFis,
  pioSetupFis,
  ReceivedFis,
  readCommandHeader,
  readHostFis,
  readPrds,
  setDeviceBitsFis,
  type CommandHeader,
  type DeviceRegisters,
} from './fis';
import { ERROR_EXCHANGED, Port, PORT_REGISTERS, PortCommand, PortInterrupt, RegisterFile, SLOTS } from './registers';

const IDLE = AtaStatus.READY | AtaStatus.SEEK_COMPLETE;
const { BUSY, DATA_REQUEST, ERROR, DEVICE_FAULT } = AtaStatus;
/** SSTS: device present and talking, generation 2, interface active. */
const LINK_UP = 0x123;
const DETECTION = 0x0f;
const DETECTION_RESET = 1;
const DETECTION_OFF = 4;
/** Reason in the count register at the end of packet commands: command and to-host bits. */
const PACKET_END = 3;

type DataOperation = Extract<Operation, { kind: 'dataIn' | 'dataOut' | 'read' | 'write' }>;

interface Command {
  readonly slot: number;
  readonly header: CommandHeader;
  readonly task: Taskfile;
  readonly packet: Uint8Array;
  /** Data moves by the PIO protocol as far as FISes go. */
  pio: boolean;
}

export interface AhciPortDeps {
  readonly mem: GuestMemory;
  readonly drive: AtaDrive | undefined;
  /** Interrupt status or enable changed; `fresh`: an enabled cause was added. */
  readonly interrupt: (fresh: boolean) => void;
  readonly mayMaster: () => boolean;
}

export class AhciPort {
  private readonly registers = new RegisterFile(PORT_REGISTERS);
  private issued = 0;
  private queued = 0;
  /** Slots being carried out. */
  private running = 0;
  /** A command that is not queued runs. */
  private exclusive = false;
  /** After an error nothing starts until the guest restarts the port. */
  private halted = false;
  private softResetting = false;
  /** Queued commands done within this turn, told in one FIS. */
  private finished = 0;
  private starting = false;
  private signatureDue = false;
  private readonly inFlight = new InFlight();
  private generation = 0;

  constructor(private readonly deps: AhciPortDeps) {
    this.reset();
  }

  /** Reset of the controller. */
  reset(): void {
    this.stop();
    this.registers.reset();
    this.signatureDue = false;
    this.softResetting = false;
    this.comReset();
    this.deps.interrupt(false);
  }

  idle(): Promise<void> | void {
    return this.inFlight.idle();
  }

  quiesce(): Promise<void> | void {
    this.stop();
    return this.inFlight.idle();
  }

  get interrupting(): boolean {
    return (this.registers.get(Port.IS) & this.registers.get(Port.IE)) !== 0;
  }

  read(offset: number): number {
    if (offset === Port.CI) return this.issued >>> 0;
    if (offset === Port.SACT) return this.queued >>> 0;
    return this.registers.get(offset);
  }

  write(offset: number, value: number): void {
    switch (offset) {
      case Port.CI:
        if (this.registers.get(Port.CMD) & PortCommand.START) {
          this.issued |= value;
          this.start();
        }
        return;
      case Port.SACT:
        if (this.registers.get(Port.CMD) & PortCommand.START) this.queued |= value;
        return;
      case Port.CMD:
        this.writeCommand(value);
        return;
      case Port.SCTL: {
        const before = this.registers.get(Port.SCTL) & DETECTION;
        this.registers.write(offset, value);
        this.writeDetection(before, value & DETECTION);
        return;
      }
      case Port.IE:
        this.registers.write(offset, value);
        this.deps.interrupt(this.interrupting);
        return;
      case Port.IS:
        this.registers.write(offset, value);
        this.deps.interrupt(false);
        return;
      case Port.SERR:
        this.registers.write(offset, value);
        // PCS shows SERR.DIAG.X (§3.3.5).
        if (!(this.registers.get(Port.SERR) & ERROR_EXCHANGED))
          this.registers.set(Port.IS, this.registers.get(Port.IS) & ~PortInterrupt.CONNECT);
        this.deps.interrupt(false);
        return;
      default:
        this.registers.write(offset, value);
    }
  }

  // ---- state of the port ------------------------------------------------------------------------------------------

  private writeCommand(value: number): void {
    const before = this.registers.get(Port.CMD);
    this.registers.write(Port.CMD, value);
    let now = this.registers.get(Port.CMD) & ~(PortCommand.RUNNING | PortCommand.FIS_RUNNING);
    if (now & PortCommand.FIS_RECEIVE) now |= PortCommand.FIS_RUNNING;
    if (now & PortCommand.START || this.inFlight.busy) now |= PortCommand.RUNNING;
    this.registers.set(Port.CMD, now);
    // The list counts as running until the last transfer has left guest memory alone (§10.3.2).
    if (!(now & PortCommand.START)) {
      void this.inFlight.idle()?.then(() => {
        const command = this.registers.get(Port.CMD);
        if (!(command & PortCommand.START)) this.registers.set(Port.CMD, command & ~PortCommand.RUNNING);
      });
    }
    // §3.3.7: only while the list does not run.
    if (value & PortCommand.OVERRIDE && !(before & PortCommand.START)) {
      this.registers.set(Port.TFD, this.registers.get(Port.TFD) & ~(BUSY | DATA_REQUEST));
    }
    if (before & PortCommand.START && !(now & PortCommand.START)) this.stop();
    if (now & PortCommand.FIS_RECEIVE && this.signatureDue) this.sendSignature();
  }

  /** Commands that run are finished for nobody. */
  private stop(): void {
    this.generation++;
    this.issued = this.queued = this.running = this.finished = 0;
    this.exclusive = this.halted = false;
  }

  private writeDetection(before: number, now: number): void {
    if (now === DETECTION_RESET && before !== DETECTION_RESET) {
      this.stop();
      this.registers.set(Port.SSTS, 0);
      this.registers.set(Port.TFD, 0x7f);
    } else if (now === DETECTION_OFF) {
      this.stop();
      this.registers.set(Port.SSTS, 4);
    } else if (now === 0 && before !== 0) this.comReset();
  }

  /** The link comes up and the drive says what it is (§10.4.2). */
  private comReset(): void {
    const { drive } = this.deps;
    if (!drive) {
      this.registers.set(Port.SSTS, 0);
      this.registers.set(Port.TFD, 0x7f);
      this.registers.set(Port.SIG, 0xffffffff);
      return;
    }
    drive.reset(true);
    this.registers.set(Port.SSTS, LINK_UP);
    this.registers.set(Port.SERR, this.registers.get(Port.SERR) | ERROR_EXCHANGED);
    this.raise(PortInterrupt.CONNECT);
    this.showSignature();
  }

  private showSignature(): void {
    const wait = this.inFlight.idle();
    if (wait) {
      this.registers.set(Port.TFD, BUSY);
      const { generation } = this;
      void wait.then(() => {
        if (generation === this.generation) this.sendSignature();
      });
    } else this.sendSignature();
  }

  private sendSignature(): void {
    const { drive } = this.deps;
    if (!drive) return;
    const { count, low } = drive.packet ? SIGNATURES.packet : SIGNATURES.disk;
    this.registers.set(Port.SIG, (low << 8) | count);
    const shown = { status: drive.packet ? 0 : IDLE, error: 1, count, low, high: 0, device: 0 };
    this.registers.set(Port.TFD, (shown.error << 8) | shown.status);
    this.signatureDue = !this.post(ReceivedFis.D2H, d2hFis(shown, false));
    if (!this.signatureDue) this.raise(PortInterrupt.D2H);
  }

  private raise(cause: number): void {
    const status = this.registers.get(Port.IS);
    this.registers.set(Port.IS, status | cause);
    this.deps.interrupt((this.registers.get(Port.IE) & cause) !== 0);
  }

  /** False: FIS reception is off, or its buffer is no memory. */
  private post(at: number, fis: Uint8Array): boolean {
    if (!(this.registers.get(Port.CMD) & PortCommand.FIS_RECEIVE) || !this.deps.mayMaster()) return false;
    const base = this.registers.get(Port.FB) + this.registers.get(Port.FBU) * 2 ** 32;
    return this.deps.mem.write(gpa(base + at), fis);
  }

  // ---- commands ---------------------------------------------------------------------------------------------------

  private start(): void {
    if (this.starting) return;
    this.starting = true;
    try {
      for (let slot = this.nextSlot(); slot !== undefined; slot = this.nextSlot()) this.fetch(slot);
    } finally {
      this.starting = false;
    }
    this.tellFinished();
  }

  private nextSlot(): number | undefined {
    if (this.halted || this.exclusive || !this.deps.drive || !this.deps.mayMaster()) return undefined;
    const waiting = this.issued & ~this.running;
    if (waiting === 0) return undefined;
    for (let slot = 0; slot < SLOTS; slot++) {
      const bit = 1 << slot;
      // A command that is not queued waits for the queued ones to end.
      if (waiting & bit && (this.running === 0 || this.queued & bit)) return slot;
    }
    return undefined;
  }

  private fetch(slot: number): void {
    const { mem } = this.deps;
    const list = this.registers.get(Port.CLB) + this.registers.get(Port.CLBU) * 2 ** 32;
    const header = readCommandHeader(mem, list, slot);
    const fis = header && readHostFis(mem, header.table);
    if (!fis) {
      this.busError();
      return;
    }
    const bit = 1 << slot;
    if (fis.kind === 'control') {
      this.issued &= ~bit;
      if (fis.softReset) {
        this.softResetting = true;
        if (!header.clearBusy) this.registers.set(Port.TFD, BUSY);
      } else if (this.softResetting) {
        this.softResetting = false;
        this.deps.drive!.reset(false);
        this.showSignature();
      }
      return;
    }
    if (fis.kind === 'unknown' || this.softResetting) {
      this.issued &= ~bit;
      return;
    }
    const drive = this.deps.drive!;
    const command: Command = { slot, header, task: fis.task, packet: fis.packet, pio: false };
    this.running |= bit;
    const operation = drive.execute(fis.task);
    const tagged = this.queued & bit && (operation.kind === 'read' || operation.kind === 'write') && operation.tag === slot;
    if (this.queued & bit && !tagged) {
      // Queued by the registers, but not a command that can be, or under another's tag.
      this.fail(command, operation.kind === 'fail' ? operation : { kind: 'fail', error: AtaError.ABORT });
      return;
    }
    if (tagged) this.issued &= ~bit;
    else {
      this.exclusive = true;
      this.registers.set(Port.TFD, BUSY);
    }
    this.carryOut(command, operation, false);
  }

  private carryOut(command: Command, operation: Operation, packet: boolean): void {
    switch (operation.kind) {
      case 'done':
        this.complete(command, packet ? { count: PACKET_END } : operation.registers, 0);
        return;
      case 'fail':
        this.fail(command, operation);
        return;
      case 'wait':
        this.run(
          command,
          operation,
          () => operation.work,
          () => this.complete(command, undefined, 0),
        );
        return;
      case 'signature':
        this.deps.drive!.reset(false);
        this.finish(command);
        this.showSignature();
        return;
      case 'packet':
        if (command.header.atapi) this.carryOut(command, this.deps.drive!.executePacket(command.packet, operation.dma), true);
        else this.fail(command, { kind: 'fail', error: AtaError.ABORT });
        return;
      case 'dataIn':
      case 'dataOut':
      case 'read':
      case 'write':
        command.pio = !operation.dma;
        this.transfer(command, operation, packet);
        return;
    }
  }

  private transfer(command: Command, operation: DataOperation, packet: boolean): void {
    const { mem } = this.deps;
    const wanted = operation.kind === 'dataIn' ? operation.data.length : operation.bytes;
    const list = readPrds(mem, command.header, wanted);
    if (!list) {
      this.busError();
      return;
    }
    const end = (bytes: number): void => {
      if (bytes < wanted) this.raise(PortInterrupt.OVERFLOW);
      this.complete(command, packet ? { count: PACKET_END } : undefined, bytes);
    };
    switch (operation.kind) {
      case 'dataIn':
        if (writeRanges(mem, list.ranges, operation.data.subarray(0, list.bytes)) < 0) this.busError();
        else end(list.bytes);
        return;
      case 'dataOut': {
        const data = new Uint8Array(wanted);
        if (list.bytes < wanted || !readRanges(mem, list.ranges, data)) this.busError();
        else this.carryOut(command, operation.accept(data), packet);
        return;
      }
      case 'read':
      case 'write': {
        // Whole sectors only reach the medium.
        const bytes = list.bytes < wanted ? list.bytes - (list.bytes % 512) : wanted;
        if (bytes === 0) {
          end(0);
          return;
        }
        const move: Move = bytes === wanted ? operation : { ...operation, bytes };
        this.run(
          command,
          operation,
          () => this.deps.drive!.move(move, sliceRanges(list.ranges, 0, bytes)),
          () => end(bytes),
        );
        return;
      }
    }
  }

  private run(command: Command, operation: Operation, work: () => void | Promise<void>, done: () => void): void {
    const { generation } = this;
    let later = false;
    const settle = (then: () => void): void => {
      if (generation !== this.generation) return;
      then();
      if (later) this.start();
    };
    this.inFlight.run(
      work,
      () => settle(done),
      (error) => {
        const failure = this.deps.drive!.failure(error, operation);
        settle(() => {
          if (isBadAddress(error)) this.busError();
          else this.fail(command, failure);
        });
      },
    );
    later = true;
  }

  private shown(task: Taskfile, status: number, error: number, registers: Registers | undefined): DeviceRegisters {
    return {
      status,
      error,
      count: registers?.count ?? 0,
      low: registers?.low ?? task.low,
      high: registers?.high ?? task.high,
      device: task.device,
    };
  }

  private complete(command: Command, registers: Registers | undefined, bytes: number): void {
    const bit = 1 << command.slot;
    this.deps.mem.writeU32(gpa(command.header.at + 4), bytes);
    if (!this.exclusive) {
      this.finished |= bit;
      this.running &= ~bit;
      if (!this.starting) this.tellFinished();
      return;
    }
    const shown = this.shown(command.task, IDLE, 0, registers);
    this.finish(command);
    this.registers.set(Port.TFD, shown.status);
    if (command.pio && !command.header.write && !command.header.atapi) {
      // The data came with a PIO set-up FIS, whose end status is the last word (§5.3.11).
      this.post(ReceivedFis.PIO_SETUP, pioSetupFis({ ...shown, status: IDLE | DATA_REQUEST }, true, true, shown.status, bytes));
      this.raise(PortInterrupt.PIO_SETUP);
      return;
    }
    if (command.pio) {
      this.post(
        ReceivedFis.PIO_SETUP,
        pioSetupFis({ ...shown, status: IDLE | DATA_REQUEST }, !command.header.write, false, BUSY, bytes),
      );
      this.registers.set(Port.IS, this.registers.get(Port.IS) | PortInterrupt.PIO_SETUP);
    }
    this.post(ReceivedFis.D2H, d2hFis(shown, true));
    this.raise(PortInterrupt.D2H);
  }

  private finish(command: Command): void {
    const bit = 1 << command.slot;
    this.issued &= ~bit;
    this.running &= ~bit;
    this.exclusive = false;
  }

  private tellFinished(): void {
    const { finished } = this;
    if (finished === 0) return;
    this.finished = 0;
    this.queued &= ~finished;
    if (!this.halted) this.registers.set(Port.TFD, IDLE);
    this.post(ReceivedFis.SET_DEVICE_BITS, setDeviceBitsFis(IDLE, 0, finished));
    this.raise(PortInterrupt.SET_DEVICE_BITS);
  }

  /** §6.2.2: the port stops where it is; what failed stays in CI or SACT, so that the driver sees it. */
  private fail(command: Command, failure: Extract<Operation, { kind: 'fail' }>): void {
    const bit = 1 << command.slot;
    const status = IDLE | ERROR | (failure.fault ? DEVICE_FAULT : 0);
    this.tellFinished();
    this.running &= ~bit;
    this.halted = true;
    this.registers.set(Port.TFD, (failure.error << 8) | status);
    if (this.exclusive || !(this.queued & bit)) {
      this.exclusive = false;
      const registers = command.header.atapi ? { count: PACKET_END } : undefined;
      this.post(ReceivedFis.D2H, d2hFis(this.shown(command.task, status, failure.error, registers), true));
      this.raise(PortInterrupt.TASK_FILE | PortInterrupt.D2H);
    } else {
      this.post(ReceivedFis.SET_DEVICE_BITS, setDeviceBitsFis(status, failure.error, 0));
      this.raise(PortInterrupt.TASK_FILE | PortInterrupt.SET_DEVICE_BITS);
    }
  }

  private busError(): void {
    this.halted = true;
    this.exclusive = false;
    this.raise(PortInterrupt.HOST_BUS_FATAL);
  }
}
