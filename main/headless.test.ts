import { createServer } from 'node:http';
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createBirpc } from 'birpc';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { WebSocket } from 'ws';
import type { CallResult, LodgeEvent } from '../preload/contract';
import { serve, type Serving } from './headless';
import { silentLogger } from './lib/log';
import { connectAll } from './rpc/local-socket';
import { linuxConfig, place, spawner, type Place } from './services/testing/bench';

const TOKEN = 'test-token';
let at: Place;
let serving: Serving | undefined;
const start = async (change: Partial<Parameters<typeof serve>[0]> = {}) =>
  (serving = await serve({
    host: '127.0.0.1',
    port: 0,
    paths: at.paths,
    layout: at.layout,
    spawn: spawner(at),
    token: TOKEN,
    log: silentLogger,
    ...change,
  }));
beforeEach(async () => {
  at = await place();
});
afterEach(async () => {
  await serving?.close();
  serving = undefined;
  await at.clean();
});

interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  body: string;
}
/** fetch() forbids Host and normalizes paths. */
const http = (
  path: string,
  options: { method?: string; headers?: Record<string, string>; body?: string } = {},
): Promise<Answer> =>
  new Promise((resolve, reject) => {
    const request = httpRequest(
      { port: serving!.port, host: '127.0.0.1', path, method: options.method ?? 'GET', headers: options.headers },
      (response) => {
        let body = '';
        response
          .setEncoding('utf8')
          .on('data', (d) => (body += d))
          .on('end', () => resolve({ status: response.statusCode!, headers: response.headers, body }));
      },
    );
    request.on('error', reject);
    request.end(options.body);
  });
const cookie = async () => (await http(`/?token=${TOKEN}`)).headers['set-cookie']![0]!.split(';')[0]!;
const upgrade = (path: string, headers: Record<string, string>): Promise<number | 'open'> =>
  new Promise((resolve) => {
    const ws = new WebSocket(`ws://127.0.0.1:${serving!.port}${path}`, { headers });
    ws.on('open', () => {
      ws.close();
      resolve('open');
    });
    ws.on('unexpected-response', (_, response) => {
      response.destroy();
      resolve(response.statusCode!);
    });
    ws.on('error', () => {});
  });
async function client(headers: Record<string, string>) {
  const ws = new WebSocket(`ws://127.0.0.1:${serving!.port}/api`, { headers });
  await new Promise((resolve, reject) => {
    ws.once('open', resolve);
    ws.once('error', reject);
  });
  const events: LodgeEvent[] = [];
  const rpc = createBirpc<{ call(name: string, input?: unknown): Promise<CallResult<unknown>> }, { event(e: LodgeEvent): void }>(
    { event: (e) => void events.push(e) },
    {
      post: (d: string) => ws.send(d),
      on: (f) => void ws.on('message', (d) => f(String(d))),
      serialize: JSON.stringify,
      deserialize: JSON.parse,
    },
  );
  return { ws, rpc, events };
}

