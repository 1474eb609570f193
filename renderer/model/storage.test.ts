import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  addRecent,
  bootAdvice,
  bytesOf,
  convertTarget,
  driveGroups,
  driveName,
  driveProblems,
  dropIndex,
  folderOf,
  FORMATS,
  formatEntry,
  freeDiskId,
  freeDiskPath,
  isRemovable,
  joinPath,
  moved,
  newDrive,
  pathProblem,
  RECENT_MEDIA,
  secondsLeft,
  sizeForecast,
  sizeProblem,
  variantFor,
  withFormat,
  withNewDisk,
} from './storage';
import type { Disk } from './types';

const disk = (id: string, part: Partial<Disk> = {}): Disk => ({
  id,
  path: `/d/${id}`,
  bus: 'virtio',
  format: 'auto',
  readOnly: false,
  kind: 'disk',
  ...part,
});

describe('drives', () => {
  it('hang on their controllers; a floppy has its own, whatever its bus says', () => {
    const groups = driveGroups([disk('a', { bus: 'ide' }), disk('b'), disk('c', { kind: 'floppy', bus: 'virtio' })]);
    expect(groups.map((g) => [g.id, g.disks.map((d) => d.id)])).toEqual([
      ['virtio', ['b']],
      ['ide', ['a']],
      ['floppy', ['c']],
    ]);
  });

  it('have plain names', () => {
    expect(driveName(disk('a', { bus: 'ahci' }))).toBe('SATA disk');
    expect(driveName(disk('a', { bus: 'ide', kind: 'disc' }))).toBe('CD drive');
    expect(isRemovable(disk('a', { bus: 'ide', kind: 'disc' }))).toBe(true);
    expect(isRemovable(disk('a', { bus: 'virtio', kind: 'disc' }))).toBe(false);
  });

  it('that do not fit, or are there twice, are named', () => {
    const five = [1, 2, 3, 4, 5].map((n) => disk(`i${n}`, { bus: 'ide' }));
    expect(Object.keys(driveProblems(five))).toEqual(['i5']);
    expect(driveProblems([disk('a'), disk('b', { path: '/d/a' })])).toEqual({ b: expect.stringContaining('twice') as string });
    expect(driveProblems([disk('a'), disk('b')])).toEqual({});
  });

  it('are made so that discs can be ejected and never written', () => {
    expect(newDrive('/x.iso', 'disc', 'd')).toMatchObject({ bus: 'ide', readOnly: true });
    expect(newDrive('/x.qcow2', 'disk', 'd')).toMatchObject({ bus: 'virtio', readOnly: false, format: 'auto' });
    expect(freeDiskId([disk('disk0'), disk('disk2')])).toBe('disk1');
  });
});

describe('order', () => {
  it('a new disk comes behind the disks there are, and before discs', () => {
    const [a, b, cd] = [disk('a'), disk('b'), disk('cd', { kind: 'disc', bus: 'ide' })];
    const ids = (disks: readonly Disk[]): string[] => withNewDisk(disks, disk('new')).map(({ id }) => id);
    expect(ids([])).toEqual(['new']);
    expect(ids([cd])).toEqual(['new', 'cd']);
    expect(ids([a, b, cd])).toEqual(['a', 'b', 'new', 'cd']);
    expect(ids([cd, a])).toEqual(['cd', 'a', 'new']);
  });

  it('moves one item and keeps the others in theirs', () => {
    expect(moved(['a', 'b', 'c'], 0, 2)).toEqual(['b', 'c', 'a']);
    expect(moved(['a', 'b', 'c'], 2, -1)).toEqual(['c', 'a', 'b']);
    expect(moved(['a'], 4, 0)).toEqual(['a']);
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.integer(), { minLength: 1 }),
        fc.nat(20),
        fc.integer({ min: -3, max: 23 }),
        (list, from, to) => {
          const result = moved(list, from, to);
          expect([...result].sort()).toEqual([...list].sort());
          const item = list[from];
          if (item !== undefined) expect(result.filter((x) => x !== item)).toEqual(list.filter((x) => x !== item));
        },
      ),
    );
  });

  it('a dragged row takes the place whose middle it has passed', () => {
    const middles = [20, 60, 100, 140];
    expect(dropIndex(middles, 1, 60)).toBe(1);
    expect(dropIndex(middles, 1, 99)).toBe(1);
    expect(dropIndex(middles, 1, 101)).toBe(2);
    expect(dropIndex(middles, 1, 900)).toBe(3);
    expect(dropIndex(middles, 3, 19)).toBe(0);
  });
});

