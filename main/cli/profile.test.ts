import { describe, expect, it } from 'vitest';
import type { Profile } from '../../preload/contract';
import { foldedText, reportOf, reportText } from './profile';
import { short } from './stats';
import { kernelSlide, parseSymbols } from './symbols';

const text = (lines: string): Uint8Array => Buffer.from(lines);
const MAP = text(
  [
    '0000000000000000 A fixed_percpu_data',
    'ffffffff81000000 T _text',
    'ffffffff81000000 T startup_64',
    'ffffffff81000100 t idle_loop',
    'ffffffff81000200 T entry_SYSCALL_64',
    'ffffffff81000300 D some_data',
    'ffffffffc0000000 t driver_poll\t[virtio_net]',
    '',
  ].join('\n'),
);

/** A 64-bit ELF file with one function, one object and one function in a section of data. */
function elf(change: (view: DataView) => void = () => undefined): Uint8Array {
  const view = new DataView(new ArrayBuffer(1024));
  const names = '\0spin\0table\0odd\0';
  [0x7f, 0x45, 0x4c, 0x46, 2, 1, 1].forEach((byte, i) => view.setUint8(i, byte));
  view.setBigUint64(0x28, 64n, true);
  view.setUint16(0x3a, 64, true);
  view.setUint16(0x3c, 5, true);
  const section = (n: number, type: number, flags: bigint, offset: number, bytes: number, link = 0): void => {
    const at = 64 + n * 64;
    view.setUint32(at + 4, type, true);
    view.setBigUint64(at + 8, flags, true);
    view.setBigUint64(at + 24, BigInt(offset), true);
    view.setBigUint64(at + 32, BigInt(bytes), true);
    view.setUint32(at + 40, link, true);
  };
  section(1, 1, 4n, 0, 0);
  section(2, 1, 1n, 0, 0);
  section(3, 2, 0n, 512, 96, 4);
  section(4, 3, 0n, 700, names.length);
  const symbol = (n: number, name: number, info: number, at: number, value: bigint, size: bigint): void => {
    view.setUint32(512 + n * 24, name, true);
    view.setUint8(512 + n * 24 + 4, info);
    view.setUint16(512 + n * 24 + 6, at, true);
    view.setBigUint64(512 + n * 24 + 8, value, true);
    view.setBigUint64(512 + n * 24 + 16, size, true);
  };
  symbol(1, 1, 0x12, 1, 0x401000n, 16n);
  symbol(2, 6, 0x11, 2, 0x402000n, 8n);
  symbol(3, 12, 0x12, 99, 0x403000n, 8n);
  Buffer.from(view.buffer).write(names, 700, 'latin1');
  change(view);
  return new Uint8Array(view.buffer);
}

describe('symbols', () => {
  it('of System.map and kallsyms end where the next begins', () => {
    const table = parseSymbols(MAP, 'map');
    const at = (address: bigint) => table.find(address);
    expect(at(0xffffffff80ffffffn)).toBeUndefined();
    expect(at(0xffffffff81000000n)).toBe('_text');
    expect(at(0xffffffff810001ffn)).toBe('idle_loop');
    expect(at(0xffffffff81000300n)).toBeUndefined();
    expect(at(0xffffffffc0000040n)).toBe('driver_poll [virtio_net]');
    expect(at(0xffffffffd0000000n)).toBeUndefined();
  });

  it('of ELF files have a size, and are code', () => {
    const table = parseSymbols(elf(), 'elf');
    expect(table.find(0x401000n)).toBe('spin');
    expect(table.find(0x40100fn)).toBe('spin');
    expect(table.find(0x401010n)).toBeUndefined();
    expect(table.find(0x402000n)).toBeUndefined();
    expect(table.find(0x403000n)).toBeUndefined();
  });

  it.each([
    ['no symbols', text('nothing\nhere'), /names no code/],
    ['Debian’s stub', text('ffffffffffffffff B The real System.map is in the linux-image-dbg package\n'), /names no code/],
    ['kallsyms of a user', text('0000000000000000 T _text\n0000000000000000 t a\n'), /no addresses/],
    ['a short ELF', elf().subarray(0, 40), /no ELF file/],
    ['a big-endian one', elf((v) => v.setUint8(5, 2)), /no ELF file/],
    ['sections outside', elf((v) => v.setBigUint64(0x28, 2n ** 63n, true)), /does not fit/],
    ['too many sections', elf((v) => v.setUint16(0x3c, 0xffff, true)), /does not fit/],
    ['symbols outside', elf((v) => v.setBigUint64(64 + 3 * 64 + 32, 2n ** 62n, true)), /does not fit/],
    ['names outside', elf((v) => v.setBigUint64(64 + 4 * 64 + 24, 2000n, true)), /does not fit/],
    ['names nowhere', elf((v) => v.setUint32(64 + 3 * 64 + 40, 77, true)), /does not fit/],
    ['a name outside its table', elf((v) => v.setUint32(512 + 24, 0xfffffff0, true)), /names no code/],
  ])('refuses %s', (_what, bytes, message) => {
    expect(() => parseSymbols(bytes, 'file')).toThrow(message);
  });

  it('survives any cut and any flipped byte of an ELF file', () => {
    const whole = elf();
    const attempt = (bytes: Uint8Array): void => {
      try {
        parseSymbols(bytes, 'file').find(0x401000n);
      } catch (e) {
        expect(e).toMatchObject({ code: 'fileInvalid' });
      }
    };
    for (let n = 0; n < whole.length; n += 3) attempt(whole.slice(0, n));
    for (let n = 4; n < 720; n++) {
      for (const value of [0, 0x7f, 0xff]) attempt(elf((view) => view.setUint8(n, value)));
    }
  });

  it('find out how far the kernel moved itself', () => {
    const table = parseSymbols(MAP, 'map');
    expect(kernelSlide(table, '0xffffffff81000200')).toEqual({ bytes: 0n });
    expect(kernelSlide(table, '0xffffffff8ce00200')).toEqual({ bytes: 0xbe00000n });
    expect(kernelSlide(table, '0xffffffff81000240').warning).toMatch(/another kernel/);
    expect(kernelSlide(table, '0x1000').warning).toMatch(/another kernel/);
    expect(kernelSlide(table, undefined).warning).toMatch(/64-bit kernel/);
    expect(kernelSlide(parseSymbols(text('ffffffff81000000 T _text\n'), 'x'), '0xffffffff81000200').warning).toMatch(/nokaslr/);
    expect(kernelSlide(parseSymbols(elf(), 'x'), undefined)).toEqual({ bytes: 0n });
  });
});

