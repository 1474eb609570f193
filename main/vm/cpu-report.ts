/** CPU state as text: what a person needs to see why a guest stopped. */
import type { CodeBits, CpuState, NativeAddon, NativeMachine, SegmentState } from '../../native/addon/types';

const GPR_NAMES = [
  'rax',
  'rcx',
  'rdx',
  'rbx',
  'rsp',
  'rbp',
  'rsi',
  'rdi',
  'r8',
  'r9',
  'r10',
  'r11',
  'r12',
  'r13',
  'r14',
  'r15',
] as const;
const FLAG_NAMES: readonly [bit: number, name: string][] = [
  [0, 'CF'], [2, 'PF'], [4, 'AF'], [6, 'ZF'], [7, 'SF'], [8, 'TF'], [9, 'IF'], [10, 'DF'], [11, 'OF'], [14, 'NT'], [16, 'RF'], [17, 'VM'],
  [18, 'AC'],
]; // prettier-ignore
const CR0_NAMES: readonly [bit: number, name: string][] = [
  [0, 'PE'], [1, 'MP'], [2, 'EM'], [3, 'TS'], [4, 'ET'], [5, 'NE'], [16, 'WP'], [18, 'AM'], [29, 'NW'], [30, 'CD'], [31, 'PG'],
]; // prettier-ignore
const EFER_NAMES: readonly [bit: number, name: string][] = [
  [0, 'SCE'], [8, 'LME'], [10, 'LMA'], [11, 'NXE'],
]; // prettier-ignore

/** Bits of a segment's attributes. */
export const CS_LONG = 0x2000;
export const SEGMENT_BIG = 0x4000;

/** Bytes shown before and after the instruction pointer. */
export const CODE_BEFORE = 16;
export const CODE_BYTES = 48;

const hex = (value: bigint | number, digits: number): string => value.toString(16).padStart(digits, '0');

function bits(value: bigint, names: readonly [bit: number, name: string][]): string {
  const set = names.filter(([bit]) => (value >> BigInt(bit)) & 1n).map(([, name]) => name);
  return set.length > 0 ? ` [${set.join(' ')}]` : '';
}

function segment(name: string, s: SegmentState): string {
  const mode = name === 'cs' ? (s.attributes & CS_LONG ? ' 64-bit' : s.attributes & SEGMENT_BIG ? ' 32-bit' : ' 16-bit') : '';
  return `${name.padEnd(4)} ${hex(s.selector, 4)} base ${hex(s.base, 16)} limit ${hex(s.limit, 8)} attr ${hex(s.attributes, 4)}${mode}`;
}

/** The byte at a linear address; undefined where nothing is mapped. */
export type ReadVirtual = (address: bigint) => number | undefined;
export type Disassemble = NativeAddon['disassemble'];

/** How CS has its code decoded (SDM vol. 3 §3.4.5, §20.1). */
export function codeBits(state: CpuState): CodeBits {
  const { attributes } = state.segments.cs;
  if (state.efer & (1n << 10n) && attributes & CS_LONG) return 64;
  const isProtected = state.cr0 & 1n && !(state.rflags & (1n << 17n));
  return isProtected && attributes & SEGMENT_BIG ? 32 : 16;
}

export interface CodeLine {
  /** Linear. */
  readonly address: bigint;
  readonly bytes: readonly number[];
  readonly text: string;
}

/** The instructions from the pointer on, as far as they are mapped. */
export function instructionsAhead(state: CpuState, readVirtual: ReadVirtual, disassemble: Disassemble): CodeLine[] {
  const bits = codeBits(state);
  const linear = state.rip + (bits === 64 ? 0n : state.segments.cs.base);
  const wrap = (address: bigint): bigint => BigInt.asUintN(bits === 64 ? 64 : 32, address);
  const bytes: number[] = [];
  while (bytes.length < CODE_BYTES - CODE_BEFORE) {
    const byte = readVirtual(wrap(linear + BigInt(bytes.length)));
    if (byte === undefined) break;
    bytes.push(byte);
  }
  let at = 0;
  return disassemble(Uint8Array.from(bytes), bits, state.rip).map(({ length, text }) => {
    const line = { address: wrap(linear + BigInt(at)), bytes: bytes.slice(at, at + length), text };
    at += length;
    return line;
  });
}

