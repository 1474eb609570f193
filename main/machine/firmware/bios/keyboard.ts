/** INT 09h's work and INT 16h: scancodes (set 1, translated) become BIOS key codes in the buffer of the BIOS data area. */
import { Bda } from './bda';
import type { RegisterFrame } from './frame';
import type { RealModeMemory } from './real-memory';
import { TrapStatus } from './rom';

/** Key codes (scancode high, ASCII low) by scancode: plain, Shift, Ctrl, Alt; 0: none. */
type Row = readonly [plain: number, shift: number, ctrl: number, alt: number];

const letters = 'qwertyuiop\0\0\0\0asdfghjkl\0\0\0\0\0zxcvbnm';

function buildTable(): Row[] {
  const table: Row[] = Array.from({ length: 0x59 }, () => [0, 0, 0, 0]);
  const set = (code: number, plain: number, shift: number, ctrl: number, alt: number): void =>
    void (table[code] = [plain, shift, ctrl, alt]);
  const ascii = (code: number, plain: string, shift: string, ctrl: number, alt: number): void =>
    set(code, (code << 8) | plain.charCodeAt(0), (code << 8) | shift.charCodeAt(0), ctrl, alt);
  set(0x01, 0x011b, 0x011b, 0x011b, 0x0100);
  const digits = '1234567890-=';
  const signs = '!@#$%^&*()_+';
  const digitCtrl = [0, 0x0300, 0, 0, 0, 0x071e, 0, 0, 0, 0, 0x0c1f, 0];
  for (let i = 0; i < 12; i++) ascii(0x02 + i, digits[i]!, signs[i]!, digitCtrl[i]!, (0x78 + i) << 8);
  set(0x0e, 0x0e08, 0x0e08, 0x0e7f, 0x0e00);
  set(0x0f, 0x0f09, 0x0f00, 0x9400, 0xa500);
  for (let i = 0; i < letters.length; i++) {
    const letter = letters[i]!;
    if (letter !== '\0')
      ascii(0x10 + i, letter, letter.toUpperCase(), ((0x10 + i) << 8) | (letter.charCodeAt(0) & 0x1f), (0x10 + i) << 8);
  }
  ascii(0x1a, '[', '{', 0x1a1b, 0x1a00);
  ascii(0x1b, ']', '}', 0x1b1d, 0x1b00);
  set(0x1c, 0x1c0d, 0x1c0d, 0x1c0a, 0x1c00);
  ascii(0x27, ';', ':', 0, 0x2700);
  ascii(0x28, "'", '"', 0, 0x2800);
  ascii(0x29, '`', '~', 0, 0x2900);
  ascii(0x2b, '\\', '|', 0x2b1c, 0x2b00);
  ascii(0x33, ',', '<', 0, 0x3300);
  ascii(0x34, '.', '>', 0, 0x3400);
  ascii(0x35, '/', '?', 0, 0x3500);
  set(0x37, 0x372a, 0x372a, 0x9600, 0x3700);
  set(0x39, 0x3920, 0x3920, 0x3920, 0x3920);
  for (let i = 0; i < 10; i++) set(0x3b + i, (0x3b + i) << 8, (0x54 + i) << 8, (0x5e + i) << 8, (0x68 + i) << 8);
  set(0x57, 0x8500, 0x8700, 0x8900, 0x8b00);
  set(0x58, 0x8600, 0x8800, 0x8a00, 0x8c00);
  set(0x56, 0x565c, 0x567c, 0, 0);
  return table;
}

const TABLE = buildTable();

