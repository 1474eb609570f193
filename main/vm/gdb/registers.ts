/**
 * The registers a debugger sees, in the order of its 'g' packet, and the target description that names them (GDB manual, appendix
 * G.5.6 “i386 Features”). Two descriptions, because a debugger takes a 32-bit kernel's symbols only with 32-bit registers.
 */
import type { CpuState } from '../../../native/addon/types';

export interface Register {
  readonly name: string;
  readonly bits: 16 | 32 | 64 | 80 | 128;
  readonly type: string;
  readonly group?: string;
  get(state: CpuState): bigint;
  /** Absent: it cannot be changed. */
  set?(state: CpuState, value: bigint): void;
}

export type Width = 32 | 64;
interface Feature {
  readonly name: string;
  /** Type definitions that the registers below refer to. */
  readonly types: string;
  readonly registers: readonly Register[];
}

const [RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI] = [0, 1, 2, 3, 4, 5, 6, 7];

const gpr = (name: string, index: number, bits: Width, type = bits === 64 ? 'int64' : 'int32'): Register => ({
  name,
  bits,
  type,
  get: (s) => s.gpr[index]!,
  set: (s, value) => void (s.gpr[index] = value),
});
const selector = (name: 'es' | 'cs' | 'ss' | 'ds' | 'fs' | 'gs'): Register => ({
  name,
  bits: 32,
  type: 'int32',
  get: (s) => BigInt(s.segments[name].selector),
  set: (s, value) => void (s.segments[name].selector = Number(value & 0xffffn)),
});

/** Parts of the FXSAVE image: SDM vol. 1 table 10-2. */
const FX = {
  control: 0,
  status: 2,
  tags: 4,
  opcode: 6,
  instruction: 8,
  instructionSelector: 12,
  data: 16,
  dataSelector: 20,
  mxcsr: 24,
  st: 32,
  xmm: 160,
};

function bytesOf(image: Uint8Array, offset: number, bytes: number): bigint {
  let value = 0n;
  for (let i = bytes - 1; i >= 0; i--) value = (value << 8n) | BigInt(image[offset + i]!);
  return value;
}
function putInto(image: Uint8Array, offset: number, bytes: number, value: bigint): void {
  for (let i = 0; i < bytes; i++) image[offset + i] = Number((value >> BigInt(i * 8)) & 0xffn);
}
const bytesAt = (s: CpuState, offset: number, bytes: number): bigint => bytesOf(s.fxsave, offset, bytes);
const putBytes = (s: CpuState, offset: number, bytes: number, value: bigint): void => putInto(s.fxsave, offset, bytes, value);
const fx = (name: string, offset: number, bytes: number, bits: 32 | 80 | 128, type: string, group?: string): Register => ({
  name,
  bits,
  type,
  ...(group !== undefined && { group }),
  get: (s) => bytesAt(s, offset, bytes),
  set: (s, value) => putBytes(s, offset, bytes, value),
});

/** FXSAVE keeps a bit a register: the rest of FSTENV's tag follows from the value (SDM vol. 2, FXSAVE, “Recreating FSAVE format”). */
function tagWord(s: CpuState): bigint {
  const top = (Number(bytesAt(s, FX.status, 2)) >> 11) & 7;
  let word = 0n;
  for (let physical = 0; physical < 8; physical++) {
    let tag = 3n;
    if ((s.fxsave[FX.tags]! >> physical) & 1) {
      const value = bytesAt(s, FX.st + ((physical - top) & 7) * 16, 10);
      const exponent = (value >> 64n) & 0x7fffn;
      const fraction = value & 0xffff_ffff_ffff_ffffn;
      if (exponent === 0n && fraction === 0n) tag = 1n;
      else if (exponent === 0n || exponent === 0x7fffn || fraction >> 63n === 0n) tag = 2n;
      else tag = 0n;
    }
    word |= tag << BigInt(physical * 2);
  }
  return word;
}
const tags: Register = {
  name: 'ftag',
  bits: 32,
  type: 'int',
  group: 'float',
  get: tagWord,
  set: (s, value) => {
    let valid = 0;
    for (let i = 0; i < 8; i++) if (((value >> BigInt(i * 2)) & 3n) !== 3n) valid |= 1 << i;
    s.fxsave[FX.tags] = valid;
  },
};

const x87 = (): Register[] => [
  ...Array.from({ length: 8 }, (_, i) => fx(`st${i}`, FX.st + i * 16, 10, 80, 'i387_ext')),
  fx('fctrl', FX.control, 2, 32, 'int', 'float'),
  fx('fstat', FX.status, 2, 32, 'int', 'float'),
  tags,
  fx('fiseg', FX.instructionSelector, 2, 32, 'int', 'float'),
  fx('fioff', FX.instruction, 4, 32, 'int', 'float'),
  fx('foseg', FX.dataSelector, 2, 32, 'int', 'float'),
  fx('fooff', FX.data, 4, 32, 'int', 'float'),
  fx('fop', FX.opcode, 2, 32, 'int', 'float'),
];

