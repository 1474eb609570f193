/** Debian's virtio_gpu driver on the adapter, watched through a viewer of the served app: the picture, and a window that is resized. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { afterEach, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { BOOT_SECONDS, fixture, PATIENCE, ROOT, scratch } from './harness';
import { join } from 'node:path';

const LODGE = join(ROOT, 'resources/tools/lodge.mjs');
const SERIAL = 2;
const FRAME = 1;

let server: ChildProcess | undefined;
afterEach(async () => {
  if (!server) return;
  const gone = new Promise((done) => server!.once('exit', done));
  server.kill('SIGTERM');
  await gone;
});

/** What a viewer sees: serial text, the size of the screen, and the picture put together from its rectangles. */
class Watcher {
  text = '';
  screen = { width: 0, height: 0, mode: '' };
  readonly sizes: string[] = [];
  absolute = false;
  private picture = new Uint8Array(0);

  constructor(readonly ws: WebSocket) {
    ws.on('message', (data: Buffer, binary: boolean) => {
      if (binary) this.binary(data);
      else {
        const message = JSON.parse(data.toString()) as {
          type: string;
          width: number;
          height: number;
          mode: string;
          absolute: boolean;
        };
        if (message.type === 'pointer') this.absolute = message.absolute;
        if (message.type !== 'screen') return;
        this.screen = message;
        this.sizes.push(`${message.width}x${message.height}`);
        this.picture = new Uint8Array(message.width * message.height * 4);
      }
    });
  }

  send(message: object): void {
    this.ws.send(JSON.stringify(message));
  }

  pixel(x: number, y: number): number[] {
    const at = (y * this.screen.width + x) * 4;
    return [...this.picture.subarray(at, at + 3)];
  }

  private binary(data: Buffer): void {
    if (data[0] === SERIAL) this.text += data.toString('latin1', 2).replaceAll('\r', '');
    if (data[0] !== FRAME) return;
    let at = 8;
    for (let n = data.readUInt16LE(2); n > 0; n--) {
      const [x, y, width, height] = [0, 2, 4, 6].map((o) => data.readUInt16LE(at + o)) as [number, number, number, number];
      at += 8;
      for (let line = 0; line < height; line++, at += width * 4)
        this.picture.set(data.subarray(at, at + width * 4), ((y + line) * this.screen.width + x) * 4);
    }
    this.send({ type: 'frameDrawn', frame: data.readUInt32LE(4) });
  }
}

it('virtio-gpu: the driver finds it, its picture arrives, and it follows the window', async (context) => {
  const guest = fixture(context, 'linux-image-amd64');
  const data = scratch();
  const lodge = (...args: string[]): string => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [LODGE, ...args, '--data', data], { encoding: 'utf8' });
    expect(status, stderr).toBe(0);
    return stdout;
  };
  server = spawn(process.execPath, [LODGE, 'serve', '--port', '0', '--data', data], { stdio: ['ignore', 'pipe', 'inherit'] });
  let said = '';
  server.stdout!.on('data', (text: Buffer) => (said += text.toString()));
  await expect.poll(() => said, { timeout: 20_000 * PATIENCE }).toMatch(/http:\S+\n/);
  const url = new URL(/http:\S+/.exec(said)![0]);
  const append = 'console=ttyS0 panic=-1 quiet lodge.test=graphics';
  lodge(
    'create',
    'screen',
    '--memory',
    '256',
    '--video',
    'virtio',
    '--kernel',
    guest.kernel,
    '--initrd',
    guest.initrd,
    '--append',
    append,
  );
  lodge('start', 'screen');
  const { definition } = JSON.parse(lodge('show', 'screen')) as { definition: { id: string } };

  const ws = new WebSocket(`ws://${url.host}/viewer/${definition.id}${url.search}`);
  const watcher = new Watcher(ws);
  await new Promise((open) => ws.once('open', open));
  watcher.send({ type: 'resize', width: 1000, height: 600 });
  watcher.send({ type: 'attach', display: true, serial: [0] });
  const told = { timeout: BOOT_SECONDS * 1000 * PATIENCE };
  // Text from the adapter's VGA half first.
  await expect.poll(() => watcher.screen.mode, told).toBe('text');
  await expect.poll(() => watcher.text, told).toMatch(/LODGE-SCREEN .*\n/);
  expect(/LODGE-SCREEN (.*?)\s*\n/.exec(watcher.text)![1]).toBe('driver=virtio_gpudrmfb mode=1000x600 fb=1000,600 depth=32');
  await expect.poll(() => watcher.text, told).toContain('LODGE-DRAWN');
  expect(watcher.screen).toMatchObject({ width: 1000, height: 600, mode: 'graphics' });
  await expect.poll(() => [[500, 100], [999, 199], [500, 200], [999, 399]].map(([x, y]) => watcher.pixel(x!, y!)), told)
    .toEqual([[255, 0, 0], [255, 0, 0], [0, 255, 0], [0, 255, 0]]); // prettier-ignore

  await expect.poll(() => watcher.text, told).toContain('LODGE-TABLET');
  expect(watcher.absolute).toBe(true);
  watcher.send({ type: 'pointer', x: 12345, y: 54321, buttons: 0, wheel: 0 });
  await expect.poll(() => watcher.text, told).toMatch(/LODGE-EVENTS .*\n/);
  expect(/LODGE-EVENTS (.*)\n/.exec(watcher.text)![1]!.trim()).toBe('3 0 12345,3 1 54321,0 0 0,');

  watcher.send({ type: 'resize', width: 900, height: 500 });
  await expect.poll(() => watcher.text, told).toMatch(/LODGE-SCREEN .*mode=900x500/);
  await expect.poll(() => watcher.sizes, told).toContain('900x500');
  await expect.poll(() => watcher.text, told).toContain('LODGE-DONE');
  ws.close();
});
