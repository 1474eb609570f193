/** Multiboot 0.6.96: header in the first 8 KiB, ELF or the header's own addresses, information structure with modules and memory map. */
import { err, ok, type Result } from '../../../lib/result';
import { memoryMap } from '../layout';
import { type ElfSegment, parseElf } from './elf';
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
} from './plan';

const HEADER_MAGIC = 0x1badb002;
const LOADER_MAGIC = 0x2badb002;
const SEARCH_BYTES = 8192;
const Flag = { PAGE_ALIGN: 1, MEMORY: 2, VIDEO: 4, ADDRESSES: 0x10000 } as const;
const MUST_UNDERSTAND = 0xffff;
const Info = { MEMORY: 1, COMMAND_LINE: 4, MODULES: 8, MEMORY_MAP: 0x40, LOADER_NAME: 0x200, FRAMEBUFFER: 0x1000 } as const;
const INFO_BYTES = 116;

export function findMultiboot(file: Uint8Array): number | undefined {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  for (let at = 0; at + 12 <= Math.min(file.length, SEARCH_BYTES); at += 4) {
    if (view.getUint32(at, true) !== HEADER_MAGIC) continue;
    if ((HEADER_MAGIC + view.getUint32(at + 4, true) + view.getUint32(at + 8, true)) % 2 ** 32 === 0) return at;
  }
  return undefined;
}

export function planMultiboot(input: KernelInput, header: number): Result<KernelPlan, KernelFault> {
  const { file } = input;
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const flags = view.getUint32(header + 4, true);
  const unknown = flags & MUST_UNDERSTAND & ~(Flag.PAGE_ALIGN | Flag.MEMORY | Flag.VIDEO);
  if (unknown !== 0) return err({ kind: 'unsupported', feature: `header flag 0x${unknown.toString(16)}` });
  const image = flags & Flag.ADDRESSES ? byAddresses(view, header) : byElf(file);
  if (!image) return err({ kind: 'damaged' });
  const placed = place(image.segments, input);
  if (!placed.ok) return placed;
  const { modulesAt } = placed.value;

  const information = new Information();
  const info = new DataView(new ArrayBuffer(INFO_BYTES));
  const infoAt = information.add(new Uint8Array(info.buffer));
  const u32 = (offset: number, value: number): void => info.setUint32(offset, value, true);
  u32(0, Info.MEMORY | Info.COMMAND_LINE | Info.MODULES | Info.MEMORY_MAP | Info.LOADER_NAME | Info.FRAMEBUFFER);
  u32(4, lowerKiB(input));
  u32(8, upperKiB(input));
  u32(16, information.text(input.commandLine));
  const modules = new DataView(new ArrayBuffer(16 * modulesAt.length));
  modulesAt.forEach((at, i) => {
    modules.setUint32(16 * i, at, true);
    modules.setUint32(16 * i + 4, at + input.modules[i]!.bytes, true);
    modules.setUint32(16 * i + 8, information.text(input.modules[i]!.commandLine), true);
  });
  u32(20, modulesAt.length);
  u32(24, information.add(new Uint8Array(modules.buffer)));
  const map = memoryMap(input.ram);
  const entries = new DataView(new ArrayBuffer(24 * map.length));
  map.forEach(({ start, bytes, type }, i) => {
    entries.setUint32(24 * i, 20, true);
    entries.setBigUint64(24 * i + 4, BigInt(start), true);
    entries.setBigUint64(24 * i + 12, BigInt(bytes), true);
    entries.setUint32(24 * i + 20, type, true);
  });
  u32(44, entries.byteLength);
  u32(48, information.add(new Uint8Array(entries.buffer)));
  u32(64, information.text(LOADER_NAME));
  // 80×25 colour text, the state of the display after power-on.
  info.setBigUint64(88, 0xb8000n, true);
  u32(96, 160);
  u32(100, 80);
  u32(104, 25);
  info.setUint8(108, 16);
  info.setUint8(109, 2);
  const writes = information.finish();
  if (!writes.ok) return writes;
  return ok({
    protocol: 'multiboot',
    segments: image.segments,
    modulesAt,
    writes: writes.value,
    entry: entryAt(image.entry, LOADER_MAGIC, infoAt),
  });
}

interface Image {
  readonly segments: readonly ElfSegment[];
  readonly entry: number;
}

function byElf(file: Uint8Array): Image | undefined {
  const elf = parseElf(file);
  return elf.ok ? elf.value : undefined;
}

function byAddresses(view: DataView, header: number): Image | undefined {
  if (header + 32 > view.byteLength) return undefined;
  const [headerAt, loadAt, loadEnd, bssEnd, entry] = [12, 16, 20, 24, 28].map((offset) =>
    view.getUint32(header + offset, true),
  ) as [number, number, number, number, number];
  return imageByAddresses(view.byteLength, header, { headerAt, loadAt, loadEnd, bssEnd }, entry);
}

/** The address fields of both versions: a file that is one flat piece. */
export function imageByAddresses(
  fileBytes: number,
  header: number,
  { headerAt, loadAt, loadEnd, bssEnd }: { headerAt: number; loadAt: number; loadEnd: number; bssEnd: number },
  entry: number,
): Image | undefined {
  const fileOffset = header - (headerAt - loadAt);
  const loaded = loadEnd === 0 ? fileBytes - fileOffset : loadEnd - loadAt;
  const memoryBytes = bssEnd === 0 ? loaded : bssEnd - loadAt;
  if (headerAt < loadAt || fileOffset < 0 || loaded <= 0 || fileOffset + loaded > fileBytes || memoryBytes < loaded)
    return undefined;
  return { segments: [{ fileOffset, fileBytes: loaded, at: loadAt, memoryBytes }], entry };
}
