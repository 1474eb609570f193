import { beforeEach, describe, expect, it } from 'vitest';
import { FakeClock } from '../../testing/fake-clock';
import { memorySizeRegisters, Rtc } from './mc146818';

describe('RTC', () => {
  let clock: FakeClock;
  let level: boolean;
  let edges: number;
  let rtc: Rtc;
  beforeEach(() => {
    clock = new FakeClock(Date.UTC(2024, 1, 29, 23, 59, 58));
    level = false;
    edges = 0;
    const set = (l: boolean) => {
      if (l && !level) edges++;
      level = l;
    };
    rtc = new Rtc({ clock, irq: { set } }, memorySizeRegisters(3 * 2 ** 30, 5 * 2 ** 30));
  });
  const r = (register: number) => (rtc.write(0, 1, register), rtc.read(1));
  const w = (register: number, value: number) => (rtc.write(0, 1, register), rtc.write(1, 1, value));
  const time = () => [0x32, 9, 8, 7, 6, 4, 2, 0].map((x) => r(x).toString(16)).join(' ');

  it('shows the time in BCD, and rolls a leap day over', () => {
    expect(time()).toBe('20 24 2 29 5 23 59 58');
    clock.advance(2e9);
    expect(time()).toBe('20 24 3 1 6 0 0 0');
  });

  it('keeps the shutdown status until the machine is reset as a whole', () => {
    w(0x0f, 0x0a);
    expect([r(0x0f), rtc.shutdownStatus]).toEqual([0x0a, 0x0a]);
    rtc.reset();
    expect([r(0x0f), rtc.shutdownStatus]).toEqual([0, 0]);
  });

  it('shows binary and twelve hours', () => {
    w(0x0b, 4);
    expect([r(0), r(4)]).toEqual([58, 11 | 0x80]);
    clock.advance(2e9);
    expect(r(4)).toBe(12);
  });

  it('is set as an OS does: SET, DIV, registers, back', () => {
    w(0x0b, 0x82);
    for (const [register, value] of [
      [9, 0x30],
      [8, 0x12],
      [7, 0x25],
      [4, 8],
      [2, 7],
      [0, 6],
    ] as const)
      w(register, value);
    clock.advance(5e9);
    expect(time()).toBe('20 30 12 25 4 8 7 6');
    w(0x0b, 0x02);
    clock.advance(3e9);
    expect(time()).toBe('20 30 12 25 4 8 7 9');
  });

  it('announces updates', () => {
    clock.advance(0.9e9);
    expect(r(0x0a) & 0x80).toBe(0);
    clock.advance(0.0999e9);
    expect(r(0x0a) & 0x80).toBe(0x80);
    clock.advance(0.0001e9);
    expect(r(0x0a) & 0x80).toBe(0);
  });

  it('interrupts each second, once per acknowledgement', () => {
    w(5, 0x12); // not the alarm's hour
    w(0x0b, 0x12);
    clock.advance(3.5e9);
    expect([edges, level]).toEqual([1, true]);
    expect(r(0x0c)).toBe(0xd0); // the periodic flag rises too, it just does not interrupt
    expect([level, r(0x0c) & 0x90]).toEqual([false, 0]);
    clock.advance(1e9);
    expect(edges).toBe(2);
  });

  it('interrupts at the alarm only', () => {
    w(1, 0x01);
    w(3, 0xff);
    w(5, 0xff);
    w(0x0b, 0x22);
    clock.advance(2.9e9);
    expect(edges).toBe(0);
    clock.advance(0.2e9);
    expect([edges, r(0x0c) & 0xa0]).toEqual([1, 0xa0]);
  });

  it('interrupts periodically at the chosen rate', () => {
    w(0x0a, 0x2f); // 2 Hz
    w(0x0b, 0x42);
    clock.advance(0.6e9);
    expect([edges, r(0x0c) & 0xc0]).toEqual([1, 0xc0]);
    clock.advance(0.5e9);
    expect(edges).toBe(2);
    rtc.reset();
    expect([clock.pending, level]).toEqual([0, false]);
  });

  it('keeps memory sizes and whatever the guest stores', () => {
    expect(r(0x34) | (r(0x35) << 8)).toBe((3 * 2 ** 30 - 2 ** 24) / 65536);
    expect(r(0x5b) | (r(0x5c) << 8) | (r(0x5d) << 16)).toBe((5 * 2 ** 30) / 65536);
    w(0x40, 0xa5);
    expect([r(0x40), r(0x0d)]).toEqual([0xa5, 0x80]);
    for (let i = 0; i < 256; i++) for (const v of [0, 0x80, 0xff]) w(i, v);
    expect(r(0)).toBeLessThan(256);
  });
});
