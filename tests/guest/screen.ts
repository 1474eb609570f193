/** A `lodge run` whose screen is followed: text of the VGA, keys, and the power button, through the machine's control socket. */
import { constants, copyFileSync, existsSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { decode } from 'fast-png';
import type { TestContext } from 'vitest';
import { dataPaths } from '../../main/lib/paths';
import { connectAll, type LocalClient } from '../../main/rpc/local-socket';
import { MEDIA } from '../../resources/tools/lib/media.mjs';
import { GuestRun, lodge, PATIENCE, scratch } from './harness';

/** The medium's path, or the test is skipped with the reason it is missing. */
export function medium(context: TestContext, name: string): string {
  const all = existsSync(MEDIA)
    ? (JSON.parse(readFileSync(MEDIA, 'utf8')) as Record<string, { path?: string; problem?: string }>)
    : {};
  const found = all[name];
  if (found?.path === undefined || !existsSync(found.path)) context.skip(found?.problem ?? `no ${name}: npm test sets it up`);
  return found!.path!;
}

/** A copy to write to: a machine has a disk to itself, and other tests use the same medium at the same time. */
export function ownMedium(context: TestContext, name: string): string {
  const path = medium(context, name);
  const copy = join(scratch(), basename(path));
  copyFileSync(path, copy, constants.COPYFILE_FICLONE);
  return copy;
}

const POLL_MS = 500;
const NAME = 'screen';

export interface Picture {
  readonly width: number;
  readonly height: number;
  readonly channels: number;
  /** Row by row, `channels` values a pixel. */
  readonly data: ArrayLike<number>;
}

export interface Change {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
  /** Those that differ; the rectangle is the smallest that holds them all. */
  readonly pixels: number;
}

/** What differs between two pictures of one size; undefined: nothing does. */
export function changedArea(before: Picture, after: Picture): Change | undefined {
  let [left, top, right, bottom, pixels] = [Infinity, Infinity, -1, -1, 0];
  for (let at = 0; at < before.data.length; at += before.channels) {
    let same = true;
    for (let i = at; i < at + before.channels; i++) same &&= before.data[i] === after.data[i];
    if (same) continue;
    const pixel = at / before.channels;
    const [x, y] = [pixel % before.width, Math.floor(pixel / before.width)];
    [left, right, top, bottom] = [Math.min(left, x), Math.max(right, x), Math.min(top, y), Math.max(bottom, y)];
    pixels++;
  }
  return pixels === 0 ? undefined : { x: left, y: top, width: right - left + 1, height: bottom - top + 1, pixels };
}

export class ScreenRun extends GuestRun {
  private client: LocalClient | undefined;
  private id = '';

  constructor(
    args: readonly string[],
    private readonly data = scratch(),
    command: readonly string[] = ['run', '--name', NAME, '--display', 'none', '--serial', 'stdio'],
  ) {
    super([...command, '--data', data, ...args]);
  }

  /** The only machine of a Lodge that serves, which it also starts: as people have it, the key of its boot menu included. */
  static async served(machine: readonly string[]): Promise<ScreenRun> {
    const data = scratch();
    const run = new ScreenRun(['--port', '0'], data, ['serve']);
    await run.waitFor(/Lodge is at/, 30);
    for (const command of [
      ['create', 'screen', ...machine],
      ['start', 'screen'],
    ]) {
      const { code, stderr } = lodge([...command, '--data', data]);
      if (code !== 0) throw new Error(stderr);
    }
    return run;
  }

  /** The text screen, one line each; empty while the machine starts or shows graphics. */
  async screen(): Promise<string> {
    const client = await this.connected();
    if (!client) return '';
    const { lines } = await client.call('vm.text', { id: this.id }).catch(() => ({ lines: null }));
    return (lines ?? []).map((line) => line.trimEnd()).join('\n');
  }

  /** Polls until the screen shows it; returns the screen. */
  async waitForScreen(marker: RegExp, seconds: number): Promise<string> {
    const deadline = Date.now() + seconds * PATIENCE * 1000;
    for (;;) {
      const text = await this.screen();
      if (marker.test(text)) return text;
      if (this.hasEnded) throw new Error(`lodge ended before the screen showed ${String(marker)}\n${text}\n${this.tail()}`);
      if (Date.now() > deadline) {
        this.kill();
        throw new Error(`the screen did not show ${String(marker)} within ${seconds * PATIENCE} s\n${text}\n${this.tail()}`);
      }
      await new Promise((done) => setTimeout(done, POLL_MS));
    }
  }

  /** What is on the screen, pixel by pixel; undefined while the machine starts or its screen is off. */
  async picture(): Promise<Picture | undefined> {
    const client = await this.connected();
    const shot = await client?.call('vm.screenshot', { id: this.id }).catch(() => undefined);
    return shot && decode(Buffer.from(shot.png, 'base64'));
  }

  /** Polls until a picture is as `found` says; returns it. */
  async waitForPicture(what: string, seconds: number, found: (picture: Picture) => boolean): Promise<Picture> {
    const deadline = Date.now() + seconds * PATIENCE * 1000;
    for (;;) {
      const picture = await this.picture();
      if (picture && found(picture)) return picture;
      if (this.hasEnded) throw new Error(`lodge ended before there was ${what}\n${this.tail()}`);
      if (Date.now() > deadline) {
        this.kill();
        const size = picture ? `${picture.width}×${picture.height}` : 'no picture';
        throw new Error(`there was no ${what} within ${seconds * PATIENCE} s (${size} at the end)\n${this.tail()}`);
      }
      await new Promise((done) => setTimeout(done, POLL_MS));
    }
  }

  /** MiB that the VM process has beside guest memory and what the code cache's limit counts. */
  async overheadMiB(): Promise<number> {
    const client = await this.connected();
    const stats = await client?.call('vm.stats', { id: this.id });
    const cached = stats?.vcpus.reduce((sum, { translator }) => sum + (translator?.codeBytes ?? 0), 0);
    if (cached === undefined) throw new Error('the machine cannot be reached');
    // Code is mapped twice.
    const rest = this.vmMappings().filter(({ name }) => !/lodge-ram|^r-x. .*lodge-code/.test(name));
    return (rest.reduce((sum, { bytes }) => sum + bytes, 0) - cached) / (1 << 20);
  }

  /** Moves the mouse by pixels and holds the buttons of the mask from then on. */
  async mouse(dx: number, dy: number, buttons = 0): Promise<void> {
    const client = await this.connected();
    if (!client) throw new Error('the machine cannot be reached');
    await client.call('vm.pointer', { id: this.id, event: { type: 'mouse', dx, dy, buttons, wheel: 0 } });
  }

  async keys(keys: string): Promise<void> {
    const client = await this.connected();
    if (!client) throw new Error('the machine cannot be reached');
    await client.call('vm.keys', { id: this.id, keys });
  }

  private async connected(): Promise<LocalClient | undefined> {
    if (this.client) return this.client;
    const [client] = await connectAll(dataPaths({ dataDir: this.data }).instanceDir);
    if (!client) return undefined;
    const vm = (await client.call('vm.list', null)).find(({ definition }) => definition.name === NAME);
    if (!vm) {
      client.close();
      return undefined;
    }
    this.id = vm.definition.id;
    return (this.client = client);
  }
}
