/** Small files that must never be half written, and the fate of those that cannot be read. */
import { mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';

/** Temporary file, fsync, rename: readers see the old or the new content. Writes to one path are queued by the library. */
export async function writeFileAtomic(file: string, content: string | Buffer): Promise<void> {
  const { default: write } = await import('write-file-atomic');
  await write(file, content, { mode: 0o600 });
}

export async function writeJsonAtomic(file: string, value: unknown): Promise<void> {
  await mkdir(dirname(file), { recursive: true });
  await writeFileAtomic(file, JSON.stringify(value, null, 2) + '\n');
}

export type JsonFile = { kind: 'absent' } | { kind: 'value'; value: unknown } | { kind: 'broken'; message: string };

/** Settings are kilobytes; anything bigger is not ours and must not fill memory. */
const MAX_BYTES = 4 << 20;

/** Never throws for what is in the file; a file that may not be read at all (permissions, I/O) is 'broken' too. */
export async function readJsonFile(file: string): Promise<JsonFile> {
  let text: string;
  try {
    const handle = await open(file, 'r');
    try {
      const info = await handle.stat();
      if (!info.isFile()) return { kind: 'broken', message: 'not an ordinary file' };
      if (info.size > MAX_BYTES) return { kind: 'broken', message: `far too big (${info.size} bytes)` };
      text = await handle.readFile('utf8');
    } finally {
      await handle.close();
    }
  } catch (e) {
    const code = (e as NodeJS.ErrnoException).code;
    if (code === 'ENOENT' || code === 'ENOTDIR') return { kind: 'absent' };
    return { kind: 'broken', message: (e as Error).message };
  }
  if (text.trim() === '') return { kind: 'broken', message: 'the file is empty' };
  try {
    return { kind: 'value', value: JSON.parse(text) as unknown };
  } catch (e) {
    return { kind: 'broken', message: `not valid JSON: ${(e as Error).message}` };
  }
}

/** Renames the file beside itself and returns its new path; the user's bytes are kept. Undefined when it cannot be renamed. */
export async function setAside(file: string, now = new Date()): Promise<string | undefined> {
  const stamp = now.toISOString().replace(/[:.]/g, '-');
  for (let n = 0; n < 10; n++) {
    const target = `${file}.broken-${stamp}${n === 0 ? '' : `-${n}`}`;
    try {
      // rename() would replace an earlier one silently.
      await (await open(target, 'wx')).close();
    } catch (e) {
      if ((e as NodeJS.ErrnoException).code === 'EEXIST') continue;
      return undefined;
    }
    try {
      await rename(file, target);
      return target;
    } catch {
      await rm(target, { force: true });
      return undefined;
    }
  }
  return undefined;
}
