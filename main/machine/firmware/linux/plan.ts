/**
 * Direct boot of a Linux bzImage: where kernel, initrd, command line and boot parameters go, and what the CPU starts with. Pure: the
 * plan says what to copy; the caller moves the bytes. Boot protocol: 64-bit entry (boot.rst "64-bit BOOT PROTOCOL") where the kernel
 * has one, else the 32-bit entry.
 */
import { err, ok, type Result } from '../../../lib/result';
import type { RamLayout } from '../../memory/address-space';
import { memoryMap } from '../layout';
import { HEADER_PROBE_BYTES, type KernelFault, parseSetupHeader, SETUP_HEADER_START, type SetupHeader } from './setup-header';

/** All below 640 KiB, out of the way of a kernel at 1 MiB and up. */
const GDT = 0x1000;
const BOOT_PARAMS = 0x10000;
const PAGE_TABLES = 0x11000; // PML4, PDPT, four page directories
const PAGE_TABLE_PAGES = 6;
const COMMAND_LINE = 0x20000;
const COMMAND_LINE_MAX = 0x10000;
const STACK_TOP = 0x9000;
const BOOT_CS = 0x10;
const BOOT_DS = 0x18;
const PAGE = 4096;
const LOADER_UNDEFINED = 0xff;

export interface LinuxBootInput {
  readonly kernelHead: Uint8Array;
  readonly kernelBytes: number;
  readonly initrdBytes: number;
  /** Without the terminating zero. */
  readonly commandLine: Uint8Array;
  readonly ram: RamLayout;
  readonly rsdp: number;
}

export type LinuxBootFault =
  | KernelFault
  | { readonly kind: 'kernelTooBig'; readonly needed: number }
  | { readonly kind: 'initrdTooBig'; readonly room: number }
  | { readonly kind: 'commandLineTooLong'; readonly limit: number };

export interface LinuxBootPlan {
  readonly header: SetupHeader;
  /** Bytes of the kernel file from header.setupBytes on go here. */
  readonly kernelAt: number;
  readonly initrdAt: number;
  /** Small pieces to write. */
  readonly writes: readonly { at: number; bytes: Uint8Array }[];
  readonly entry: BootEntry;
}

/** CPU state at the kernel's entry, on top of the reset state. */
export interface BootEntry {
  readonly longMode: boolean;
  readonly rip: number;
  readonly bootParams: number;
  readonly stack: number;
  readonly cr3: number;
  readonly gdt: { readonly base: number; readonly limit: number };
  readonly codeSelector: number;
  readonly dataSelector: number;
}

const alignUp = (n: number, to: number): number => Math.ceil(n / to) * to;
const alignDown = (n: number, to: number): number => Math.floor(n / to) * to;

export function planLinuxBoot(input: LinuxBootInput): Result<LinuxBootPlan, LinuxBootFault> {
  const parsed = parseSetupHeader(input.kernelHead, input.kernelBytes);
  if (!parsed.ok) return parsed;
  const header = parsed.value;
  const payload = input.kernelBytes - header.setupBytes;
  const needed = Math.max(alignUp(payload, PAGE), header.initBytes);
  const kernelAt = kernelAddress(header, needed, input.ram.low);
  if (kernelAt === undefined) return err({ kind: 'kernelTooBig', needed });

  const { commandLine } = input;
  const limit = Math.min(header.commandLineLimit, COMMAND_LINE_MAX - 1);
  if (commandLine.length > limit) return err({ kind: 'commandLineTooLong', limit });

  const top = Math.min(input.ram.low, header.initrdLimit + 1);
  const initrdAt = input.initrdBytes === 0 ? 0 : alignDown(top - input.initrdBytes, PAGE);
  if (input.initrdBytes > 0 && initrdAt < kernelAt + needed)
    return err({ kind: 'initrdTooBig', room: Math.max(0, top - kernelAt - needed) });

  const zeroTerminated = new Uint8Array(commandLine.length + 1);
  zeroTerminated.set(commandLine);
  const writes = [
    { at: GDT, bytes: globalDescriptorTable(header.entry64) },
    { at: BOOT_PARAMS, bytes: bootParams(input, header, kernelAt, initrdAt) },
    { at: COMMAND_LINE, bytes: zeroTerminated },
  ];
  if (header.entry64) writes.push({ at: PAGE_TABLES, bytes: identityMap() });
  return ok({
    header,
    kernelAt,
    initrdAt,
    writes,
    entry: {
      longMode: header.entry64,
      rip: header.entry64 ? kernelAt + 0x200 : kernelAt,
      bootParams: BOOT_PARAMS,
      stack: STACK_TOP,
      cr3: header.entry64 ? PAGE_TABLES : 0,
      gdt: { base: GDT, limit: 4 * 8 - 1 },
      codeSelector: BOOT_CS,
      dataSelector: BOOT_DS,
    },
  });
}

