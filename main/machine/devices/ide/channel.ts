/**
 * One IDE channel: command block and control block of two drives, and how their commands move data. ATA/ATAPI-7 vol. 2 §11 (state
 * machines) and vol. 1 §5 (registers). Programmed I/O: programmed-io.ts; DMA goes straight between medium and guest memory.
 * The guest may touch any register at any time; what a real drive would ignore while busy is ignored.
 */
import { gives, QuickPort, takes, TAKES_ALL, WAIT } from '../../bus/quick-ports';
import type { Device, IoHandler, IrqLine } from '../../bus/types';
import type { GuestMemory } from '../../memory/guest-memory';
import { readRanges, sliceRanges, writeRanges } from '../../memory/ranges';
import { AtaError, AtaStatus, SIGNATURES, type AtaDrive, type Operation, type Registers, type Taskfile } from '../ata';
import { InFlight } from '../in-flight';
import { readPrdTable, type BusMasterChannel } from './bus-master';
import { DriveState, IDLE, Reason, setPacketRegisters } from './drive-state';
import { ProgrammedIo, type PioHost } from './programmed-io';

const Reg = { DATA: 0, FEATURES: 1, COUNT: 2, LOW: 3, MID: 4, HIGH: 5, DEVICE: 6, COMMAND: 7 } as const;
export const COMMAND_PORTS = 8;
const DEVICE_SELECT = 0x10;
const Control = { NO_INTERRUPT: 0x02, SOFT_RESET: 0x04, HIGH_ORDER: 0x80 } as const;
const DEVICE_RESET = 0x08;
const DIAGNOSTIC = 0x90;
const DIAGNOSTIC_PASSED = 1;
const { BUSY, READY, DATA_REQUEST, ERROR, DEVICE_FAULT } = AtaStatus;

export interface ChannelDeps {
  readonly name: string;
  readonly mem: GuestMemory;
  readonly irq: IrqLine;
  readonly master: BusMasterChannel;
  /** Master and slave. */
  readonly drives: readonly [AtaDrive | undefined, AtaDrive | undefined];
  /** The function decodes this channel's ports. */
  readonly decoded: () => boolean;
  /** The function may access memory. */
  readonly mayMaster: () => boolean;
}

/** What is not there is neither busy nor asks for data: firmware waits for the end of either, OVMF 35 seconds for each drive. */
const NO_DRIVE = 0;

export class IdeChannel implements Device, PioHost {
  readonly name: string;
  private readonly states = [new DriveState(), new DriveState()] as const;
  private selected: 0 | 1 = 0;
  /** Whose command is or was carried out last: one at a time. The guest may select the other meanwhile. */
  private active: 0 | 1 = 0;
  private control = 0;
  private interruptPending = false;
  private readonly pio: ProgrammedIo;
  /** A DMA command that waits for the bus master. */
  private waitingForMaster: (() => void) | undefined;
  private readonly inFlight = new InFlight();
  /** Grows with each reset; what was begun before ends without touching registers. */
  private generation = 0;

  constructor(private readonly deps: ChannelDeps) {
    this.name = deps.name;
    this.pio = new ProgrammedIo(this);
    deps.master.onStart = () => this.masterStarted();
    this.reset();
  }

  /** The reset line. */
  reset(): void {
    this.deps.drives.forEach((drive) => drive?.reset(true));
    this.control = 0;
    this.deps.master.reset();
    this.resetRegisters();
  }

  /** Nothing moves between guest memory and a medium any more when this is done; what was begun is finished for nobody. */
  quiesce(): Promise<void> | void {
    this.abandon();
    return this.inFlight.idle();
  }

  /** Features, count, low, mid and high; device; status. */
  private readonly taskPorts = [Reg.FEATURES, Reg.COUNT, Reg.LOW, Reg.MID, Reg.HIGH].map((offset) => new QuickPort(offset));
  private readonly devicePort = new QuickPort(Reg.DEVICE);
  private readonly statusPort = new QuickPort(Reg.COMMAND);
  private readonly alternatePort = new QuickPort(0);

