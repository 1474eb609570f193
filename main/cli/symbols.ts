/**
 * Names of code: System.map or /proc/kallsyms text, and the symbol table of an ELF file. The files come from anywhere: every offset
 * is checked, and nothing is allocated by a number that a file says.
 */
import { LodgeError } from '../../preload/contract';

interface Entry {
  readonly address: bigint;
  readonly name: string;
  /** Undefined: up to the next symbol. */
  readonly size: bigint | undefined;
  /** Data ends the function before it, but is none. */
  readonly code: boolean;
}

const SYMBOLS_MAX = 2_000_000;
const NAME_MAX = 512;
/** A function without a size that no other symbol follows. */
const LAST_BYTES = 1n << 16n;

export class SymbolTable {
  private readonly addresses: BigUint64Array;
  private readonly entries: readonly Entry[];
  private readonly byName = new Map<string, bigint>();

  constructor(entries: readonly Entry[]) {
    // Of several names for one place the first one with a size, else the first, speaks for it.
    this.entries = [...entries].sort((a, b) =>
      a.address < b.address ? -1 : a.address > b.address ? 1 : Number(b.size !== undefined) - Number(a.size !== undefined),
    );
    this.addresses = BigUint64Array.from(this.entries, (entry) => entry.address);
    for (const { name, address } of entries) if (!this.byName.has(name)) this.byName.set(name, address);
  }

  get size(): number {
    return this.entries.length;
  }

  addressOf(name: string): bigint | undefined {
    return this.byName.get(name);
  }

  find(address: bigint): string | undefined {
    let low = 0;
    let high = this.addresses.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.addresses[middle]! <= address) low = middle + 1;
      else high = middle;
    }
    if (low === 0) return undefined;
    let at = low - 1;
    while (at > 0 && this.addresses[at - 1] === this.addresses[at]) at--;
    const { address: start, size, code, name } = this.entries[at]!;
    const end = size !== undefined && size > 0n ? start + size : (this.addresses[low] ?? start + LAST_BYTES);
    return code && address < end ? name : undefined;
  }
}

export function parseSymbols(bytes: Uint8Array, what: string): SymbolTable {
  const invalid = (message: string, fix?: string): LodgeError =>
    new LodgeError({ code: 'fileInvalid', message: `${what} ${message}`, ...(fix !== undefined && { fix }) });
  const elf = bytes[0] === 0x7f && bytes[1] === 0x45 && bytes[2] === 0x4c && bytes[3] === 0x46;
  const entries = elf ? elfSymbols(bytes, invalid) : mapSymbols(bytes);
  if (entries.length === 0) {
    const fix = elf
      ? 'It was stripped: give the file it was made from.'
      : 'Debian’s System.map is a stub; its kernels’ names are in /proc/kallsyms of the guest, read as root.';
    throw invalid('names no code.', fix);
  }
  if (entries.every((entry) => entry.address === 0n))
    throw invalid('has no addresses.', 'Read /proc/kallsyms as root, with 0 in /proc/sys/kernel/kptr_restrict.');
  return new SymbolTable(entries);
}

/** Lines of `address type name`, with a module in brackets behind some of kallsyms. */
function mapSymbols(bytes: Uint8Array): Entry[] {
  const entries: Entry[] = [];
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
  for (const match of text.matchAll(/^([0-9a-f]{8,16}) ([A-Za-z]) (\S{1,512})(?:[\t ]+(\[[^\]\s]{1,64}\]))?\r?$/gm)) {
    if (entries.length === SYMBOLS_MAX) break;
    const [, address, type, name, module] = match as unknown as [string, string, string, string, string | undefined];
    // Offsets within the per-processor area, which stand before the code.
    if (type === 'A' || type === 'a') continue;
    entries.push({
      address: BigInt(`0x${address}`),
      name: module === undefined ? name : `${name} ${module}`,
      size: undefined,
      code: /[tTwW]/.test(type),
    });
  }
  return entries.some((entry) => entry.code) ? entries : [];
}

const SECTION_SYMBOLS = 2;
const SECTION_DYNAMIC_SYMBOLS = 11;
const SYMBOL_NONE = 0;
const SYMBOL_FUNCTION = 2;
/** An indirect function: GNU's resolver, named like what it resolves. */
const SYMBOL_IFUNC = 10;
const SECTION_EXECUTABLE = 4n;