describe('a report', () => {
  const place = (address: bigint, ticks: number, more: Partial<Profile['places'][number]> = {}): Profile['places'][number] => ({
    address: `0x${address.toString(16)}`, ticks, user: false, device: false, tier: 'interpreter', ...more,
  }); // prettier-ignore
  const SLIDE = 0x2000000n;
  const profile: Profile = {
    hertz: 1000,
    seconds: 1,
    vcpus: [{ ran: 500, halted: 500 }],
    places: [
      place(0xffffffff81000110n + SLIDE, 300),
      place(0xffffffff81000120n + SLIDE, 50, { device: true }),
      place(0x401004n, 100, { user: true, tier: 'translator' }),
      place(0x700123n, 40, { user: true }),
      place(0x700456n, 10, { user: true }),
    ],
    otherTicks: 0,
    syscallEntry: `0x${(0xffffffff81000200n + SLIDE).toString(16)}`,
  };
  const report = reportOf(profile, [
    { path: 'map', table: parseSymbols(MAP, 'map') },
    { path: 'elf', table: parseSymbols(elf(), 'elf') },
  ]);

  it('adds places up by function, corrected for KASLR, and pages where there is none', () => {
    expect(report.rows).toEqual([
      { where: 'kernel', function: 'idle_loop', ticks: 350, deviceTicks: 50, translatedTicks: 0 },
      { where: 'user', function: 'spin', ticks: 100, deviceTicks: 0, translatedTicks: 100 },
      { where: 'user', function: '0x700000 (page)', ticks: 50, deviceTicks: 0, translatedTicks: 0 },
    ]);
    expect(report).toMatchObject({
      total: 1000,
      kernel: 350,
      user: 150,
      idle: 500,
      device: 50,
      byTier: { interpreter: 350, translator: 100 },
    });
    expect(report.warnings).toEqual([expect.stringMatching(/map: the kernel runs 0x2000000 behind/)]);
  });

  it('is a table of shares, and stacks', () => {
    const lines = reportText(report, 3).split('\n');
    expect(lines[0]).toBe('1.0 s at 1000 Hz, 1 processor: kernel 35.0 %, user 15.0 %, idle 50.0 %');
    expect(lines[1]).toMatch(/interpreter 77\.8 %, translator 22\.2 %; waiting for devices: 5\.0 %/);
    expect(lines.slice(4).map((line) => line.trim().split(/ {2,}/))).toEqual([
      ['50.0 %', '500', 'idle', '(halted)'],
      ['35.0 %', '350', 'kernel', 'idle_loop, 14.3 % waiting for a device'],
      ['10.0 %', '100', 'user', 'spin'],
      ['5.0 %', '50', '1 others'],
    ]);
    expect(foldedText(report).split('\n')).toEqual([
      'kernel;idle_loop 300',
      'kernel;idle_loop;[waits for a device] 50',
      'user;spin 100',
      'user;0x700000 (page) 50',
      'idle 500',
    ]);
  });
});

it('short', () => {
  expect([0, 7, 0.5, 12.34, 999, 1000, 123_456, 2.5e9].map(short)).toEqual([
    '0',
    '7',
    '0.50',
    '12.3',
    '999',
    '1.00k',
    '123k',
    '2.50G',
  ]);
});
