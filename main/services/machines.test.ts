import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Disk, VmState } from '../../preload/contract';
import { createDisk } from '../storage';
import type { Lodge } from './lodge';
import { linuxConfig, openLodge, place, record, type Place } from './testing/bench';

let at: Place;
let lodge: Lodge;
beforeEach(async () => {
  at = await place();
  lodge = await openLodge(at);
});
afterEach(async () => {
  await lodge.close();
  await at.clean();
});

/** The first 40 KiB of a volume of 700 MiB. */
function cutOffIso(): Buffer {
  const image = Buffer.alloc(40 << 10);
  const volume = image.subarray(32768);
  volume.set([1, ...Buffer.from('CD001'), 1]);
  volume.writeUInt32LE((700 << 20) / 2048, 80);
  volume.writeUInt16LE(2048, 128);
  return image;
}

const disk = (path: string, change: Partial<Disk> = {}): Disk => ({
  id: 'disk0',
  path,
  bus: 'virtio',
  format: 'raw',
  readOnly: false,
  kind: 'disk',
  ...change,
});
async function create(name: string, behaviour = '', change: Parameters<typeof linuxConfig>[3] = {}) {
  return (await lodge.machines.create(await linuxConfig(at, name, behaviour, change))).definition.id;
}
describe('a machine’s life', () => {
  it('goes through its states, each told once and in order', async () => {
    const id = await create('Box');
    const events = record(lodge);
    await lodge.machines.start(id);
    await lodge.machines.pause(id);
    await lodge.machines.resume(id);
    await lodge.machines.reset(id);
    await lodge.machines.powerOff(id);
    const states: VmState[] = [];
    for (const e of events) if (e.type === 'vm' && e.vm.state !== states.at(-1)) states.push(e.vm.state);
    expect(states).toEqual(['starting', 'running', 'pausing', 'paused', 'resuming', 'running', 'stopping', 'stopped']);
    expect(events.map((e) => e.seq)).toEqual(events.map((_, i) => events[0]!.seq + i));
    expect(lodge.machines.get(id).lastStop).toEqual({ kind: 'stopped' });
  });

  it('refuses what the state does not allow', async () => {
    const id = await create('Box');
    await expect(lodge.machines.pause(id)).rejects.toMatchObject({ code: 'invalidState' });
    await expect(lodge.machines.text(id)).rejects.toMatchObject({ code: 'invalidState' });
    await lodge.machines.start(id);
    await expect(lodge.machines.start(id)).rejects.toMatchObject({ code: 'invalidState' });
    await expect(lodge.machines.update(id, { cpus: 2 })).rejects.toMatchObject({ code: 'invalidState' });
    await expect(lodge.machines.remove(id, false)).rejects.toMatchObject({ code: 'invalidState' });
    await lodge.machines.update(id, { notes: 'while running', cpus: 1 });
    expect(lodge.machines.get(id).definition.notes).toBe('while running');
  });

  it('takes shares of the processors while it runs, and gives no quota to one that is alone', async () => {
    const id = await create('Box');
    await lodge.machines.start(id);
    await lodge.machines.update(id, { cpuShares: 300 });
    expect(lodge.machines.get(id).definition.cpuShares).toBe(300);
    await expect(lodge.machines.update(id, { cpus: 2 })).rejects.toMatchObject({ code: 'invalidState' });
  });

  it('starts from another disk once, if it has that disk and starts from disks at all', async () => {
    const path = await at.file('a.img', Buffer.alloc(512));
    const id = await create('Box', '', {
      boot: { kind: 'firmware' },
      disks: [disk(path), disk(await at.file('b.iso', Buffer.alloc(512)), { id: 'disc0', kind: 'disc', bus: 'ide' })],
    });
    await expect(lodge.machines.start(id, { bootFirst: 'disc7' })).rejects.toMatchObject({ code: 'notFound' });
    expect(lodge.machines.get(id).state).toBe('stopped');
    await lodge.machines.start(id, { bootFirst: 'disc0' });
    expect((await lodge.machines.text(id)).lines?.[0]).toBe('hello from disc0');
    await lodge.machines.powerOff(id);
    await lodge.machines.start(id);
    expect((await lodge.machines.text(id)).lines?.[0]).toBe('hello');
    expect(lodge.machines.get(id).definition.disks.map((d) => d.id)).toEqual(['disk0', 'disc0']);
    const direct = await create('Direct', '', { disks: [disk(await at.file('c.img', Buffer.alloc(512)))] });
    await expect(lodge.machines.start(direct, { bootFirst: 'disk0' })).rejects.toMatchObject({ code: 'invalidInput' });
    await expect(lodge.machines.start(direct, { bootMenu: true })).rejects.toMatchObject({ code: 'invalidInput' });
  });

  it('sees kill -9 within a second, can start it again, and the others never notice', async () => {
    const victim = await create('Victim');
    const other = await create('Other');
    await lodge.machines.start(other);
    await lodge.machines.start(victim);
    const pid = at.pids.at(-1)!;
    const events = record(lodge);
    const killed = Date.now();
    process.kill(pid, 'SIGKILL');
    await vi.waitFor(() => expect(lodge.machines.get(victim).state).toBe('stopped'), { timeout: 1000, interval: 10 });
    expect(Date.now() - killed).toBeLessThan(1000);
    expect(lodge.machines.get(victim).lastStop).toMatchObject({
      kind: 'crashed',
      message: expect.stringContaining('SIGKILL') as string,
    });
    expect(lodge.machines.get(other).state).toBe('running');
    expect(events.filter((e) => e.type === 'vm' && e.vm.definition.id === other && e.vm.state !== 'running')).toEqual([]);
    await expect(lodge.machines.text(other)).resolves.toMatchObject({ lines: expect.arrayContaining(['hello']) as string[] });
    await expect(lodge.machines.start(victim)).resolves.toMatchObject({ state: 'running' });
  });

  it('can be powered off while it starts', async () => {
    const id = await create('Box', 'hang-start');
    const starting = expect(lodge.machines.start(id)).rejects.toMatchObject({ code: 'invalidState' });
    await lodge.machines.powerOff(id);
    await starting;
    await vi.waitFor(() => expect(lodge.machines.get(id)).toMatchObject({ state: 'stopped', lastStop: { kind: 'stopped' } }));
  });

  it('shows why the guest ended', async () => {
    for (const [behaviour, reason] of [
      ['power-off', { kind: 'powerOff' }],
      ['triple-fault', { kind: 'guestFault', report: 'rip=0' }],
      ['debug-exit', { kind: 'debugExit', code: 33 }],
    ] as const) {
      const id = await create(behaviour, behaviour);
      await lodge.machines.start(id);
      await vi.waitFor(() => expect(lodge.machines.get(id)).toMatchObject({ state: 'stopped', lastStop: reason }));
    }
  });

  it('ends every machine with its disks flushed when Lodge closes', async () => {
    const image = await at.file('d.img', Buffer.alloc(512));
    const id = await create('Box', '', { disks: [disk(image)] });
    await lodge.machines.start(id);
    await lodge.close();
    expect(await readFile(image, 'utf8')).toContain('flushed');
    expect(await readdir(at.paths.lockDir)).toEqual([]);
  });
});

