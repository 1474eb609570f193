import fc from 'fast-check';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { FakeClock } from '../../testing/fake-clock';
import { I8042 } from './controller';
import { parseKeys } from './keys';
import { makeSequence, SET2, SET2_TO_SET1 } from './scancodes';

const SECOND = 1e9;

describe('i8042', () => {
  let clock: FakeClock;
  let edges: { 1: number; 12: number };
  let level: { 1: boolean; 12: boolean };
  let systemReset: ReturnType<typeof vi.fn<() => void>>;
  let onLeds: ReturnType<typeof vi.fn<(leds: unknown) => void>>;
  let c: I8042;
  const line = (n: 1 | 12) => ({
    set: (l: boolean) => {
      if (l && !level[n]) edges[n]++;
      level[n] = l;
    },
  });
  beforeEach(() => {
    clock = new FakeClock();
    edges = { 1: 0, 12: 0 };
    level = { 1: false, 12: false };
    systemReset = vi.fn<() => void>();
    onLeds = vi.fn<(leds: unknown) => void>();
    c = new I8042({ irq1: line(1), irq12: line(12), clock, onLeds, systemReset });
  });
  const status = () => c.commandPort.read(0, 1);
  const data = () => c.dataPort.read(0, 1);
  const cmd = (...bytes: number[]) => {
    c.commandPort.write(0, 1, bytes[0]!);
    for (const b of bytes.slice(1)) c.dataPort.write(0, 1, b);
  };
  const kbd = (...bytes: number[]) => bytes.forEach((b) => c.dataPort.write(0, 1, b));
  const mouse = (...bytes: number[]) => bytes.forEach((b) => cmd(0xd4, b));
  const drain = () => {
    const out: number[] = [];
    for (let i = 0; status() & 1 && i < 1000; i++) out.push(data());
    return out;
  };

  it('passes the tests and configuration a driver starts with', () => {
    cmd(0xaa);
    expect(data()).toBe(0x55);
    cmd(0x20);
    const ctr = data();
    expect(ctr & 0x40).toBe(0x40);
    cmd(0x60, ctr | 2);
    cmd(0x20);
    expect(data()).toBe(ctr | 2);
    for (const test of [0xa9, 0xab]) {
      cmd(test);
      expect(drain()).toEqual([0]);
    }
    cmd(0xd3, 0x5a); // Linux's aux loopback test
    expect([status() & 0x21, data()]).toEqual([0x21, 0x5a]);
    cmd(0xd2, 0x12);
    expect([status() & 0x21, data()]).toEqual([1, 0x12]);
    cmd(0xa8);
    cmd(0x20);
    expect(data() & 0x20).toBe(0);
  });

  it('sends set 1 through the translation, one edge a byte', () => {
    c.keyboard.key('KeyA', true);
    c.keyboard.key('KeyA', false);
    expect(level[1]).toBe(true);
    expect(drain()).toEqual([0x1e, 0x9e]);
    expect([edges[1], level[1]]).toEqual([2, false]);
    for (const code of ['ArrowUp', 'PrintScreen', 'Pause', 'F7']) {
      c.keyboard.key(code, true);
      c.keyboard.key(code, false);
    }
    expect(drain()).toEqual([
      0xe0, 0x48, 0xe0, 0xc8, 0xe0, 0x2a, 0xe0, 0x37, 0xe0, 0xb7, 0xe0, 0xaa, 0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5, 0x41, 0xc1,
    ]);
  });

  it('Pause is Break while Ctrl is held', () => {
    for (const down of [true, false]) {
      c.keyboard.key(down ? 'ControlRight' : 'Pause', down);
      c.keyboard.key(down ? 'Pause' : 'ControlRight', down);
    }
    expect(drain()).toEqual([0xe0, 0x1d, 0xe0, 0x46, 0xe0, 0xc6, 0xe0, 0x9d]);
  });

  it('sends set 2 untranslated and knows its ID both ways', () => {
    kbd(0xf2);
    expect(drain()).toEqual([0xfa, 0xab, 0x41]);
    cmd(0x60, 0x05);
    kbd(0xf2);
    expect(drain()).toEqual([0xfa, 0xab, 0x83]);
    c.keyboard.key('ControlRight', true);
    c.keyboard.key('ControlRight', false);
    expect(drain()).toEqual([0xe0, 0x14, 0xe0, 0xf0, 0x14]);
    kbd(0xf0, 1);
    c.keyboard.key('KeyA', true);
    expect(drain()).toEqual([0xfa, 0xfa, 0x1e]);
  });

  it('resets, echoes, sets LEDs and disables scanning', () => {
    kbd(0xff);
    expect(drain()).toEqual([0xfa, 0xaa]);
    kbd(0xee);
    expect(drain()).toEqual([0xee]);
    kbd(0xed, 0x06);
    expect(drain()).toEqual([0xfa, 0xfa]);
    expect(onLeds).toHaveBeenLastCalledWith({ scrollLock: false, numLock: true, capsLock: true });
    kbd(0xf5);
    drain();
    c.keyboard.key('KeyA', true);
    c.keyboard.key('KeyA', false);
    expect(drain()).toEqual([]);
    kbd(0xf4, 0x9c);
    expect(drain()).toEqual([0xfa, 0xfe]);
  });

  it('repeats held keys on guest time, not on host repeats', () => {
    c.keyboard.key('KeyX', true);
    c.keyboard.key('KeyX', true);
    expect(drain()).toEqual([0x2d]);
    clock.advance(0.49 * SECOND);
    expect(drain()).toEqual([]);
    clock.advance(0.02 * SECOND);
    expect(drain()).toEqual([0x2d]);
    clock.advance(SECOND);
    expect(drain()).toEqual([0x2d, 0x2d]); // one on its way, one waiting: repeats do not pile up while nobody reads
    c.keyboard.key('KeyX', false);
    expect(drain()).toEqual([0xad]);
    expect(clock.pending).toBe(0);
  });

  it('never leaves a key stuck when the guest does not read', () => {
    for (let round = 0; round < 50; round++) {
      for (const code of ['KeyA', 'KeyB', 'ArrowUp']) {
        c.keyboard.key(code, true);
        c.keyboard.key(code, false);
      }
    }
    const held = new Set<number>();
    for (const byte of drain().filter((b) => b !== 0xe0)) {
      if (byte & 0x80) held.delete(byte & 0x7f);
      else held.add(byte);
    }
    expect(held.size).toBe(0);
  });

  it('resets the system by pulse and by output port', () => {
    cmd(0xfe);
    cmd(0xd1, 0x02);
    expect(systemReset).toHaveBeenCalledTimes(2);
    cmd(0xd1, 0x03);
    expect(systemReset).toHaveBeenCalledTimes(2);
    cmd(0xd0);
    expect(data() & 3).toBe(3);
  });

  it('is an IntelliMouse after the knock, with wheel and five buttons', () => {
    cmd(0x60, 0x47);
    mouse(0xff);
    expect(drain()).toEqual([0xfa, 0xaa, 0x00]);
    mouse(0xf3, 200, 0xf3, 100, 0xf3, 80, 0xf2);
    expect(drain().at(-1)).toBe(3);
    mouse(0xf3, 200, 0xf3, 200, 0xf3, 80, 0xf2);
    expect(drain().at(-1)).toBe(4);
    mouse(0xf4);
    drain();
    c.mouse.relative(5, 3, 1, 0);
    expect(drain()).toEqual([0x29, 5, 0xfd, 0]);
    c.mouse.relative(-300, 0, 1 | 8, -1);
    expect(drain()).toEqual([0x19, 0x01, 0, 0x1f, 0x19, 0xd3, 0, 0x10]);
    expect(edges[12]).toBeGreaterThan(8);
    mouse(0xe9);
    expect(drain()).toEqual([0xfa, 0x24, 2, 80]);
  });

  it('adds up fractions and motion that is not read, and ignores nonsense', () => {
    cmd(0x60, 0x47);
    mouse(0xf4);
    drain();
    for (let i = 0; i < 4; i++) c.mouse.relative(0.25, 0, 0, 0);
    expect(drain()).toEqual([8, 1, 0]);
    for (let i = 0; i < 1000; i++) c.mouse.relative(1, 0, 0, 0);
    c.mouse.relative(NaN, Infinity, 0, 0);
    let sum = 0;
    const bytes = drain();
    for (let i = 0; i < bytes.length; i += 3) sum += bytes[i + 1]!;
    expect(sum).toBe(1000);
  });

  it('survives anything a guest writes', () => {
    const op = fc.record({ port: fc.constantFrom('data', 'command', 'read'), value: fc.integer({ min: 0, max: 255 }) });
    fc.assert(
      fc.property(fc.array(op, { maxLength: 200 }), (ops) => {
        for (const { port, value } of ops) {
          if (port === 'read') expect(data()).toBeLessThanOrEqual(255);
          else (port === 'data' ? c.dataPort : c.commandPort).write(0, 1, value);
          c.keyboard.key('KeyA', value % 2 === 0);
          c.mouse.relative(value - 128, 3, value & 7, 1);
        }
        c.reset();
        expect(drain()).toEqual([]);
      }),
      { numRuns: 50 },
    );
  });
});

