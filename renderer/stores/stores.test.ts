import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { CallResult, LodgeEvent, ViewerToVm } from '../../preload/contract';
import type { LinkState, Transport, ViewerHandlers } from '../api';
import { OTHER_OS } from '../model/catalogue';
import type { Vm } from '../model/types';
import { createLodge } from './index';
import { SERIAL_HISTORY_BYTES, ViewerSession } from './viewer';

const ID = '7d0c8a8e-3b1f-4d1c-9a53-0f8f6b9c1a01';
const host = {
  cpuModel: 'x',
  logicalCpus: 4,
  memoryMiB: 8192,
  availableMiB: 4096,
  accelerators: [],
  mode: 'server' as const,
  version: '0',
};
const preferences = { theme: 'auto', hostKey: 'ControlRight', vmFolder: '/v', libraryView: 'list', closeAction: 'ask' } as const;
const vm = (state: Vm['state'], extra: Partial<Vm> = {}): Vm => ({
  definition: {
    schema: 2,
    id: ID,
    createdAt: '2026-01-01T00:00:00Z',
    name: 'Box',
    os: 'other',
    notes: '',
    cpus: 1,
    memoryMiB: 256,
    boot: { kind: 'builtin' },
    disks: [],
    serialPorts: 1,
    accelerator: 'auto',
    tier: 'auto',
  },
  state,
  thumbnail: 0,
  ephemeral: false,
  ...extra,
});

class FakeTransport implements Transport {
  readonly kind = 'server';
  readonly platform = 'test';
  readonly events = new Set<(e: unknown) => void>();
  readonly calls: { name: string; input: unknown }[] = [];
  readonly sent: ViewerToVm[] = [];
  viewers: ViewerHandlers[] = [];
  answers: Record<string, (input: unknown) => CallResult<unknown> | Promise<CallResult<unknown>>> = {
    'app.snapshot': () => ({
      ok: true,
      value: { seq: 1, vms: [vm('stopped')], broken: [], host, preferences, notices: ['aside'] },
    }),
  };
  call(name: string, input: unknown): Promise<unknown> {
    this.calls.push({ name, input });
    return Promise.resolve(this.answers[name]?.(input) ?? { ok: false, error: { code: 'internal', message: 'no answer' } });
  }
  onEvent(l: (e: unknown) => void): () => void {
    this.events.add(l);
    return () => this.events.delete(l);
  }
  onLink(l: (s: LinkState) => void): () => void {
    l('open');
    return () => {};
  }
  openViewer(_id: string, handlers: ViewerHandlers) {
    this.viewers.push(handlers);
    return { send: (m: ViewerToVm) => void this.sent.push(m), close: () => {} };
  }
  openVmWindow(): boolean {
    return false;
  }
  pathForFile(file: File): Promise<string> {
    return Promise.resolve(`/up/${file.name}`);
  }
  dispose(): void {}
  emit(e: LodgeEvent): void {
    for (const l of this.events) l(e);
  }
}

const settle = () => vi.advanceTimersByTimeAsync(0);
beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

async function open() {
  const transport = new FakeTransport();
  const lodge = createLodge(transport, [OTHER_OS]);
  await settle();
  return { transport, lodge };
}

