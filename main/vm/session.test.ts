import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ABI_VERSION, type NativeAddon } from '../../native/addon/types';
import type { FromVm, MachineSpec, VmCall } from '../process/protocol';
import { Machine } from './machine';
import type { Parent, Transfer } from './parent';
import { Session } from './session';
import { FakeNative, resetState } from './testing/fake-native';

const MIB = 1 << 20;

class FakeParent implements Parent {
  readonly sent: FromVm[] = [];
  listener: (message: unknown, transfer: Transfer) => void = () => undefined;
  gone: () => void = () => undefined;
  send(message: FromVm): Promise<void> {
    this.sent.push(message);
    return Promise.resolve();
  }
  onMessage(listener: (message: unknown, transfer: Transfer) => void): void {
    this.listener = listener;
  }
  onGone(listener: () => void): void {
    this.gone = listener;
  }
  post(message: unknown): void {
    this.listener(message, { handle: undefined, ports: [] });
  }
  last<T extends FromVm['type']>(type: T): Extract<FromVm, { type: T }> | undefined {
    return this.sent.findLast((m): m is Extract<FromVm, { type: T }> => m.type === type);
  }
}

function kernelFile(): Uint8Array {
  const view = new DataView(new ArrayBuffer(64 * 1024));
  view.setUint8(0x1f1, 4);
  view.setUint32(0x1f4, (60 * 1024) / 16, true);
  view.setUint16(0x1fe, 0xaa55, true);
  view.setUint8(0x201, 0x66);
  view.setUint32(0x202, 0x53726448, true);
  view.setUint16(0x206, 0x020f, true);
  view.setUint8(0x211, 1);
  view.setUint32(0x230, MIB, true);
  view.setUint8(0x234, 1);
  view.setUint16(0x236, 1, true);
  view.setUint32(0x238, 2047, true);
  view.setUint32(0x258, MIB, true);
  view.setUint32(0x260, MIB, true);
  view.setUint32(5 * 512, 0xcafebabe, true);
  return new Uint8Array(view.buffer);
}

