import { mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Call } from './bind';
import { connectAll, listenLocal, type LocalServer } from './local-socket';

let dir: string;
const open: LocalServer[] = [];
const echo: Call = async (name, input) =>
  name === 'vm.list' ? { ok: true, value: [] } : { ok: false, error: { code: 'notFound', message: JSON.stringify(input) } };
const listen = async (who: Parameters<typeof listenLocal>[1]) => {
  const server = await listenLocal(join(dir, 'i'), who, echo);
  open.push(server);
  return server;
};
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'lodge-socket-'));
});
afterEach(async () => {
  for (const server of open.splice(0)) await server.close();
  await rm(dir, { recursive: true, force: true });
});

describe('control socket', () => {
  it('answers calls, errors included, only to the user', async () => {
    const { note } = await listen({ kind: 'server' });
    expect((await stat(note.socket)).mode & 0o777).toBe(0o600);
    expect((await stat(join(dir, 'i'))).mode & 0o777).toBe(0o700);
    const [client] = await connectAll(join(dir, 'i'));
    await expect(client!.call('vm.list', null)).resolves.toEqual([]);
    const id = '6f1c6dd0-5a07-4b5e-9d2f-1b6f3a1c2d3e';
    await expect(Promise.all([client!.call('vm.text', { id }), client!.call('vm.get', { id })])).rejects.toMatchObject({
      name: 'LodgeError',
      code: 'notFound',
    });
    client!.close();
  });

  it('refuses a second server for one data folder, but not a run', async () => {
    await listen({ kind: 'server' });
    await expect(listen({ kind: 'server' })).rejects.toMatchObject({
      code: 'portInUse',
      fix: expect.stringContaining('--data') as string,
    });
    await listen({ kind: 'run', name: 'x' });
    const clients = await connectAll(join(dir, 'i'));
    expect(clients.map((c) => [c.note.kind, c.note.name])).toEqual([
      ['server', undefined],
      ['run', 'x'],
    ]);
    for (const client of clients) client.close();
  });

  it('clears away what a killed Lodge left', async () => {
    await mkdir(join(dir, 'i'), { mode: 0o700 });
    await writeFile(
      join(dir, 'i', 'run-1.json'),
      JSON.stringify({ kind: 'run', pid: 1, name: 'gone', socket: join(dir, 'i', 'run-1.sock') }),
    );
    await writeFile(join(dir, 'i', 'server.sock'), '');
    await writeFile(join(dir, 'i', 'server.json'), 'rubbish');
    expect(await connectAll(join(dir, 'i'))).toEqual([]);
    expect(await readdir(join(dir, 'i'))).toEqual([]);
    await listen({ kind: 'server' });
  });

  it('survives nonsense and endless lines', async () => {
    const { note } = await listen({ kind: 'server' });
    const raw = connect(note.socket);
    const answer = new Promise<string>((resolve) => raw.once('data', (d) => resolve(String(d))));
    raw.write('{"not": "a request"}\n');
    expect(await answer).toContain('invalidInput');
    const closed = new Promise<void>((resolve) => raw.once('close', () => resolve()));
    raw.on('error', () => {});
    raw.write('x'.repeat(3 << 20));
    await closed;
    const [client] = await connectAll(join(dir, 'i'));
    await expect(client!.call('vm.list', null)).resolves.toEqual([]);
    client!.close();
  });

  it('tells a client when Lodge ends under it', async () => {
    const server = await listenLocal(join(dir, 'i'), { kind: 'server' }, () => new Promise(() => {}));
    const [client] = await connectAll(join(dir, 'i'));
    const waiting = expect(client!.call('vm.list', null)).rejects.toMatchObject({
      message: expect.stringContaining('ended') as string,
    });
    await new Promise((resolve) => setTimeout(resolve, 20));
    await server.close();
    await waiting;
  });
});