describe('stores', () => {
  it('are filled by the snapshot and follow the events', async () => {
    const { transport, lodge } = await open();
    expect(lodge.connection.getState().ready).toBe(true);
    expect(lodge.vms.getState().byId[ID]?.state).toBe('stopped');
    expect(lodge.notices.getState().standing).toEqual(['aside']);
    transport.emit({ type: 'vm', seq: 2, vm: vm('running') });
    transport.emit({ type: 'host', seq: 3, host: { ...host, availableMiB: 10 } });
    transport.emit({ type: 'notice', seq: 4, level: 'warning', message: 'disk is full' });
    expect(lodge.vms.getState().byId[ID]?.state).toBe('running');
    expect(lodge.host.getState().host?.availableMiB).toBe(10);
    expect(lodge.notices.getState().toasts.map((t) => t.message)).toEqual(['disk is full']);
    transport.emit({ type: 'vmRemoved', seq: 5, id: ID });
    expect(lodge.vms.getState().byId).toEqual({});
  });

  it('change the medium of a drive: the one that is in goes out first, and stays in when it is locked', async () => {
    const { transport, lodge } = await open();
    const disc = { id: 'd0', path: '/old.iso', bus: 'ide', format: 'raw', readOnly: true, kind: 'disc' } as const;
    const running = vm('running');
    transport.emit({ type: 'vm', seq: 2, vm: { ...running, definition: { ...running.definition, disks: [disc] } } });
    transport.answers['vm.attach'] = () => ({ ok: true, value: running });
    transport.answers['vm.detach'] = (input) =>
      (input as { force?: boolean }).force === true
        ? { ok: true, value: running }
        : { ok: false, error: { code: 'mediumLocked', message: 'The guest has locked it in.' } };
    transport.calls.length = 0;
    await expect(lodge.vms.getState().insert(ID, '/new.iso', 'disc')).rejects.toMatchObject({ code: 'mediumLocked' });
    expect(transport.calls.map((c) => c.name)).toEqual(['vm.detach']);
    await lodge.vms.getState().insert(ID, '/new.iso', 'disc', true);
    expect(transport.calls.slice(1)).toEqual([
      { name: 'vm.detach', input: { id: ID, diskId: 'd0', force: true } },
      { name: 'vm.attach', input: { id: ID, path: '/new.iso', kind: 'disc' } },
    ]);
  });

  it('refetch once after a gap in the sequence', async () => {
    const { transport } = await open();
    transport.emit({ type: 'vm', seq: 7, vm: vm('running') });
    transport.emit({ type: 'vm', seq: 8, vm: vm('running') });
    expect(transport.calls.filter((c) => c.name === 'app.snapshot')).toHaveLength(2);
    transport.emit({ type: 'vm', seq: 9, vm: vm('running') });
    await settle();
    expect(transport.calls.filter((c) => c.name === 'app.snapshot')).toHaveLength(2);
  });

  it('a failed command is told with its machine, its cause and a way to try again', async () => {
    const { transport, lodge } = await open();
    transport.answers['vm.start'] = () => ({
      ok: false,
      error: { code: 'insufficientMemory', message: 'Does not fit.', fix: 'Give it less.' },
    });
    expect(await lodge.vms.getState().command(ID, 'start')).toBe(false);
    const failure = lodge.notices.getState().failure!;
    expect(failure).toMatchObject({
      context: 'Start “Box”',
      vmId: ID,
      error: { code: 'insufficientMemory', fix: 'Give it less.' },
    });
    failure.retry!();
    await settle();
    expect(transport.calls.filter((c) => c.name === 'vm.start')).toHaveLength(2);
  });

  it('a reply that does not fit the contract is an error, not undefined behaviour', async () => {
    const { transport, lodge } = await open();
    transport.answers['vm.start'] = () => ({ ok: true, value: { state: 'flying' } });
    expect(await lodge.vms.getState().command(ID, 'start')).toBe(false);
    expect(lodge.notices.getState().failure?.error.code).toBe('internal');
  });

  it('preferences change at once and go back when refused', async () => {
    const { transport, lodge } = await open();
    transport.answers['preferences.set'] = () => ({
      ok: false,
      error: { code: 'permissionDenied', message: 'read-only folder' },
    });
    const change = lodge.preferences.getState().change({ theme: 'dark' });
    expect(lodge.preferences.getState().preferences?.theme).toBe('dark');
    expect(await change).toBe(false);
    expect(lodge.preferences.getState().preferences?.theme).toBe('auto');
  });

  it('fetches one thumbnail at a time and the newest in the end', async () => {
    const { transport, lodge } = await open();
    let release: (() => void) | undefined;
    transport.answers['vm.screenshot'] = () =>
      new Promise((resolve) => {
        release = () => resolve({ ok: true, value: { png: 'AAAA' } });
      });
    const { want } = lodge.thumbnails.getState();
    want(ID, 1);
    want(ID, 2);
    want(ID, 3);
    const shots = () => transport.calls.filter((c) => c.name === 'vm.screenshot').length;
    expect(shots()).toBe(1);
    release!();
    await settle();
    expect(shots()).toBe(2);
    release!();
    await settle();
    expect(lodge.thumbnails.getState().byId[ID]?.version).toBe(3);
    want(ID, 3);
    expect(shots()).toBe(2);
  });

  it('keeps a CPU curve while the machine runs and forgets it when it stops', async () => {
    const { transport, lodge } = await open();
    const stats = (n: number) => ({
      cpuPercent: n,
      residentBytes: 0,
      diskReadBytes: 0,
      diskWrittenBytes: 0,
      netReceivedBytes: 0,
      netSentBytes: 0,
      uptimeSeconds: n,
    });
    for (let i = 1; i <= 70; i++) transport.emit({ type: 'vm', seq: i + 1, vm: vm('running', { stats: stats(i) }) });
    const history = lodge.vms.getState().cpuHistory[ID]!;
    expect([history.length, history[0], history.at(-1)]).toEqual([60, 11, 70]);
    transport.emit({ type: 'vm', seq: 72, vm: vm('stopped') });
    expect(lodge.vms.getState().cpuHistory[ID]).toEqual([]);
  });
});

