/** An installed Debian on a disk of the test's own: its login on screen and serial line, its power-off, and the disk afterwards. */
import { spawnSync } from 'node:child_process';
import { copyFileSync } from 'node:fs';
import { constants } from 'node:fs';
import { join } from 'node:path';
import { expect, type TestContext } from 'vitest';
import { medium, ScreenRun } from './screen';
import { scratch, type Exit } from './harness';

export const TIER = ['--tier', 'interpreter'] as const;
/** From power-on to the login prompt in the interpreter, on two busy cores. */
export const LOGIN_SECONDS = 150;
const PARTITION_AT = 1 << 20;
const PASSWORD = 'lodge';

/** A copy that the test may write to. */
export function debianDisk(context: TestContext, name: 'debian.img' | 'debian-efi.img' = 'debian.img'): string {
  const path = join(scratch(), name);
  copyFileSync(medium(context, name), path, constants.COPYFILE_FICLONE);
  return path;
}

export class DebianRun extends ScreenRun {
  constructor(args: readonly string[]) {
    super(['--memory', '512', ...TIER, ...args]);
  }

  /** Both terminals ask for a name; then somebody logs in at the keyboard. */
  async logIn(): Promise<void> {
    await this.waitFor(/lodge-debian login: /, LOGIN_SECONDS);
    await this.waitForScreen(/Debian GNU\/Linux 12 lodge-debian tty1\n+lodge-debian login:/, 30);
    await this.keys('root\n');
    await this.waitForScreen(/Password:/, 30);
    await this.keys(`${PASSWORD}\n`);
    await this.waitForScreen(/root@lodge-debian:~# *$/m, 60);
  }

  /** Types a command; the screen is awaited, which `marker` describes. */
  async command(command: string, marker: RegExp, seconds = 30): Promise<string> {
    await this.keys(`${command}\n`);
    return this.waitForScreen(marker, seconds);
  }

  async powerOff(): Promise<Exit> {
    await this.keys('systemctl poweroff\n');
    const exit = await this.ended(90);
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
