/**
 * 8042 keyboard controller: data port (60h) and command/status port (64h). IBM PS/2 Hardware Interface Technical Reference.
 *
 * One byte of output buffer with its source; the keyboard and the mouse keep theirs until it is free. Offers translation, both
 * interrupts, self tests, the output port's reset line, A20 as a readable bit. Not offered: masking of address line 20 (memory is
 * always whole, as on machines of this century).
 */
import type { Clock } from '../../../backend/clock';
import type { Device, IoHandler, IrqLine } from '../../bus/types';
import { Ps2Keyboard, Translator, type KeyboardLeds } from './keyboard';
import { Ps2Mouse } from './mouse';

export const DATA_PORT = 0x60;
export const COMMAND_PORT = 0x64;

const Status = { OUTPUT_FULL: 1, SYSTEM: 4, COMMAND: 8, NOT_INHIBITED: 0x10, AUX_DATA: 0x20 } as const;
const Ctr = {
  KEYBOARD_INTERRUPT: 1,
  AUX_INTERRUPT: 2,
  SYSTEM: 4,
  KEYBOARD_DISABLED: 0x10,
  AUX_DISABLED: 0x20,
  TRANSLATE: 0x40,
} as const;
/** As a BIOS leaves it: translating, keyboard interrupt on, mouse off. */
const CTR_RESET = Ctr.KEYBOARD_INTERRUPT | Ctr.SYSTEM | Ctr.AUX_DISABLED | Ctr.TRANSLATE;
const OutputPort = { NO_RESET: 1, A20: 2, KEYBOARD_FULL: 0x10, AUX_FULL: 0x20 } as const;

/** Answers nobody reads: the rest is lost. */
const OWN_LIMIT = 16;

type Source = 'keyboard' | 'aux';

export class I8042 implements Device {
  readonly name = 'i8042';
  readonly keyboard: Ps2Keyboard;
  readonly mouse: Ps2Mouse;
  private readonly ram = new Uint8Array(32);
  private output = 0;
  private source: Source | undefined;
  private translator = new Translator();
  /** Bytes the controller itself answers, before anything of the devices. */
  private own: { byte: number; source: Source }[] = [];
  private awaiting: number | undefined;
  private lastWasCommand = false;
  private a20 = true;

  constructor(
    private readonly deps: {
      irq1: IrqLine;
      irq12: IrqLine;
      clock: Clock;
      onLeds: (leds: KeyboardLeds) => void;
      systemReset: () => void;
    },
  ) {
    const available = (): void => this.fill();
    this.keyboard = new Ps2Keyboard({ clock: deps.clock, available, onLeds: deps.onLeds });
    this.mouse = new Ps2Mouse({ available });
    this.ram[0] = CTR_RESET;
  }

  reset(): void {
    this.ram.fill(0);
    this.ram[0] = CTR_RESET;
    this.own = [];
    this.source = undefined;
    this.awaiting = undefined;
    this.lastWasCommand = false;
    this.a20 = true;
    this.translator = new Translator();
    this.keyboard.reset();
    this.mouse.reset();
    this.updateIrqs();
  }

  dispose(): void {
    this.keyboard.dispose();
  }

  readonly dataPort: IoHandler = {
    read: () => {
      const byte = this.output;
      if (this.source) {
        this.source = undefined;
        // The line falls before the next byte raises it: the interrupt is edge-triggered.
        this.updateIrqs();
        this.fill();
      }
      return byte;
    },
    write: (_offset, _width, value) => {
      this.lastWasCommand = false;
      const command = this.awaiting;
      this.awaiting = undefined;
      if (command !== undefined) this.commandArgument(command, value);
      else {
        this.ctr &= ~Ctr.KEYBOARD_DISABLED;
        this.keyboard.receive(value);
      }
      this.fill();
    },
  };

  readonly commandPort: IoHandler = {
    read: () =>
      Status.NOT_INHIBITED |
      (this.ctr & Ctr.SYSTEM ? Status.SYSTEM : 0) |
      (this.lastWasCommand ? Status.COMMAND : 0) |
      (this.source ? Status.OUTPUT_FULL : 0) |
      (this.source === 'aux' ? Status.AUX_DATA : 0),
    write: (_offset, _width, value) => {
      this.lastWasCommand = true;
      this.awaiting = undefined;
      this.command(value);
      this.fill();
    },
  };

