/**
 * PS/2 keyboard (IBM PS/2 Hardware Interface Technical Reference, keyboard 101/102). Scan code sets 2 and 1, LEDs, typematic
 * repeat on guest time, all commands. Set 3 is answered with a resend request. Repeats of the host's keyboard are ignored: the
 * guest programs its own.
 */
import type { Clock } from '../../../backend/clock';
import type { KeyboardSink } from '../../../backend/input';
import type { Disposable } from '../../../lib/disposable';
import { BREAK_MAKE, BREAK_PREFIX, breakSequence, makeSequence, SET2_TO_SET1, SYSRQ } from './scancodes';

const Reply = { ACK: 0xfa, RESEND: 0xfe, ECHO: 0xee, SELF_TEST_OK: 0xaa } as const;
const KEYBOARD_ID = [0xab, 0x83] as const;

/** Keys wait here while the guest does not read. A real keyboard keeps 16; typed text comes in longer bursts. */
const BUFFER_BYTES = 256;
/** Room that stays free for break codes, so that no key gets stuck. */
const BREAK_RESERVE = 64;

/** Answers that may wait; a guest that sends commands and never reads loses the rest. */
export const RESPONSE_LIMIT_BYTES = 64;

const DEFAULT_TYPEMATIC = 0x2b; // 500 ms, 10.9 a second
const NO_REPEAT = new Set(['Pause', 'PrintScreen']);

export interface KeyboardLeds {
  readonly scrollLock: boolean;
  readonly numLock: boolean;
  readonly capsLock: boolean;
}

export class Ps2Keyboard implements KeyboardSink {
  private responses: number[] = [];
  private keys: number[] = [];
  private readonly held = new Set<string>();
  private scanning = true;
  private set = 2;
  private leds = 0;
  private typematic = DEFAULT_TYPEMATIC;
  private awaiting: number | undefined;
  private lastSent = 0;
  private repeat: Disposable | undefined;
  private repeating: string | undefined;

  constructor(private readonly deps: { clock: Clock; available: () => void; onLeds: (leds: KeyboardLeds) => void }) {}

  /** Next byte for the controller. */
  take(): number | undefined {
    const byte = this.responses.length > 0 ? this.responses.shift() : this.keys.shift();
    if (byte !== undefined) this.lastSent = byte;
    return byte;
  }

  /** Nothing waits to be read. */
  get idle(): boolean {
    return this.responses.length === 0 && this.keys.length === 0;
  }

  key(code: string, down: boolean): void {
    if (down) {
      if (this.held.has(code) || !makeSequence(code)) return;
      this.held.add(code);
      if (this.pushMake(code)) this.startRepeat(code);
      else this.held.delete(code);
    } else if (this.held.delete(code)) {
      if (this.repeating === code) this.stopRepeat();
      this.push(this.sequence(code, false), BUFFER_BYTES);
    }
  }

  /** The host side lost its focus. */
  releaseAll(): void {
    for (const code of [...this.held]) this.key(code, false);
  }

  /** Power-on. What is held on the host stays held, but the guest has not seen it. */
  reset(): void {
    this.responses = [];
    this.held.clear();
    this.awaiting = undefined;
    this.setDefaults();
    this.scanning = true;
    this.setLeds(0);
  }

  dispose(): void {
    this.stopRepeat();
  }

  /** A byte from the host: a command, or the argument of the last one. */
  receive(byte: number): void {
    const command = this.awaiting;
    this.awaiting = undefined;
    // A command where an argument was due cancels the first (only ED, F0, F3 have arguments below 80h).
    if (command !== undefined && byte < 0x80) this.argument(command, byte);
    else this.command(byte);
    this.deps.available();
  }

