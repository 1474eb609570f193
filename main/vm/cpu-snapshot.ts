/** The state of a processor at a crash with what lies around its instruction and stack pointers, for the app to show. */
import type { CrashedCpu } from '../../preload/contract';
import type { CpuState } from '../../native/addon/types';
import {
  CODE_BEFORE,
  CODE_BYTES,
  codeBits,
  type Disassemble,
  instructionsAhead,
  type ReadVirtual,
  SEGMENT_BIG,
} from './cpu-report';

const STACK_WORDS = 16;

const hex = (value: bigint): string => BigInt.asUintN(64, value).toString(16);

export function crashedCpu(vcpu: number, state: CpuState, readVirtual: ReadVirtual, disassemble: Disassemble): CrashedCpu {
  const { segments } = state;
  const long = codeBits(state) === 64;
  const wrap = (address: bigint): bigint => BigInt.asUintN(long ? 64 : 32, address);
  const segment = (name: keyof CpuState['segments']) => ({ ...segments[name], base: hex(segments[name].base) });
  const code = wrap(state.rip + (long ? 0n : segments.cs.base) - BigInt(CODE_BEFORE));
  const wordBytes = long ? 8 : segments.ss.attributes & SEGMENT_BIG ? 4 : 2;
  const pointer = BigInt.asUintN(wordBytes * 8, state.gpr[4] ?? 0n);
  const stack = wrap(pointer + (long ? 0n : segments.ss.base));
  const word = (index: number): string | null => {
    let value = 0n;
    for (let i = wordBytes - 1; i >= 0; i--) {
      const byte = readVirtual(wrap(stack + BigInt(index * wordBytes + i)));
      if (byte === undefined) return null;
      value = (value << 8n) | BigInt(byte);
    }
    return hex(value);
  };
  return {
    vcpu,
    activity: state.activity,
    rip: hex(state.rip),
    rflags: hex(state.rflags),
    gpr: Array.from({ length: 16 }, (_, i) => hex(state.gpr[i] ?? 0n)),
    segments: {
      es: segment('es'),
      cs: segment('cs'),
      ss: segment('ss'),
      ds: segment('ds'),
      fs: segment('fs'),
      gs: segment('gs'),
      ldtr: segment('ldtr'),
      tr: segment('tr'),
    },
    gdtr: { ...state.gdtr, base: hex(state.gdtr.base) },
    idtr: { ...state.idtr, base: hex(state.idtr.base) },
    cr0: hex(state.cr0),
    cr2: hex(state.cr2),
    cr3: hex(state.cr3),
    cr4: hex(state.cr4),
    cr8: hex(state.cr8),
    efer: hex(state.efer),
    dr: Array.from({ length: 6 }, (_, i) => hex(state.dr[i] ?? 0n)),
    code: {
      address: hex(code),
      bytes: Array.from({ length: CODE_BYTES }, (_, i) => readVirtual(wrap(code + BigInt(i))) ?? null),
    },
    instructions: instructionsAhead(state, readVirtual, disassemble).map(({ address, bytes, text }) => ({
      address: hex(address),
      bytes: Buffer.from(bytes).toString('hex'),
      text,
    })),
    stack: { address: hex(stack), wordBytes, words: Array.from({ length: STACK_WORDS }, (_, i) => word(i)) },
  };
}
