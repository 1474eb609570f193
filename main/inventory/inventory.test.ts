import { mkdir, mkdtemp, readFile, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { VmConfig } from '../../preload/contract';
import { Inventory, slug } from './inventory';
import { migrate, parseDefinition } from './migrations';
import { defaultPreferences, PreferencesFile } from './preferences';

const config = (name: string): VmConfig => ({
  name,
  os: 'other',
  notes: '',
  cpus: 1,
  memoryMiB: 64,
  boot: { kind: 'builtin' },
  disks: [],
  serialPorts: 1,
  accelerator: 'auto',
  tier: 'auto',
});

let dir: string;
const open = () => Inventory.open({ libraryFile: join(dir, 'library.json'), vmFolder: join(dir, 'vms') });
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'lodge-inventory-'));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

describe('Inventory', () => {
  it('keeps machines over a restart, and paths in their folder survive a move of it', async () => {
    const inventory = await open();
    const vm = await inventory.create(config('Größe ABC!'), async (folder, c) => ({
      ...c,
      disks: [
        { id: 'own', path: join(folder, 'disk.img'), bus: 'virtio', format: 'raw', readOnly: false, kind: 'disk' },
        { id: 'far', path: '/srv/images/x.iso', bus: 'virtio', format: 'raw', readOnly: true, kind: 'disc' },
      ],
    }));
    expect(vm.folder).toContain('gro-e-abc-');
    const moved = join(dir, 'vms', 'elsewhere');
    await rename(vm.folder, moved);
    const again = (await open()).list();
    expect(again).toHaveLength(1);
    expect(again[0]!.definition.disks.map((d) => d.path)).toEqual([join(moved, 'disk.img'), '/srv/images/x.iso']);
  });

  it('sets a corrupt definition aside with its bytes, reports it on every start, and loads the others', async () => {
    const inventory = await open();
    const bad = await inventory.create(config('bad'));
    const good = await inventory.create(config('good'));
    await writeFile(join(bad.folder, 'machine.json'), '{"schema":1, "na');
    for (let start = 0; start < 2; start++) {
      const again = await open();
      expect(again.list().map((v) => v.definition.id)).toEqual([good.definition.id]);
      expect(again.broken()).toHaveLength(1);
      expect(again.broken()[0]!.folder).toBe(bad.folder);
      expect(await readFile(again.broken()[0]!.setAside, 'utf8')).toBe('{"schema":1, "na');
    }
    const names = await readdir(bad.folder);
    expect(names).toHaveLength(1);
    expect(names[0]).toMatch(/^machine\.json\.broken-/);
  });

  it.each([
    ['wrong types', (d: Record<string, unknown>) => ({ ...d, cpus: 'many' }), /cpus/],
    ['no version', (d: Record<string, unknown>) => ({ ...d, schema: undefined }), /version/],
    ['a list', () => [], /machine definition/],
    ['nothing', () => '', /./],
  ])('sets aside: %s', async (_what, spoil, message) => {
    const vm = await (await open()).create(config('x'));
    const file = join(vm.folder, 'machine.json');
    await writeFile(file, JSON.stringify(spoil(JSON.parse(await readFile(file, 'utf8')) as Record<string, unknown>)));
    const again = await open();
    expect(again.list()).toEqual([]);
    expect(again.broken()[0]!.message).toMatch(message);
    expect(again.broken()[0]!.setAside).toMatch(/broken-/);
  });

  it('leaves the definition of a newer Lodge where it is', async () => {
    const vm = await (await open()).create(config('x'));
    const file = join(vm.folder, 'machine.json');
    await writeFile(file, JSON.stringify({ schema: 99, id: vm.definition.id }));
    const again = await open();
    expect(again.broken()).toEqual([
      expect.objectContaining({ setAside: file, message: expect.stringContaining('newer Lodge') as string }),
    ]);
    expect(JSON.parse(await readFile(file, 'utf8'))).toMatchObject({ schema: 99 });
  });

  it('shows only one of two folders with the same id', async () => {
    const vm = await (await open()).create(config('x'));
    await mkdir(join(dir, 'vms', 'zz-copy'));
    await writeFile(join(dir, 'vms', 'zz-copy', 'machine.json'), await readFile(join(vm.folder, 'machine.json')));
    const again = await open();
    expect(again.list().map((v) => v.folder)).toEqual([vm.folder]);
    expect(again.broken()[0]!.message).toContain('copy');
  });

  it('moves a removed machine to the trash, twice under the same name too, or deletes it', async () => {
    const inventory = await open();
    const vm = await inventory.create(config('x'));
    await writeFile(join(vm.folder, 'disk.img'), 'data');
    await inventory.remove(vm.definition.id, false);
    const trash = join(dir, 'vms', '.trash');
    const [name] = await readdir(trash);
    expect(await readFile(join(trash, name!, 'disk.img'), 'utf8')).toBe('data');
    expect((await open()).list()).toEqual([]);
    const other = await inventory.create(config('y'));
    await inventory.remove(other.definition.id, true);
    expect(await readdir(trash)).toHaveLength(1);
    await expect(inventory.remove(other.definition.id, true)).rejects.toMatchObject({ code: 'notFound' });
  });

  it('leaves no folder behind when the making fails', async () => {
    const inventory = await open();
    await expect(inventory.create(config('x'), () => Promise.reject(new Error('disk full')))).rejects.toThrow('disk full');
    expect(await readdir(join(dir, 'vms'))).toEqual([]);
  });

  it('says so when the VM folder cannot be made', async () => {
    await writeFile(join(dir, 'vms'), 'a file in the way');
    const inventory = await open();
    await expect(inventory.create(config('x'))).rejects.toMatchObject({
      name: 'LodgeError',
      fix: expect.stringContaining('preferences') as string,
    });
  });

  it('shows machines of an earlier VM folder after the folder was changed', async () => {
    const inventory = await open();
    const old = await inventory.create(config('old'));
    await inventory.setVmFolder(join(dir, 'new'));
    const fresh = await inventory.create(config('fresh'));
    expect(fresh.folder.startsWith(join(dir, 'new'))).toBe(true);
    const again = await Inventory.open({ libraryFile: join(dir, 'library.json'), vmFolder: join(dir, 'new') });
    expect(
      again
        .list()
        .map((v) => v.definition.id)
        .sort(),
    ).toEqual([old.definition.id, fresh.definition.id].sort());
  });

  it('remembers that the first machine was made, even when its bookkeeping is broken', async () => {
    const inventory = await open();
    expect(inventory.firstRun).toBe(true);
    await inventory.markBuiltinCreated();
    expect((await open()).firstRun).toBe(false);
    await writeFile(join(dir, 'library.json'), 'rubbish');
    const again = await open();
    expect(again.firstRun).toBe(false);
    expect(again.notices[0]).toContain('library.json');
  });

  it('runs updates one after the other', async () => {
    const inventory = await open();
    const { definition } = await inventory.create(config('x'));
    await Promise.all([
      inventory.update(definition.id, { cpus: 4 }),
      inventory.update(definition.id, { notes: 'n' }),
      inventory.update(definition.id, { memoryMiB: 128 }),
    ]);
    expect((await open()).get(definition.id)!.definition).toMatchObject({ cpus: 4, notes: 'n', memoryMiB: 128 });
  });
});