describe('what a start refuses', () => {
  const refused = async (id: string, error: object): Promise<void> => {
    await expect(lodge.machines.start(id)).rejects.toMatchObject(error);
    expect(lodge.machines.get(id)).toMatchObject({ state: 'stopped', lastStop: { kind: 'failed', error } });
  };

  it('a missing kernel', async () => {
    await refused(await create('Box', '', { boot: { kind: 'linux', kernel: '/nowhere/vmlinuz', commandLine: '' } }), {
      code: 'fileMissing',
      message: expect.stringContaining('/nowhere/vmlinuz') as string,
      fix: expect.any(String) as string,
    });
  });

  it('an image of 0 bytes, a missing one, a folder', async () => {
    await refused(await create('A', '', { disks: [disk(await at.file('empty.img', ''))] }), {
      code: 'fileInvalid',
      message: expect.stringContaining('0 bytes') as string,
    });
    await refused(await create('B', '', { disks: [disk('/nowhere/x.img')] }), { code: 'fileMissing' });
    await mkdir(join(at.dir, 'folder'));
    const [text, cut] = [await at.file('notes.iso', 'just words\n'.repeat(900)), await at.file('cut.iso', cutOffIso())];
    await refused(await create('T', '', { disks: [disk(text, { kind: 'disc' })] }), {
      code: 'fileInvalid',
      message: expect.stringContaining('text file') as string,
    });
    await refused(await create('F', '', { disks: [disk(text, { kind: 'floppy' })] }), {
      code: 'fileInvalid',
      message: expect.stringMatching(/floppy disk\. .*text file/) as string,
    });
    await refused(await create('D', '', { disks: [disk(cut, { kind: 'floppy' })] }), {
      code: 'fileInvalid',
      message: expect.stringContaining('belongs into a disc drive') as string,
    });
    await refused(await create('U', '', { disks: [disk(cut, { kind: 'disc' })] }), {
      code: 'fileInvalid',
      message: expect.stringMatching(/cut off: 0\.\d MiB of 700\.0 MiB/) as string,
      fix: expect.any(String) as string,
    });
    await refused(await create('C', '', { disks: [disk(join(at.dir, 'folder'))] }), { code: 'fileInvalid' });
  });

  it('nothing to start from', async () => {
    await refused(await create('Box', '', { boot: { kind: 'firmware' } }), { code: 'invalidInput' });
  });

  it('more memory than the host has, and says what would fit', async () => {
    await lodge.close();
    lodge = await openLodge(at, { hostMemory: () => ({ totalMiB: 4096, availableMiB: 2048 }) });
    const id = await create('Big', '', { memoryMiB: 8192 });
    await refused(id, { code: 'insufficientMemory', fix: expect.stringContaining('at most 1792 MiB') as string });
    await lodge.machines.update(id, { memoryMiB: 1792 });
    await expect(lodge.machines.start(id)).resolves.toMatchObject({ state: 'running' });
  });

  it('an image that another running machine writes, under any of its names; reading together is fine', async () => {
    const image = await at.file('shared.img', Buffer.alloc(512));
    await mkdir(join(at.dir, 'sub'));
    const alias = join(at.dir, 'sub', '..', 'shared.img');
    const writer = await create('Writer', '', { disks: [disk(image)] });
    const second = await create('Second', '', { disks: [disk(alias)] });
    const reader = await create('Reader', '', { disks: [disk(image, { readOnly: true })] });
    const reader2 = await create('Reader 2', '', { disks: [disk(image, { readOnly: true })] });
    await lodge.machines.start(writer);
    await refused(second, { code: 'fileInUse', message: expect.stringContaining('“Writer”') as string });
    await refused(reader, { code: 'fileInUse' });
    await lodge.machines.powerOff(writer);
    await lodge.machines.start(reader);
    await lodge.machines.start(reader2);
    await refused(second, { code: 'fileInUse' });
  });

  it('takes over the lock of a process that is gone, not that of one that lives', async () => {
    const image = await at.file('d.img', Buffer.alloc(512));
    const id = await create('Box', '', { disks: [disk(image)] });
    await lodge.machines.start(id);
    const [lock] = await readdir(at.paths.lockDir);
    const content = JSON.parse(await readFile(join(at.paths.lockDir, lock!), 'utf8')) as { pid: number; startTime: string };
    // A machine is off before its lock is gone, and must not take away the one that is put there now.
    const unlocked = () => vi.waitFor(async () => expect(await readdir(at.paths.lockDir)).toEqual([]));
    await lodge.machines.powerOff(id);
    await unlocked();
    await writeFile(join(at.paths.lockDir, lock!), JSON.stringify({ ...content, startTime: '1', vm: 'ghost' }));
    await expect(lodge.machines.start(id)).resolves.toMatchObject({ state: 'running' });
    await lodge.machines.powerOff(id);
    await unlocked();
    await writeFile(join(at.paths.lockDir, lock!), JSON.stringify({ ...content, vm: 'somebody' }));
    await refused(id, { code: 'fileInUse', message: expect.stringContaining('“somebody”') as string });
  });
});