const EFLAGS: readonly [name: string, bit: number][] = [
  ['CF', 0], ['', 1], ['PF', 2], ['AF', 4], ['ZF', 6], ['SF', 7], ['TF', 8], ['IF', 9], ['DF', 10], ['OF', 11], ['NT', 14], ['RF', 16], ['VM', 17],
  ['AC', 18], ['VIF', 19], ['VIP', 20], ['ID', 21],
]; // prettier-ignore
const flagsType = (id: string, bytes: number, fields: readonly (readonly [string, number])[]): string =>
  `<flags id="${id}" size="${bytes}">${fields.map(([name, bit]) => `<field name="${name}" start="${bit}" end="${bit}"/>`).join('')}</flags>`;

const VECTOR_LANES: readonly [id: string, type: string, count: number][] = [
  ['v4f', 'ieee_single', 4], ['v2d', 'ieee_double', 2], ['v16i8', 'int8', 16], ['v8i16', 'int16', 8], ['v4i32', 'int32', 4], ['v2i64', 'int64', 2],
]; // prettier-ignore
const VECTOR_TYPES =
  VECTOR_LANES.map(([id, type, count]) => `<vector id="${id}" type="${type}" count="${count}"/>`).join('') +
  `<union id="vec128">${VECTOR_LANES.map(([id, type, count]) => `<field name="v${count}_${type.replace('ieee_single', 'float').replace('ieee_double', 'double')}" type="${id}"/>`).join('')}<field name="uint128" type="uint128"/></union>`;
const MXCSR: readonly [string, number][] = [
  ['IE', 0], ['DE', 1], ['ZE', 2], ['OE', 3], ['UE', 4], ['PE', 5], ['DAZ', 6], ['IM', 7], ['DM', 8], ['ZM', 9], ['OM', 10], ['UM', 11], ['PM', 12],
  ['FZ', 15],
]; // prettier-ignore

const KERNEL_GS_BASE = String(0xc0000102);

const control = (name: 'cr0' | 'cr2' | 'cr3' | 'cr4' | 'cr8' | 'efer', bits: Width): Register => ({
  name,
  bits,
  type: bits === 64 ? 'int64' : 'int32',
  group: 'system',
  get: (s) => s[name],
  set: (s, value) => void (s[name] = value),
});
const base = (name: string, bits: Width, segment: keyof CpuState['segments']): Register => ({
  name,
  bits,
  type: bits === 64 ? 'int64' : 'int32',
  group: 'system',
  get: (s) => s.segments[segment].base,
  set: (s, value) => void (s.segments[segment].base = value),
});
/** gdb puts $ymm together from this and the XMM register. */
const ymmHigh = (i: number): Register => ({
  name: `ymm${i}h`,
  bits: 128,
  type: 'uint128',
  get: (s) => bytesOf(s.ymmHigh, i * 16, 16),
  set: (s, value) => putInto(s.ymmHigh, i * 16, 16, value),
});
const systemValue = (name: string, bits: Width, get: (s: CpuState) => bigint): Register => ({
  name,
  bits,
  type: bits === 64 ? 'int64' : 'int32',
  group: 'system',
  get,
});