/** Keypad and cursor block: scancode → [cursor code, digit, Ctrl code, Alt code of the grey key]. */
const KEYPAD: Record<number, Row> = {
  0x47: [0x4700, 0x4737, 0x7700, 0x9700],
  0x48: [0x4800, 0x4838, 0x8d00, 0x9800],
  0x49: [0x4900, 0x4939, 0x8400, 0x9900],
  0x4a: [0x4a2d, 0x4a2d, 0x8e00, 0x4a00],
  0x4b: [0x4b00, 0x4b34, 0x7300, 0x9b00],
  0x4c: [0x4c00, 0x4c35, 0x8f00, 0x0000],
  0x4d: [0x4d00, 0x4d36, 0x7400, 0x9d00],
  0x4e: [0x4e2b, 0x4e2b, 0x9000, 0x4e00],
  0x4f: [0x4f00, 0x4f31, 0x7500, 0x9f00],
  0x50: [0x5000, 0x5032, 0x9100, 0xa000],
  0x51: [0x5100, 0x5133, 0x7600, 0xa100],
  0x52: [0x5200, 0x5230, 0x9200, 0xa200],
  0x53: [0x5300, 0x532e, 0x9300, 0xa300],
};

const Shift = { right: 1, left: 2, ctrl: 4, alt: 8, scroll: 0x10, num: 0x20, caps: 0x40, insert: 0x80 } as const;
/** Bits of Bda.keyboardMode: an E0h or E1h prefix came, right Alt and right Ctrl are held, an enhanced keyboard is there. */
const Mode = { e1: 1, e0: 2, rightCtrl: 4, rightAlt: 8, enhanced: 0x10 } as const;

/** Bits of Bda.shiftFlags2: what is down right now; the locks have the bits they have in Shift. */
const Held = { leftCtrl: 1, leftAlt: 2, locks: 0x70 } as const;
/** Scancodes of the keypad's 0 … 9. */
const KEYPAD_DIGITS: readonly number[] = [0x52, 0x4f, 0x50, 0x51, 0x4b, 0x4c, 0x4d, 0x47, 0x48, 0x49];

/** INT 1Bh, INT 05h, or neither. */
export type KeyCall = 'nothing' | 'break' | 'printScreen';

export class KeyboardServices {
  /** Remaining bytes of Pause (E1 1D 45 …). */
  private pauseBytes = 0;

  constructor(
    private readonly memory: RealModeMemory,
    /** Ctrl+Alt+Del was pressed. */
    private readonly restart: () => void,
  ) {}

  initialise(): void {
    this.memory.write16(Bda.keyHead, 0x1e);
    this.memory.write16(Bda.keyTail, 0x1e);
    this.memory.write16(Bda.keyBufferStart, 0x1e);
    this.memory.write16(Bda.keyBufferEnd, 0x3e);
    this.memory.write16(Bda.shiftFlags, 0);
    this.memory.write8(Bda.keyboardMode, Mode.enhanced);
    this.memory.write8(Bda.altKeypad, 0);
    this.pauseBytes = 0;
  }

  /** One byte from the keyboard; says what INT 09h has to call because of it. */
  scancode(byte: number): KeyCall {
    const m = this.memory;
    if (this.pauseBytes > 0) {
      this.pauseBytes--;
      return 'nothing';
    }
    const mode = m.read8(Bda.keyboardMode);
    if (byte === 0xe1) {
      this.pauseBytes = 5;
      return 'nothing';
    }
    if (byte === 0xe0) {
      m.write8(Bda.keyboardMode, mode | Mode.e0);
      return 'nothing';
    }
    const extended = (mode & Mode.e0) !== 0;
    m.write8(Bda.keyboardMode, mode & ~Mode.e0);
    return this.key(byte & 0x7f, extended, (byte & 0x80) !== 0);
  }

  private key(code: number, extended: boolean, up: boolean): KeyCall {
    const m = this.memory;
    const flags = m.read8(Bda.shiftFlags);
    if (code === 0x46 && extended) return up || !(flags & Shift.ctrl) ? 'nothing' : this.break();
    if (this.modifier(code, extended, up) || up) return 'nothing';
    if (code === 0x53 && (flags & (Shift.ctrl | Shift.alt)) === (Shift.ctrl | Shift.alt)) {
      this.restart();
      return 'nothing';
    }
    if (code === 0x37 && extended && !(flags & (Shift.ctrl | Shift.alt))) return 'printScreen';
    if (code === 0x52 && this.isCursorKey(extended)) this.toggle(Shift.insert);
    const digit = flags & Shift.alt && !extended ? KEYPAD_DIGITS.indexOf(code) : -1;
    if (digit >= 0) m.write8(Bda.altKeypad, m.read8(Bda.altKeypad) * 10 + digit);
    const key = translate(code, extended, flags);
    if (key !== 0) this.put(key);
    return 'nothing';
  }