  readonly commandBlock: IoHandler = {
    quick: [...this.taskPorts, this.devicePort, this.statusPort],
    read: (offset, width) => {
      if (!this.deps.decoded()) return 0xffffffff;
      let value = 0;
      if (offset === Reg.DATA) value = this.pio.readRegister(width);
      else for (let i = 0; i < width; i++) value |= this.readRegister(offset + i) << (8 * i);
      this.publish();
      return value;
    },
    write: (offset, width, value) => {
      if (!this.deps.decoded()) return;
      if (offset === Reg.DATA) this.pio.writeRegister(width, value);
      else for (let i = 0; i < width; i++) this.writeRegister(offset + i, (value >>> (8 * i)) & 0xff);
      this.publish();
    },
    readString: (offset, width, count, into) => {
      if (offset === Reg.DATA && width > 1 && this.deps.decoded()) {
        this.pio.read(into.subarray(0, count * width));
        this.publish();
      } else {
        for (let i = 0, at = 0; i < count; i++) {
          const value = this.commandBlock.read(offset, width);
          for (let b = 0; b < width; b++) into[at++] = value >>> (8 * b);
        }
      }
    },
    writeString: (offset, width, count, from) => {
      if (offset === Reg.DATA && width > 1 && this.deps.decoded()) {
        this.pio.write(from.subarray(0, count * width));
        this.publish();
      } else {
        for (let i = 0, at = 0; i < count; i++) {
          let value = 0;
          for (let b = 0; b < width; b++) value |= from[at++]! << (8 * b);
          this.commandBlock.write(offset, width, value >>> 0);
        }
      }
    },
  };

  /** Alternate status and device control. */
  readonly controlPort: IoHandler = {
    quick: [this.alternatePort],
    read: () => (this.deps.decoded() ? this.readStatus() : 0xff),
    write: (_offset, _width, value) => {
      if (!this.deps.decoded()) return;
      const before = this.control;
      this.control = value & 0xff;
      if (value & Control.SOFT_RESET && !(before & Control.SOFT_RESET)) this.softReset();
      else if (!(value & Control.SOFT_RESET) && before & Control.SOFT_RESET) this.softResetEnds();
      this.updateIrq();
      this.publish();
    },
  };

  /**
   * What the engine may answer for: after every change, and before an interrupt tells of it. While nothing is under way the command
   * block does nothing before a command; selecting the other drive shows at once. Reading the status acknowledges an interrupt.
   */
  publish(): void {
    const { alternatePort, statusPort, devicePort, taskPorts } = this;
    const decoded = this.deps.decoded();
    const idle = this.states.every(({ status }) => !(status & (BUSY | DATA_REQUEST)));
    const status = decoded ? gives(this.readStatus()) : WAIT;
    alternatePort.set(status);
    statusPort.set(this.interruptPending && this.selected === this.active ? WAIT : status);
    devicePort.set(decoded && idle ? takes(DEVICE_SELECT, this.selected ? DEVICE_SELECT : 0) : WAIT);
    for (const port of taskPorts) port.set(decoded && idle ? TAKES_ALL : WAIT);
    this.deps.master.settle(idle);
  }

  // ---- PioHost ----------------------------------------------------------------------------------------------------

  get drive(): AtaDrive | undefined {
    return this.deps.drives[this.active];
  }

  get state(): DriveState {
    return this.states[this.active];
  }

  get dataRequested(): boolean {
    return this.active === this.selected && (this.state.status & DATA_REQUEST) !== 0;
  }

  private get selectedDrive(): AtaDrive | undefined {
    return this.deps.drives[this.selected];
  }

  private get empty(): boolean {
    return !this.deps.drives[0] && !this.deps.drives[1];
  }

  // ---- registers --------------------------------------------------------------------------------------------------

  /** An absent slave is answered for by its master, with no status. */
  private readStatus(): number {
    if (this.selectedDrive) return this.states[this.selected].status;
    return this.empty || this.selected === 0 ? NO_DRIVE : 0;
  }

