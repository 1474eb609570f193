/** An installed Debian on a disk of the test's own: its login on screen and serial line, its power-off, and the disk afterwards. */
import { spawnSync } from 'node:child_process';
import { expect, type TestContext } from 'vitest';
import { ownMedium, ScreenRun } from './screen';
import { lodge, TIER, type Exit } from './harness';

/** From power-on to the login prompt in the interpreter, on two busy cores. */
export const LOGIN_SECONDS = 150;
const PARTITION_AT = 1 << 20;
/** Behind the system partition. */
export const EFI_ROOT_AT = 41 << 20;
const PASSWORD = 'lodge';

/** A copy that the test may write to. */
export const debianDisk = (context: TestContext, name: 'debian.img' | 'debian-efi.img' = 'debian.img'): string =>
  ownMedium(context, name);

/** The same disk as an image of another format. */
export function converted(disk: string, format: string): string {
  return format === 'raw' ? disk : convert(disk, format, disk.replace(/[^.]+$/, format));
}

/** What is in the image now. */
export const asRaw = (disk: string): string => (disk.endsWith('.img') ? disk : convert(disk, 'raw', `${disk}.raw`));

function convert(disk: string, format: string, target: string): string {
  const { code, stderr } = lodge(['disk', 'convert', disk, target, '--format', format]);
  expect(code, stderr).toBe(0);
  return target;
}

export class DebianRun extends ScreenRun {
  constructor(args: readonly string[]) {
    super(['--memory', '512', ...TIER, ...args]);
  }

  /** Both terminals ask for a name; then somebody logs in at the keyboard. */
  async logIn(slowdown = 1): Promise<void> {
    await this.waitFor(/lodge-debian login: /, LOGIN_SECONDS * slowdown);
    await this.waitForScreen(/Debian GNU\/Linux 12 lodge-debian tty1\n+lodge-debian login:/, 30 * slowdown);
    await this.keys('root\n');
    await this.waitForScreen(/Password:/, 30 * slowdown);
    await this.keys(`${PASSWORD}\n`);
    await this.waitForScreen(/root@lodge-debian:~# *$/m, 60 * slowdown);
  }

  /** Types a command; the screen is awaited, which `marker` describes. */
  async command(command: string, marker: RegExp, seconds = 30): Promise<string> {
    await this.keys(`${command}\n`);
    return this.waitForScreen(marker, seconds);
  }

  /** GRUB's other entry: a script instead of init compares files, changes one, and switches off. */
  async check(): Promise<Exit> {
    // A key that comes before the menu waits for it.
    await this.waitForScreen(/Booting from|Check of the disk/, 60);
    await this.keys('k');
    return this.checked();
  }

  /** The end of that, once its entry was chosen. */
  async checked(): Promise<Exit> {
    const [, found] = await this.waitFor(/LODGE-CHECK (\w+)\r?\nLODGE-CHECK written/, LOGIN_SECONDS);
    expect(found, 'files that apt installed').toBe('same');
    const exit = await this.ended(60);
    expect(exit.code, exit.stderr).toBe(0);
    return exit;
  }

  async powerOff(slowdown = 1): Promise<Exit> {
    await this.keys('systemctl poweroff\n');
    const exit = await this.ended(90 * slowdown);
    expect(exit.code, exit.stderr).toBe(0);
    return exit;
  }
}

/** What e2fsck, which changes nothing, says of the root file system of a raw disk. */
export function expectCleanRoot(disk: string, at = PARTITION_AT): void {
  const { status, stdout, stderr } = spawnSync('e2fsck', ['-fn', `${disk}?offset=${at}`], { encoding: 'utf8' });
  expect({ status, said: `${stdout}${stderr}` }).toEqual({
    status: 0,
    said: expect.not.stringMatching(/recovering journal|errors/i),
  });
}

/** A file of the root file system of a raw disk; empty when it is not there. */
export function fileOnRoot(disk: string, path: string, at = PARTITION_AT): string {
  return spawnSync('debugfs', ['-R', `cat ${path}`, `${disk}?offset=${at}`], { encoding: 'utf8' }).stdout;
}
