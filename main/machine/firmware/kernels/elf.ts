/** ELF executables (System V gABI 4.1 §4–5) as boot loaders need them: what goes where, the entry, the notes. Pure; every field is hostile. */
import { err, ok, type Result } from '../../../lib/result';

const MAGIC = 0x464c457f;
const CLASS_64 = 2;
const LITTLE_ENDIAN = 1;
const MACHINE_386 = 3;
const MACHINE_X86_64 = 62;
const LOAD = 1;
const NOTE = 4;
const MAX_PROGRAM_HEADERS = 64;
const MAX_NOTES = 256;

export interface ElfSegment {
  readonly fileOffset: number;
  readonly fileBytes: number;
  /** Physical address. */
  readonly at: number;
  /** What lies past fileBytes is zero. */
  readonly memoryBytes: number;
}

export interface ElfImage {
  readonly entry: number;
  readonly segments: readonly ElfSegment[];
  readonly notes: readonly { readonly owner: string; readonly type: number; readonly data: Uint8Array }[];
}

export type ElfFault = 'notElf' | 'otherMachine' | 'damaged';

export function parseElf(file: Uint8Array): Result<ElfImage, ElfFault> {
  if (file.length < 64) return err('notElf');
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (view.getUint32(0, true) !== MAGIC) return err('notElf');
  if (view.getUint8(5) !== LITTLE_ENDIAN) return err('otherMachine');
  const machine = view.getUint16(18, true);
  if (machine !== MACHINE_386 && machine !== MACHINE_X86_64) return err('otherMachine');
  const wide = view.getUint8(4) === CLASS_64;
  const address = (at: number): number =>
    wide ? view.getUint32(at, true) + view.getUint32(at + 4, true) * 2 ** 32 : view.getUint32(at, true);
  const table = address(wide ? 32 : 28);
  const entryBytes = view.getUint16(wide ? 54 : 42, true);
  const count = view.getUint16(wide ? 56 : 44, true);
  if (count === 0 || count > MAX_PROGRAM_HEADERS || entryBytes < (wide ? 56 : 32) || table + count * entryBytes > file.length)
    return err('damaged');
  const segments: ElfSegment[] = [];
  const notes: ElfImage['notes'][number][] = [];
  for (let i = 0; i < count; i++) {
    const at = table + i * entryBytes;
    const type = view.getUint32(at, true);
    const fileOffset = address(at + (wide ? 8 : 4));
    const fileBytes = address(at + (wide ? 32 : 16));
    if (type !== LOAD && type !== NOTE) continue;
    if (fileOffset + fileBytes > file.length) return err('damaged');
    if (type === NOTE) notes.push(...parseNotes(file.subarray(fileOffset, fileOffset + fileBytes)));
    else {
      const memoryBytes = address(at + (wide ? 40 : 20));
      if (memoryBytes < fileBytes) return err('damaged');
      if (memoryBytes > 0) segments.push({ fileOffset, fileBytes, at: address(at + (wide ? 24 : 12)), memoryBytes });
    }
  }
  return segments.length > 0 ? ok({ entry: address(24), segments, notes }) : err('damaged');
}

function parseNotes(bytes: Uint8Array): ElfImage['notes'][number][] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const notes: ElfImage['notes'][number][] = [];
  const padded = (n: number): number => (n + 3) & ~3;
  for (let at = 0; at + 12 <= bytes.length && notes.length < MAX_NOTES;) {
    const nameBytes = view.getUint32(at, true);
    const dataBytes = view.getUint32(at + 4, true);
    const dataAt = at + 12 + padded(nameBytes);
    const end = dataAt + padded(dataBytes);
    if (nameBytes > bytes.length || dataBytes > bytes.length || dataAt + dataBytes > bytes.length) break;
    const owner = String.fromCharCode(...bytes.subarray(at + 12, at + 12 + nameBytes)).split('\0')[0]!;
    notes.push({ owner, type: view.getUint32(at + 8, true), data: bytes.subarray(dataAt, dataAt + dataBytes) });
    at = end;
  }
  return notes;
}
