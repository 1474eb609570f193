import { createServer, type Socket } from 'node:net';
import { createServer as createHttp } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { Emitter } from '../lib/disposable';
import { vmToViewerSchema, type VmToViewer } from '../../preload/contract/viewer';
import { DisplayHub } from './display-hub';
import { fakeTimers } from './testing/timers';
import { ViewerHub } from './viewer';
import { PING_MS, SocketUpgrader, type MessagePortLike, type ViewerChannel } from './viewer-channel';

function setup() {
  const timers = fakeTimers();
  const display = new DisplayHub(
    {
      screen: { width: 8, height: 4, mode: 'text' },
      onScreenChange: () => ({ dispose: () => undefined }),
      takeDirty: () => [],
      render: (_r, out) => void out.fill(255),
      text: () => [],
    },
    timers,
    () => undefined,
  );
  const log: string[] = [];
  const output = new Emitter<Uint8Array>();
  const counters = { diskReadBytes: 0, diskWrittenBytes: 0, netBytes: 0, cpuSeconds: 0 };
  const pointer = {
    absolute: false,
    relative: (dx: number, dy: number, b: number, w: number) => void log.push(`rel ${dx} ${dy} ${b} ${w}`),
    pointer: (x: number, y: number, b: number, w: number) => void log.push(`abs ${x} ${y} ${b} ${w}`),
  };
  const hub = new ViewerHub({
    display,
    terminals: [
      {
        history: () => new TextEncoder().encode('boot log'),
        onOutput: output.event,
        inject: (bytes) => void log.push(`serial ${new TextDecoder().decode(bytes)}`),
      },
    ],
    keyboard: { key: (code, down) => void log.push(`${down ? 'down' : 'up'} ${code}`) },
    pointer,
    activity: () => ({ ...counters }),
    timers,
    now: timers.now,
  });
  return { hub, display, timers, log, output, pointer, counters };
}

class FakeChannel implements ViewerChannel {
  buffered = 0;
  texts: VmToViewer[] = [];
  binaries: Uint8Array[] = [];
  closedBy: string | undefined;
  private message: (text: string | undefined) => void = () => undefined;
  private gone: () => void = () => undefined;
  sendText(text: string): void {
    this.texts.push(vmToViewerSchema.parse(JSON.parse(text)));
  }
  sendBinary(bytes: Uint8Array): void {
    this.binaries.push(bytes);
  }
  onMessage(listener: (text: string | undefined) => void): void {
    this.message = listener;
  }
  onClose(listener: () => void): void {
    this.gone = listener;
  }
  close(why: string): void {
    this.closedBy = why;
    this.gone();
  }
  say(value: unknown): void {
    this.message(typeof value === 'string' ? value : JSON.stringify(value));
  }
  raw(text: string | undefined): void {
    this.message(text);
  }
  disconnect(): void {
    this.gone();
  }
}

