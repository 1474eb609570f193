import { describe, expect, it } from 'vitest';
import { crashedCpuSchema } from '../../preload/contract';
import type { Disassemble } from './cpu-report';
import { crashedCpu } from './cpu-snapshot';
import { resetState } from './testing/fake-native';

/** Three bytes an instruction. */
const disassemble: Disassemble = (code, bits, address) =>
  Array.from({ length: Math.floor(code.length / 3) }, (_, i) => ({
    length: 3,
    text: `${bits} at ${address.toString(16)} number ${i}`,
  }));
const low = (address: bigint): number => Number(address & 0xffn);

describe('a crashed processor', () => {
  it('is shown with the bytes around its instruction pointer and the words on its stack', () => {
    const state = resetState();
    state.rip = 0xffff_ffff_8100_0020n;
    state.gpr[4] = 0xffff_8880_0000_1008n;
    state.efer = 0x500n;
    state.segments.cs = { ...state.segments.cs, attributes: 0xa09b, base: 0n };
    const cpu = crashedCpu(
      2,
      state,
      (address) => (address >= 0xffff_8880_0000_1018n && address < 1n << 63n ? undefined : low(address)),
      disassemble,
    );
    expect(crashedCpuSchema.parse(cpu)).toEqual(cpu);
    expect(cpu.code.address).toBe('ffffffff81000010');
    expect(cpu.code.bytes[0]).toBe(0x10);
    expect(cpu.instructions).toHaveLength(10);
    expect(cpu.instructions[1]).toEqual({
      address: 'ffffffff81000023',
      bytes: '232425',
      text: '64 at ffffffff81000020 number 1',
    });
    expect(cpu.stack).toMatchObject({ address: 'ffff888000001008', wordBytes: 8 });
    expect(cpu.stack.words[0]).toBe('f0e0d0c0b0a0908');
  });

  it('adds segments, wraps at the end of their space and says what is not mapped', () => {
    const state = resetState();
    state.segments.cs = { ...state.segments.cs, base: 0xffff_0000n };
    state.segments.ss = { ...state.segments.ss, base: 0x1000n, attributes: 0x93 };
    state.gpr[4] = 0xdead_fffen;
    const cpu = crashedCpu(0, state, (address) => (address < 0x11000n ? low(address) : undefined), disassemble);
    expect(cpu.instructions).toEqual([]);
    expect(cpu.stack).toMatchObject({ address: '10ffe', wordBytes: 2 });
    expect(cpu.stack.words.slice(0, 2)).toEqual(['fffe', null]);
    expect(cpu.code.address).toBe('ffffffe0');
    expect(cpu.code.bytes[16]).toBeNull();
    expect(crashedCpuSchema.parse(cpu)).toEqual(cpu);
  });
});