describe('images', () => {
  it('a variant that a format does not have becomes one that it has', () => {
    expect(variantFor('qcow2', 'fixed')).toBe('dynamic');
    expect(variantFor('vmdk', 'splitFixed')).toBe('splitFixed');
    for (const f of FORMATS) expect(f.variants.length).toBeGreaterThan(0);
  });

  it('sizes have limits, per format', () => {
    expect(sizeProblem(20, 'qcow2')).toBeUndefined();
    expect(sizeProblem(0, 'raw')).toBeDefined();
    expect(sizeProblem(Number.NaN, 'raw')).toBeDefined();
    expect(sizeProblem(2041, 'vhd')).toMatch(/2040 GiB|1.99 TiB/);
    expect(sizeProblem(2041, 'vhdx')).toBeUndefined();
  });

  it('the forecast warns when the host has less than the disk may take', () => {
    expect(sizeForecast(20, 'dynamic', bytesOf(100)).tone).toBeNull();
    expect(sizeForecast(20, 'dynamic', bytesOf(10))).toEqual({
      tone: 'amber',
      text: expect.stringMatching(/next to nothing.*20 GiB.*Only 10 GiB/) as string,
    });
    expect(sizeForecast(20, 'fixed', undefined).text).toMatch(/from the start/);
  });
});

describe('paths', () => {
  it('are kept whole on both kinds of host', () => {
    expect(folderOf('/a/b/c.img')).toBe('/a/b');
    expect(folderOf('/c.img')).toBe('/');
    expect(joinPath('/', 'x')).toBe('/x');
    expect(joinPath('C:\\vm', 'x')).toBe('C:\\vm\\x');
  });

  it('new files never land on those the machine has', () => {
    expect(freeDiskPath('/vm', 'qcow2', [])).toBe('/vm/disk.qcow2');
    expect(freeDiskPath('/vm', 'qcow2', ['/vm/disk.qcow2', '/vm/disk-2.qcow2'])).toBe('/vm/disk-3.qcow2');
    expect(convertTarget('/vm/disk.img', 'vdi', [])).toBe('/vm/disk.vdi');
    expect(convertTarget('/vm/disk.img', 'raw', [])).toBe('/vm/disk-2.img');
    expect(withFormat('/vm/My.disk.img', 'vhd')).toBe('/vm/My.disk.vhd');
    expect(formatEntry('raw').extension).toBe('img');
  });

  it.each([
    ['', true],
    ['disk.img', true],
    ['/vm/', true],
    ['/vm/used.img', true],
    ['/vm/new.img', false],
    ['D:\\new.img', false],
  ])('%j is refused: %s', (path, refused) => {
    expect(pathProblem(path, ['/vm/used.img']) !== undefined).toBe(refused);
  });
});

it('says when there is nothing to start', () => {
  expect(bootAdvice({ boot: { kind: 'firmware' }, disks: [] })).toMatch(/Storage/);
  expect(bootAdvice({ boot: { kind: 'firmware' }, disks: [disk('a')] })).toBeNull();
  expect(bootAdvice({ boot: { kind: 'builtin' }, disks: [] })).toBeNull();
});

it('remembers the last media once each', () => {
  let list: string[] = [];
  for (let i = 0; i < 10; i++) list = addRecent(list, `/${i}`);
  expect(list).toHaveLength(RECENT_MEDIA);
  expect(addRecent(list, '/7')[0]).toBe('/7');
  expect(addRecent(list, '/7').filter((p) => p === '/7')).toHaveLength(1);
});

it('guesses the time left only once there is something to go by', () => {
  expect(secondsLeft(0.01, 10)).toBeNull();
  expect(secondsLeft(0.5, 1)).toBeNull();
  expect(secondsLeft(0.25, 10)).toBe(30);
  expect(secondsLeft(1, 10)).toBe(0);
});
