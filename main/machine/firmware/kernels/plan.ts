/** What the boot protocols for 32-bit entry have in common: the kernel's pieces, modules behind it, boot information below 640 KiB. Pure. */
import { err, ok, type Result } from '../../../lib/result';
import type { RamLayout } from '../../memory/address-space';
import { memoryMap } from '../layout';
import type { ElfSegment } from './elf';

export interface KernelInput {
  /** The whole file. */
  readonly file: Uint8Array;
  /** Without the terminating zero. */
  readonly commandLine: string;
  readonly modules: readonly { readonly bytes: number; readonly commandLine: string }[];
  readonly ram: RamLayout;
  readonly rsdp: Uint8Array;
  readonly rsdpAt: number;
}

export interface KernelPlan {
  readonly protocol: 'multiboot' | 'multiboot2' | 'pvh';
  readonly segments: readonly ElfSegment[];
  /** Where each module goes; page-aligned. */
  readonly modulesAt: readonly number[];
  readonly writes: readonly { readonly at: number; readonly bytes: Uint8Array }[];
  /** 32-bit protected mode, flat segments, paging off. */
  readonly entry: {
    readonly eip: number;
    readonly eax: number;
    readonly ebx: number;
    readonly gdt: { readonly base: number; readonly limit: number };
  };
}

export type KernelFault =
  | { readonly kind: 'damaged' }
  | { readonly kind: 'unsupported'; readonly feature: string }
  | { readonly kind: 'kernelOutsideMemory'; readonly end: number }
  | { readonly kind: 'modulesTooBig'; readonly room: number }
  | { readonly kind: 'informationTooBig' };

export const LOADER_NAME = 'Lodge';
const GDT_AT = 0x1000;
export const INFORMATION_AT = 0x10000;
const INFORMATION_END = 0x80000;
const PAGE = 4096;

/** Segments and modules inside RAM, and the boot information clear of them. */
export function place(
  segments: readonly ElfSegment[],
  input: KernelInput,
): Result<{ modulesAt: number[]; end: number }, KernelFault> {
  const { low } = input.ram;
  const end = Math.max(...segments.map((s) => s.at + s.memoryBytes));
  const inHole = (s: ElfSegment): boolean => s.at < 0x100000 && s.at + s.memoryBytes > INFORMATION_AT;
  if (!(end <= low) || segments.some((s) => inHole(s) || s.at < GDT_AT + PAGE)) return err({ kind: 'kernelOutsideMemory', end });
  const first = Math.max(Math.ceil(end / PAGE) * PAGE, 0x100000);
  let next = first;
  const modulesAt: number[] = [];
  for (const { bytes } of input.modules) {
    modulesAt.push(next);
    next = Math.ceil((next + bytes) / PAGE) * PAGE;
  }
  return next <= low ? ok({ modulesAt, end }) : err({ kind: 'modulesTooBig', room: Math.max(0, low - first) });
}

export function gdt(): { at: number; bytes: Uint8Array } {
  const view = new DataView(new ArrayBuffer(32));
  view.setBigUint64(0x10, 0x00cf9b000000ffffn, true);
  view.setBigUint64(0x18, 0x00cf93000000ffffn, true);
  return { at: GDT_AT, bytes: new Uint8Array(view.buffer) };
}
export const entryAt = (eip: number, eax: number, ebx: number): KernelPlan['entry'] => ({
  eip,
  eax,
  ebx,
  gdt: { base: GDT_AT, limit: 31 },
});

/** KiB from 0 and from 1 MiB, up to the first gap. */
export const lowerKiB = (input: KernelInput): number => memoryMap(input.ram)[0]!.bytes / 1024;
export const upperKiB = (input: KernelInput): number => input.ram.low / 1024 - 1024;

/** Structures that point at each other, laid out one behind the other from INFORMATION_AT. */
export class Information {
  private readonly parts: { at: number; bytes: Uint8Array }[] = [];
  private next = INFORMATION_AT;

  add(bytes: Uint8Array, alignment = 8): number {
    const at = Math.ceil(this.next / alignment) * alignment;
    this.parts.push({ at, bytes });
    this.next = at + bytes.length;
    return at;
  }

  text(value: string): number {
    return this.add(zeroTerminated(value), 1);
  }

  finish(): Result<readonly { at: number; bytes: Uint8Array }[], KernelFault> {
    return this.next <= INFORMATION_END ? ok([gdt(), ...this.parts]) : err({ kind: 'informationTooBig' });
  }
}

/** Command lines are bytes to a kernel; characters beyond Latin-1 become question marks. */
export const zeroTerminated = (value: string): Uint8Array =>
  Uint8Array.from(`${value}\0`, (c) => (c.charCodeAt(0) < 256 ? c.charCodeAt(0) : 0x3f));