describe('ViewerSession', () => {
  const serial = (text: string): ArrayBuffer => new Uint8Array([2, 0, ...new TextEncoder().encode(text)]).buffer;
  const frame = new Uint8Array([1, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 1, 2, 3, 4]).buffer;

  function session() {
    const transport = new FakeTransport();
    const s = new ViewerSession(transport, ID);
    return { transport, s };
  }

  it('attaches on open, and acknowledges a frame only when it was drawn', () => {
    const { transport, s } = session();
    const dones: (() => void)[] = [];
    s.showFrames({ screen: () => {}, frame: (_rects, done) => dones.push(done) });
    s.start();
    transport.viewers[0]!.onOpen();
    expect(transport.sent).toEqual([{ type: 'attach', display: true, serial: [0, 1, 2, 3] }]);
    transport.viewers[0]!.onBinary(frame);
    expect(transport.sent).toHaveLength(1);
    dones[0]!();
    expect(transport.sent[1]).toEqual({ type: 'frameDrawn', frame: 9 });
  });

  it('ignores what does not fit the contract', () => {
    const { transport, s } = session();
    s.start();
    const v = transport.viewers[0]!;
    v.onOpen();
    for (const text of ['', '{', '{"type":"screen","width":"9"}', '{"type":"screen","width":1000000,"height":1,"mode":"text"}'])
      v.onText(text);
    v.onBinary(new ArrayBuffer(0));
    v.onBinary(new Uint8Array([1, 0, 9, 0]).buffer);
    expect(s.state.getState().screen.width).toBe(0);
    v.onText('{"type":"screen","width":720,"height":400,"mode":"text"}');
    expect(s.state.getState().screen).toEqual({ width: 720, height: 400, mode: 'text' });
  });

  it('shows a late terminal what was written before it, as replay, then live output', () => {
    const { transport, s } = session();
    s.start();
    transport.viewers[0]!.onOpen();
    vi.advanceTimersByTime(1000);
    transport.viewers[0]!.onBinary(serial('boot'));
    const seen: [string, boolean][] = [];
    s.showSerial(0, {
      reset: () => seen.push(['reset', false]),
      data: (b, replay) => seen.push([new TextDecoder().decode(b), replay]),
    });
    transport.viewers[0]!.onBinary(serial('live'));
    expect(seen).toEqual([
      ['boot', true],
      ['live', false],
    ]);
  });

  it('bounds the history of a port', () => {
    const { transport, s } = session();
    s.start();
    transport.viewers[0]!.onOpen();
    const chunk = serial('x'.repeat(10_000));
    for (let i = 0; i < 100; i++) transport.viewers[0]!.onBinary(chunk);
    let bytes = 0;
    s.showSerial(0, { reset: () => {}, data: (b) => (bytes += b.length) });
    expect(bytes).toBeGreaterThanOrEqual(SERIAL_HISTORY_BYTES);
    expect(bytes).toBeLessThan(SERIAL_HISTORY_BYTES + 10_000);
  });

  it('reconnects while it is wanted, starts terminals afresh, and stops for good', () => {
    const { transport, s } = session();
    s.start();
    transport.viewers[0]!.onOpen();
    let resets = 0;
    s.showSerial(0, { reset: () => resets++, data: () => {} });
    transport.viewers[0]!.onClose();
    expect(s.state.getState().status).toBe('closed');
    vi.advanceTimersByTime(300);
    expect(transport.viewers).toHaveLength(2);
    transport.viewers[1]!.onOpen();
    expect(resets).toBe(1);
    s.stop();
    transport.viewers[1]!.onClose();
    vi.advanceTimersByTime(60_000);
    expect(transport.viewers).toHaveLength(2);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('tells the machine how much room there is once the window rests, and again when it is another connection', async () => {
    const { transport, s } = session();
    s.start();
    transport.viewers[0]!.onOpen();
    s.setRoom({ width: 800, height: 600 });
    s.setRoom({ width: 900, height: 700 });
    expect(transport.sent.filter((m) => m.type === 'resize')).toEqual([]);
    await vi.advanceTimersByTimeAsync(1000);
    expect(transport.sent.filter((m) => m.type === 'resize')).toEqual([{ type: 'resize', width: 900, height: 700 }]);
    s.setRoom({ width: 900, height: 700 });
    await vi.advanceTimersByTimeAsync(1000);
    transport.viewers.at(-1)!.onClose();
    await vi.advanceTimersByTimeAsync(1000);
    transport.viewers.at(-1)!.onOpen();
    expect(transport.sent.filter((m) => m.type === 'resize')).toHaveLength(2);
    s.setRoom(undefined);
    await vi.advanceTimersByTimeAsync(1000);
    expect(transport.sent.filter((m) => m.type === 'resize')).toHaveLength(2);
    s.dispose();
  });

  it('sends long pastes in pieces the contract allows', () => {
    const { transport, s } = session();
    s.start();
    transport.viewers[0]!.onOpen();
    s.sendSerial(0, 'y'.repeat(100_000));
    const pieces = transport.sent.filter((m) => m.type === 'serial');
    expect(pieces.map((p) => p.data.length)).toEqual([32768, 32768, 32768, 1696]);
  });
});
