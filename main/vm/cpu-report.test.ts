import { describe, expect, it } from 'vitest';
import { codeBits, cpuReport, type Disassemble, translate } from './cpu-report';
import { resetState } from './testing/fake-native';

function tables(entries: Record<number, bigint>) {
  return (at: number, bytes: 4 | 8) => (entries[at] === undefined ? 0n : bytes === 8 ? entries[at] : entries[at] & 0xffffffffn);
}

describe('CPU report', () => {
  it('names registers, flags, and the bytes at the instruction pointer', () => {
    const state = { ...resetState(), rip: 0x1000n, cr0: 0x80000011n, rflags: 0x246n };
    const text = cpuReport(1, state, (address) => (address < 0x1004n ? Number(address & 0xffn) : undefined));
    expect(text).toContain('vCPU 1, runnable');
    expect(text).toContain('rflags 0000000000000246 [PF ZF IF]');
    expect(text).toContain('cr0 80000011 [PE ET PG]');
    expect(text).toContain('ff <00> 01 02 03 ?? ??');
  });

  it('names the instructions ahead, in the size of the code and as far as they are mapped', () => {
    const segments = { ...resetState().segments, cs: { ...resetState().segments.cs, base: 0x10000n, attributes: 0x409b } };
    const asked: unknown[] = [];
    const disassemble: Disassemble = (code, bits, address) => {
      asked.push([...code], bits, address);
      return [
        { length: 2, text: 'inc eax' },
        { length: 1, text: 'hlt' },
      ];
    };
    const read = (address: bigint) => (address < 0x10103n ? Number(address & 0xffn) : undefined);
    const state = { ...resetState(), rip: 0x100n, cr0: 1n, rflags: 2n, segments };
    expect(cpuReport(0, state, read, disassemble)).toMatch(/0000000000010100 {2}inc eax\n0000000000010102 {2}hlt$/);
    expect(asked).toEqual([[0, 1, 2], 32, 0x100n]);
    expect(codeBits({ ...state, rflags: 0x20002n })).toBe(16);
    expect(codeBits({ ...state, cr0: 0n })).toBe(16);
    expect(codeBits({ ...state, efer: 0x500n })).toBe(32);
    expect(codeBits({ ...state, efer: 0x500n, segments: { ...segments, cs: { ...segments.cs, attributes: 0xa09b } } })).toBe(64);
  });

  it('walks 4-level, PAE and 32-bit tables, with large pages', () => {
    const long = { ...resetState(), cr0: 0x80000001n, cr4: 0x20n, efer: 0x500n, cr3: 0x1000n };
    const address = 0xffff_ffff_8020_1234n;
    const four = tables({
      [0x1000 + 511 * 8]: 0x2003n,
      [0x2000 + 510 * 8]: 0x3003n,
      [0x3000 + 8]: 0x4003n,
      [0x4000 + 8]: 0x7003n,
    });
    expect(translate(long, address, four)).toBe(0x7234);
    const large = tables({ [0x1000 + 511 * 8]: 0x2003n, [0x2000 + 510 * 8]: 0x3003n, [0x3000 + 8]: 0x40_0083n });
    expect(translate(long, address, large)).toBe(0x40_1234);
    expect(translate(long, 0x5000n, four)).toBeUndefined();
    const pae = { ...long, efer: 0n };
    expect(translate(pae, 0x40201234n, tables({ [0x1008]: 0x2001n, [0x2008]: 0x3003n, [0x3008]: 0x9003n }))).toBe(0x9234);
    const plain = { ...pae, cr4: 0n };
    expect(translate(plain, 0x00401234n, tables({ [0x1004]: 0x2003n, [0x2004]: 0x9003n }))).toBe(0x9234);
    expect(translate({ ...plain, cr0: 1n }, 0x1_0000_1234n, tables({}))).toBe(0x1234);
  });
});
