/**
 * VM definitions on disk: a folder per VM with machine.json, its disks and its thumbnail. Folders are found by scanning the
 * VM folder and those that were the VM folder before. What cannot be read is reported and kept; the rest loads.
 */
import { randomUUID } from 'node:crypto';
import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, relative, resolve, sep } from 'node:path';
import { z } from 'zod';
import {
  CONFIG_SCHEMA_VERSION,
  LodgeError,
  vmDefinitionSchema,
  type BrokenVm,
  type VmConfig,
  type VmDefinition,
  type VmId,
} from '../../preload/contract';
import { readJsonFile, setAside, writeJsonAtomic } from './json-file';
import { parseDefinition } from './migrations';

export const DEFINITION_FILE = 'machine.json';
/** Inside the VM folder; removed machines wait there until the user empties it. */
export const TRASH_FOLDER = '.trash';

export interface StoredVm {
  readonly folder: string;
  readonly definition: VmDefinition;
}

/** Bookkeeping of the library that is no preference. */
const librarySchema = z.object({ schema: z.literal(1), folders: z.array(z.string()).max(100), builtinCreated: z.boolean() });
type LibraryState = z.infer<typeof librarySchema>;

export class Inventory {
  private readonly vms = new Map<VmId, StoredVm>();
  private brokenVms: BrokenVm[] = [];
  private queue: Promise<unknown> = Promise.resolve();

  private constructor(
    private readonly libraryFile: string,
    private vmFolder: string,
    private library: LibraryState,
    readonly notices: string[],
  ) {}

  static async open(options: { libraryFile: string; vmFolder: string }): Promise<Inventory> {
    const notices: string[] = [];
    let library: LibraryState = { schema: 1, folders: [], builtinCreated: false };
    const read = await readJsonFile(options.libraryFile);
    if (read.kind !== 'absent') {
      const parsed = read.kind === 'value' ? librarySchema.safeParse(read.value) : undefined;
      if (parsed?.success) library = parsed.data;
      else {
        const aside = await setAside(options.libraryFile);
        // It existed, so this is not the first run: do not bring back a demo machine that was removed.
        library = { ...library, builtinCreated: true };
        notices.push(
          `The library file ${options.libraryFile} could not be read${aside === undefined ? '' : ` and was kept as ${aside}`}. Machines in earlier VM folders may be missing from the list.`,
        );
      }
    }
    const inventory = new Inventory(options.libraryFile, options.vmFolder, library, notices);
    await inventory.scan();
    return inventory;
  }

  get firstRun(): boolean {
    return !this.library.builtinCreated;
  }

  async markBuiltinCreated(): Promise<void> {
    await this.saveLibrary({ ...this.library, builtinCreated: true });
  }

  list(): StoredVm[] {
    return [...this.vms.values()];
  }

  broken(): BrokenVm[] {
    return this.brokenVms;
  }

  get(id: VmId): StoredVm | undefined {
    return this.vms.get(id);
  }

  /** New machines go to `folder` from now on; the others stay where they are and stay in the list. */
  async setVmFolder(folder: string): Promise<void> {
    if (folder === this.vmFolder) return;
    await usableFolder(folder);
    const folders = [...new Set([...this.library.folders, this.vmFolder])].filter((f) => f !== folder);
    await this.saveLibrary({ ...this.library, folders });
    this.vmFolder = folder;
    await this.exclusive(() => this.scanFolder(folder));
  }

  /** Makes the folder and lets the caller put files in it; nothing is left behind when that fails. */
  async create(config: VmConfig, prepare?: (folder: string, config: VmConfig) => Promise<VmConfig>): Promise<StoredVm> {
    await usableFolder(this.vmFolder);
    const id = randomUUID();
    const folder = join(this.vmFolder, `${slug(config.name)}-${id.slice(0, 8)}`);
    await mkdir(folder, { mode: 0o700 }).catch(refuse(`The folder for the new machine could not be made: ${folder}`));
    try {
      const prepared = prepare ? await prepare(folder, config) : config;
      const definition: VmDefinition = { ...prepared, schema: CONFIG_SCHEMA_VERSION, id, createdAt: new Date().toISOString() };
      return await this.store(folder, definition);
    } catch (e) {
      await rm(folder, { recursive: true, force: true });
      throw e;
    }
  }