export function cpuReport(vcpu: number, state: CpuState, readVirtual: ReadVirtual, disassemble?: Disassemble): string {
  const lines = [
    `vCPU ${vcpu}, ${state.activity}`,
    `rip    ${hex(state.rip, 16)}   rflags ${hex(state.rflags, 16)}${bits(state.rflags, FLAG_NAMES)}`,
  ];
  for (let i = 0; i < 16; i += 4) {
    lines.push([0, 1, 2, 3].map((k) => `${GPR_NAMES[i + k]!.padEnd(3)} ${hex(state.gpr[i + k] ?? 0n, 16)}`).join('  '));
  }
  for (const name of ['es', 'cs', 'ss', 'ds', 'fs', 'gs', 'ldtr', 'tr'] as const) lines.push(segment(name, state.segments[name]));
  lines.push(
    `gdtr base ${hex(state.gdtr.base, 16)} limit ${hex(state.gdtr.limit, 4)}   idtr base ${hex(state.idtr.base, 16)} limit ${hex(state.idtr.limit, 4)}`,
  );
  lines.push(
    `cr0 ${hex(state.cr0, 8)}${bits(state.cr0, CR0_NAMES)}  cr2 ${hex(state.cr2, 16)}  cr3 ${hex(state.cr3, 16)}  cr4 ${hex(state.cr4, 8)}  cr8 ${hex(state.cr8, 1)}`,
  );
  lines.push(
    `efer ${hex(state.efer, 4)}${bits(state.efer, EFER_NAMES)}  dr6 ${hex(state.dr[4] ?? 0n, 8)}  dr7 ${hex(state.dr[5] ?? 0n, 8)}`,
  );
  const linear = state.rip + state.segments.cs.base;
  const code: string[] = [];
  for (let i = 0; i < CODE_BYTES; i++) {
    const at = linear + BigInt(i - CODE_BEFORE);
    const byte = at < 0n ? undefined : readVirtual(at);
    const text = byte === undefined ? '??' : hex(byte, 2);
    code.push(i === CODE_BEFORE ? `<${text}>` : text);
  }
  lines.push(`code ${code.join(' ')}`);
  if (disassemble) {
    for (const { address, text } of instructionsAhead(state, readVirtual, disassemble))
      lines.push(`${hex(address, 16)}  ${text}`);
  }
  return lines.join('\n');
}

/** Walks the guest's page tables for one address, as the CPU would for a supervisor read; undefined where it does not translate. */
export function translate(
  state: CpuState,
  address: bigint,
  readPhysical: (at: number, bytes: 4 | 8) => bigint | undefined,
): number | undefined {
  if (!(state.cr0 & (1n << 31n))) return Number(address & 0xffff_ffffn);
  const pae = (state.cr4 & (1n << 5n)) !== 0n;
  const long = (state.efer & (1n << 10n)) !== 0n;
  const entryBytes = pae || long ? 8 : 4;
  const indexBits = entryBytes === 8 ? 9n : 10n;
  const levels = long ? (state.cr4 & (1n << 12n) ? 5 : 4) : pae ? 3 : 2;
  const addressMask = entryBytes === 8 ? 0x000f_ffff_ffff_f000n : 0xffff_f000n;
  let table = state.cr3 & (long ? 0x000f_ffff_ffff_f000n : pae ? 0xffff_ffe0n : 0xffff_f000n);
  for (let level = levels; level >= 1; level--) {
    const shift = 12n + indexBits * BigInt(level - 1);
    const indexMask = !long && pae && level === 3 ? 3n : (1n << indexBits) - 1n;
    const entry = readPhysical(Number(table + ((address >> shift) & indexMask) * BigInt(entryBytes)), entryBytes);
    if (entry === undefined || !(entry & 1n)) return undefined;
    const large = (entry & 0x80n) !== 0n && (level === 2 || (level === 3 && long));
    if (level === 1 || large) {
      const offsetMask = (1n << shift) - 1n;
      return Number((entry & addressMask & ~offsetMask) | (address & offsetMask));
    }
    table = entry & addressMask;
  }
  return undefined;
}

/** Bytes at linear addresses, as a supervisor's access in this state would find them. */
export function linearReader(native: Pick<NativeMachine, 'memRead'>, state: CpuState): (address: bigint) => number | undefined {
  const bytes = new Uint8Array(8);
  const view = new DataView(bytes.buffer);
  const readPhysical = (at: number, count: 4 | 8): bigint | undefined => {
    if (!native.memRead(at, bytes.subarray(0, count))) return undefined;
    return count === 4 ? BigInt(view.getUint32(0, true)) : view.getBigUint64(0, true);
  };
  return (address) => {
    const physical = translate(state, address, readPhysical);
    return physical !== undefined && native.memRead(physical, bytes.subarray(0, 1)) ? bytes[0] : undefined;
  };
}