  private readRegister(offset: number): number {
    if (this.empty || (!this.selectedDrive && this.selected === 0)) return NO_DRIVE;
    if (offset === Reg.COMMAND) {
      if (this.selected === this.active) this.setInterrupt(false);
      return this.readStatus();
    }
    const state = this.states[this.selectedDrive ? this.selected : 0];
    if (state.status & BUSY) return state.status;
    const shift = this.control & Control.HIGH_ORDER ? 8 : 0;
    switch (offset) {
      case Reg.FEATURES:
        return state.error;
      case Reg.COUNT:
        return (state.count >>> shift) & 0xff;
      case Reg.LOW:
        return (state.low >>> shift) & 0xff;
      case Reg.MID:
        return (state.mid >>> shift) & 0xff;
      case Reg.HIGH:
        return (state.high >>> shift) & 0xff;
      case Reg.DEVICE:
        return (state.device & ~DEVICE_SELECT) | 0xa0 | (this.selected ? DEVICE_SELECT : 0);
      default:
        return 0xff;
    }
  }

  /** Both drives take every register write; only a command is for the selected one. */
  private writeRegister(offset: number, value: number): void {
    this.control &= ~Control.HIGH_ORDER;
    if (offset === Reg.COMMAND) {
      this.command(value);
      return;
    }
    const push = (old: number): number => ((old & 0xff) << 8) | value;
    for (const state of this.states) {
      if (state.status & (BUSY | DATA_REQUEST) && offset !== Reg.DEVICE) continue;
      switch (offset) {
        case Reg.FEATURES:
          state.features = push(state.features);
          break;
        case Reg.COUNT:
          state.count = push(state.count);
          break;
        case Reg.LOW:
          state.low = push(state.low);
          break;
        case Reg.MID:
          state.mid = push(state.mid);
          break;
        case Reg.HIGH:
          state.high = push(state.high);
          break;
        case Reg.DEVICE:
          state.device = value;
          break;
      }
    }
    if (offset === Reg.DEVICE) {
      this.selected = value & DEVICE_SELECT ? 1 : 0;
      this.updateIrq();
    }
  }

  private command(opcode: number): void {
    const drive = this.selectedDrive;
    if (this.control & Control.SOFT_RESET) return;
    if (opcode === DIAGNOSTIC && !this.empty) {
      this.abandon();
      this.deps.drives.forEach((each) => each?.reset(false));
      this.whenQuiet(() => {
        this.showSignatures();
        this.setInterrupt(true);
      });
      return;
    }
    if (!drive) return;
    if (this.state.status & (BUSY | DATA_REQUEST)) {
      // DEVICE RESET alone is taken while busy, by packet devices; two commands at once there are not on a channel.
      if (opcode !== DEVICE_RESET || !drive.packet || this.active !== this.selected) return;
      this.abandon();
    }
    this.active = this.selected;
    const { state } = this;
    this.setInterrupt(false);
    const task: Taskfile = {
      command: opcode,
      features: state.features,
      count: state.count,
      low: (state.low & 0xff) | ((state.mid & 0xff) << 8) | ((state.high & 0xff) << 16),
      high: (state.low >>> 8) | (state.mid & 0xff00) | ((state.high & 0xff00) << 8),
      device: state.device,
    };
    state.error = 0;
    state.status = BUSY;
    this.carryOut(drive.execute(task), false);
  }

  // ---- operations -------------------------------------------------------------------------------------------------

