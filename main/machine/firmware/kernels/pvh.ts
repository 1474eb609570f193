/** ELF kernels with a PVH entry (Xen docs/misc/pvh.pandoc; struct hvm_start_info): 32-bit, EBX points at the start information. */
import { err, ok, type Result } from '../../../lib/result';
import { memoryMap } from '../layout';
import { parseElf } from './elf';
import { entryAt, Information, type KernelFault, type KernelInput, type KernelPlan, place } from './plan';

const NOTE_OWNER = 'Xen';
/** XEN_ELFNOTE_PHYS32_ENTRY */
const NOTE_ENTRY = 18;
const MAGIC = 0x336ec578;
const VERSION = 1;
const START_INFO_BYTES = 56;

export function findPvhEntry(file: Uint8Array): number | undefined {
  const elf = parseElf(file);
  const note = elf.ok
    ? elf.value.notes.find(({ owner, type, data }) => owner === NOTE_OWNER && type === NOTE_ENTRY && data.length >= 4)
    : undefined;
  return note && new DataView(note.data.buffer, note.data.byteOffset).getUint32(0, true);
}

export function planPvh(input: KernelInput, entry: number): Result<KernelPlan, KernelFault> {
  const elf = parseElf(input.file);
  if (!elf.ok) return err({ kind: 'damaged' });
  const { segments } = elf.value;
  const placed = place(segments, input);
  if (!placed.ok) return placed;
  const { modulesAt } = placed.value;

  const information = new Information();
  const start = new DataView(new ArrayBuffer(START_INFO_BYTES));
  const startAt = information.add(new Uint8Array(start.buffer));
  const u64 = (view: DataView, offset: number, value: number): void => view.setBigUint64(offset, BigInt(value), true);
  const modules = new DataView(new ArrayBuffer(32 * modulesAt.length));
  modulesAt.forEach((at, i) => {
    u64(modules, 32 * i, at);
    u64(modules, 32 * i + 8, input.modules[i]!.bytes);
    u64(modules, 32 * i + 16, information.text(input.modules[i]!.commandLine));
  });
  const map = memoryMap(input.ram);
  const entries = new DataView(new ArrayBuffer(24 * map.length));
  map.forEach(({ start: from, bytes, type }, i) => {
    u64(entries, 24 * i, from);
    u64(entries, 24 * i + 8, bytes);
    entries.setUint32(24 * i + 16, type, true);
  });
  start.setUint32(0, MAGIC, true);
  start.setUint32(4, VERSION, true);
  start.setUint32(12, modulesAt.length, true);
  u64(start, 16, modulesAt.length > 0 ? information.add(new Uint8Array(modules.buffer)) : 0);
  u64(start, 24, information.text(input.commandLine));
  u64(start, 32, input.rsdpAt);
  u64(start, 40, information.add(new Uint8Array(entries.buffer)));
  start.setUint32(48, map.length, true);
  const writes = information.finish();
  if (!writes.ok) return writes;
  return ok({ protocol: 'pvh', segments, modulesAt, writes: writes.value, entry: entryAt(entry, 0, startAt) });
}