describe('ViewerHub', () => {
  it('greets, attaches, shows frames and serial history', () => {
    const { hub, timers, output, log } = setup();
    const c = new FakeChannel();
    hub.addChannel(c);
    expect(c.texts.map((t) => t.type)).toEqual(['leds', 'pointer']);
    c.say({ type: 'attach', display: true, serial: [0, 1] });
    timers.advance(1);
    expect(c.texts.at(-1)).toEqual({ type: 'screen', width: 8, height: 4, mode: 'text' });
    expect(c.binaries.map((b) => b[0])).toEqual([2, 1]);
    expect(new TextDecoder().decode(c.binaries[0]!.subarray(2))).toBe('boot log');
    output.fire(Uint8Array.of(65));
    expect([...c.binaries[2]!]).toEqual([2, 0, 65]);
    c.say({ type: 'attach', display: false, serial: [] });
    output.fire(Uint8Array.of(66));
    expect(c.binaries).toHaveLength(3);
    c.say({ type: 'serial', port: 0, data: 'ls\n' });
    c.say({ type: 'serial', port: 3, data: 'nobody' });
    expect(log).toEqual(['serial ls\n']);
  });

  it('passes input on, clamps motion, and releases what a viewer held when it goes', () => {
    const { hub, log } = setup();
    const c = new FakeChannel();
    hub.addChannel(c);
    c.say({ type: 'key', code: 'KeyA', down: true });
    c.say({ type: 'mouse', dx: 1e9, dy: -2.7, buttons: 1, wheel: 0 });
    c.say({ type: 'pointer', x: 65535, y: 0, buttons: 1, wheel: 1 });
    c.disconnect();
    expect(log).toEqual(['down KeyA', 'rel 32767 -2 1 0', 'abs 65535 0 1 1', 'up KeyA', 'rel 0 0 0 0']);
    expect(hub.count).toBe(0);
  });

  it.each([
    ['not JSON', 'hello'],
    ['an unknown type', '{"type":"poweroff"}'],
    ['a key name without end', JSON.stringify({ type: 'key', code: 'x'.repeat(33), down: true })],
    ['a serial message that is too big', JSON.stringify({ type: 'serial', port: 0, data: 'x'.repeat(65537) })],
    ['a binary message', undefined],
  ])('closes on %s', (_, text) => {
    const { hub, log } = setup();
    const c = new FakeChannel();
    hub.addChannel(c);
    c.raw(text);
    expect([c.closedBy, hub.count, log]).toEqual(['misbehaved', 0, []]);
  });

  it('closes on a keyboard with hundreds of keys, on the 33rd viewer, and on one that does not read', () => {
    const { hub, output } = setup();
    const c = new FakeChannel();
    hub.addChannel(c);
    for (let i = 0; i < 200; i++) c.say({ type: 'key', code: `K${i}`, down: true });
    expect(c.closedBy).toBe('misbehaved');
    const slow = new FakeChannel();
    hub.addChannel(slow);
    slow.say({ type: 'attach', display: false, serial: [0] });
    slow.buffered = 1 << 30;
    output.fire(Uint8Array.of(1));
    expect(slow.closedBy).toBe('tooSlow');
    const many = Array.from({ length: 33 }, () => new FakeChannel());
    many.forEach((m) => hub.addChannel(m));
    expect(many.map((m) => m.closedBy).filter(Boolean)).toEqual(['misbehaved']);
  });

  it('tells activity when it changes, while somebody is there', () => {
    const { hub, timers, counters } = setup();
    const c = new FakeChannel();
    hub.addChannel(c);
    timers.advance(1000);
    const quiet = c.texts.filter((t) => t.type === 'activity');
    expect(quiet).toHaveLength(1);
    counters.diskReadBytes += 512;
    counters.cpuSeconds += 0.1;
    timers.advance(200);
    expect(c.texts.at(-1)).toEqual({ type: 'activity', diskRead: true, diskWrite: false, net: false, cpuPercent: 50 });
    c.disconnect();
    timers.advance(10);
    expect(timers.pending()).toBe(1); // the hub's slow glance
  });

  it('says when the guest takes absolute positions and when the lights change', () => {
    const { hub, pointer } = setup();
    const c = new FakeChannel();
    hub.addChannel(c);
    pointer.absolute = true;
    hub.pointerModeChanged();
    hub.pointerModeChanged();
    hub.setLeds({ capsLock: true, numLock: false, scrollLock: false });
    expect(c.texts.slice(2)).toEqual([
      { type: 'pointer', absolute: true },
      { type: 'leds', capsLock: true, numLock: false, scrollLock: false },
    ]);
  });

  it('no message makes it throw', () => {
    const { hub } = setup();
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.json(),
          fc
            .record({
              type: fc.constantFrom('attach', 'key', 'mouse', 'pointer', 'serial', 'frameDrawn'),
              code: fc.string(),
              down: fc.boolean(),
              dx: fc.double(),
              dy: fc.double(),
              buttons: fc.integer(),
              wheel: fc.double(),
              serial: fc.array(fc.integer()),
              display: fc.boolean(),
            })
            .map((r) => JSON.stringify(r)),
        ),
        (text) => {
          const c = new FakeChannel();
          hub.addChannel(c);
          c.raw(text);
          c.disconnect();
          expect(hub.count).toBe(0);
        },
      ),
    );
  });
});

