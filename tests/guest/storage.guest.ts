/** Debian's own drivers on the storage controllers: ata_piix, ahci, sr_mod and floppy; a disc that the guest and the host both take out. */
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, expect, it, type TestContext } from 'vitest';
import { BOOT_SECONDS, boot, fixture, lodge, scratch, section, type GuestRun } from './harness';

const KERNEL = 'linux-image-amd64';
const MIB = 1 << 20;
const sha256 = (data: Uint8Array): string => createHash('sha256').update(data).digest('hex');
/** What the guest writes: `yes lodge-guest-wrote-this | head -c n`. */
const pattern = (bytes: number): Buffer => Buffer.alloc(bytes, 'lodge-guest-wrote-this\n');

function image(folder: string, name: string, bytes: number): { path: string; data: Buffer } {
  const path = join(folder, name);
  const data = randomBytes(bytes);
  writeFileSync(path, data);
  return { path, data };
}

function iso(context: TestContext, folder: string, label: string, text: string): string {
  const tree = join(folder, label);
  mkdirSync(tree);
  writeFileSync(join(tree, 'HELLO.TXT'), `${text}\n`);
  writeFileSync(join(tree, 'BLOB.BIN'), randomBytes(MIB));
  const path = join(folder, `${label}.iso`);
  const made = spawnSync('xorriso', ['-as', 'mkisofs', '-V', label, '-o', path, tree]);
  if (made.error) context.skip('no xorriso to make a disc with');
  return path;
}

function unexpectedMessages(text: string): string[] {
  return section(text, 'dmesg').filter((line) => /\b(ata\d|sr0|sd[ab]|floppy|ahci|I\/O error)/.test(line));
}

describe('storage controllers', () => {
  it('IDE and AHCI disks keep what is written, a disc is mounted, a diskette is read and written', async (context) => {
    const guest = fixture(context, KERNEL);
    const folder = scratch();
    const [ide, sata, floppy] = [
      image(folder, 'ide.img', 8 * MIB),
      image(folder, 'sata.img', 8 * MIB),
      image(folder, 'floppy.img', 1474560),
    ];
    const disc = iso(context, folder, 'LODGE1', 'hello-disc-one');
    const run = boot(guest, {
      test: 'storage',
      append: 'quiet',
      extra: ['--disk', `${ide.path},bus=ide`, '--disk', `${sata.path},bus=ahci`, '--cdrom', disc, '--floppy', floppy.path],
    });
    await run.waitFor(/LODGE-DONE/, BOOT_SECONDS);
    const exit = await run.ended(30);
    expect(exit.code, exit.stderr).toBe(0);
    const text = exit.stdout;
    expect(text).toMatch(/LODGE-STORAGE sr0 .*driver=ata_piix/);
    for (const [driver, { path, data }] of [
      ['ata_piix', ide],
      ['ahci', sata],
    ] as const) {
      // Linux looks at both controllers at once: either may be first.
      const name = new RegExp(`LODGE-STORAGE (sd[ab]) sectors=16384 driver=${driver} model=Lodge disk`).exec(text)?.[1];
      expect(name, `the disk of ${driver}`).toBeDefined();
      expect(text).toContain(`LODGE-DISK ${name} read=${sha256(data)}`);
      expect(text).toContain(`LODGE-DISK ${name} reread=${sha256(pattern(MIB))}`);
      pattern(MIB).copy(data, MIB);
      expect(readFileSync(path).equals(data), `${name} on the host`).toBe(true);
    }
    expect(text).toContain(`LODGE-FLOPPY read=${sha256(floppy.data)}`);
    expect(text).toContain('LODGE-FLOPPY written=0');
    pattern(36864).copy(floppy.data, 36864);
    expect(readFileSync(floppy.path).equals(floppy.data), 'the diskette on the host').toBe(true);
    expect(text).toContain('LODGE-DISC label=LODGE1 file=hello-disc-one');
    expect(unexpectedMessages(text)).toEqual([]);
  });

  it('a disc is ejected by the guest, changed by the user, locked, and taken out by force', async (context) => {
    const guest = fixture(context, KERNEL);
    const folder = scratch();
    const [one, two] = [iso(context, folder, 'LODGE1', 'hello-disc-one'), iso(context, folder, 'LODGE2', 'hello-disc-two')];
    const name = `discs-${process.pid}`;
    const env = { LODGE_DATA_DIR: join(folder, 'data') };
    const run: GuestRun = boot(guest, {
      test: 'storage',
      append: 'quiet lodge.eject',
      extra: ['--name', name, '--cdrom', one],
      env,
    });
    const discs = (): { id: string; path: string }[] => JSON.parse(lodge(['show', name], env).stdout).definition.disks;
    await run.waitFor(/LODGE-DISC label=LODGE1 file=hello-disc-one/, BOOT_SECONDS);
    await run.waitFor(/LODGE-EJECTED code=0/, 30);
    await expect.poll(discs, { timeout: 10_000 }).toEqual([]);
    expect(lodge(['attach', name, two], env).code).toBe(0);
    await run.waitFor(/LODGE-DISC label=LODGE2 file=hello-disc-two/, 60);
    await run.waitFor(/LODGE-LOCKED/, 30);
    const [disc] = discs();
    expect(disc?.path).toBe(two);
    expect(lodge(['attach', name, one], env).stderr).toMatch(/no empty disc drive/);
    const locked = lodge(['detach', name, disc!.id], env);
    expect([locked.code, locked.stderr]).toEqual([1, expect.stringMatching(/locked it in/)]);
    expect(lodge(['detach', name, disc!.id, '--force'], env).code).toBe(0);
    expect(discs()).toEqual([]);
    run.type('\n');
    await run.waitFor(/LODGE-DONE/, 60);
    expect((await run.ended(30)).code).toBe(0);
    expect(run.text).toMatch(/LODGE-UEVENT.*DISK_MEDIA_CHANGE=1/);
  });
});
