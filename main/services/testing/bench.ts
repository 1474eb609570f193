/** A Lodge in a temporary folder whose VM processes are the fake of main/process/testing. Tests only. */
import { mkdtemp, rm, writeFile, mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ImageInfo, LodgeEvent, VmConfig } from '../../../preload/contract';
import { appLayout, dataPaths, type AppLayout, type DataPaths } from '../../lib/paths';
import type { Spawner } from '../../process/channel';
import { nodeSpawner } from '../../process/node-spawner';
import { Lodge, type LodgeOptions } from '../lodge';

export const FAKE_VM = fileURLToPath(new URL('../../process/testing/fake-vm.mjs', import.meta.url));

export interface Place {
  readonly dir: string;
  readonly paths: DataPaths;
  readonly layout: AppLayout;
  /** Of every VM process started here, in order. */
  readonly pids: number[];
  file(name: string, content: string | Buffer): Promise<string>;
  clean(): Promise<void>;
}

export async function place(): Promise<Place> {
  const dir = await mkdtemp(join(tmpdir(), 'lodge-'));
  await mkdir(join(dir, 'run'), { mode: 0o700 });
  const paths = dataPaths({ dataDir: join(dir, 'data'), env: { XDG_RUNTIME_DIR: join(dir, 'run') }, platform: 'linux' });
  const base = appLayout(join(dir, 'app', 'out', 'main'), '0.0.0-test', { LODGE_VM_ENTRY: FAKE_VM });
  await mkdir(join(base.builtinGuest, '..'), { recursive: true });
  await writeFile(base.builtinGuest, 'guest');
  await mkdir(base.renderer, { recursive: true });
  await writeFile(join(base.renderer, 'index.html'), '<!doctype html><title>Lodge</title>');
  return {
    dir,
    paths,
    layout: base,
    pids: [],
    file: async (name, content) => {
      const path = join(dir, name);
      await writeFile(path, content);
      return path;
    },
    clean: () => rm(dir, { recursive: true, force: true }),
  };
}

const inspect = async (path: string): Promise<ImageInfo> => ({
  path,
  kind: path.endsWith('.iso') ? 'disc' : 'disk',
  format: 'raw',
  bytes: 512,
  suggestedName: 'x',
  suggestedOs: 'other',
  bootable: false,
  ...(path.endsWith('.txt') && { problem: 'it is a text file' }),
});

export const spawner =
  (at: Place): Spawner =>
  (options, listener) => {
    const channel = nodeSpawner(FAKE_VM)(options, listener);
    if (channel.pid !== undefined) at.pids.push(channel.pid);
    return channel;
  };

export const openLodge = (at: Place, more: Partial<LodgeOptions> = {}): Promise<Lodge> =>
  Lodge.open({
    paths: at.paths,
    layout: at.layout,
    mode: 'server',
    spawn: spawner(at),
    inspectImage: inspect,
    deadlines: { stopMs: 2000 },
    ...more,
  });

/** `behaviour` steers the fake VM process. */
export async function linuxConfig(at: Place, name: string, behaviour = '', change: Partial<VmConfig> = {}): Promise<VmConfig> {
  const kernel = await at.file('vmlinuz', 'kernel');
  return {
    name,
    os: 'linux',
    notes: '',
    cpus: 1,
    memoryMiB: 16,
    boot: { kind: 'linux', kernel, commandLine: behaviour },
    disks: [],
    serialPorts: 1,
    accelerator: 'auto',
    tier: 'auto',
    ...change,
  };
}

export function record(lodge: Lodge): LodgeEvent[] {
  const events: LodgeEvent[] = [];
  lodge.hub.subscribe((event) => events.push(event));
  return events;
}