/** System V ABI, chapter 4: ELF of both sizes, little-endian. */
function elfSymbols(bytes: Uint8Array, invalid: (message: string, fix?: string) => LodgeError): Entry[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const wide = bytes[4] === 2;
  if (bytes[5] !== 1 || bytes.length < (wide ? 64 : 52)) throw invalid('is no ELF file for x86.');
  const word = (at: number): bigint => (wide ? view.getBigUint64(at, true) : BigInt(view.getUint32(at, true)));
  const table = Number(word(wide ? 0x28 : 0x20));
  const stride = view.getUint16(wide ? 0x3a : 0x2e, true);
  const count = view.getUint16(wide ? 0x3c : 0x30, true);
  if (stride < (wide ? 64 : 40) || table + stride * count > bytes.length)
    throw invalid('has a table of sections that does not fit into it.');
  const sections = Array.from({ length: count }, (_, i) => {
    const at = table + i * stride;
    return {
      type: view.getUint32(at + 4, true),
      flags: word(at + 8),
      offset: Number(word(at + (wide ? 24 : 16))),
      bytes: Number(word(at + (wide ? 32 : 20))),
      link: view.getUint32(at + (wide ? 40 : 24), true),
    };
  });
  const inside = (s: { offset: number; bytes: number }): boolean => s.offset + s.bytes <= bytes.length;
  const symbols = sections.find((s) => s.type === SECTION_SYMBOLS) ?? sections.find((s) => s.type === SECTION_DYNAMIC_SYMBOLS);
  const names = symbols && sections[symbols.link];
  if (!symbols) return [];
  if (!names || !inside(symbols) || !inside(names)) throw invalid('has a symbol table that does not fit into it.');
  const size = wide ? 24 : 16;
  const entries: Entry[] = [];
  for (let at = symbols.offset; at + size <= symbols.offset + symbols.bytes && entries.length < SYMBOLS_MAX; at += size) {
    const type = view.getUint8(at + (wide ? 4 : 12)) & 15;
    const section = sections[view.getUint16(at + (wide ? 6 : 14), true)];
    const name = nameAt(bytes, names, view.getUint32(at, true));
    const address = wide ? view.getBigUint64(at + 8, true) : BigInt(view.getUint32(at + 4, true));
    if (name === '' || section === undefined || section.type === 0) continue;
    const executable = (section.flags & SECTION_EXECUTABLE) !== 0n;
    const code = type === SYMBOL_FUNCTION || type === SYMBOL_IFUNC || (type === SYMBOL_NONE && executable);
    if (!code && executable) continue;
    const length = wide ? view.getBigUint64(at + 16, true) : BigInt(view.getUint32(at + 8, true));
    entries.push({ address, name, size: length === 0n ? undefined : length, code: code && executable });
  }
  return entries.some((entry) => entry.code) ? entries : [];
}

function nameAt(bytes: Uint8Array, table: { offset: number; bytes: number }, at: number): string {
  if (at >= table.bytes) return '';
  const start = table.offset + at;
  const end = bytes.subarray(start, Math.min(start + NAME_MAX, table.offset + table.bytes)).indexOf(0);
  return end < 0
    ? ''
    : Buffer.from(bytes.buffer, bytes.byteOffset + start, end)
        .toString('latin1')
        .replaceAll(/[^\x21-\x7e]/g, '?');
}

/** Where a kernel says its code begins, before it moves itself. */
const KERNEL_LOW = 0xffffffff80000000n;
const KERNEL_BYTES = 1n << 30n;
/** Kernels move in steps of this (CONFIG_PHYSICAL_ALIGN). */
const SLIDE_STEP = 1n << 21n;

export interface Slide {
  readonly bytes: bigint;
  /** For the user, when names may be wrong. */
  readonly warning?: string;
}

/** How far the running kernel lies behind where its symbols say, told by the one address that every x86-64 processor holds. */
export function kernelSlide(symbols: SymbolTable, syscallEntry: string | undefined): Slide {
  const said = symbols.addressOf('entry_SYSCALL_64');
  if (said === undefined) {
    return symbols.addressOf('_text') === undefined && symbols.addressOf('_stext') === undefined
      ? { bytes: 0n }
      : {
          bytes: 0n,
          warning:
            'The symbols do not name entry_SYSCALL_64: whether the kernel moved itself cannot be told. Start it with nokaslr.',
        };
  }
  if (syscallEntry === undefined)
    return {
      bytes: 0n,
      warning: 'No 64-bit kernel had set up its system calls when the profile ended: it may have moved itself.',
    };
  const bytes = BigInt(syscallEntry) - said;
  const far = bytes < 0n ? -bytes : bytes;
  if (far >= KERNEL_BYTES || far % SLIDE_STEP !== 0n)
    return { bytes: 0n, warning: 'The symbols are of another kernel than the one that runs: names are wrong.' };
  return { bytes };
}

export const isKernelAddress = (address: bigint): boolean => address >= KERNEL_LOW;
