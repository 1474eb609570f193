/**
 * Key sequences as people write them: 'ls\n', '<enter>', '<ctrl+alt+delete>', 'Hello!' → key events of a US keyboard. Pure.
 *
 * A name in angle brackets is one key or a chord; names are case-insensitive and KeyboardEvent.code values work too. A '<' that does
 * not start such a name is the character itself (also as <lt>). '\n', '\t', '\e' and '\\' may be written with the backslash.
 */
import { err, ok, type Result } from '../../../lib/result';
import { SET2 } from './scancodes';

export interface KeyEvent {
  readonly code: string;
  readonly down: boolean;
}

interface Stroke {
  readonly code: string;
  readonly shift: boolean;
}

const NAMES: Readonly<Record<string, string>> = {
  enter: 'Enter', return: 'Enter', ret: 'Enter', tab: 'Tab', esc: 'Escape', escape: 'Escape', space: 'Space', spc: 'Space',
  backspace: 'Backspace', bs: 'Backspace', up: 'ArrowUp', down: 'ArrowDown', left: 'ArrowLeft', right: 'ArrowRight', home: 'Home', end: 'End',
  pgup: 'PageUp', pageup: 'PageUp', pgdn: 'PageDown', pagedown: 'PageDown', ins: 'Insert', insert: 'Insert', del: 'Delete', delete: 'Delete',
  ctrl: 'ControlLeft', control: 'ControlLeft', alt: 'AltLeft', altgr: 'AltRight', shift: 'ShiftLeft', meta: 'MetaLeft', win: 'MetaLeft',
  super: 'MetaLeft', cmd: 'MetaLeft', menu: 'ContextMenu', capslock: 'CapsLock', numlock: 'NumLock', scrolllock: 'ScrollLock',
  print: 'PrintScreen', printscreen: 'PrintScreen', sysrq: 'PrintScreen', pause: 'Pause', break: 'Pause',
  plus: 'NumpadAdd', minus: 'Minus',
}; // prettier-ignore

const CODES = new Map([...Object.keys(SET2), 'PrintScreen', 'Pause'].map((code) => [code.toLowerCase(), code]));

const PLAIN: Readonly<Record<string, string>> = {
  ' ': 'Space', '\n': 'Enter', '\r': 'Enter', '\t': 'Tab', '\b': 'Backspace', '\u001b': 'Escape',
  '`': 'Backquote', '-': 'Minus', '=': 'Equal', '[': 'BracketLeft', ']': 'BracketRight', '\\': 'Backslash', ';': 'Semicolon', "'": 'Quote',
  ',': 'Comma', '.': 'Period', '/': 'Slash',
}; // prettier-ignore
const SHIFTED: Readonly<Record<string, string>> = {
  '~': 'Backquote', _: 'Minus', '+': 'Equal', '{': 'BracketLeft', '}': 'BracketRight', '|': 'Backslash', ':': 'Semicolon', '"': 'Quote',
  '<': 'Comma', '>': 'Period', '?': 'Slash', '!': 'Digit1', '@': 'Digit2', '#': 'Digit3', $: 'Digit4', '%': 'Digit5', '^': 'Digit6',
  '&': 'Digit7', '*': 'Digit8', '(': 'Digit9', ')': 'Digit0',
}; // prettier-ignore

/** The key of a character on a US keyboard. */
export function strokeOf(char: string): Stroke | undefined {
  if (/^[a-z]$/.test(char)) return { code: `Key${char.toUpperCase()}`, shift: false };
  if (/^[A-Z]$/.test(char)) return { code: `Key${char}`, shift: true };
  if (/^[0-9]$/.test(char)) return { code: `Digit${char}`, shift: false };
  if (Object.hasOwn(PLAIN, char)) return { code: PLAIN[char]!, shift: false };
  if (Object.hasOwn(SHIFTED, char)) return { code: SHIFTED[char]!, shift: true };
  return undefined;
}

function codeOfName(name: string): Stroke | undefined {
  const lower = name.toLowerCase();
  if (lower === 'lt') return { code: 'Comma', shift: true };
  if (lower === 'gt') return { code: 'Period', shift: true };
  const code = Object.hasOwn(NAMES, lower) ? NAMES[lower] : CODES.get(lower);
  if (code !== undefined) return { code, shift: false };
  return [...name].length === 1 ? strokeOf(lower) : undefined;
}

const press = (stroke: Stroke): KeyEvent[] => {
  const key = [
    { code: stroke.code, down: true },
    { code: stroke.code, down: false },
  ];
  return stroke.shift ? [{ code: 'ShiftLeft', down: true }, ...key, { code: 'ShiftLeft', down: false }] : key;
};

function chord(names: readonly string[]): Result<KeyEvent[], string> {
  const codes: string[] = [];
  for (const name of names) {
    const stroke = codeOfName(name);
    if (!stroke) return err(`There is no key named “${name}”.`);
    if (stroke.shift && !codes.includes('ShiftLeft')) codes.push('ShiftLeft');
    codes.push(stroke.code);
  }
  return ok([...codes.map((code) => ({ code, down: true })), ...[...codes].reverse().map((code) => ({ code, down: false }))]);
}

const ESCAPES: Readonly<Record<string, string>> = { n: '\n', r: '\n', t: '\t', e: '\u001b', '\\': '\\' };
const NAMED = /<([^<>\s]{1,40})>/y;

export function parseKeys(text: string): Result<KeyEvent[], string> {
  const events: KeyEvent[] = [];
  for (let i = 0; i < text.length;) {
    NAMED.lastIndex = i;
    const named = NAMED.exec(text);
    if (named) {
      // '+' separates; a chord of the plus key itself is written <ctrl+plus>.
      const result = chord(named[1]!.split('+'));
      if (!result.ok) return result;
      events.push(...result.value);
      i += named[0].length;
      continue;
    }
    let char = String.fromCodePoint(text.codePointAt(i)!);
    i += char.length;
    const escaped = char === '\\' ? ESCAPES[text[i] ?? ''] : undefined;
    if (escaped !== undefined) {
      char = escaped;
      i++;
    }
    const stroke = strokeOf(char);
    if (!stroke) return err(`“${char}” is not on a US keyboard.`);
    events.push(...press(stroke));
  }
  return ok(events);
}
