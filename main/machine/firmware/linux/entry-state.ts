/** CPU state at the kernel's entry: the reset state with what the boot protocol asks for. */
import type { CpuState, SegmentState } from '../../../../native/addon/types';
import type { BootEntry } from './plan';

const CR0_PROTECTED = 1n;
const CR0_EXTENSION_TYPE = 1n << 4n;
const CR0_NUMERIC_ERROR = 1n << 5n;
const CR0_PAGING = 1n << 31n;
const CR4_PAE = 1n << 5n;
const EFER_LONG_MODE = (1n << 8n) | (1n << 10n);
const RFLAGS_FIXED = 2n;

/** Attribute words: see SegmentState. */
const CODE_64 = 0xa09b;
const CODE_32 = 0xc09b;
const DATA = 0xc093;
const TSS_BUSY = 0x008b;

const flat = (selector: number, attributes: number): SegmentState => ({ selector, base: 0n, limit: 0xffffffff, attributes });

export function entryState(reset: CpuState, entry: BootEntry): CpuState {
  const gpr = new Array<bigint>(16).fill(0n);
  gpr[4] = BigInt(entry.stack);
  gpr[6] = BigInt(entry.bootParams);
  const code = flat(entry.codeSelector, entry.longMode ? CODE_64 : CODE_32);
  const data = flat(entry.dataSelector, DATA);
  return {
    ...reset,
    rip: BigInt(entry.rip),
    rflags: RFLAGS_FIXED,
    gpr,
    segments: {
      ...reset.segments,
      cs: code,
      ss: data,
      ds: data,
      es: data,
      fs: data,
      gs: data,
      tr: { selector: 0, base: 0n, limit: 0xffff, attributes: TSS_BUSY },
    },
    gdtr: { base: BigInt(entry.gdt.base), limit: entry.gdt.limit },
    idtr: { base: 0n, limit: 0 },
    cr0: CR0_PROTECTED | CR0_EXTENSION_TYPE | CR0_NUMERIC_ERROR | (entry.longMode ? CR0_PAGING : 0n),
    cr2: 0n,
    cr3: BigInt(entry.cr3),
    cr4: entry.longMode ? CR4_PAE : 0n,
    efer: entry.longMode ? EFER_LONG_MODE : 0n,
    activity: 'runnable',
  };
}
