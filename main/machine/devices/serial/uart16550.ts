/**
 * 16550A UART (National Semiconductor PC16550D data sheet, §8 registers). Eight byte-wide registers.
 *
 * Offers: 16-byte receive FIFO with trigger levels, interrupt priorities, loopback, modem lines of a peer that is always ready,
 * OUT2 as the interrupt gate as PCs wire it. The line has no speed: a byte is sent the moment it is written, and the character
 * timeout of the receiver is immediate. Not offered: break towards the peer, DMA modes.
 */
import type { CharBackend } from '../../../backend/char';
import type { Disposable } from '../../../lib/disposable';
import { gives, QuickPort, TAKES_ALL_SOON, WAIT } from '../../bus/quick-ports';
import type { Device, IoHandler, IrqLine } from '../../bus/types';

export const UART_PORTS = 8;
export const FIFO_BYTES = 16;

const Reg = { DATA: 0, IER: 1, IIR_FCR: 2, LCR: 3, MCR: 4, LSR: 5, MSR: 6, SCRATCH: 7 } as const;
const Ier = { RECEIVED: 1, THR_EMPTY: 2, LINE_STATUS: 4, MODEM_STATUS: 8 } as const;
const Iir = {
  NONE: 0x01,
  MODEM_STATUS: 0x00,
  THR_EMPTY: 0x02,
  RECEIVED: 0x04,
  LINE_STATUS: 0x06,
  TIMEOUT: 0x0c,
  FIFO_ENABLED: 0xc0,
} as const;
const Fcr = { ENABLE: 1, CLEAR_RECEIVE: 2 } as const;
const LCR_DLAB = 0x80;
const Mcr = { DTR: 1, RTS: 2, OUT1: 4, OUT2: 8, LOOP: 0x10 } as const;
const Lsr = { DATA_READY: 1, OVERRUN: 2, ERRORS: 0x1e, THR_EMPTY: 0x20, TRANSMITTER_EMPTY: 0x40 } as const;
const Msr = { CTS: 0x10, DSR: 0x20, RI: 0x40, DCD: 0x80, RING_ENDED: 4 } as const;
/** The peer is there, switched on and ready. */
const MSR_CONNECTED = Msr.CTS | Msr.DSR | Msr.DCD;
const TRIGGER_LEVELS = [1, 4, 8, 14] as const;

export class Uart16550 implements Device, IoHandler {
  private readonly fifo = new Uint8Array(FIFO_BYTES);
  private head = 0;
  private count = 0;
  private ier = 0;
  private fcr = 0;
  private lcr = 0;
  private mcr = 0;
  private lineErrors = 0;
  private msr: number = MSR_CONNECTED;
  private scratch = 0;
  private divisor = 12; // 9600 baud
  private thrEmptyPending = false;
  private starved = false;
  private readonly out = new Uint8Array(1);
  private readonly input: Disposable;
  /** The transmitter is never busy, and in loopback alone does a byte sent come back. */
  private readonly dataPort = new QuickPort(Reg.DATA);
  private readonly lineStatusPort = new QuickPort(Reg.LSR);
  readonly quick = [this.dataPort, this.lineStatusPort];

  constructor(
    readonly name: string,
    private readonly deps: { irq: IrqLine; backend: CharBackend },
  ) {
    this.input = deps.backend.onInput((bytes) => this.receive(bytes));
    this.announce();
  }

  reset(): void {
    this.head = this.count = this.ier = this.fcr = this.lcr = this.mcr = this.lineErrors = this.scratch = 0;
    this.msr = MSR_CONNECTED;
    this.divisor = 12;
    this.thrEmptyPending = false;
    this.update();
    this.offerRoom();
  }

  dispose(): void {
    this.input.dispose();
  }

  read(offset: number): number {
    switch (offset) {
      case Reg.DATA:
        return this.lcr & LCR_DLAB ? this.divisor & 0xff : this.takeByte();
      case Reg.IER:
        return this.lcr & LCR_DLAB ? this.divisor >> 8 : this.ier;
      case Reg.IIR_FCR: {
        const id = this.interruptId();
        if (id === Iir.THR_EMPTY) {
          this.thrEmptyPending = false;
          this.update();
        }
        return id | (this.fcr & Fcr.ENABLE ? Iir.FIFO_ENABLED : 0);
      }
      case Reg.LCR:
        return this.lcr;
      case Reg.MCR:
        return this.mcr;
      case Reg.LSR: {
        const value = this.lineStatus;
        if (this.lineErrors) {
          this.lineErrors = 0;
          this.update();
        }
        return value;
      }
      case Reg.MSR: {
        const value = this.msr;
        if (value & 0x0f) {
          this.msr &= 0xf0;
          this.update();
        }
        return value;
      }
      default:
        return this.scratch;
    }
  }

