import { describe, expect, it } from 'vitest';
import { cpuReport, translate } from './cpu-report';
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