  /** `packet`: the operation came out of a command packet, whose data and end follow other rules. */
  carryOut(operation: Operation, packet: boolean): void {
    const drive = this.drive!;
    switch (operation.kind) {
      case 'done':
        this.complete(operation.registers, packet);
        return;
      case 'fail':
        this.fail(operation, packet);
        return;
      case 'wait':
        this.run(
          operation,
          packet,
          () => operation.work,
          () => this.complete(undefined, packet),
        );
        return;
      case 'signature':
        drive.reset(false);
        this.whenQuiet(() => this.showSignature(this.active));
        return;
      case 'packet':
        this.pio.takePacket(operation.dma);
        return;
      case 'dataIn':
        if (operation.dma) this.dma(operation, packet, operation.data.length);
        else this.pio.offer(operation, packet);
        return;
      case 'dataOut':
        if (operation.dma) this.dma(operation, packet, operation.bytes);
        else this.pio.collect(operation, packet);
        return;
      case 'read':
        if (operation.dma) this.dma(operation, packet, operation.bytes);
        else this.pio.load(operation, packet);
        return;
      case 'write':
        if (operation.dma) this.dma(operation, packet, operation.bytes);
        else this.pio.store(operation);
        return;
    }
  }

  /** Work on the medium; its end counts only if no reset came between. */
  run(operation: Operation, packet: boolean, work: () => void | Promise<void>, done: () => void): void {
    const { generation } = this;
    const drive = this.drive!;
    this.inFlight.run(
      work,
      () => {
        if (generation !== this.generation) return;
        done();
        this.publish();
      },
      (error) => {
        const failure = drive.failure(error, operation);
        if (generation !== this.generation) return;
        this.fail(failure, packet);
        this.publish();
      },
    );
  }

  complete(registers: Registers | undefined, packet: boolean): void {
    const { state } = this;
    if (registers?.count !== undefined) state.count = registers.count;
    if (registers?.low !== undefined) {
      const high = registers.high ?? 0;
      state.low = (registers.low & 0xff) | ((high & 0xff) << 8);
      state.mid = ((registers.low >>> 8) & 0xff) | (high & 0xff00);
      state.high = ((registers.low >>> 16) & 0xff) | ((high >>> 8) & 0xff00);
    }
    if (packet) state.count = Reason.COMMAND | Reason.TO_HOST;
    this.pio.end();
    state.status = IDLE;
    this.setInterrupt(true);
  }

  private fail(failure: Extract<Operation, { kind: 'fail' }>, packet: boolean): void {
    const { state } = this;
    this.pio.end();
    this.waitingForMaster = undefined;
    if (packet) state.count = Reason.COMMAND | Reason.TO_HOST;
    state.error = failure.error;
    state.status = IDLE | ERROR | (failure.fault ? DEVICE_FAULT : 0);
    this.setInterrupt(true);
  }

  // ---- DMA --------------------------------------------------------------------------------------------------------

  private masterStarted(): void {
    const begin = this.waitingForMaster;
    this.waitingForMaster = undefined;
    begin?.();
    this.publish();
  }

  private dma(
    operation: Extract<Operation, { kind: 'dataIn' | 'dataOut' | 'read' | 'write' }>,
    packet: boolean,
    bytes: number,
  ): void {
    if (packet) setPacketRegisters(this.state, operation.kind === 'dataIn' || operation.kind === 'read' ? Reason.TO_HOST : 0, 0);
    this.state.status = IDLE | DATA_REQUEST;
    const begin = (): void => this.transfer(operation, packet, bytes);
    if (this.deps.master.active) begin();
    else this.waitingForMaster = begin;
  }

