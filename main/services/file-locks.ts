/**
 * Which images are open in which machine, over all Lodges of this user: `lodge run` and a server must not write the same disk.
 * Many readers or one writer. A lock is a small file in the runtime folder that names the owning process; one whose owner
 * is gone is taken over. This protects a user from mistakes, not from other programs.
 */
import { randomUUID } from 'node:crypto';
import { link, readdir, readFile, rename, stat, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { LodgeError } from '../../preload/contract';
import { ensurePrivateDir } from './runtime-dir';

export interface LockWish {
  readonly path: string;
  readonly write: boolean;
  /** The image whose parent this is: both are released together. */
  readonly of?: string | undefined;
}

const ownerSchema = z.object({ pid: z.int().positive(), startTime: z.string(), vm: z.string() });
type Owner = z.infer<typeof ownerSchema>;

export class FileLocks {
  private constructor(private readonly held: { readonly image: string; readonly file: string }[]) {}

  /** All or none. */
  static async acquire(lockDir: string, vm: string, wishes: readonly LockWish[]): Promise<FileLocks> {
    const locks = new FileLocks([]);
    if (wishes.length === 0) return locks;
    await ensurePrivateDir(lockDir);
    const owner: Owner = { pid: process.pid, startTime: await startTime(process.pid), vm };
    try {
      for (const wish of wishes) await locks.take(lockDir, owner, wish);
    } catch (e) {
      await locks.release();
      throw e;
    }
    return locks;
  }

  /** What `other` holds is released with these from now on. */
  adopt(other: FileLocks): void {
    this.held.push(...other.held.splice(0));
  }

  async release(): Promise<void> {
    for (const { file } of this.held.splice(0).reverse()) await unlink(file).catch(() => {});
  }

  /** Of one image that is no longer used, and what it is built on. */
  async releaseOf(path: string): Promise<void> {
    const gone = this.held.filter(({ image }) => image === path);
    this.held.splice(0, this.held.length, ...this.held.filter(({ image }) => image !== path));
    for (const { file } of gone) await unlink(file).catch(() => {});
  }

  private async take(dir: string, owner: Owner, { path, write, of }: LockWish): Promise<void> {
    // The file's identity, so that two paths to one image are one image.
    const info = await stat(path);
    const key = `${info.dev}-${info.ino}`;
    const mine = join(dir, write ? `${key}.w` : `${key}.r.${randomUUID()}`);
    for (let attempt = 0; !(await this.place(dir, mine, owner)); attempt++) {
      const other = await ownerOf(mine);
      if (other && (await alive(other))) throw inUse(path, other, true);
      if (attempt === 10)
        throw new LodgeError({ code: 'internal', message: `The lock of ${path} could not be taken.`, detail: mine });
      await clearStale(mine);
    }
    this.held.push({ image: of ?? path, file: mine });
    // My file is there before I look at the others', and they do the same: two that conflict cannot both pass.
    const names = (await readdir(dir)).filter((n) => (write ? n.startsWith(`${key}.r.`) : n === `${key}.w`));
    for (const name of names) {
      const other = await ownerOf(join(dir, name));
      if (!other) continue;
      if (await alive(other)) throw inUse(path, other, !write);
      await clearStale(join(dir, name));
    }
  }

  /** Appears complete or not at all; false when the name exists. */
  private async place(dir: string, file: string, owner: Owner): Promise<boolean> {
    const temporary = join(dir, `tmp-${randomUUID()}`);
    await writeFile(temporary, JSON.stringify(owner), { mode: 0o600, flag: 'wx' });
    try {
      await link(temporary, file);
      return true;
    } catch (e) {
      if ((e as NodeJS.ErrnoException).code === 'EEXIST') return false;
      throw e;
    } finally {
      await unlink(temporary).catch(() => {});
    }
  }
}

function inUse(path: string, owner: Owner, writing: boolean): LodgeError {
  return new LodgeError({
    code: 'fileInUse',
    message: `${path} is in use by the machine “${owner.vm}”${writing ? '' : ', which reads it and must not see it change'}.`,
    fix: 'Stop that machine first, or use a copy of the image.',
    detail: `Process ${owner.pid}`,
  });
}

async function ownerOf(file: string): Promise<Owner | undefined> {
  try {
    return ownerSchema.parse(JSON.parse(await readFile(file, 'utf8')));
  } catch {
    return undefined;
  }
}

/** Between reading and removing somebody may have replaced the stale lock by a live one: take it away, look, put it back. */
async function clearStale(file: string): Promise<void> {
  const away = `${file}.stale-${randomUUID()}`;
  try {
    await rename(file, away);
  } catch {
    return;
  }
  const owner = await ownerOf(away);
  if (owner && (await alive(owner))) await link(away, file).catch(() => {});
  await unlink(away).catch(() => {});
}

async function alive(owner: Owner): Promise<boolean> {
  try {
    process.kill(owner.pid, 0);
  } catch (e) {
    if ((e as NodeJS.ErrnoException).code === 'ESRCH') return false;
  }
  // Numbers are used again; the pair of number and start time is not.
  const now = await startTime(owner.pid);
  return now === '' || owner.startTime === '' || now === owner.startTime;
}

/** Field 22 of /proc/PID/stat (proc(5)), in clock ticks since boot; '' where there is none. */
async function startTime(pid: number): Promise<string> {
  try {
    const text = await readFile(`/proc/${pid}/stat`, 'utf8');
    // The second field is the command in parentheses and may hold anything.
    return text.slice(text.lastIndexOf(')') + 2).split(' ')[19] ?? '';
  } catch {
    return '';
  }
}
