/** Multiboot2 2.0: header of tags in the first 32 KiB, information of tags. Entered in 32-bit protected mode (i386 architecture). */
import { err, ok, type Result } from '../../../lib/result';
import { memoryMap } from '../layout';
import { parseElf } from './elf';
import { imageByAddresses } from './multiboot';
import {
  entryAt,
  Information,
  type KernelFault,
  type KernelInput,
  type KernelPlan,
  LOADER_NAME,
  lowerKiB,
  place,
  upperKiB,
  zeroTerminated,
} from './plan';

const HEADER_MAGIC = 0xe85250d6;
const LOADER_MAGIC = 0x36d76289;
const SEARCH_BYTES = 32768;
const ARCHITECTURE_386 = 0;
const HeaderTag = {
  END: 0,
  INFORMATION: 1,
  ADDRESSES: 2,
  ENTRY: 3,
  CONSOLE: 4,
  FRAMEBUFFER: 5,
  MODULE_ALIGN: 6,
  EFI_SERVICES: 7,
  RELOCATABLE: 10,
} as const;
const OPTIONAL = 1;
/** Only meaningful where EFI loads the kernel, or asking for what is done anyway. */
const KNOWN: ReadonlySet<number> = new Set(Object.values(HeaderTag));
const Tag = {
  END: 0,
  COMMAND_LINE: 1,
  LOADER_NAME: 2,
  MODULE: 3,
  MEMORY: 4,
  MEMORY_MAP: 6,
  FRAMEBUFFER: 8,
  OLD_RSDP: 14,
  NEW_RSDP: 15,
} as const;

export function findMultiboot2(file: Uint8Array): number | undefined {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  for (let at = 0; at + 16 <= Math.min(file.length, SEARCH_BYTES); at += 8) {
    if (view.getUint32(at, true) !== HEADER_MAGIC) continue;
    const sum = [0, 4, 8, 12].reduce((total, offset) => (total + view.getUint32(at + offset, true)) % 2 ** 32, 0);
    if (sum === 0 && view.getUint32(at + 4, true) === ARCHITECTURE_386) return at;
  }
  return undefined;
}

interface Header {
  addresses?: { headerAt: number; loadAt: number; loadEnd: number; bssEnd: number };
  entry?: number;
}

function parseHeader(view: DataView, at: number): Result<Header, KernelFault> {
  const end = at + view.getUint32(at + 8, true);
  if (end > view.byteLength) return err({ kind: 'damaged' });
  const header: Header = {};
  for (let tag = at + 16; tag + 8 <= end;) {
    const type = view.getUint16(tag, true);
    const bytes = view.getUint32(tag + 4, true);
    if (type === HeaderTag.END) break;
    if (bytes < 8 || tag + bytes > end) return err({ kind: 'damaged' });
    const u32 = (offset: number): number => view.getUint32(tag + offset, true);
    if (type === HeaderTag.ADDRESSES && bytes >= 24)
      header.addresses = { headerAt: u32(8), loadAt: u32(12), loadEnd: u32(16), bssEnd: u32(20) };
    else if (type === HeaderTag.ENTRY && bytes >= 12) header.entry = u32(8);
    else if (!KNOWN.has(type) && !(view.getUint16(tag + 2, true) & OPTIONAL))
      return err({ kind: 'unsupported', feature: `header tag ${type}` });
    tag += Math.ceil(bytes / 8) * 8;
  }
  return ok(header);
}

export function planMultiboot2(input: KernelInput, at: number): Result<KernelPlan, KernelFault> {
  const { file } = input;
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const header = parseHeader(view, at);
  if (!header.ok) return header;
  const { addresses, entry } = header.value;
  const elf = addresses ? undefined : parseElf(file);
  const image = addresses
    ? imageByAddresses(file.length, at, addresses, entry ?? addresses.loadAt)
    : elf?.ok
      ? elf.value
      : undefined;
  if (!image) return err({ kind: 'damaged' });
  const placed = place(image.segments, input);
  if (!placed.ok) return placed;
  const { modulesAt } = placed.value;

  const information = new Information();
  const infoAt = information.add(concatenate(tags(input, modulesAt)));
  const writes = information.finish();
  if (!writes.ok) return writes;
  return ok({
    protocol: 'multiboot2',
    segments: image.segments,
    modulesAt,
    writes: writes.value,
    entry: entryAt(entry ?? image.entry, LOADER_MAGIC, infoAt),
  });
}

function tags(input: KernelInput, modulesAt: readonly number[]): Uint8Array[] {
  const map = memoryMap(input.ram);
  const memory = new DataView(new ArrayBuffer(8 + 24 * map.length));
  memory.setUint32(0, 24, true);
  map.forEach(({ start, bytes, type }, i) => {
    memory.setBigUint64(8 + 24 * i, BigInt(start), true);
    memory.setBigUint64(16 + 24 * i, BigInt(bytes), true);
    memory.setUint32(24 + 24 * i, type, true);
  });
  // 80×25 colour text: address, pitch, width, height, bits, type.
  const screen = new DataView(new ArrayBuffer(24));
  screen.setBigUint64(0, 0xb8000n, true);
  [160, 80, 25].forEach((value, i) => screen.setUint32(8 + 4 * i, value, true));
  screen.setUint8(20, 16);
  screen.setUint8(21, 2);
  return [
    tag(Tag.COMMAND_LINE, zeroTerminated(input.commandLine)),
    tag(Tag.LOADER_NAME, zeroTerminated(LOADER_NAME)),
    ...modulesAt.map((start, i) => {
      const { bytes, commandLine } = input.modules[i]!;
      return tag(Tag.MODULE, numbers(start, start + bytes), zeroTerminated(commandLine));
    }),
    tag(Tag.MEMORY, numbers(lowerKiB(input), upperKiB(input))),
    tag(Tag.MEMORY_MAP, new Uint8Array(memory.buffer)),
    tag(Tag.FRAMEBUFFER, new Uint8Array(screen.buffer)),
    tag(Tag.OLD_RSDP, input.rsdp.subarray(0, 20)),
    tag(Tag.NEW_RSDP, input.rsdp),
    tag(Tag.END),
  ];
}

function numbers(...values: number[]): Uint8Array {
  const view = new DataView(new ArrayBuffer(4 * values.length));
  values.forEach((value, i) => view.setUint32(4 * i, value, true));
  return new Uint8Array(view.buffer);
}

/** Type, size without padding, contents; padded to 8 bytes. */
function tag(type: number, ...parts: Uint8Array[]): Uint8Array {
  const bytes = 8 + parts.reduce((sum, part) => sum + part.length, 0);
  const out = new Uint8Array(Math.ceil(bytes / 8) * 8);
  out.set(numbers(type, bytes));
  let at = 8;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** Total size and a reserved word, then the tags. */
function concatenate(parts: readonly Uint8Array[]): Uint8Array {
  const total = 8 + parts.reduce((sum, part) => sum + part.length, 0);
  const out = new Uint8Array(total);
  out.set(numbers(total, 0));
  let at = 8;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