  private command(byte: number): void {
    switch (byte) {
      case 0xed: // set LEDs
      case 0xf0: // scan code set
      case 0xf3: // typematic
      case 0xfb: // set 3 key types: an argument follows
      case 0xfc:
      case 0xfd:
        this.awaiting = byte;
        this.reply(Reply.ACK);
        break;
      case 0xee:
        this.reply(Reply.ECHO);
        break;
      case 0xf2:
        this.reply(Reply.ACK, ...KEYBOARD_ID);
        break;
      case 0xf4:
        this.keys = [];
        this.scanning = true;
        this.reply(Reply.ACK);
        break;
      case 0xf5:
        this.setDefaults();
        this.scanning = false;
        this.reply(Reply.ACK);
        break;
      case 0xf6:
        this.setDefaults();
        this.reply(Reply.ACK);
        break;
      case 0xf7: // set 3 only: all keys typematic, make/break…
      case 0xf8:
      case 0xf9:
      case 0xfa:
        this.reply(Reply.ACK);
        break;
      case 0xfe:
        if (this.responses.length < RESPONSE_LIMIT_BYTES) this.responses.unshift(this.lastSent);
        break;
      case 0xff:
        this.setDefaults();
        this.scanning = true;
        this.setLeds(0);
        this.responses = [];
        this.reply(Reply.ACK, Reply.SELF_TEST_OK);
        break;
      default:
        this.reply(Reply.RESEND);
    }
  }

  private argument(command: number, byte: number): void {
    if (command === 0xed) this.setLeds(byte & 7);
    else if (command === 0xf3) this.typematic = byte & 0x7f;
    else if (command === 0xf0) {
      if (byte === 0) {
        this.reply(Reply.ACK, this.set);
        return;
      }
      if (byte !== 1 && byte !== 2) {
        this.reply(Reply.RESEND);
        return;
      }
      this.set = byte;
    }
    this.reply(Reply.ACK);
  }

  private reply(...bytes: number[]): void {
    if (this.responses.length < RESPONSE_LIMIT_BYTES) this.responses.push(...bytes);
  }

  private setDefaults(): void {
    this.keys = [];
    this.set = 2;
    this.typematic = DEFAULT_TYPEMATIC;
    this.stopRepeat();
  }

  private setLeds(leds: number): void {
    if (leds === this.leds) return;
    this.leds = leds;
    this.deps.onLeds({ scrollLock: (leds & 1) !== 0, numLock: (leds & 2) !== 0, capsLock: (leds & 4) !== 0 });
  }

  private pushMake(code: string): boolean {
    return this.push(this.sequence(code, true), BUFFER_BYTES - BREAK_RESERVE);
  }

  private push(bytes: readonly number[], limit: number): boolean {
    if (!this.scanning) return true;
    if (this.keys.length + bytes.length > limit) return false;
    this.keys.push(...bytes);
    this.deps.available();
    return true;
  }

  /** Two keys are others with Alt or Ctrl held. */
  private modified(code: string, down: boolean): readonly number[] | undefined {
    const held = (key: 'Alt' | 'Control'): boolean => this.held.has(`${key}Left`) || this.held.has(`${key}Right`);
    if (code === 'PrintScreen' && held('Alt')) return down ? [SYSRQ] : [BREAK_PREFIX, SYSRQ];
    return code === 'Pause' && down && held('Control') ? BREAK_MAKE : undefined;
  }

  private sequence(code: string, down: boolean): readonly number[] {
    const bytes = this.modified(code, down) ?? (down ? (makeSequence(code) ?? []) : breakSequence(code));
    if (this.set === 2) return bytes;
    const translate = new Translator();
    return bytes.map((b) => translate.byte(b)).filter((b) => b !== undefined);
  }

  /** Bits 5–6: delay in quarters of a second; bits 0–4: (8 + A) · 2^B / 240 seconds a repeat. */
  private startRepeat(code: string): void {
    this.stopRepeat();
    if (!this.scanning || NO_REPEAT.has(code)) return;
    const delay = (((this.typematic >> 5) & 3) + 1) * 250e6;
    const period = ((8 + (this.typematic & 7)) * 2 ** ((this.typematic >> 3) & 3) * 1e9) / 240;
    const again = (): void => {
      // While the guest does not read there is nothing to repeat for.
      if (this.keys.length === 0) this.pushMake(code);
      this.repeat = this.deps.clock.at(this.deps.clock.now() + period, again);
    };
    this.repeating = code;
    this.repeat = this.deps.clock.at(this.deps.clock.now() + delay, again);
  }

  private stopRepeat(): void {
    this.repeat?.dispose();
    this.repeat = undefined;
    this.repeating = undefined;
  }
}

/** Set 2 → set 1, byte by byte: F0 disappears into bit 7 of what follows. */
export class Translator {
  private broke = false;

  byte(value: number): number | undefined {
    if (value === BREAK_PREFIX) {
      this.broke = true;
      return undefined;
    }
    const translated = (SET2_TO_SET1[value] ?? value) | (this.broke ? 0x80 : 0);
    this.broke = false;
    return translated;
  }
}