describe('VM session', () => {
  let folder: string;
  let parent: FakeParent;
  let exit: ReturnType<typeof vi.fn<() => void>>;
  let native: FakeNative;
  let spec: MachineSpec;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'lodge-vm-'));
    writeFileSync(join(folder, 'kernel'), kernelFile());
    parent = new FakeParent();
    exit = vi.fn<() => void>();
    spec = {
      name: 'test', cpus: 1, memoryBytes: 32 * MIB, accelerator: 'auto', tier: 'auto',
      boot: { kind: 'linux', kernel: join(folder, 'kernel'), commandLine: 'console=ttyS0' },
      disks: [], serial: [{ kind: 'file', path: join(folder, 'com1') }, { kind: 'terminal' }], debugExit: true, addonPath: 'engine',
    }; // prettier-ignore
    const addon = (): NativeAddon => ({
      abiVersion: ABI_VERSION,
      hostInfo: () => ({ cpuModel: '', cpuVendor: '', logicalCpus: 1, memoryBytes: 0, availableBytes: 0 }),
      probeAccelerators: () => [{ kind: 'software', available: true, reason: '', tiers: ['interpreter'] }],
      disassemble: (code) => (code.length > 0 ? [{ length: 1, text: 'nop' }] : []),
      createMachine: (options) => (native = new FakeNative(options.exitBuffer, options.onWake)),
    });
    new Session(parent, exit, (s, hooks) => Machine.create(s, hooks, addon));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  const until = (done: () => boolean) => vi.waitFor(() => expect(done()).toBe(true), { timeout: 5000, interval: 2 });
  const start = async (change: Partial<MachineSpec> = {}) => {
    parent.post({ type: 'start', spec: { ...spec, ...change } });
    await until(() => parent.last('started') !== undefined || parent.last('stopped') !== undefined);
  };
  let id = 0;
  const ask = async (call: VmCall) => {
    const mine = ++id;
    parent.post({ type: 'request', id: mine, call });
    await until(() => parent.last('reply')?.id === mine);
    return parent.last('reply')!.result;
  };
  const stopped = async () => {
    await until(() => exit.mock.calls.length > 0);
    return parent.last('stopped')!.reason;
  };
  const out = (address: number, ...values: number[]) => ({ kind: 'out' as const, address, width: 1, values });

  it('boots, serves the guest and ends when the guest powers off', async () => {
    expect(parent.sent).toEqual([{ type: 'ready' }]);
    await start({ lastScreen: {} });
    expect(parent.last('started')?.engine.tier).toBe('interpreter');
    expect(native.state.rip).toBe(BigInt(MIB + 0x200));
    expect(native.memReadU32(MIB)).toBe(0xcafebabe);
    const params = Number(native.state.gpr[6]);
    const line = native.memReadU32(params + 0x228)!;
    expect(native.memReadU32(line)).toBe(0x736e6f63); // 'cons'
    native.run(
      out(0x3f8, 0x48, 0x69),
      { kind: 'in', address: 0x3fd, width: 1 },
      { kind: 'out', address: 0x604, width: 2, values: [0x2001] },
    );
    expect(await stopped()).toEqual({ kind: 'powerOff' });
    expect(native.answers).toEqual([[0x60]]);
    expect(readFileSync(join(folder, 'com1'), 'latin1')).toBe('Hi');
    expect(native.destroyed).toBe(true);
    const png = Buffer.from(parent.last('stopped')!.screen!, 'base64');
    expect(png.subarray(1, 4).toString()).toBe('PNG');
  });

  it('ends with the code of isa-debug-exit', async () => {
    await start();
    native.run(out(0xf4, 0x10), out(0x3f8, 0x58));
    expect(await stopped()).toEqual({ kind: 'debugExit', code: 0x21 });
    expect(readFileSync(join(folder, 'com1'), 'latin1')).toBe(''); // nothing after the exit ran
  });

  it('answers a viewer when its socket is this process’s alone, and drops one that never is', async () => {
    await start();
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const dial = async () => {
      const accepted = once(server, 'connection') as Promise<[Socket]>;
      const client = connect((server.address() as AddressInfo).port, '127.0.0.1');
      return { client, socket: (await accepted)[0] };
    };
    const headers = {
      connection: 'Upgrade',
      upgrade: 'websocket',
      'sec-websocket-version': '13',
      'sec-websocket-key': 'A'.repeat(22) + '==',
    };
    const hand = (handle: Socket) => parent.listener({ type: 'viewer', request: { headers, head: '' } }, { handle, ports: [] });
    const lost = await dial();
    hand(lost.socket);
    const { client, socket } = await dial();
    hand(socket);
    await once(lost.client, 'close');
    expect(socket.bytesWritten).toBe(0);
    parent.post({ type: 'viewerReleased' });
    const [answer] = (await once(client, 'data')) as [Buffer];
    expect(answer.toString()).toMatch(/^HTTP\/1.1 101/);
    parent.post({ type: 'viewerReleased' }); // of nothing
    client.destroy();
    server.close();
  });

  it('pauses and resumes, and refuses what does not fit the state', async () => {
    await start();
    expect(await ask({ name: 'pause' })).toEqual({ ok: true, value: undefined });
    expect(await ask({ name: 'pause' })).toMatchObject({ ok: false, error: { code: 'invalidState' } });
    expect(await ask({ name: 'powerButton' })).toMatchObject({ ok: false, error: { code: 'invalidState' } });
    expect(await ask({ name: 'resume' })).toEqual({ ok: true, value: undefined });
    expect(native.calls).toEqual(['start', 'resume', 'pause', 'resume']);
  });

  it('boots again after each kind of reset', async () => {
    await start();
    native.state = { ...native.state, rip: 0x1234n };
    native.memWriteU32(MIB, 0);
    native.run(out(0x64, 0xfe));
    await until(() => native.calls.filter((c) => c === 'resume').length === 2);
    expect([native.state.rip, native.memReadU32(MIB)]).toEqual([BigInt(MIB + 0x200), 0xcafebabe]);
    native.run(out(0xcf9, 0x06));
    await until(() => native.calls.filter((c) => c === 'resume').length === 3);
    expect((await ask({ name: 'reset' })).ok).toBe(true);
    expect(native.calls.filter((c) => c === 'reset').length).toBe(3);
    await ask({ name: 'pause' });
    await ask({ name: 'reset' });
    expect(native.calls.at(-1)).toBe('reset'); // stays paused
  });

  it('types keys, writes to serial ports, shows the text screen', async () => {
    await start();
    native.run(out(0x2fa, 1), out(0x2f9, 1));
    expect((await ask({ name: 'keys', keys: 'a' })).ok).toBe(true);
    await until(() => native.irqs.some(([gsi, level]) => gsi === 1 && level));
    native.run({ kind: 'in', address: 0x60, width: 1 });
    await until(() => native.answers.length === 1);
    expect(native.answers[0]).toEqual([0x1e]);
    expect(await ask({ name: 'keys', keys: '<nokey>' })).toMatchObject({ ok: false, error: { code: 'invalidInput' } });
    expect((await ask({ name: 'serialWrite', port: 1, data: 'x' })).ok).toBe(true);
    native.run({ kind: 'in', address: 0x2f8, width: 1 });
    await until(() => native.answers.length === 2);
    expect(native.answers[1]).toEqual([0x78]);
    expect(await ask({ name: 'serialWrite', port: 3, data: 'x' })).toMatchObject({ ok: false, error: { code: 'notFound' } });
    const text = await ask({ name: 'text' });
    expect(text.ok && (text.value as string[]).length).toBe(25);
    expect(await ask({ name: 'detachDisk', diskId: 'x' })).toMatchObject({ ok: true });
  });

  it('presses the power button', async () => {
    await start();
    native.run({ kind: 'out', address: 0x602, width: 2, values: [0x100] });
    await until(() => native.script.length === 0);
    expect((await ask({ name: 'powerButton' })).ok).toBe(true);
    expect(native.irqs).toContainEqual([9, true]);
  });

  it('reports a triple fault with the state of the CPU', async () => {
    await start();
    native.emit({
      type: 'stopped',
      vcpu: 0,
      reason: 'tripleFault',
      message: 'Triple fault',
      state: { ...resetState(), rip: BigInt(MIB), cr0: 1n },
    });
    const reason = await stopped();
    expect(reason).toMatchObject({ kind: 'guestFault', message: 'Triple fault' });
    expect(reason.kind === 'guestFault' && reason.report).toContain('<be> ba fe ca');
  });

  it('ends on stop, and when its parent goes', async () => {
    await start();
    parent.gone();
    parent.post({ type: 'stop' });
    expect(await stopped()).toEqual({ kind: 'stopped' });
    expect(exit).toHaveBeenCalledTimes(1);
  });

  it.each<[string, () => Partial<MachineSpec>, string]>([
    ['a missing kernel', () => ({ boot: { kind: 'linux', kernel: join(folder, 'no'), commandLine: '' } }), 'fileMissing'],
    [
      'an empty kernel',
      () => (
        writeFileSync(join(folder, 'empty'), ''),
        { boot: { kind: 'linux', kernel: join(folder, 'empty'), commandLine: '' } }
      ),
      'fileInvalid',
    ],
    [
      'a text file as kernel',
      () => (
        writeFileSync(join(folder, 'text'), 'x'.repeat(5000)),
        { boot: { kind: 'linux', kernel: join(folder, 'text'), commandLine: '' } }
      ),
      'fileInvalid',
    ],
    [
      'an initrd larger than memory',
      () => (
        writeFileSync(join(folder, 'big'), new Uint8Array(40 * MIB)),
        { boot: { kind: 'linux', kernel: join(folder, 'kernel'), initrd: join(folder, 'big'), commandLine: '' } }
      ),
      'insufficientMemory',
    ],
    [
      'a missing disk',
      () => ({ disks: [{ id: 'a', path: join(folder, 'no.img'), bus: 'virtio', format: 'raw', readOnly: false, kind: 'disk' }] }),
      'fileMissing',
    ],
    [
      'a serial file that cannot be written',
      () => ({ serial: [{ kind: 'file', path: join(folder, 'no', 'x') }] }),
      'permissionDenied',
    ],
    ['an accelerator that is not there', () => ({ accelerator: 'kvm' }), 'acceleratorUnavailable'],
  ])('says what is wrong: %s', async (_what, change, code) => {
    await start(change());
    const reason = await stopped();
    expect(reason).toMatchObject({ kind: 'failed', error: { code } });
    expect(reason.kind === 'failed' && reason.error.fix).toBeTruthy();
    expect(parent.last('started')).toBeUndefined();
  });

  it('ignores messages that make no sense', async () => {
    parent.post({ type: 'start' });
    parent.post('hello');
    expect(parent.last('notice')?.level).toBe('warning');
    parent.post({ type: 'request', id: 1, call: { name: 'pause' } });
    await until(() => parent.last('reply')?.id === 1);
    expect(parent.last('reply')!.result.ok).toBe(false);
    await start();
    parent.post({ type: 'stop' });
    await stopped();
  });
});