describe('scan codes', () => {
  it('are unique, and translate to the well-known set 1', () => {
    const all = Object.keys(SET2).map((code) => makeSequence(code)!.join());
    expect(new Set(all).size).toBe(all.length);
    const set1 = (code: string) => SET2_TO_SET1[makeSequence(code)!.at(-1)!];
    const known = {
      Escape: 1,
      Digit1: 2,
      KeyQ: 0x10,
      Enter: 0x1c,
      ControlLeft: 0x1d,
      KeyA: 0x1e,
      ShiftLeft: 0x2a,
      KeyZ: 0x2c,
      Space: 0x39,
      F1: 0x3b,
      F10: 0x44,
      NumLock: 0x45,
      ScrollLock: 0x46,
      Home: 0x47,
      IntlBackslash: 0x56,
      F11: 0x57,
      F12: 0x58,
      MetaLeft: 0x5b,
      AudioVolumeUp: 0x30,
    };
    for (const [code, value] of Object.entries(known)) expect([code, set1(code)]).toEqual([code, value]);
  });
});

describe('parseKeys', () => {
  const typed = (text: string) => {
    const result = parseKeys(text);
    return result.ok ? result.value.map((e) => (e.down ? '+' : '-') + e.code).join(' ') : result.error;
  };
  it('types text on a US keyboard', () => {
    expect(typed('lS\n')).toBe('+KeyL -KeyL +ShiftLeft +KeyS -KeyS -ShiftLeft +Enter -Enter');
    expect(typed('\\n')).toBe('+Enter -Enter');
    expect(typed('\\\\n')).toBe('+Backslash -Backslash +KeyN -KeyN');
    for (let c = 32; c < 127; c++) expect(typed(String.fromCharCode(c))).toContain('+');
  });
  it('knows named keys, chords, codes and characters that look like names', () => {
    expect(typed('<ctrl+alt+delete>')).toBe('+ControlLeft +AltLeft +Delete -Delete -AltLeft -ControlLeft');
    expect(typed('<Ctrl+c>')).toBe('+ControlLeft +KeyC -KeyC -ControlLeft');
    expect(typed('<NumpadEnter>')).toBe('+NumpadEnter -NumpadEnter');
    expect(typed('a < b')).toContain('+ShiftLeft +Comma -Comma');
    expect(typed('<lt>')).toBe('+ShiftLeft +Comma -Comma -ShiftLeft');
  });
  it('says what it does not know', () => {
    expect(typed('<entr>')).toBe('There is no key named “entr”.');
    expect(typed('<__proto__>')).toContain('no key named');
    expect(typed('é')).toBe('“é” is not on a US keyboard.');
  });
});
