/**
 * Scan codes of the 105-key PC keyboard and its media keys, by KeyboardEvent.code (W3C UI Events code values), and the 8042's
 * translation of set 2 to set 1. Facts: IBM PS/2 keyboard technical reference; Microsoft keyboard scan code specification.
 */

/** In a table entry: the code is preceded by E0. */
export const EXTENDED = 0x100;

/** Set 2. PrintScreen and Pause have sequences of their own and are not here. */
export const SET2: Readonly<Record<string, number>> = {
  Escape: 0x76, F1: 0x05, F2: 0x06, F3: 0x04, F4: 0x0c, F5: 0x03, F6: 0x0b, F7: 0x83, F8: 0x0a, F9: 0x01, F10: 0x09, F11: 0x78, F12: 0x07,
  F13: 0x08, F14: 0x10, F15: 0x18, F16: 0x20, F17: 0x28, F18: 0x30, F19: 0x38, F20: 0x40, F21: 0x48, F22: 0x50, F23: 0x57, F24: 0x5f,
  Backquote: 0x0e, Digit1: 0x16, Digit2: 0x1e, Digit3: 0x26, Digit4: 0x25, Digit5: 0x2e, Digit6: 0x36, Digit7: 0x3d, Digit8: 0x3e,
  Digit9: 0x46, Digit0: 0x45, Minus: 0x4e, Equal: 0x55, Backspace: 0x66,
  Tab: 0x0d, KeyQ: 0x15, KeyW: 0x1d, KeyE: 0x24, KeyR: 0x2d, KeyT: 0x2c, KeyY: 0x35, KeyU: 0x3c, KeyI: 0x43, KeyO: 0x44, KeyP: 0x4d,
  BracketLeft: 0x54, BracketRight: 0x5b, Backslash: 0x5d,
  CapsLock: 0x58, KeyA: 0x1c, KeyS: 0x1b, KeyD: 0x23, KeyF: 0x2b, KeyG: 0x34, KeyH: 0x33, KeyJ: 0x3b, KeyK: 0x42, KeyL: 0x4b,
  Semicolon: 0x4c, Quote: 0x52, Enter: 0x5a,
  ShiftLeft: 0x12, IntlBackslash: 0x61, KeyZ: 0x1a, KeyX: 0x22, KeyC: 0x21, KeyV: 0x2a, KeyB: 0x32, KeyN: 0x31, KeyM: 0x3a, Comma: 0x41,
  Period: 0x49, Slash: 0x4a, ShiftRight: 0x59,
  ControlLeft: 0x14, MetaLeft: EXTENDED | 0x1f, AltLeft: 0x11, Space: 0x29, AltRight: EXTENDED | 0x11, MetaRight: EXTENDED | 0x27,
  ContextMenu: EXTENDED | 0x2f, ControlRight: EXTENDED | 0x14,
  ScrollLock: 0x7e, Insert: EXTENDED | 0x70, Home: EXTENDED | 0x6c, PageUp: EXTENDED | 0x7d, Delete: EXTENDED | 0x71, End: EXTENDED | 0x69,
  PageDown: EXTENDED | 0x7a, ArrowUp: EXTENDED | 0x75, ArrowLeft: EXTENDED | 0x6b, ArrowDown: EXTENDED | 0x72, ArrowRight: EXTENDED | 0x74,
  NumLock: 0x77, NumpadDivide: EXTENDED | 0x4a, NumpadMultiply: 0x7c, NumpadSubtract: 0x7b, NumpadAdd: 0x79, NumpadEnter: EXTENDED | 0x5a,
  NumpadDecimal: 0x71, Numpad0: 0x70, Numpad1: 0x69, Numpad2: 0x72, Numpad3: 0x7a, Numpad4: 0x6b, Numpad5: 0x73, Numpad6: 0x74,
  Numpad7: 0x6c, Numpad8: 0x75, Numpad9: 0x7d, NumpadEqual: 0x0f, NumpadComma: 0x6d,
  IntlRo: 0x51, IntlYen: 0x6a, KanaMode: 0x13, Convert: 0x64, NonConvert: 0x67, Lang1: 0xf2, Lang2: 0xf1,
  MediaTrackNext: EXTENDED | 0x4d, MediaTrackPrevious: EXTENDED | 0x15, MediaStop: EXTENDED | 0x3b, MediaPlayPause: EXTENDED | 0x34,
  AudioVolumeMute: EXTENDED | 0x23, AudioVolumeUp: EXTENDED | 0x32, AudioVolumeDown: EXTENDED | 0x21, MediaSelect: EXTENDED | 0x50,
  LaunchMail: EXTENDED | 0x48, LaunchApp1: EXTENDED | 0x40, LaunchApp2: EXTENDED | 0x2b,
  BrowserSearch: EXTENDED | 0x10, BrowserHome: EXTENDED | 0x3a, BrowserBack: EXTENDED | 0x38, BrowserForward: EXTENDED | 0x30,
  BrowserStop: EXTENDED | 0x28, BrowserRefresh: EXTENDED | 0x20, BrowserFavorites: EXTENDED | 0x18,
  Power: EXTENDED | 0x37, Sleep: EXTENDED | 0x3f, WakeUp: EXTENDED | 0x5e,
}; // prettier-ignore