  /** Ctrl+Break throws away what was typed, and leaves a key of zero for who waits for one. */
  private break(): KeyCall {
    const m = this.memory;
    m.write16(Bda.keyHead, m.read16(Bda.keyBufferStart));
    m.write16(Bda.keyTail, m.read16(Bda.keyBufferStart));
    m.write8(Bda.breakFlag, 0x80);
    this.put(0);
    return 'break';
  }

  /** Ins of its own, or of a keypad that types no digits. */
  private isCursorKey(extended: boolean): boolean {
    const flags = this.memory.read8(Bda.shiftFlags);
    const digits = ((flags & Shift.num) !== 0) !== ((flags & (Shift.left | Shift.right)) !== 0);
    return (extended || !digits) && (flags & (Shift.ctrl | Shift.alt)) === 0;
  }

  private toggle(bit: number): void {
    this.memory.write8(Bda.shiftFlags, this.memory.read8(Bda.shiftFlags) ^ bit);
  }

  private modifier(code: number, extended: boolean, up: boolean): boolean {
    const m = this.memory;
    const hold = (at: number, bit: number): void => {
      const flags = m.read8(at);
      m.write8(at, up ? flags & ~bit : flags | bit);
    };
    /** Ctrl and Alt: which of the two it is, then whether any of both is down. */
    const either = (bit: number, left: number, right: number): void => {
      if (extended) hold(Bda.keyboardMode, right);
      else hold(Bda.shiftFlags2, left);
      const down = (m.read8(Bda.shiftFlags2) & left) | (m.read8(Bda.keyboardMode) & right);
      const flags = m.read8(Bda.shiftFlags);
      m.write8(Bda.shiftFlags, down ? flags | bit : flags & ~bit);
    };
    /** Once for as long as the key is down, however often it repeats. */
    const lock = (bit: number): void => {
      if (!up && !(m.read8(Bda.shiftFlags2) & bit)) this.toggle(bit);
      hold(Bda.shiftFlags2, bit);
    };
    switch (code) {
      case 0x2a:
        if (!extended) hold(Bda.shiftFlags, Shift.left); // E0 2A is a fake shift
        return true;
      case 0x36:
        if (!extended) hold(Bda.shiftFlags, Shift.right);
        return true;
      case 0x1d:
        either(Shift.ctrl, Held.leftCtrl, Mode.rightCtrl);
        return true;
      case 0x38:
        either(Shift.alt, Held.leftAlt, Mode.rightAlt);
        if (up) this.endAltNumber();
        return true;
      case 0x3a:
        lock(Shift.caps);
        return true;
      case 0x45:
        lock(Shift.num);
        return true;
      case 0x46:
        lock(Shift.scroll);
        return true;
      default:
        return false;
    }
  }

  /** A character by its number on the keypad is typed when Alt is let go. */
  private endAltNumber(): void {
    const character = this.memory.read8(Bda.altKeypad);
    this.memory.write8(Bda.altKeypad, 0);
    if (character !== 0) this.put(character);
  }

  /** Drops the key when the buffer is full, as the hardware would beep. */
  put(key: number): void {
    const m = this.memory;
    const tail = m.read16(Bda.keyTail);
    const next = this.advance(tail);
    if (next === m.read16(Bda.keyHead)) return;
    m.write16(0x400 + tail, key);
    m.write16(Bda.keyTail, next);
  }

