/** The small picture of a machine in the library, kept in its folder between runs. */
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileAtomic } from '../inventory/json-file';

export const THUMBNAIL_FILE = 'thumbnail.png';
export const THUMBNAIL_INTERVAL_MS = 2000;
const MAX_BYTES = 2 << 20;
/** PNG 1.2 §3.1. */
const SIGNATURE = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);

/** Undefined for anything that is not a small PNG. */
export async function readThumbnail(folder: string): Promise<Buffer | undefined> {
  const file = join(folder, THUMBNAIL_FILE);
  try {
    const info = await stat(file);
    if (!info.isFile() || info.size > MAX_BYTES) return undefined;
    const bytes = await readFile(file);
    return isPng(bytes) ? bytes : undefined;
  } catch {
    return undefined;
  }
}

export async function writeThumbnail(folder: string, picture: Buffer): Promise<void> {
  if (isPng(picture) && picture.length <= MAX_BYTES) await writeFileAtomic(join(folder, THUMBNAIL_FILE), picture);
}

const isPng = (bytes: Buffer): boolean => bytes.subarray(0, SIGNATURE.length).equals(SIGNATURE);