/** Pause sends all of this when pressed and nothing when released. */
export const PAUSE_MAKE = [0xe1, 0x14, 0x77, 0xe1, 0xf0, 0x14, 0xf0, 0x77] as const;
/** With Ctrl held it is Break, likewise all at once. */
export const BREAK_MAKE = [0xe0, 0x7e, 0xe0, 0xf0, 0x7e] as const;
export const PRINT_SCREEN_MAKE = [0xe0, 0x12, 0xe0, 0x7c] as const;
export const PRINT_SCREEN_BREAK = [0xe0, 0xf0, 0x7c, 0xe0, 0xf0, 0x12] as const;
/** With Alt held, PrintScreen is SysRq. */
export const SYSRQ = 0x84;
export const BREAK_PREFIX = 0xf0;

export function makeSequence(code: string): readonly number[] | undefined {
  if (code === 'Pause') return PAUSE_MAKE;
  if (code === 'PrintScreen') return PRINT_SCREEN_MAKE;
  const value = Object.hasOwn(SET2, code) ? SET2[code] : undefined;
  if (value === undefined) return undefined;
  return value & EXTENDED ? [0xe0, value & 0xff] : [value];
}

export function breakSequence(code: string): readonly number[] {
  if (code === 'Pause') return [];
  if (code === 'PrintScreen') return PRINT_SCREEN_BREAK;
  const value = Object.hasOwn(SET2, code) ? SET2[code] : undefined;
  // The Korean keys have no break code.
  if (value === undefined || value === 0xf1 || value === 0xf2) return [];
  return value & EXTENDED ? [0xe0, BREAK_PREFIX, value & 0xff] : [BREAK_PREFIX, value];
}

/** 8042: set 2 → set 1 for codes 00–84; higher values pass unchanged. */
export const SET2_TO_SET1 = Uint8Array.from(
  (
    'ff 43 41 3f 3d 3b 3c 58 64 44 42 40 3e 0f 29 59 65 38 2a 70 1d 10 02 5a 66 71 2c 1f 1e 11 03 5b ' +
    '67 2e 2d 20 12 05 04 5c 68 39 2f 21 14 13 06 5d 69 31 30 23 22 15 07 5e 6a 72 32 24 16 08 09 5f ' +
    '6b 33 25 17 18 0b 0a 60 6c 34 35 26 27 19 0c 61 6d 73 28 74 1a 0d 62 6e 3a 36 1c 1b 75 2b 63 76 ' +
    '55 56 77 78 79 7a 0e 7b 7c 4f 7d 4b 47 7e 7f 6f 52 53 50 4c 4d 48 01 45 57 4e 51 4a 37 49 46 54 ' +
    '80 81 82 41 54'
  )
    .split(' ')
    .map((h) => parseInt(h, 16)),
);