function features(width: Width): Feature[] {
  const general: Register[] =
    width === 64
      ? [
          ...([['rax', RAX], ['rbx', RBX], ['rcx', RCX], ['rdx', RDX], ['rsi', RSI], ['rdi', RDI]] as const).map(([name, i]) => gpr(name, i!, 64)),
          gpr('rbp', RBP!, 64, 'data_ptr'),
          gpr('rsp', RSP!, 64, 'data_ptr'),
          ...Array.from({ length: 8 }, (_, i) => gpr(`r${i + 8}`, i + 8, 64)),
        ] // prettier-ignore
      : [
          ...([['eax', RAX], ['ecx', RCX], ['edx', RDX], ['ebx', RBX]] as const).map(([name, i]) => gpr(name, i!, 32)),
          gpr('esp', RSP!, 32, 'data_ptr'),
          gpr('ebp', RBP!, 32, 'data_ptr'),
          gpr('esi', RSI!, 32),
          gpr('edi', RDI!, 32),
        ]; // prettier-ignore
  const core: Register[] = [
    ...general,
    {
      name: width === 64 ? 'rip' : 'eip',
      bits: width,
      type: 'code_ptr',
      get: (s) => s.rip,
      set: (s, value) => void (s.rip = value),
    },
    { name: 'eflags', bits: 32, type: 'i386_eflags', get: (s) => s.rflags, set: (s, value) => void (s.rflags = value) },
    ...(['cs', 'ss', 'ds', 'es', 'fs', 'gs'] as const).map(selector),
    ...x87(),
  ];
  const vectors = Array.from({ length: width === 64 ? 16 : 8 }, (_, i) => fx(`xmm${i}`, FX.xmm + i * 16, 16, 128, 'vec128'));
  const system: Register[] = [
    ...(['cr0', 'cr2', 'cr3', 'cr4', 'cr8', 'efer'] as const).map((name) => control(name, width)),
    ...(['es', 'cs', 'ss', 'ds'] as const).map((name) => base(`${name}_base`, width, name)),
    ...(width === 32 ? (['fs', 'gs'] as const).map((name) => base(`${name}_base`, width, name)) : []),
    systemValue('k_gs_base', width, (s) => s.msrs[KERNEL_GS_BASE] ?? 0n),
    systemValue('gdtr_base', width, (s) => s.gdtr.base),
    systemValue('gdtr_limit', width, (s) => BigInt(s.gdtr.limit)),
    systemValue('idtr_base', width, (s) => s.idtr.base),
    systemValue('idtr_limit', width, (s) => BigInt(s.idtr.limit)),
    systemValue('tr', width, (s) => BigInt(s.segments.tr.selector)),
    systemValue('tr_base', width, (s) => s.segments.tr.base),
    systemValue('ldtr', width, (s) => BigInt(s.segments.ldtr.selector)),
    systemValue('ldtr_base', width, (s) => s.segments.ldtr.base),
    ...[0, 1, 2, 3, 6, 7].map((n, i) => systemValue(`dr${n}`, width, (s) => s.dr[i]!)),
  ];
  return [
    { name: 'org.gnu.gdb.i386.core', types: flagsType('i386_eflags', 4, EFLAGS), registers: core },
    {
      name: 'org.gnu.gdb.i386.sse',
      types: VECTOR_TYPES + flagsType('i386_mxcsr', 4, MXCSR),
      registers: [...vectors, fx('mxcsr', FX.mxcsr, 4, 32, 'i386_mxcsr', 'vector')],
    },
    { name: 'org.gnu.gdb.i386.avx', types: '', registers: vectors.map((_, i) => ymmHigh(i)) },
    ...(width === 64
      ? [{ name: 'org.gnu.gdb.i386.segments', types: '', registers: [base('fs_base', 64, 'fs'), base('gs_base', 64, 'gs')] }]
      : []),
    { name: 'org.lodge.i386.system', types: '', registers: system },
  ];
}

export interface TargetDescription {
  readonly width: Width;
  readonly registers: readonly Register[];
  readonly xml: string;
}

function describe(width: Width): TargetDescription {
  const all = features(width);
  const xml = [
    '<?xml version="1.0"?><!DOCTYPE target SYSTEM "gdb-target.dtd"><target version="1.0">',
    `<architecture>${width === 64 ? 'i386:x86-64' : 'i386'}</architecture>`,
    ...all.map(
      ({ name, types, registers }) =>
        `<feature name="${name}">${types}${registers.map((r) => `<reg name="${r.name}" bitsize="${r.bits}" type="${r.type}"${r.group === undefined ? '' : ` group="${r.group}"`}/>`).join('')}</feature>`,
    ),
    '</target>',
  ].join('\n');
  return { width, registers: all.flatMap((f) => f.registers), xml };
}

const DESCRIPTIONS: Record<Width, TargetDescription> = { 64: describe(64), 32: describe(32) };

/**
 * A processor with 32-bit paging on runs a 32-bit kernel. Before paging nobody can tell, and what boots is usually on its way to
 * 64 bits.
 */
export function descriptionFor(state: CpuState): TargetDescription {
  const paging = (state.cr0 & (1n << 31n)) !== 0n;
  const long = (state.efer & (1n << 10n)) !== 0n;
  return DESCRIPTIONS[paging && !long ? 32 : 64];
}

/** Little-endian hex, as 'g' and 'p' have it. */
export function registerHex(register: Register, state: CpuState): string {
  let value = register.get(state);
  let text = '';
  for (let i = 0; i < register.bits; i += 8) {
    text += Number(value & 0xffn)
      .toString(16)
      .padStart(2, '0');
    value >>= 8n;
  }
  return text;
}

/** False: not so many hex digits, or the register cannot be changed. */
export function setRegisterHex(register: Register, state: CpuState, hex: string): boolean {
  if (!register.set || hex.length !== register.bits / 4 || !/^[0-9a-f]*$/i.test(hex)) return false;
  let value = 0n;
  for (let i = hex.length - 2; i >= 0; i -= 2) value = (value << 8n) | BigInt(parseInt(hex.slice(i, i + 2), 16));
  register.set(state, value);
  return true;
}