  async update(id: VmId, change: Partial<VmConfig>): Promise<StoredVm> {
    return this.exclusive(async () => {
      const vm = this.require(id);
      // Only what is given: an absent key must not erase a stored one.
      const given = Object.fromEntries(Object.entries(change).filter(([, value]) => value !== undefined));
      return this.store(vm.folder, { ...vm.definition, ...given });
    });
  }

  /** To the trash folder beside it, or for good. Disks outside the machine's own folder are never touched. */
  async remove(id: VmId, deleteFiles: boolean): Promise<void> {
    await this.exclusive(async () => {
      const { folder } = this.require(id);
      if (deleteFiles)
        await rm(folder, { recursive: true, force: true }).catch(refuse(`The machine's folder could not be deleted: ${folder}`));
      else {
        const trash = join(dirname(folder), TRASH_FOLDER);
        await mkdir(trash, { recursive: true, mode: 0o700 }).catch(refuse(`The trash folder could not be made: ${trash}`));
        let target = join(trash, basename(folder));
        for (let n = 2; await exists(target); n++) target = join(trash, `${basename(folder)} (${n})`);
        await rename(folder, target).catch(refuse(`The machine's folder could not be moved to ${target}`));
      }
      this.vms.delete(id);
    });
  }

  private require(id: VmId): StoredVm {
    const vm = this.vms.get(id);
    if (!vm) throw new LodgeError({ code: 'notFound', message: 'There is no such machine any more.', detail: id });
    return vm;
  }

  private async store(folder: string, definition: VmDefinition): Promise<StoredVm> {
    const file = join(folder, DEFINITION_FILE);
    // What could not be read back must never be written: it would cost the machine at the next start.
    const checked = vmDefinitionSchema.safeParse(definition);
    if (!checked.success)
      throw new LodgeError({
        code: 'invalidInput',
        message: `These settings do not make a machine: ${checked.error.issues[0]?.message ?? 'invalid'}`,
        detail: z.prettifyError(checked.error),
      });
    await writeJsonAtomic(
      file,
      mapPaths(definition, (path) => inside(folder, path)),
    ).catch(refuse(`The machine's settings could not be saved: ${file}`));
    const vm = { folder, definition };
    this.vms.set(definition.id, vm);
    return vm;
  }

  private async saveLibrary(next: LibraryState): Promise<void> {
    await writeJsonAtomic(this.libraryFile, next).catch(refuse(`The library could not be saved: ${this.libraryFile}`));
    this.library = next;
  }

  private async scan(): Promise<void> {
    for (const folder of new Set([this.vmFolder, ...this.library.folders])) await this.scanFolder(folder);
  }

  private async scanFolder(root: string): Promise<void> {
    let names: string[];
    try {
      names = (await readdir(root, { withFileTypes: true }))
        .filter((e) => e.isDirectory() && !e.name.startsWith('.'))
        .map((e) => e.name);
    } catch (e) {
      // Absent is ordinary: nothing was made there yet.
      if ((e as NodeJS.ErrnoException).code !== 'ENOENT')
        this.notices.push(`The VM folder ${root} could not be read: ${(e as Error).message}`);
      return;
    }
    for (const name of names.sort()) await this.loadFolder(join(root, name));
  }

