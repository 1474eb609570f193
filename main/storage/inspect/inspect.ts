/** What a file on the host is, for the wizard and for drops: a few reads, never the whole file. Files are hostile. */
import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { basename } from 'node:path';
import type { ImageInfo } from '../../../preload/contract/vm';
import { diskInfo } from '../disk';
import { imageErrorOf } from '../image-error';
import { guessOs } from './catalogue';
import { identify } from './formats';
import { inspectIso, ISO_SECTOR } from './iso9660';

/** Holds everything formats.ts looks at (the farthest is btrfs at 64 KiB). */
const HEAD_BYTES = 0x11000;
const TAIL_BYTES = 512;
/** Writers of discs add up to 150 sectors that hold nothing, and some programs leave them out again. */
const ISO_PADDING_BYTES = 256 * ISO_SECTOR;
/** What programs call a disc that nobody gave a name. */
const NOBODYS_NAMES = /^(|iso_?image|cd_?rom|cd|dvd|dis[ck]|new|new_?volume|my_?dis[ck]|untitled|no_?name|volume)$/i;
const DISK_NAMES = /\.(img|raw|bin|dd|hdd|ima|vfd|flp|dsk)$/i;

/** A missing or unreadable file throws ImageError; anything that can be read has an answer. */
export async function inspectImage(path: string): Promise<ImageInfo> {
  const fileName = basename(path);
  const base = {
    path,
    kind: 'unknown',
    format: 'none',
    bytes: 0,
    suggestedName: prettyName(fileName),
    suggestedOs: 'other',
    bootable: false,
  } satisfies ImageInfo;
  let file: FileHandle;
  try {
    // Without O_NONBLOCK, opening a named pipe would wait for ever.
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (e) {
    throw imageErrorOf(e, path);
  }
  try {
    const stat = await file.stat();
    if (stat.isDirectory()) return { ...base, format: 'folder', problem: 'This is a folder; choose an image file inside it.' };
    if (!stat.isFile()) return { ...base, format: 'special', problem: 'This is not an ordinary file.' };
    const bytes = stat.size;
    if (bytes === 0) return { ...base, format: 'empty', problem: 'This file is empty (0 bytes).' };
    const head = await readAt(file, 0, HEAD_BYTES);
    const iso = await inspectIso((sector) => readAt(file, sector * ISO_SECTOR, ISO_SECTOR));
    if (iso) {
      const guess = guessOs(iso.volumeId, fileName);
      return {
        ...base,
        kind: 'disc',
        format: 'iso9660',
        bytes,
        bootable: iso.bootable,
        ...(iso.bytes - bytes > ISO_PADDING_BYTES && {
          problem: `This disc image is cut off: ${mib(bytes)} of ${mib(iso.bytes)} are there. Its download or copy probably stopped; get it again.`,
        }),
        ...(iso.volumeId !== '' && { label: iso.volumeId }),
        suggestedName: guess?.name ?? prettyName(NOBODYS_NAMES.test(iso.volumeId) ? fileName : iso.volumeId),
        suggestedOs: guess?.id ?? 'other',
      };
    }
    const found = identify(
      head,
      await readAt(file, Math.max(0, bytes - TAIL_BYTES), TAIL_BYTES),
      bytes,
      DISK_NAMES.test(fileName),
    );
    const isKernel = found.kind === 'linuxKernel';
    const guess = guessOs(found.label, fileName);
    const image = found.kind === 'disk' && found.format !== 'raw' ? await lookInside(path) : undefined;
    return {
      ...base,
      kind: found.kind,
      format: image?.format ?? found.format,
      bytes: image?.bytes ?? bytes,
      bootable: isKernel || (found.kind === 'disk' && found.bootable),
      ...(found.label !== undefined && { label: found.label }),
      suggestedName: isKernel ? (found.label ?? 'Linux') : (guess?.name ?? base.suggestedName),
      suggestedOs: isKernel ? 'linux' : (guess?.id ?? 'other'),
      ...(image?.problem !== undefined && { problem: image.problem }),
      ...('problem' in found && found.problem !== undefined && { problem: found.problem }),
    };
  } catch (e) {
    throw imageErrorOf(e, path);
  } finally {
    await file.close();
  }
}

const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

/** Opens it as a machine would: the size of the disk, or why it cannot be used. */
async function lookInside(path: string): Promise<{ format?: string; bytes?: number; problem?: string }> {
  try {
    const { format, bytes } = await diskInfo(path);
    return { format, bytes };
  } catch (e) {
    return { problem: (e as Error).message };
  }
}

/** Shorter at the end of the file; empty behind it. */
async function readAt(file: FileHandle, position: number, bytes: number): Promise<Uint8Array> {
  const into = new Uint8Array(bytes);
  let done = 0;
  while (done < bytes) {
    const { bytesRead } = await file.read(into, done, bytes - done, position + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return into.subarray(0, done);
}

/** 'my_server-disk.img' → 'My server disk'. Never empty, never longer than a machine's name may be. */
export function prettyName(fileName: string): string {
  const words = fileName
    .replace(/\.(iso|img|raw|bin|dd|qcow2|vdi|vmdk|vhdx?|gz|xz|zip)$/i, '')
    .replace(/[_-]+/g, ' ')
    .replace(/[\u0000-\u001f\u007f]/g, '')
    .trim();
  const text = Array.from(words).slice(0, 60).join('').trim();
  return text === '' ? 'New machine' : text[0]!.toUpperCase() + text.slice(1);
}