  private advance(offset: number): number {
    const start = this.memory.read16(Bda.keyBufferStart);
    const end = this.memory.read16(Bda.keyBufferEnd);
    return offset + 2 >= end || offset + 2 < start ? start : offset + 2;
  }

  private peek(): number | undefined {
    const head = this.memory.read16(Bda.keyHead);
    return head === this.memory.read16(Bda.keyTail) ? undefined : this.memory.read16(0x400 + head);
  }

  take(): number | undefined {
    const key = this.peek();
    if (key !== undefined) this.memory.write16(Bda.keyHead, this.advance(this.memory.read16(Bda.keyHead)));
    return key;
  }

  /** Function 12h puts the right Ctrl and Alt between the left ones and the locks. */
  private get held(): number {
    const held = this.memory.read8(Bda.shiftFlags2);
    const right = this.memory.read8(Bda.keyboardMode) & (Mode.rightCtrl | Mode.rightAlt);
    return (held & (Held.leftCtrl | Held.leftAlt | Held.locks)) | right;
  }

  /** INT 16h. */
  int16(r: RegisterFrame): number {
    const m = this.memory;
    switch (r.ah) {
      case 0x00:
      case 0x10: {
        const key = this.take();
        if (key === undefined) return TrapStatus.waitForInterrupt;
        r.ax = r.ah === 0 ? classic(key) : key;
        break;
      }
      case 0x01:
      case 0x11: {
        const key = this.peek();
        r.zero = key === undefined;
        if (key !== undefined) r.ax = r.ah === 1 ? classic(key) : key;
        // A program that polls with interrupts off would never see a key.
        r.enableInterrupts();
        break;
      }
      case 0x02:
        r.al = m.read8(Bda.shiftFlags);
        break;
      case 0x03: // typematic rate: the host's keyboard repeats
        break;
      case 0x05: {
        const before = m.read16(Bda.keyTail);
        this.put(r.cx);
        r.al = m.read16(Bda.keyTail) === before ? 1 : 0;
        break;
      }
      case 0x09:
        r.al = 0x20; // enhanced functions 10h–12h
        break;
      case 0x0a:
        r.bx = 0x83ab; // MF2 keyboard
        break;
      case 0x12:
        r.al = m.read8(Bda.shiftFlags);
        r.ah = this.held;
        break;
      default:
        r.carry = true;
    }
    return TrapStatus.done;
  }
}

/** Functions 00h and 01h show grey keys as the 84-key keyboard had them. */
function classic(key: number): number {
  const ascii = key & 0xff;
  if (key === 0xe00d) return 0x1c0d;
  if (key === 0xe02f) return 0x352f;
  return ascii === 0xe0 ? key & 0xff00 : key;
}

function translate(code: number, extended: boolean, flags: number): number {
  const shift = (flags & (Shift.left | Shift.right)) !== 0;
  const ctrl = (flags & Shift.ctrl) !== 0;
  const alt = (flags & Shift.alt) !== 0;
  const pad = KEYPAD[code];
  if (pad) {
    if (extended) return alt ? pad[3] : ctrl ? pad[2] | 0xe0 : (pad[0] & 0xff00) | 0xe0;
    if (alt) return code === 0x4a || code === 0x4e ? pad[3] : 0;
    if (ctrl) return pad[2];
    const digits = ((flags & Shift.num) !== 0) !== shift;
    return digits ? pad[1] : pad[0];
  }
  if (extended) {
    if (code === 0x1c) return alt ? 0xa600 : ctrl ? 0xe00a : 0xe00d;
    if (code === 0x35) return alt ? 0xa400 : ctrl ? 0x9500 : 0xe02f;
    return 0;
  }
  const row = TABLE[code];
  if (!row) return 0;
  if (alt) return row[3];
  if (ctrl) return row[2];
  const letter = (row[0] & 0xff) >= 0x61 && (row[0] & 0xff) <= 0x7a;
  const upper = letter && (flags & Shift.caps) !== 0 ? !shift : shift;
  return upper ? row[1] : row[0];
}