describe('migrations', () => {
  const steps = { 1: (o: Record<string, unknown>) => ({ ...o, b: 1 }), 2: (o: Record<string, unknown>) => ({ ...o, c: o['b'] }) };
  it('runs every step in order', () => {
    expect(migrate({ schema: 1 }, 3, steps)).toEqual({ ok: true, value: { schema: 3, b: 1, c: 1 } });
    expect(migrate({ schema: 2, b: 7 }, 3, steps)).toEqual({ ok: true, value: { schema: 3, b: 7, c: 7 } });
  });
  it('refuses what has no step, is newer, or makes a step throw', () => {
    expect(migrate({ schema: 1 }, 3, { 2: steps[2] })).toMatchObject({ ok: false, error: { kind: 'invalid' } });
    expect(migrate({ schema: 4 }, 3, steps)).toMatchObject({ ok: false, error: { kind: 'newer' } });
    expect(
      migrate({ schema: 1 }, 2, {
        1: () => {
          throw new Error('no');
        },
      }),
    ).toMatchObject({ ok: false });
    expect(migrate({ schema: 1.5 }, 3, steps)).toMatchObject({ ok: false });
  });
  it('never throws on what JSON can hold', () => {
    for (const value of [null, 1, 'x', [], {}, { schema: '1' }, { schema: 1, disks: {} }])
      expect(parseDefinition(value).ok).toBe(false);
  });
});

describe('preferences', () => {
  const file = () => join(dir, 'cfg', 'preferences.json');
  const defaults = defaultPreferences('/vms');
  it('starts with defaults and keeps changes', async () => {
    const { preferences, notices } = await PreferencesFile.load(file(), defaults);
    expect([preferences.value, notices]).toEqual([defaults, []]);
    await preferences.set({ theme: 'dark' });
    expect((await PreferencesFile.load(file(), defaults)).preferences.value.theme).toBe('dark');
  });
  it('sets a broken file aside, says so, and keeps what could be read', async () => {
    const { preferences } = await PreferencesFile.load(file(), defaults);
    await preferences.set({ theme: 'dark' });
    const spoiled = JSON.stringify({ ...JSON.parse(await readFile(file(), 'utf8')), hostKey: 'Banana' });
    await writeFile(file(), spoiled);
    const again = await PreferencesFile.load(file(), defaults);
    expect(again.preferences.value).toMatchObject({ theme: 'dark', hostKey: 'ControlRight' });
    expect(again.notices[0]).toContain('hostKey');
    const [aside] = await readdir(join(dir, 'cfg'));
    expect(await readFile(join(dir, 'cfg', aside!), 'utf8')).toBe(spoiled);
  });
  it.each(['', '{', 'null', '[]', '"x"'])('gives defaults for %j', async (content) => {
    await mkdir(join(dir, 'cfg'));
    await writeFile(file(), content);
    const { preferences, notices } = await PreferencesFile.load(file(), defaults);
    expect(preferences.value).toEqual(defaults);
    expect(notices).toHaveLength(1);
  });
});

it('slug', () => {
  expect(slug('../../etc/passwd')).toBe('etc-passwd');
  expect(slug('日本')).toBe('machine');
});