describe('the library', () => {
  it('has a first machine, once', async () => {
    const [first] = lodge.machines.list();
    expect(first).toMatchObject({ definition: { boot: { kind: 'builtin' } }, state: 'stopped' });
    await expect(lodge.machines.start(first!.definition.id)).resolves.toMatchObject({ state: 'running' });
    await lodge.machines.powerOff(first!.definition.id);
    await lodge.machines.remove(first!.definition.id, false);
    await lodge.close();
    lodge = await openLodge(at);
    expect(lodge.machines.list()).toEqual([]);
  });

  it('makes a sparse disk with the machine, and refuses a name twice', async () => {
    const vm = await lodge.machines.create(await linuxConfig(at, 'Box'), { bytes: 8 * 2 ** 30 });
    const [d] = vm.definition.disks;
    expect(d).toMatchObject({ kind: 'disk', readOnly: false });
    const { size, blocks } = await stat(d!.path);
    expect(size).toBe(8 * 2 ** 30);
    expect(blocks).toBeLessThan(16);
    await expect(lodge.machines.create(await linuxConfig(at, ' box '))).rejects.toMatchObject({ code: 'nameTaken' });
  });

  it('attaches and detaches; asks the machine itself when it runs', async () => {
    const id = await create('Box');
    const image = await at.file('d.img', Buffer.alloc(512));
    const vm = await lodge.machines.attach(id, disk(image));
    expect(vm.definition.disks).toHaveLength(1);
    await lodge.machines.detach(id, vm.definition.disks[0]!.id);
    await lodge.machines.start(id);
    await expect(lodge.machines.attach(id, disk(image))).rejects.toMatchObject({ code: 'unsupported' });
    expect(lodge.machines.get(id).definition.disks).toEqual([]);
    // The image stays free for others.
    expect(await readdir(at.paths.lockDir)).toEqual([]);
    await lodge.machines.powerOff(id);
    await lodge.machines.attach(id, disk(image));
    await lodge.machines.start(id);
    expect(await readdir(at.paths.lockDir)).toHaveLength(1);
    await lodge.machines.detach(id, 'disk0');
    expect(await readdir(at.paths.lockDir)).toEqual([]);
    await expect(lodge.machines.detach(id, 'nope')).rejects.toMatchObject({ code: 'notFound' });
  });

  it('locks what an image is built on with it, also one that comes while the machine runs, until it goes', async () => {
    const [base, overlay] = [join(at.dir, 'base.qcow2'), join(at.dir, 'overlay.qcow2')];
    await createDisk({ path: base, bytes: 1474560, format: 'qcow2' });
    await createDisk({ path: overlay, bytes: 1474560, format: 'qcow2', parent: base });
    const id = await create('Box');
    await lodge.machines.start(id);
    const floppy = disk(overlay, { kind: 'floppy', bus: 'ide', format: 'qcow2' });
    const vm = await lodge.machines.attach(id, floppy);
    expect(await readdir(at.paths.lockDir)).toHaveLength(2);
    const other = await create('Other', '', { disks: [disk(base, { format: 'qcow2' })] });
    await expect(lodge.machines.start(other)).rejects.toMatchObject({ code: 'fileInUse' });
    await lodge.machines.detach(id, vm.definition.disks[0]!.id);
    expect(await readdir(at.paths.lockDir)).toEqual([]);
    await lodge.machines.start(other);
    await expect(lodge.machines.attach(id, floppy)).rejects.toMatchObject({ code: 'fileInUse' });
    expect(await readdir(at.paths.lockDir)).toHaveLength(1);
  });

  it('attaches nothing twice, no more than there is room for, and nothing it could not find again', async () => {
    const id = await create('Box');
    const image = await at.file('d.img', Buffer.alloc(512));
    await lodge.machines.attach(id, disk(image));
    await expect(lodge.machines.attach(id, disk(image))).rejects.toMatchObject({ code: 'fileInUse' });
    for (let n = 1; n < 24; n++) await lodge.machines.attach(id, disk(await at.file(`${n}.img`, Buffer.alloc(512))));
    await expect(lodge.machines.attach(id, disk(await at.file('more.img', Buffer.alloc(512))))).rejects.toMatchObject({
      code: 'invalidInput',
    });
    await expect(lodge.machines.update(id, { disks: [disk('relative.img')] })).rejects.toMatchObject({ code: 'invalidInput' });
    await lodge.close();
    lodge = await openLodge(at);
    expect(lodge.machines.broken()).toEqual([]);
    expect(lodge.machines.get(id).definition.disks).toHaveLength(24);
  });

  it('keeps a machine whose removal failed, and starts none that is being removed', async () => {
    const id = await create('Box');
    // A file where the trash folder belongs.
    await writeFile(join(at.paths.defaultVmFolder, '.trash'), '');
    const removal = expect(lodge.machines.remove(id, false)).rejects.toMatchObject({ message: expect.any(String) as string });
    await Promise.resolve();
    await expect(lodge.machines.start(id)).rejects.toMatchObject({ code: 'notFound' });
    await removal;
    await expect(lodge.machines.start(id)).resolves.toMatchObject({ state: 'running' });
  });

  it('says which preferences could not be saved, and keeps the old ones', async () => {
    await mkdir(at.paths.preferencesFile);
    await expect(lodge.setPreferences({ theme: 'dark' })).rejects.toMatchObject({
      message: expect.stringContaining('preferences could not be saved') as string,
      fix: expect.any(String) as string,
    });
    expect(lodge.preferences.theme).toBe('auto');
  });

  it('keeps a picture: while somebody looks, and after the end', async () => {
    const id = await create('Box');
    await lodge.machines.start(id);
    await expect(lodge.machines.screenshot(id, true)).rejects.toMatchObject({ code: 'notFound' });
    const events = record(lodge);
    await vi.waitFor(() => expect(events.some((e) => e.type === 'vm' && e.vm.thumbnail > 0)).toBe(true));
    await lodge.machines.powerOff(id);
    await lodge.close();
    lodge = await openLodge(at);
    expect(lodge.machines.get(id).thumbnail).toBe(1);
    const { png } = await lodge.machines.screenshot(id, true);
    expect(Buffer.from(png, 'base64').subarray(1, 4).toString()).toBe('PNG');
  });

  it('opens with broken settings and a broken machine, and says so', async () => {
    const id = await create('Good');
    const bad = await create('Bad');
    await lodge.close();
    await writeFile(at.paths.preferencesFile, 'rubbish');
    const folder = (await readdir(at.paths.defaultVmFolder)).find((n) => n.startsWith('bad-'))!;
    await writeFile(join(at.paths.defaultVmFolder, folder, 'machine.json'), '{');
    lodge = await openLodge(at);
    expect(lodge.machines.list().map((v) => v.definition.id)).toContain(id);
    expect(lodge.machines.list().map((v) => v.definition.id)).not.toContain(bad);
    expect(lodge.machines.broken()).toHaveLength(1);
    expect(lodge.notices.join()).toContain('preferences.json');
    await expect(lodge.setPreferences({ theme: 'dark' })).resolves.toMatchObject({ theme: 'dark' });
  });

  it('changes the VM folder without losing machines', async () => {
    const id = await create('Old');
    await lodge.setPreferences({ vmFolder: join(at.dir, 'other') });
    const fresh = await create('New');
    await lodge.close();
    lodge = await openLodge(at);
    const ids = lodge.machines.list().map((v) => v.definition.id);
    expect(ids).toContain(id);
    expect(ids).toContain(fresh);
  });
});