  private get ctr(): number {
    return this.ram[0]!;
  }

  private set ctr(value: number) {
    this.ram[0] = value;
    this.updateIrqs();
  }

  private command(byte: number): void {
    if (byte >= 0x20 && byte <= 0x3f) this.answer(this.ram[byte & 0x1f]!);
    else if (byte >= 0x60 && byte <= 0x7f) this.awaiting = byte;
    else if (byte >= 0xf0) {
      if (!(byte & OutputPort.NO_RESET)) this.deps.systemReset();
    } else this.namedCommand(byte);
  }

  private namedCommand(byte: number): void {
    switch (byte) {
      case 0xa7:
        this.ctr |= Ctr.AUX_DISABLED;
        break;
      case 0xa8:
        this.ctr &= ~Ctr.AUX_DISABLED;
        break;
      case 0xa9: // aux interface test
      case 0xab: // keyboard interface test
        this.answer(0);
        break;
      case 0xaa: // self test
        this.ctr |= Ctr.SYSTEM;
        this.answer(0x55);
        break;
      case 0xad:
        this.ctr |= Ctr.KEYBOARD_DISABLED;
        break;
      case 0xae:
        this.ctr &= ~Ctr.KEYBOARD_DISABLED;
        break;
      case 0xc0: // input port: not locked
        this.answer(0x80);
        break;
      case 0xd0:
        this.answer(
          0xcc |
            OutputPort.NO_RESET |
            (this.a20 ? OutputPort.A20 : 0) |
            (this.source === 'keyboard' ? OutputPort.KEYBOARD_FULL : 0) |
            (this.source === 'aux' ? OutputPort.AUX_FULL : 0),
        );
        break;
      case 0xd1:
      case 0xd2:
      case 0xd3:
      case 0xd4:
        this.awaiting = byte;
        break;
      case 0xdd:
        this.a20 = false;
        break;
      case 0xdf:
        this.a20 = true;
        break;
      default: // unknown commands do nothing, as on the chip
    }
  }

  private commandArgument(command: number, value: number): void {
    if (command === 0x60) this.ctr = value;
    else if (command < 0x80) this.ram[command & 0x1f] = value;
    else if (command === 0xd1) {
      this.a20 = (value & OutputPort.A20) !== 0;
      if (!(value & OutputPort.NO_RESET)) this.deps.systemReset();
    } else if (command === 0xd2) this.answer(value);
    else if (command === 0xd3) this.answer(value, 'aux');
    else this.mouse.receive(value);
  }

  private answer(byte: number, source: Source = 'keyboard'): void {
    if (this.own.length < OWN_LIMIT) this.own.push({ byte, source });
  }

  /** Moves the next byte into the free output buffer. */
  private fill(): void {
    if (this.source) return;
    const own = this.own.shift();
    if (own) this.load(own.byte, own.source);
    else if (!(this.ctr & Ctr.KEYBOARD_DISABLED) && this.fillFromKeyboard()) return;
    else if (!(this.ctr & Ctr.AUX_DISABLED)) {
      const byte = this.mouse.take();
      if (byte !== undefined) this.load(byte, 'aux');
    }
  }

  private fillFromKeyboard(): boolean {
    for (;;) {
      const byte = this.keyboard.take();
      if (byte === undefined) return false;
      const out = this.ctr & Ctr.TRANSLATE ? this.translator.byte(byte) : byte;
      if (out === undefined) continue;
      this.load(out, 'keyboard');
      return true;
    }
  }

  private load(byte: number, source: Source): void {
    this.output = byte;
    this.source = source;
    this.updateIrqs();
  }

  private updateIrqs(): void {
    this.deps.irq1.set(this.source === 'keyboard' && (this.ctr & Ctr.KEYBOARD_INTERRUPT) !== 0);
    this.deps.irq12.set(this.source === 'aux' && (this.ctr & Ctr.AUX_INTERRUPT) !== 0);
  }
}
