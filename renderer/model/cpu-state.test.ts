import { describe, expect, it } from 'vitest';
import { viewCpu } from './cpu-state';
import type { CrashedCpu } from './types';

const segment = (attributes: number, base = '0') => ({ selector: 0x10, base, limit: 0xffffffff, attributes });
const cpu = (change: Partial<CrashedCpu> = {}): CrashedCpu => ({
  vcpu: 0,
  activity: 'runnable',
  rip: 'ffffffff81000004',
  rflags: '3046',
  gpr: Array.from({ length: 16 }, (_, i) => i.toString(16)),
  segments: {
    es: segment(0),
    cs: segment(0xa09b),
    ss: segment(0xc093),
    ds: segment(0),
    fs: segment(0),
    gs: segment(0),
    ldtr: segment(0x82),
    tr: segment(0x8b),
  },
  gdtr: { base: '1000', limit: 0x7f },
  idtr: { base: '2000', limit: 0xfff },
  cr0: '80050033',
  cr2: '8',
  cr3: '260a000',
  cr4: '20',
  cr8: '0',
  efer: 'd01',
  dr: ['0', '0', '0', '0', 'ffff0ff0', '400'],
  code: { address: 'ffffffff80fffff4', bytes: Array.from({ length: 32 }, (_, i) => (i === 31 ? null : i)) },
  instructions: [
    { address: 'ffffffff81000004', bytes: '0f0b', text: 'ud2' },
    { address: 'ffffffff81000006', bytes: 'f4', text: 'hlt' },
  ],
  stack: { address: 'ffff888000001ff8', wordBytes: 8, words: ['f', null] },
  ...change,
});
const names = (bits: readonly { name: string }[]) => bits.map((bit) => bit.name);

describe('the view of a processor', () => {
  it('says the mode, names bits and marks the byte at the instruction pointer', () => {
    const view = viewCpu(cpu());
    expect(view.summary).toBe('64-bit mode, kernel (ring 0), paging on, running');
    expect(names(view.flags.bits)).toEqual(['PF', 'ZF', 'IOPL 3']);
    expect(names(view.control[0]!.bits)).toEqual(['PE', 'MP', 'ET', 'NE', 'WP', 'AM', 'PG']);
    expect(names(view.control[5]!.bits)).toEqual(['SCE', 'LME', 'LMA', 'NXE']);
    expect(view.general).toHaveLength(16);
    expect(view.code.map((line) => line.address)).toEqual(['ffffffff80fffff4', 'ffffffff81000004']);
    expect(view.instructions).toEqual([
      { address: 'ffffffff81000004', bytes: '0f 0b', text: 'ud2' },
      { address: 'ffffffff81000006', bytes: 'f4', text: 'hlt' },
    ]);
    expect(view.code.flatMap((line) => line.bytes).findIndex((byte) => byte.here)).toBe(16);
    expect(view.code[1]!.bytes[15]).toEqual({ text: '??', here: false });
    expect(view.stack).toEqual([
      { address: 'ffff888000001ff8', text: '000000000000000f' },
      { address: 'ffff888000002000', text: '????????????????' },
    ]);
    expect(view.segments.find((s) => s.name === 'cs')?.kind).toBe('64-bit code, ring 0');
    expect(view.segments.find((s) => s.name === 'es')?.kind).toBe('not present');
  });

  it('adds the segment in real mode, and shows what such a processor has', () => {
    const view = viewCpu(
      cpu({
        rip: 'fff0',
        rflags: '2',
        cr0: '10',
        efer: '0',
        segments: { ...cpu().segments, cs: segment(0x93, 'ffff0000') },
        code: { address: 'ffffffe0', bytes: Array.from({ length: 48 }, () => 0x90) },
      }),
    );
    expect(view.summary).toBe('Real mode, kernel (ring 0), paging off, running');
    expect(view.general).toHaveLength(8);
    expect(view.pointer.value).toBe('0000fff0');
    expect(view.code[1]).toMatchObject({ address: 'fffffff0' });
    expect(view.code[1]!.bytes[0]!.here).toBe(true);
    expect(view.code[2]!.address).toBe('00000000');
    expect(view.segments.find((s) => s.name === 'cs')?.kind).toBe('16-bit code, ring 0');
  });
});