describe('the served app', () => {
  it('shows its page with a policy, and exchanges the token for a cookie', async () => {
    await start();
    const page = await http('/');
    expect([page.status, page.body]).toEqual([200, '<!doctype html><title>Lodge</title>']);
    expect(page.headers['content-security-policy']).toContain("default-src 'self'");
    expect(page.headers['content-security-policy']).toContain("frame-ancestors 'none'");
    expect(page.headers['x-content-type-options']).toBe('nosniff');
    const exchange = await http(`/?token=${TOKEN}`);
    expect([exchange.status, exchange.headers.location]).toEqual([303, '/']);
    expect(exchange.headers['set-cookie']![0]).toMatch(/HttpOnly; SameSite=Strict$/);
    expect(exchange.headers['set-cookie']![0]).not.toContain(TOKEN);
    expect((await http('/?token=wrong')).status).toBe(403);
    expect(serving!.url).toBe(`http://127.0.0.1:${serving!.port}/?token=${TOKEN}`);
  });

  it('lets nobody in without the token, from a foreign origin, or under a foreign name', async () => {
    await start();
    const session = await cookie();
    const own = `http://127.0.0.1:${serving!.port}`;
    for (const path of ['/api', '/viewer/6f1c6dd0-5a07-4b5e-9d2f-1b6f3a1c2d3e']) {
      expect(await upgrade(path, { origin: own })).toBe(401);
      expect(await upgrade(`${path}?token=wrong`, { origin: own })).toBe(401);
      expect(await upgrade(path, { origin: own, cookie: `lodge-${serving!.port}=wrong` })).toBe(401);
      expect(await upgrade(path, { origin: 'http://evil.example', cookie: session })).toBe(403);
      expect(await upgrade(path, { origin: `http://127.0.0.1:${serving!.port + 1}`, cookie: session })).toBe(403);
      expect(await upgrade(path, { origin: 'null', cookie: session })).toBe(403);
      expect(await upgrade(path, { origin: own, cookie: session, 'sec-fetch-site': 'cross-site' })).toBe(403);
      expect(await upgrade(path, { origin: 'http://evil.example', host: 'evil.example', cookie: session })).toBe(421);
    }
    expect(await upgrade('/api', { origin: own, cookie: session })).toBe('open');
    expect(await upgrade(`/api?token=${TOKEN}`, {})).toBe('open');
    expect(await upgrade('/other', { origin: own, cookie: session })).toBe(404);
    expect((await http('/', { headers: { host: 'evil.example' } })).status).toBe(421);
    expect((await http('/', { headers: { host: 'localhost:1' } })).status).toBe(200);
    expect((await http('/upload?name=x.iso', { method: 'PUT', body: 'x' })).status).toBe(401);
    expect(
      (
        await http('/upload?name=x.iso', {
          method: 'PUT',
          body: 'x',
          headers: { cookie: session, origin: 'http://evil.example' },
        })
      ).status,
    ).toBe(403);
    expect(await readdir(at.paths.defaultVmFolder)).not.toContain('media');
  });

  it('serves nothing outside its page', async () => {
    await start();
    await writeFile(join(at.layout.renderer, '..', 'secret.txt'), 'secret');
    await writeFile(join(at.layout.renderer, '.env'), 'secret');
    for (const path of [
      '/../secret.txt',
      '/%2e%2e/secret.txt',
      '/..%2fsecret.txt',
      '/assets/../../secret.txt',
      '/.env',
      '//etc/passwd',
      '/%00',
      '/%',
    ]) {
      const answer = await http(path);
      expect(answer.body).not.toContain('secret');
      expect(answer.status).toBeGreaterThanOrEqual(400);
    }
  });

  it('answers calls and tells events over one WebSocket', async () => {
    await start();
    const { ws, rpc, events } = await client({ cookie: await cookie(), origin: `http://127.0.0.1:${serving!.port}` });
    const snapshot = await rpc.call('app.snapshot');
    expect(snapshot).toMatchObject({
      ok: true,
      value: { host: { mode: 'server' }, vms: [{ definition: { name: 'Lodge Demo' } }] },
    });
    const seq = (snapshot as { value: { seq: number } }).value.seq;
    const created = (await rpc.call('vm.create', { config: await linuxConfig(at, 'Box') })) as {
      value: { definition: { id: string } };
    };
    await rpc.call('vm.start', { id: created.value.definition.id });
    expect(events[0]!.seq).toBe(seq + 1);
    expect(events.some((e) => e.type === 'vm' && e.vm.state === 'running')).toBe(true);
    expect(await rpc.call('vm.create', { config: { name: '' } })).toMatchObject({ ok: false, error: { code: 'invalidInput' } });
    ws.close();
  });

  it('survives clients that send rubbish', async () => {
    await start();
    for (const rubbish of [
      'null',
      '[]',
      'x',
      '{"t":"q","m":"call","a":5,"i":"1"}',
      '{"t":"q","m":"constructor","a":[],"i":"1"}',
      '{"t":"q","m":"call","a":[{}],"i":"1"}',
      '{"t":"s","i":"9"}',
    ]) {
      const { ws } = await client({ cookie: await cookie() });
      ws.send(rubbish);
      await new Promise((resolve) => setTimeout(resolve, 5));
      ws.close();
    }
    const { rpc, ws } = await client({ cookie: await cookie() });
    expect(await rpc.call('vm.list')).toMatchObject({ ok: true });
    ws.close();
  });

  it('hands a viewer’s connection to the VM process itself', async () => {
    await start();
    const vm = await serving!.lodge.machines.create(await linuxConfig(at, 'Box'));
    const { id } = vm.definition;
    const session = await cookie();
    expect(await upgrade(`/viewer/${id}`, { cookie: session })).toBe(409);
    await serving!.lodge.machines.start(id);
    const socket = connect(serving!.port, '127.0.0.1');
    let answer = '';
    const ended = new Promise((resolve) =>
      socket
        .setEncoding('utf8')
        .on('data', (d) => (answer += d))
        .on('end', resolve),
    );
    socket.write(
      `GET /viewer/${id} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: abc\r\nSec-WebSocket-Version: 13\r\nCookie: ${session}\r\n\r\n`,
    );
    await ended;
    expect(answer).toContain(`VM ${at.pids.at(-1)}`);
    expect(answer).toContain('X-Key: abc');
  });

  it('takes an image file from a browser', async () => {
    await start();
    const headers = { cookie: await cookie(), origin: `http://127.0.0.1:${serving!.port}` };
    const put = (name: string, body: string) =>
      http(`/upload?name=${encodeURIComponent(name)}`, { method: 'PUT', headers, body });
    const done = await put('debian 12.iso', 'image');
    expect(done.status).toBe(201);
    const { path } = JSON.parse(done.body) as { path: string };
    expect(path).toBe(join(at.paths.defaultVmFolder, 'media', 'debian 12.iso'));
    expect(await readFile(path, 'utf8')).toBe('image');
    for (const name of ['../../x', '..', 'a/b', '.x']) expect((await put(name, 'x')).status).toBe(400);
    expect((await http('/upload?name=x.iso', { method: 'POST', headers, body: 'x' })).status).toBe(405);
    // A browser tab that is closed in the middle.
    const half = connect(serving!.port, '127.0.0.1');
    half.write(
      `PUT /upload?name=half.iso HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: ${headers.cookie}\r\nContent-Length: 1000\r\n\r\nabc`,
    );
    const media = join(at.paths.defaultVmFolder, 'media');
    await vi.waitFor(async () => expect((await readdir(media)).some((n) => n.startsWith('.half.iso'))).toBe(true));
    half.destroy();
    await vi.waitFor(async () => expect(await readdir(media)).toEqual(['debian 12.iso']));
  });

  it('says so when the port is taken, and goes to the next one when none was asked for', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => other.once('listening', resolve));
    const { port } = other.address() as AddressInfo;
    await expect(start({ port })).rejects.toMatchObject({
      code: 'portInUse',
      message: expect.stringContaining(String(port)) as string,
      fix: expect.stringContaining('--port 0') as string,
    });
    // Nothing is left that would refuse the next attempt.
    await start({ port: 0 });
    expect(serving!.port).not.toBe(port);
    other.close();
  });

  it('is found by the command line, and gone after it ends, with its machines powered off', async () => {
    await start();
    const vm = await serving!.lodge.machines.create(await linuxConfig(at, 'Box'));
    await serving!.lodge.machines.start(vm.definition.id);
    const [found] = await connectAll(at.paths.instanceDir);
    expect(await found!.call('vm.list', null)).toHaveLength(2);
    await expect(
      serve({ host: '127.0.0.1', port: 0, paths: at.paths, layout: at.layout, log: silentLogger }),
    ).rejects.toMatchObject({ code: 'portInUse' });
    await serving!.close();
    serving = undefined;
    expect(await connectAll(at.paths.instanceDir)).toEqual([]);
    for (const pid of at.pids) expect(() => process.kill(pid, 0)).toThrow();
  });

  it('explains itself when the page is not built', async () => {
    await mkdir(join(at.dir, 'empty'));
    await expect(start({ layout: { ...at.layout, renderer: join(at.dir, 'empty') } })).rejects.toMatchObject({
      code: 'fileMissing',
      fix: expect.stringContaining('npm') as string,
    });
  });
});
