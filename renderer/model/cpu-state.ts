/** What the registers of a crashed guest’s processor mean, in names. SDM vol. 1 §3.4.3, vol. 3 §2.2–2.5. */
import type { CrashedCpu } from './types';

type Bits = readonly (readonly [bit: number, name: string, meaning: string])[];

const RFLAGS: Bits = [
  [0, 'CF', 'carry'],
  [2, 'PF', 'parity'],
  [4, 'AF', 'half carry'],
  [6, 'ZF', 'zero'],
  [7, 'SF', 'sign'],
  [8, 'TF', 'single step'],
  [9, 'IF', 'interrupts on'],
  [10, 'DF', 'strings downwards'],
  [11, 'OF', 'overflow'],
  [14, 'NT', 'nested task'],
  [16, 'RF', 'resume'],
  [17, 'VM', 'virtual 8086 mode'],
  [18, 'AC', 'alignment check'],
  [19, 'VIF', 'virtual interrupt flag'],
  [20, 'VIP', 'virtual interrupt pending'],
  [21, 'ID', 'CPUID can be used'],
];
const CR0: Bits = [
  [0, 'PE', 'protected mode'],
  [1, 'MP', 'monitor coprocessor'],
  [2, 'EM', 'no coprocessor'],
  [3, 'TS', 'task switched'],
  [4, 'ET', 'extension type'],
  [5, 'NE', 'numeric errors'],
  [16, 'WP', 'write protection for the kernel, too'],
  [18, 'AM', 'alignment mask'],
  [29, 'NW', 'not write-through'],
  [30, 'CD', 'cache disabled'],
  [31, 'PG', 'paging'],
];
const CR4: Bits = [
  [0, 'VME', 'virtual 8086 extensions'],
  [1, 'PVI', 'virtual interrupts in protected mode'],
  [2, 'TSD', 'RDTSC for the kernel only'],
  [3, 'DE', 'debug extensions'],
  [4, 'PSE', 'large pages'],
  [5, 'PAE', 'physical addresses above 4 GiB'],
  [6, 'MCE', 'machine checks'],
  [7, 'PGE', 'global pages'],
  [8, 'PCE', 'RDPMC for everybody'],
  [9, 'OSFXSR', 'SSE'],
  [10, 'OSXMMEXCPT', 'SSE exceptions'],
  [11, 'UMIP', 'no descriptor tables for programs'],
  [12, 'LA57', '5-level paging'],
  [16, 'FSGSBASE', 'FS and GS bases for everybody'],
  [17, 'PCIDE', 'process-context identifiers'],
  [18, 'OSXSAVE', 'XSAVE'],
  [20, 'SMEP', 'kernel executes no user pages'],
  [21, 'SMAP', 'kernel touches no user pages'],
  [22, 'PKE', 'protection keys'],
];
const EFER: Bits = [
  [0, 'SCE', 'SYSCALL'],
  [8, 'LME', '64-bit mode enabled'],
  [10, 'LMA', '64-bit mode active'],
  [11, 'NXE', 'no-execute pages'],
];
const GENERAL = ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'];

export interface NamedBit {
  readonly name: string;
  readonly meaning: string;
}
export interface Register {
  readonly name: string;
  readonly value: string;
  readonly bits: readonly NamedBit[];
}
export interface CpuView {
  /** One line: mode, privilege, paging, activity. */
  readonly summary: string;
  readonly pointer: Register;
  readonly flags: Register;
  readonly general: readonly Register[];
  readonly control: readonly Register[];
  readonly debug: readonly Register[];
  readonly segments: readonly { name: string; selector: string; base: string; limit: string; kind: string }[];
  readonly code: readonly { address: string; bytes: readonly { text: string; here: boolean }[] }[];
  /** The first is the one at the instruction pointer. */
  readonly instructions: readonly { address: string; bytes: string; text: string }[];
  readonly stack: readonly { address: string; text: string }[];
}

const number = (hex: string): bigint => BigInt(`0x${hex}`);
const has = (hex: string, bit: number): boolean => ((number(hex) >> BigInt(bit)) & 1n) === 1n;
const named = (hex: string, names: Bits): NamedBit[] =>
  names.filter(([bit]) => has(hex, bit)).map(([, name, meaning]) => ({ name, meaning }));

function segmentKind(name: string, attributes: number, long: boolean): string {
  if (!(attributes & 0x80)) return 'not present';
  const ring = `ring ${(attributes >> 5) & 3}`;
  if (name === 'tr') return 'task state';
  if (name === 'ldtr') return 'local descriptors';
  // In real mode code lies in what a descriptor would call data.
  if (!(attributes & 8) && name !== 'cs') return `${attributes & 2 ? 'data' : 'data, read-only'}, ${ring}`;
  const size = long && attributes & 0x2000 ? '64-bit' : attributes & 0x4000 ? '32-bit' : '16-bit';
  return `${size} code, ${ring}`;
}