  private async loadFolder(folder: string): Promise<void> {
    const file = join(folder, DEFINITION_FILE);
    const report = (setAside: string, message: string): void => {
      this.brokenVms = [...this.brokenVms.filter((b) => b.folder !== folder), { folder, setAside, message }];
    };
    const read = await readJsonFile(file);
    if (read.kind === 'absent') {
      // Not a machine, or one whose definition was set aside before and still waits for repair.
      const aside = (await readdir(folder).catch(() => [])).filter((n) => n.startsWith(`${DEFINITION_FILE}.broken-`)).sort();
      const last = aside.at(-1);
      if (last !== undefined)
        report(
          join(folder, last),
          `The machine in ${basename(folder)} has no usable definition. Repair ${last} and rename it to ${DEFINITION_FILE}.`,
        );
      return;
    }
    const parsed =
      read.kind === 'value'
        ? parseDefinition(read.value)
        : { ok: false as const, error: { kind: 'invalid' as const, message: read.message } };
    if (!parsed.ok) {
      // A newer Lodge will want its file where it is; this one never writes to it.
      const aside = parsed.error.kind === 'newer' ? undefined : await setAside(file);
      const way =
        aside === undefined
          ? 'The file is left as it is.'
          : `The file was kept as ${basename(aside)}; repair it and rename it to ${DEFINITION_FILE}.`;
      report(aside ?? file, `The machine in ${basename(folder)} could not be read: ${parsed.error.message}. ${way}`);
      return;
    }
    const definition = mapPaths(parsed.value, (path) => (isAbsolute(path) ? path : resolve(folder, path)));
    const twin = this.vms.get(definition.id);
    if (twin && twin.folder !== folder) {
      report(
        file,
        `The machine in ${basename(folder)} is a copy of the one in ${basename(twin.folder)} (same id), so only the latter is shown. Give the copy's machine.json another id to use both.`,
      );
      return;
    }
    this.vms.set(definition.id, { folder, definition });
  }

  /** Changes happen one after the other. */
  private exclusive<T>(work: () => Promise<T>): Promise<T> {
    const run = this.queue.then(work, work);
    this.queue = run.catch(() => {});
    return run;
  }
}

/** Stored paths below the machine's folder are relative, so that the folder can be moved. */
function inside(folder: string, path: string): string {
  const rel = relative(folder, path);
  return rel !== '' && !rel.startsWith('..' + sep) && rel !== '..' && !isAbsolute(rel) ? rel : path;
}

function mapPaths(definition: VmDefinition, map: (path: string) => string): VmDefinition {
  const { boot } = definition;
  return {
    ...definition,
    disks: definition.disks.map((disk) => ({ ...disk, path: map(disk.path) })),
    boot:
      boot.kind === 'linux'
        ? { ...boot, kernel: map(boot.kernel), ...(boot.initrd !== undefined && { initrd: map(boot.initrd) }) }
        : boot,
  };
}

/** For people who look into the folder: the id makes it unique, the name makes it recognizable. */
export function slug(name: string): string {
  const ascii = name
    .normalize('NFKD')
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-');
  return ascii.replaceAll(/^-+|-+$/g, '').slice(0, 40) || 'machine';
}

const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );

async function usableFolder(folder: string): Promise<void> {
  if (!isAbsolute(folder)) {
    throw new LodgeError({ code: 'invalidInput', message: `The VM folder must be an absolute path, not "${folder}".` });
  }
  await mkdir(folder, { recursive: true }).catch(refuse(`The VM folder cannot be used: ${folder}`));
}

/** Host errors while writing → something a person can act on. */
export const refuse =
  (message: string) =>
  (e: unknown): never => {
    if (e instanceof LodgeError) throw e;
    const code = (e as NodeJS.ErrnoException).code;
    const detail = e instanceof Error ? e.message : String(e);
    if (code === 'ENOSPC' || code === 'EDQUOT') {
      throw new LodgeError({
        code: 'insufficientSpace',
        message,
        fix: 'Make room on that disk, or choose another VM folder in the preferences.',
        detail,
      });
    }
    if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS') {
      throw new LodgeError({
        code: 'permissionDenied',
        message,
        fix: 'Check the permissions, or choose another VM folder in the preferences.',
        detail,
      });
    }
    throw new LodgeError({
      code: 'internal',
      message,
      fix: 'Check the disk, or choose another VM folder in the preferences.',
      detail,
    });
  };