  private transfer(
    operation: Extract<Operation, { kind: 'dataIn' | 'dataOut' | 'read' | 'write' }>,
    packet: boolean,
    bytes: number,
  ): void {
    const { master, mem } = this.deps;
    const drive = this.drive!;
    const toMemory = operation.kind === 'dataIn' || operation.kind === 'read';
    this.state.status = BUSY;
    if (!this.deps.mayMaster() || master.toMemory !== toMemory) {
      // The other side never answers: the drive waits with its data, as it would on the cable.
      this.state.status = READY | DATA_REQUEST;
      return;
    }
    const table = readPrdTable(mem, master.tableAddress, bytes);
    if (typeof table === 'string') {
      master.fail();
      this.fail({ kind: 'fail', error: AtaError.ABORT }, packet);
      return;
    }
    // Bus Master IDE §3.1: a table that ends too soon stops the engine without an interrupt; the drive still has data.
    const short = table.bytes < bytes;
    const end = (): void => {
      master.finish(short || table.last);
      if (!short) this.complete(undefined, packet);
      else {
        this.state.status = READY | DATA_REQUEST;
        this.publish();
      }
    };
    const badMemory = (): void => {
      master.fail();
      this.fail({ kind: 'fail', error: AtaError.ABORT }, packet);
    };
    switch (operation.kind) {
      case 'dataIn':
        if (writeRanges(mem, table.ranges, operation.data.subarray(0, table.bytes)) < 0) badMemory();
        else end();
        return;
      case 'dataOut': {
        const data = new Uint8Array(bytes);
        if (short || !readRanges(mem, table.ranges, data)) badMemory();
        else {
          master.finish(table.last);
          this.carryOut(operation.accept(data), packet);
        }
        return;
      }
      case 'read':
      case 'write': {
        // Whole sectors only reach the medium.
        const whole = short ? table.bytes - (table.bytes % 512) : bytes;
        if (whole === 0) {
          end();
          return;
        }
        const { generation } = this;
        this.inFlight.run(
          () => drive.move(short ? { ...operation, bytes: whole } : operation, sliceRanges(table.ranges, 0, whole)),
          () => {
            if (generation === this.generation) end();
          },
          (error) => {
            const failure = drive.failure(error, operation);
            if (generation !== this.generation) return;
            if ((error as { code?: unknown } | null)?.code === 'EFAULT') master.fail();
            else master.finish(true);
            this.fail(failure, packet);
          },
        );
        return;
      }
    }
  }

  // ---- resets and interrupts --------------------------------------------------------------------------------------

  private abandon(): void {
    this.generation++;
    this.pio.end();
    this.waitingForMaster = undefined;
  }

  private softReset(): void {
    this.abandon();
    this.deps.drives.forEach((drive, i) => {
      drive?.reset(false);
      this.states[i]!.status = BUSY;
    });
    this.selected = this.active = 0;
    this.setInterrupt(false);
  }

  private softResetEnds(): void {
    this.whenQuiet(() => this.showSignatures());
  }

  private resetRegisters(): void {
    this.abandon();
    this.setInterrupt(false);
    this.showSignatures();
    this.publish();
  }

  /** Busy until nothing of the time before the reset reaches guest memory any more. */
  private whenQuiet(then: () => void): void {
    const wait = this.inFlight.idle();
    if (!wait) {
      then();
      return;
    }
    this.deps.drives.forEach((drive, i) => {
      if (drive) this.states[i]!.status = BUSY;
    });
    const { generation } = this;
    void wait.then(() => {
      if (generation !== this.generation) return;
      then();
      this.publish();
    });
  }

  private showSignatures(): void {
    this.selected = this.active = 0;
    this.showSignature(0);
    this.showSignature(1);
  }

  private showSignature(index: 0 | 1): void {
    const drive = this.deps.drives[index];
    const state = this.states[index];
    const signature = drive?.packet ? SIGNATURES.packet : SIGNATURES.disk;
    state.count = signature.count;
    state.low = signature.low & 0xff;
    state.mid = (signature.low >>> 8) & 0xff;
    state.high = signature.low >>> 16;
    state.device = 0;
    state.error = DIAGNOSTIC_PASSED;
    // A packet device is not ready until its first command (vol. 1 §5.14.1).
    state.status = drive ? (drive.packet ? 0 : IDLE) : 0;
  }

  setInterrupt(on: boolean): void {
    this.interruptPending = on;
    this.updateIrq(on);
  }

  private updateIrq(rose = false): void {
    const level =
      this.interruptPending &&
      this.drive !== undefined &&
      this.active === this.selected &&
      !(this.control & Control.NO_INTERRUPT);
    if (level && rose) this.deps.master.interrupt();
    this.publish();
    this.deps.irq.set(level);
  }
}