describe('channels', () => {
  const cleanups: (() => void)[] = [];
  afterEach(() => cleanups.splice(0).forEach((c) => c()));

  it('a message port carries text one way and bytes both', () => {
    const { hub, log } = setup();
    const listeners = new Map<string, (event: { data: unknown }) => void>();
    const sent: unknown[] = [];
    const port = {
      on: (event: string, listener: (event: { data: unknown }) => void) => listeners.set(event, listener),
      start: () => undefined,
      postMessage: (m: unknown) => sent.push(m),
      close: () => undefined,
    } as unknown as MessagePortLike;
    hub.addPort(port);
    listeners.get('message')!({ data: JSON.stringify({ type: 'key', code: 'KeyB', down: true }) });
    listeners.get('message')!({ data: { evil: true } });
    expect(log).toEqual(['down KeyB', 'up KeyB']);
    expect(hub.count).toBe(0);
  });

  it('a socket that another process accepted becomes a WebSocket here', async () => {
    const { hub, log, timers } = setup();
    const http = createHttp();
    cleanups.push(
      () => http.close(),
      () => hub.dispose(),
    );
    http.on('upgrade', (request, socket, head) => {
      const headers = Object.fromEntries(Object.entries(request.headers).map(([k, v]) => [k, String(v)]));
      hub.addSocket(socket as Socket, { headers, head: head.toString('base64') });
    });
    await once(http.listen(0, '127.0.0.1'), 'listening');
    const ws = new WebSocket(`ws://127.0.0.1:${(http.address() as AddressInfo).port}/viewer/x`);
    const messages: (string | Buffer)[] = [];
    ws.on('message', (data, binary) => messages.push(binary ? (data as Buffer) : (data as Buffer).toString()));
    await once(ws, 'open');
    ws.send(JSON.stringify({ type: 'attach', display: true, serial: [] }));
    ws.send(JSON.stringify({ type: 'key', code: 'Enter', down: true }));
    await expect.poll(() => log).toEqual(['down Enter']);
    timers.advance(5);
    await expect.poll(() => messages.some((m) => typeof m !== 'string' && m[0] === 1)).toBe(true);
    ws.send('nonsense');
    const [code] = (await once(ws, 'close')) as [number];
    expect(code).toBe(1008);
    expect(hub.count).toBe(0);
  });

  it('a viewer that falls silent is dropped, one that only watches is not', async () => {
    const timers = fakeTimers();
    const upgrader = new SocketUpgrader(timers);
    const http = createHttp();
    cleanups.push(
      () => http.close(),
      () => upgrader.close(),
    );
    const gone: string[] = [];
    let messages = 0;
    http.on('upgrade', (request, socket) => {
      const headers = Object.fromEntries(Object.entries(request.headers).map(([k, v]) => [k, String(v)]));
      upgrader.upgrade(socket as Socket, { headers, head: '' }, (channel) => {
        channel.onClose(() => gone.push(request.url!));
        channel.onMessage(() => messages++);
      });
    });
    await once(http.listen(0, '127.0.0.1'), 'listening');
    const address = `ws://127.0.0.1:${(http.address() as AddressInfo).port}`;
    const watching = new WebSocket(`${address}/watching`);
    const silent = new WebSocket(`${address}/silent`, { autoPong: false });
    await Promise.all([once(watching, 'open'), once(silent, 'open')]);
    for (let round = 0; round < 3; round++) {
      const pinged = once(watching, 'ping');
      timers.advance(PING_MS);
      await pinged;
      // Its pong is behind the ping on the wire and before whatever the viewer sends next.
      const heard = messages;
      watching.send('there');
      await expect.poll(() => messages).toBe(heard + 1);
    }
    await expect.poll(() => gone).toEqual(['/silent']);
    watching.terminate();
  });

  it('a request that is no WebSocket handshake is refused and dropped', async () => {
    const { hub } = setup();
    const server = createServer((socket) => hub.addSocket(socket, { headers: { upgrade: 'websocket' }, head: '' }));
    cleanups.push(
      () => server.close(),
      () => hub.dispose(),
    );
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const socket = (await import('node:net')).connect((server.address() as AddressInfo).port, '127.0.0.1');
    const [answer] = (await once(socket, 'data')) as [Buffer];
    expect(answer.toString()).toMatch(/^HTTP\/1.1 400/);
    socket.destroy();
    expect(hub.count).toBe(0);
  });
});
