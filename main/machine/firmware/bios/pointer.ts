/** INT 15h/C2h: the PS/2 pointing device, driven through the i8042 (IBM PS/2 BIOS interface). IRQ 12 delivers its bytes. */
import type { Bus } from '../../bus/bus';
import { EBDA_SEGMENT } from './bda';
import type { RegisterFrame } from './frame';
import type { RealModeMemory } from './real-memory';
import { POINTER_EBDA } from './rom';

const DATA = 0x60;
const STATUS = 0x64;
const OUTPUT_FULL = 0x01;
const FROM_POINTER = 0x20;
const ACKNOWLEDGE = 0xfa;
/** Polls of the controller before a command counts as failed; the emulated one answers at once. */
const PATIENCE = 64;

export class PointerServices {
  private packet: number[] = [];
  private enabled = false;
  private handler = 0;

  constructor(
    private readonly memory: RealModeMemory,
    private readonly bus: Bus,
  ) {}

  initialise(): void {
    this.packet = [];
    this.enabled = false;
    this.handler = 0;
  }

  private command(...bytes: number[]): number[] | undefined {
    const answers: number[] = [];
    for (const byte of bytes) {
      this.bus.writePort(STATUS, 1, 0xd4);
      this.bus.writePort(DATA, 1, byte);
      const answer = this.receive();
      if (answer !== ACKNOWLEDGE) return undefined;
    }
    for (let byte = this.receive(); byte !== undefined; byte = this.receive()) answers.push(byte);
    return answers;
  }

  private receive(): number | undefined {
    for (let i = 0; i < PATIENCE; i++) {
      const status = this.bus.readPort(STATUS, 1);
      if ((status & OUTPUT_FULL) !== 0 && (status & FROM_POINTER) !== 0) return this.bus.readPort(DATA, 1);
    }
    return undefined;
  }

  int15(r: RegisterFrame): void {
    const fail = (code: number): void => {
      r.ah = code;
      r.carry = true;
    };
    const need = (answers: number[] | undefined): boolean => {
      if (!answers) fail(0x03);
      return answers !== undefined;
    };
    r.carry = false;
    switch (r.al) {
      case 0x00:
        if (r.bh > 1) return fail(0x02);
        if (r.bh === 1 && this.handler === 0) return fail(0x05);
        if (!need(this.command(r.bh === 1 ? 0xf4 : 0xf5))) return;
        this.enabled = r.bh === 1;
        this.packet = [];
        break;
      case 0x01: {
        const answers = this.command(0xff);
        if (!need(answers)) return;
        r.bl = 0xaa;
        r.bh = 0;
        this.enabled = false;
        break;
      }
      case 0x02: {
        const rate = [10, 20, 40, 60, 80, 100, 200][r.bh];
        if (rate === undefined) return fail(0x02);
        if (!need(this.command(0xf3, rate))) return;
        break;
      }
      case 0x03:
        if (r.bh > 3) return fail(0x02);
        if (!need(this.command(0xe8, r.bh))) return;
        break;
      case 0x04:
        if (!need(this.command(0xf2))) return;
        r.bh = 0;
        break;
      case 0x05: {
        if (r.bh !== 3) return fail(0x02); // packets of three bytes
        if (!need(this.command(0xf6))) return;
        this.initialise();
        this.enableInterrupt();
        break;
      }
      case 0x06: {
        if (r.bh === 0) {
          const answers = this.command(0xe9);
          if (!need(answers)) return;
          r.bl = answers![0] ?? 0;
          r.cl = answers![1] ?? 0;
          r.dl = answers![2] ?? 0;
        } else if (r.bh <= 2) {
          if (!need(this.command(r.bh === 1 ? 0xe6 : 0xe7))) return;
        } else return fail(0x02);
        break;
      }
      case 0x07:
        this.handler = ((r.es << 16) | r.bx) >>> 0;
        this.memory.write32(EBDA_SEGMENT * 16 + POINTER_EBDA.handler, this.handler);
        this.enableInterrupt();
        break;
      default:
        return fail(0x01);
    }
    r.ah = 0;
  }

  /** IRQ 12 and the auxiliary clock on, in the controller's command byte. */
  private enableInterrupt(): void {
    this.bus.writePort(STATUS, 1, 0x20);
    const command = this.bus.readPort(DATA, 1);
    this.bus.writePort(STATUS, 1, 0x60);
    this.bus.writePort(DATA, 1, (command | 0x02) & ~0x20);
  }

  /** IRQ 12. Carry clear when a whole packet waits for the user's handler. */
  interrupt(r: RegisterFrame): void {
    r.carry = true;
    const status = this.bus.readPort(STATUS, 1);
    if ((status & (OUTPUT_FULL | FROM_POINTER)) !== (OUTPUT_FULL | FROM_POINTER)) return;
    const byte = this.bus.readPort(DATA, 1);
    if (!this.enabled || (this.packet.length === 0 && (byte & 0x08) === 0)) return;
    this.packet.push(byte);
    if (this.packet.length < 3 || this.handler === 0) return;
    const at = EBDA_SEGMENT * 16 + POINTER_EBDA.packet;
    this.packet.forEach((value, i) => this.memory.write16(at + 2 * i, value));
    this.packet = [];
    r.carry = false;
  }
}