const BYTES_A_LINE = 16;

export function viewCpu(cpu: CrashedCpu): CpuView {
  const long = has(cpu.efer, 10);
  const cs = cpu.segments.cs.attributes;
  const isProtected = has(cpu.cr0, 0);
  const v86 = has(cpu.rflags, 17);
  const mode = !isProtected
    ? 'Real mode'
    : v86
      ? 'Virtual 8086 mode'
      : long && cs & 0x2000
        ? '64-bit mode'
        : long
          ? 'Compatibility mode'
          : 'Protected mode';
  const ring = v86 ? 3 : isProtected ? (cpu.segments.ss.attributes >> 5) & 3 : 0;
  const digits = long ? 16 : 8;
  const wide = (hex: string): string => hex.padStart(digits, '0').slice(-Math.max(digits, hex.length));
  const register = (name: string, value: string, bits: readonly NamedBit[] = []): Register => ({
    name,
    value: wide(value),
    bits,
  });
  const privilege = (number(cpu.rflags) >> 12n) & 3n;
  const from = number(cpu.code.address);
  const here =
    cpu.code.bytes.length > 0
      ? BigInt.asUintN(long ? 64 : 32, number(cpu.rip) + (long && cs & 0x2000 ? 0n : number(cpu.segments.cs.base)))
      : from;
  const address = (base: bigint, offset: number): string =>
    wide(BigInt.asUintN(long ? 64 : 32, base + BigInt(offset)).toString(16));
  const code = [];
  for (let at = 0; at < cpu.code.bytes.length; at += BYTES_A_LINE) {
    code.push({
      address: address(from, at),
      bytes: cpu.code.bytes.slice(at, at + BYTES_A_LINE).map((byte, i) => ({
        text: byte === null ? '??' : byte.toString(16).padStart(2, '0'),
        here: BigInt.asUintN(long ? 64 : 32, from + BigInt(at + i)) === here,
      })),
    });
  }
  return {
    summary: [
      mode,
      ring === 0 ? 'kernel (ring 0)' : `ring ${ring}`,
      has(cpu.cr0, 31) ? 'paging on' : 'paging off',
      cpu.activity === 'halted' ? 'halted' : cpu.activity === 'waitForSipi' ? 'waiting to be started' : 'running',
    ].join(', '),
    pointer: register('rip', cpu.rip),
    flags: register('rflags', cpu.rflags, [
      ...named(cpu.rflags, RFLAGS),
      { name: `IOPL ${privilege}`, meaning: 'privilege for ports' },
    ]),
    general: GENERAL.slice(0, long ? 16 : 8).map((name, i) => register(name, cpu.gpr[i]!)),
    control: [
      register('cr0', cpu.cr0, named(cpu.cr0, CR0)),
      register('cr2', cpu.cr2, [{ name: 'last page fault', meaning: 'address of the access' }]),
      register('cr3', cpu.cr3, [{ name: 'page tables', meaning: 'physical address' }]),
      register('cr4', cpu.cr4, named(cpu.cr4, CR4)),
      register('cr8', cpu.cr8, [{ name: 'task priority', meaning: 'interrupts up to it wait' }]),
      register('efer', cpu.efer, named(cpu.efer, EFER)),
    ],
    debug: ['dr0', 'dr1', 'dr2', 'dr3', 'dr6', 'dr7'].map((name, i) => register(name, cpu.dr[i]!)),
    segments: [
      ...Object.entries(cpu.segments).map(([name, s]) => ({
        name,
        selector: s.selector.toString(16).padStart(4, '0'),
        base: wide(s.base),
        limit: s.limit.toString(16).padStart(8, '0'),
        kind: segmentKind(name, s.attributes, long),
      })),
      ...(['gdtr', 'idtr'] as const).map((name) => ({
        name,
        selector: '',
        base: wide(cpu[name].base),
        limit: cpu[name].limit.toString(16).padStart(8, '0'),
        kind: name === 'gdtr' ? 'global descriptors' : 'interrupt gates',
      })),
    ],
    code,
    instructions: cpu.instructions.map(({ address, bytes, text }) => ({
      address: wide(address),
      bytes: bytes.replace(/..(?=.)/g, '$& '),
      text,
    })),
    stack: cpu.stack.words.map((word, i) => ({
      address: address(number(cpu.stack.address), i * cpu.stack.wordBytes),
      text: word === null ? '?'.repeat(cpu.stack.wordBytes * 2) : word.padStart(cpu.stack.wordBytes * 2, '0'),
    })),
  };
}