it('an image that cannot be inspected gives its own error through the contract', async () => {
  const { inspectImage } = await import('../storage/inspect');
  const { bind } = await import('../rpc/bind');
  const { lodgeHandlers } = await import('../rpc/handlers');
  await lodge.close();
  lodge = await openLodge(at, { inspectImage });
  const id = await create('Box');
  const call = bind(lodgeHandlers(lodge));
  const text = await at.file('notes.txt', 'just words\n');
  expect(await call('vm.attach', { id, path: text })).toMatchObject({ ok: false, error: { code: 'fileInvalid' } });
  expect(await call('vm.attach', { id, path: '/nowhere/x.iso' })).toMatchObject({
    ok: false,
    error: { code: expect.stringMatching(/^file/) as string },
  });
  const loop = join(at.dir, 'loop.qcow2');
  await createDisk({ path: loop, bytes: 1 << 20, format: 'qcow2' });
  const image = await readFile(loop);
  image.writeBigUInt64BE(112n, 8);
  image.writeUInt32BE('loop.qcow2'.length, 16);
  image.write('loop.qcow2', 112);
  await writeFile(loop, image);
  await mkdir(join(at.dir, 'folder.iso'));
  for (const [path, words] of [
    [join(at.dir, 'folder.iso'), /folder/],
    [await at.file('empty.iso', ''), /empty/],
    [await at.file('cut.iso', cutOffIso()), /cut off/],
    [await at.file('cut.qcow2', image.subarray(0, 1000)), /outside the file/],
    [loop, /built on itself/],
  ] as const) {
    expect(await call('vm.attach', { id, path }), path).toMatchObject({
      ok: false,
      error: {
        code: 'fileInvalid',
        message: expect.stringMatching(words) as string,
        fix: expect.stringContaining('Choose') as string,
      },
    });
  }
  const raw = await at.file('disk.img', Buffer.alloc(1 << 20, 1));
  const attached = await call('vm.attach', { id, path: raw });
  expect(attached).toMatchObject({ ok: true, value: { definition: { disks: [{ path: raw, kind: 'disk' }] } } });
});