function kernelAddress(header: SetupHeader, needed: number, lowRam: number): number | undefined {
  const fits = (at: number): boolean => at >= 0x100000 && at + needed <= lowRam;
  if (fits(header.preferredAddress)) return header.preferredAddress;
  if (!header.relocatable) return undefined;
  const lowest = alignUp(0x100000, header.alignment);
  return fits(lowest) ? lowest : undefined;
}

/** Null, unused, flat code, flat data. */
function globalDescriptorTable(longMode: boolean): Uint8Array {
  const view = new DataView(new ArrayBuffer(4 * 8));
  view.setBigUint64(BOOT_CS, longMode ? 0x00af9b000000ffffn : 0x00cf9b000000ffffn, true);
  view.setBigUint64(BOOT_DS, 0x00cf93000000ffffn, true);
  return new Uint8Array(view.buffer);
}

/** The first 4 GiB one to one, in 2 MiB pages. */
function identityMap(): Uint8Array {
  const view = new DataView(new ArrayBuffer(PAGE_TABLE_PAGES * PAGE));
  const PRESENT_WRITABLE = 3;
  const LARGE = 0x80;
  const entry = (at: number, value: number): void => {
    view.setUint32(at, value >>> 0, true);
  };
  entry(0, (PAGE_TABLES + PAGE) | PRESENT_WRITABLE);
  for (let i = 0; i < 4; i++) entry(PAGE + i * 8, (PAGE_TABLES + (2 + i) * PAGE) | PRESENT_WRITABLE);
  for (let i = 0; i < 2048; i++) entry(2 * PAGE + i * 8, (i << 21) | LARGE | PRESENT_WRITABLE);
  return new Uint8Array(view.buffer);
}

/** struct boot_params ("the zero page", zero-page.rst). */
function bootParams(input: LinuxBootInput, header: SetupHeader, kernelAt: number, initrdAt: number): Uint8Array {
  const page = new Uint8Array(PAGE);
  const view = new DataView(page.buffer);
  page.set(input.kernelHead.subarray(SETUP_HEADER_START, header.headerEnd), SETUP_HEADER_START);
  // screen_info: the colour text mode 3 of a VGA.
  page[0x06] = 3; // mode
  page[0x07] = 80; // columns
  view.setUint16(0x0a, 3, true); // EGA/VGA with 256 KiB
  page[0x0e] = 25; // lines
  page[0x0f] = 1; // it is a VGA
  view.setUint16(0x10, 16, true); // character height
  view.setUint16(0x02, Math.min(0xffff, (input.ram.low >> 10) - 1024), true);
  view.setUint32(0x70, input.rsdp, true);
  view.setUint32(0x1e0, Math.max(0, (input.ram.low >> 10) - 1024), true);
  page[0x210] = LOADER_UNDEFINED;
  view.setUint32(0x214, kernelAt, true);
  view.setUint32(0x218, initrdAt, true);
  view.setUint32(0x21c, input.initrdBytes, true);
  view.setUint32(0x228, COMMAND_LINE, true);
  const map = memoryMap(input.ram);
  page[0x1e8] = map.length;
  map.forEach(({ start, bytes, type }, i) => {
    const at = 0x2d0 + i * 20;
    view.setBigUint64(at, BigInt(start), true);
    view.setBigUint64(at + 8, BigInt(bytes), true);
    view.setUint32(at + 16, type, true);
  });
  return page;
}

export { HEADER_PROBE_BYTES };
