/**
 * PS/2 mouse with wheel (IBM PS/2 mouse technical reference; Microsoft IntelliMouse and Explorer extensions, entered by the
 * sample-rate sequences 200-100-80 and 200-200-80). Motion is summed up while the guest does not read, never queued without bound.
 */
import type { PointerSink } from '../../../backend/input';
import { RESPONSE_LIMIT_BYTES } from './keyboard';

const Reply = { ACK: 0xfa, RESEND: 0xfe, SELF_TEST_OK: 0xaa } as const;
/** Motion packets that may wait; further motion adds up into the next one. */
const MOTION_QUEUE_BYTES = 16;
const DEFAULT_RATE = 100;
const DEFAULT_RESOLUTION = 2; // 4 counts a millimetre
/** Sums beyond this are a hostile viewer's. */
const SUM_LIMIT = 65536;

const clamp = (value: number, low: number, high: number): number => Math.max(low, Math.min(high, value));

export class Ps2Mouse implements PointerSink {
  /** Absolute positions need the guest's vmmouse driver or a tablet device. */
  readonly absolute = false;
  private responses: number[] = [];
  private motion: number[] = [];
  private dx = 0;
  private dy = 0;
  private dz = 0;
  private buttons = 0;
  private reportedButtons = 0;
  private id = 0;
  private rate = DEFAULT_RATE;
  private resolution = DEFAULT_RESOLUTION;
  private scaling = false;
  private remote = false;
  private wrap = false;
  private reporting = false;
  private rateHistory: number[] = [];
  private awaiting: number | undefined;
  private lastSent = 0;

  constructor(private readonly deps: { available: () => void }) {}

  take(): number | undefined {
    const byte = this.responses.length > 0 ? this.responses.shift() : this.motion.shift();
    if (byte !== undefined) this.lastSent = byte;
    if (this.motion.length === 0) this.report();
    return byte;
  }

  relative(dx: number, dy: number, buttons: number, wheel: number): void {
    if (![dx, dy, wheel].every(Number.isFinite)) return;
    this.dx = clamp(this.dx + dx, -SUM_LIMIT, SUM_LIMIT);
    this.dy = clamp(this.dy + dy, -SUM_LIMIT, SUM_LIMIT);
    this.dz = clamp(this.dz + wheel, -SUM_LIMIT, SUM_LIMIT);
    this.buttons = buttons & 31;
    this.report();
    if (this.motion.length > 0) this.deps.available();
  }

  pointer(): void {}

  reset(): void {
    this.responses = [];
    this.awaiting = undefined;
    this.id = 0;
    this.wrap = false;
    this.setDefaults();
  }

  receive(byte: number): void {
    if (this.wrap && byte !== 0xec && byte !== 0xff) this.reply(byte);
    else if (this.awaiting !== undefined) this.argument(this.awaiting, byte);
    else this.command(byte);
    this.deps.available();
  }

  private command(byte: number): void {
    switch (byte) {
      case 0xe6:
      case 0xe7:
        this.scaling = byte === 0xe7;
        this.reply(Reply.ACK);
        break;
      case 0xe8:
      case 0xf3:
        this.awaiting = byte;
        this.reply(Reply.ACK);
        break;
      case 0xe9: {
        const b = this.buttons;
        const flags = (this.remote ? 0x40 : 0) | (this.reporting ? 0x20 : 0) | (this.scaling ? 0x10 : 0);
        this.reply(Reply.ACK, flags | ((b & 1) << 2) | ((b & 4) >> 1) | ((b & 2) >> 1), this.resolution, this.rate);
        break;
      }
      case 0xea:
        this.remote = false;
        this.reply(Reply.ACK);
        break;
      case 0xeb:
        this.reply(Reply.ACK, ...this.packet());
        break;
      case 0xec:
        this.wrap = false;
        this.reply(Reply.ACK);
        break;
      case 0xee:
        this.wrap = true;
        this.reply(Reply.ACK);
        break;
      case 0xf0:
        this.remote = true;
        this.reply(Reply.ACK);
        break;
      case 0xf2:
        this.reply(Reply.ACK, this.id);
        break;
      case 0xf4:
        this.reporting = true;
        this.dx = this.dy = this.dz = 0;
        this.reply(Reply.ACK);
        break;
      case 0xf5:
        this.reporting = false;
        this.motion = [];
        this.reply(Reply.ACK);
        break;
      case 0xf6:
        this.setDefaults();
        this.reply(Reply.ACK);
        break;
      case 0xfe:
        if (this.responses.length < RESPONSE_LIMIT_BYTES) this.responses.unshift(this.lastSent);
        break;
      case 0xff:
        this.reset();
        this.reply(Reply.ACK, Reply.SELF_TEST_OK, this.id);
        break;
      default:
        this.reply(Reply.RESEND);
    }
  }

  private argument(command: number, byte: number): void {
    this.awaiting = undefined;
    if (command === 0xe8) this.resolution = byte & 3;
    else {
      this.rate = byte;
      this.rateHistory = [...this.rateHistory, byte].slice(-3);
      const knock = this.rateHistory.join();
      if (knock === '200,100,80') this.id = 3;
      else if (knock === '200,200,80' && this.id >= 3) this.id = 4;
    }
    this.reply(Reply.ACK);
  }

  private reply(...bytes: number[]): void {
    if (this.responses.length < RESPONSE_LIMIT_BYTES) this.responses.push(...bytes);
  }

  private setDefaults(): void {
    this.rate = DEFAULT_RATE;
    this.resolution = DEFAULT_RESOLUTION;
    this.scaling = this.remote = this.reporting = false;
    this.dx = this.dy = this.dz = 0;
    this.motion = [];
    this.rateHistory = [];
  }

  private report(): void {
    if (!this.reporting || this.remote || this.wrap) return;
    while (this.motion.length < MOTION_QUEUE_BYTES && this.changed) this.motion.push(...this.packet());
  }

  private get changed(): boolean {
    const moved = Math.trunc(this.dx) !== 0 || Math.trunc(this.dy) !== 0 || (this.id >= 3 && Math.trunc(this.dz) !== 0);
    return moved || this.buttons !== this.reportedButtons;
  }

  /** Takes as much of the sums as one packet holds. Y counts upwards on the wire; the wheel counts towards the user. */
  private packet(): number[] {
    const x = clamp(Math.trunc(this.dx), -255, 255);
    const y = clamp(Math.trunc(-this.dy), -255, 255);
    this.dx -= x;
    this.dy += y;
    this.reportedButtons = this.buttons;
    const signs = (x < 0 ? 0x10 : 0) | (y < 0 ? 0x20 : 0);
    const bytes = [8 | (this.buttons & 7) | signs, x & 0xff, y & 0xff];
    if (this.id >= 3) {
      const z = clamp(Math.trunc(this.dz), -7, 7);
      this.dz -= z;
      bytes.push(this.id === 4 ? (z & 0x0f) | ((this.buttons & 0x18) << 1) : z & 0xff);
    } else this.dz = 0;
    return bytes;
  }
}
