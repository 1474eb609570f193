/** A `lodge run` whose screen is followed: text of the VGA, keys, and the power button, through the machine's control socket. */
import { constants, copyFileSync, existsSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { TestContext } from 'vitest';
import { dataPaths } from '../../main/lib/paths';
import { connectAll, type LocalClient } from '../../main/rpc/local-socket';
import { MEDIA } from '../../resources/tools/lib/media.mjs';
import { GuestRun, PATIENCE, scratch } from './harness';

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

export class ScreenRun extends GuestRun {
  private client: LocalClient | undefined;
  private id = '';

  constructor(
    args: readonly string[],
    private readonly data = scratch(),
  ) {
    super(['run', '--name', 'screen', '--data', data, '--display', 'none', '--serial', 'stdio', ...args]);
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

  async keys(keys: string): Promise<void> {
    const client = await this.connected();
    if (!client) throw new Error('the machine cannot be reached');
    await client.call('vm.keys', { id: this.id, keys });
  }

  private async connected(): Promise<LocalClient | undefined> {
    if (this.client) return this.client;
    const [client] = await connectAll(dataPaths({ dataDir: this.data }).instanceDir);
    if (!client) return undefined;
    const [vm] = await client.call('vm.list', null);
    if (!vm) {
      client.close();
      return undefined;
    }
    this.id = vm.definition.id;
    return (this.client = client);
  }
}