  write(offset: number, _width: number, value: number): void {
    switch (offset) {
      case Reg.DATA:
        if (this.lcr & LCR_DLAB) this.divisor = (this.divisor & 0xff00) | value;
        else this.transmit(value);
        break;
      case Reg.IER:
        if (this.lcr & LCR_DLAB) this.divisor = (this.divisor & 0xff) | (value << 8);
        else {
          // Enabling the interrupt while the holding register is empty raises it (it always is empty here).
          if (value & Ier.THR_EMPTY && !(this.ier & Ier.THR_EMPTY)) this.thrEmptyPending = true;
          this.ier = value & 0x0f;
          this.update();
        }
        break;
      case Reg.IIR_FCR:
        this.writeFifoControl(value);
        break;
      case Reg.LCR:
        this.lcr = value;
        this.announce();
        break;
      case Reg.MCR:
        this.writeModemControl(value & 0x1f);
        break;
      case Reg.SCRATCH:
        this.scratch = value;
        break;
      default: // LSR and MSR are read-only
    }
  }

  private transmit(value: number): void {
    if (this.mcr & Mcr.LOOP) this.push(value);
    else {
      this.out[0] = value;
      this.deps.backend.write(this.out);
    }
    this.thrEmptyPending = true;
    this.update();
  }

  private writeFifoControl(value: number): void {
    if ((value ^ this.fcr) & Fcr.ENABLE || value & Fcr.CLEAR_RECEIVE) this.head = this.count = 0;
    // The other bits are written only together with the enable bit (data sheet §8.5).
    this.fcr = value & Fcr.ENABLE ? value & 0xc9 : 0;
    this.update();
    this.offerRoom();
  }

  private writeModemControl(value: number): void {
    this.mcr = value;
    let lines: number = MSR_CONNECTED;
    if (value & Mcr.LOOP) {
      lines =
        (value & Mcr.RTS ? Msr.CTS : 0) |
        (value & Mcr.DTR ? Msr.DSR : 0) |
        (value & Mcr.OUT1 ? Msr.RI : 0) |
        (value & Mcr.OUT2 ? Msr.DCD : 0);
    }
    const changed = (this.msr ^ lines) & 0xf0;
    let delta = (changed >> 4) & ~Msr.RING_ENDED;
    if (this.msr & Msr.RI && !(lines & Msr.RI)) delta |= Msr.RING_ENDED;
    this.msr = lines | (this.msr & 0x0f) | delta;
    this.update();
    this.offerRoom();
  }

  /** Bytes from the peer; takes what fits. In loopback the receiver is disconnected. */
  private receive(bytes: Uint8Array): number {
    let taken = 0;
    if (!(this.mcr & Mcr.LOOP)) {
      const room = this.depth - this.count;
      taken = Math.max(0, Math.min(room, bytes.length));
      for (let i = 0; i < taken; i++) this.push(bytes[i]!);
    }
    this.starved = taken < bytes.length;
    if (taken > 0) this.update();
    return taken;
  }

  private push(byte: number): void {
    if (this.count >= this.depth) {
      this.lineErrors |= Lsr.OVERRUN;
      // Without FIFO the new byte replaces the old one; with it, the FIFO keeps what it has.
      if (!(this.fcr & Fcr.ENABLE)) this.fifo[this.head] = byte;
      return;
    }
    this.fifo[(this.head + this.count) % FIFO_BYTES] = byte;
    this.count++;
  }

  private takeByte(): number {
    if (this.count === 0) return 0;
    const byte = this.fifo[this.head]!;
    this.head = (this.head + 1) % FIFO_BYTES;
    this.count--;
    this.update();
    if (this.count === 0) this.offerRoom();
    return byte;
  }

  /** The backend offered more than fitted: it may go on. */
  private offerRoom(): void {
    if (!this.starved || this.mcr & Mcr.LOOP || this.count >= this.depth) return;
    this.starved = false;
    this.deps.backend.ready();
  }

  private get depth(): number {
    return this.fcr & Fcr.ENABLE ? FIFO_BYTES : 1;
  }

  /** Highest priority first (data sheet table III). */
  private interruptId(): number {
    if (this.ier & Ier.LINE_STATUS && this.lineErrors & Lsr.ERRORS) return Iir.LINE_STATUS;
    if (this.ier & Ier.RECEIVED && this.count > 0) {
      const trigger = this.fcr & Fcr.ENABLE ? TRIGGER_LEVELS[this.fcr >> 6]! : 1;
      return this.count >= trigger ? Iir.RECEIVED : Iir.TIMEOUT;
    }
    if (this.ier & Ier.THR_EMPTY && this.thrEmptyPending) return Iir.THR_EMPTY;
    if (this.ier & Ier.MODEM_STATUS && this.msr & 0x0f) return Iir.MODEM_STATUS;
    return Iir.NONE;
  }

  private get lineStatus(): number {
    return Lsr.THR_EMPTY | Lsr.TRANSMITTER_EMPTY | this.lineErrors | (this.count > 0 ? Lsr.DATA_READY : 0);
  }

  private announce(): void {
    // Reading the line status clears its errors.
    this.lineStatusPort.set(this.lineErrors ? WAIT : gives(this.lineStatus));
    this.dataPort.set(this.lcr & LCR_DLAB || this.mcr & Mcr.LOOP ? WAIT : TAKES_ALL_SOON);
  }

  private update(): void {
    this.announce();
    // OUT2 drives the interrupt pin's buffer on a PC; in loopback the pin is inactive.
    const gate = (this.mcr & (Mcr.OUT2 | Mcr.LOOP)) === Mcr.OUT2;
    this.deps.irq.set(gate && this.interruptId() !== Iir.NONE);
  }
}
