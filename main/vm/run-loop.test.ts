import { describe, expect, it, vi } from 'vitest';
import { Exit, Serve } from '../../native/addon/types';
import { Bus } from '../machine/bus/bus';
import { ExitDispatcher } from './exits';
import { RunLoop } from './run-loop';
import { FakeNative } from './testing/fake-native';

const turns = (n: number) => new Promise<void>((done) => (n === 0 ? done() : setImmediate(() => turns(n - 1).then(done, done))));

function setUp() {
  const buffer = new ArrayBuffer(Exit.STRIDE);
  const native: FakeNative = new FakeNative(buffer, () => loop.wake());
  const bus = new Bus();
  const dispatcher = new ExitDispatcher(buffer, bus);
  const onBug = vi.fn();
  const onEvents = vi.fn();
  const loop: RunLoop = new RunLoop({
    native,
    dispatch: (v) => dispatcher.dispatch(v),
    deliverPosted: () => dispatcher.deliverPosted(),
    onEvents,
    onBug,
  });
  return { native, bus, loop, onBug, onEvents };
}

describe('exits', () => {
  it('carry ports of every width, strings, and MMIO in halves', async () => {
    const t = setUp();
    const writes: [number, number, number][] = [];
    const handler = {
      read: (offset: number, width: number) => offset * 0x11 + width,
      write: (...w: [number, number, number]) => void writes.push(w),
    };
    t.bus.claimPorts(0x100, 16, handler, 'ports');
    t.bus.claimMmio(0x1_0000_1000, 0x1000, handler, 'mmio');
    t.native.resume();
    t.native.run(
      { kind: 'out', address: 0x104, width: 4, values: [0xdeadbeef] },
      { kind: 'in', address: 0x102, width: 1 },
      { kind: 'in', address: 0x102, width: 2, count: 3 },
      { kind: 'out', address: 0x100, width: 1, values: [1, 2, 3] },
      { kind: 'mmioWrite', address: 0x1_0000_1008, width: 8, values: [0x1122334455667] },
      { kind: 'mmioRead', address: 0x1_0000_1008, width: 8 },
      { kind: 'mmioRead', address: 0x5000, width: 4 },
    );
    await turns(3);
    expect(writes).toEqual([
      [4, 4, 0xdeadbeef],
      [0, 1, 1],
      [0, 1, 2],
      [0, 1, 3],
      [8, 4, 0x34455667],
      [12, 4, 0x11223],
    ]);
    expect(t.native.answers).toEqual([[0x23], [0x24, 0x24, 0x24], [0xd0 * 2 ** 32 + 0x8c], [0xffffffff]]);
  });

  it('come behind the writes that were posted before them', async () => {
    const t = setUp();
    const seen: unknown[] = [];
    const read = (offset: number) => (seen.push(['read', offset]), 7);
    t.bus.claimPorts(0x100, 16, { read, write: (...write) => void seen.push(write) }, 'ports');
    t.native.resume();
    t.native.run(
      { kind: 'post', address: 0x101, width: 1, values: [0xab] },
      { kind: 'post', address: 0x104, width: 4, values: [0xdeadbeef] },
      { kind: 'in', address: 0x102, width: 1 },
      { kind: 'post', address: 0x101, width: 1, values: [2] },
      { kind: 'out', address: 0x102, width: 2, values: [3] },
    );
    await turns(3);
    expect(seen).toEqual([
      [1, 1, 0xab],
      [4, 4, 0xdeadbeef],
      ['read', 2],
      [1, 1, 2],
      [2, 2, 3],
    ]);
    expect(t.native.answers).toEqual([[7]]);
  });
});

describe('run loop', () => {
  it('gives the event loop back while the guest is busy, and loses no exit', async () => {
    const t = setUp();
    let served = 0;
    t.bus.claimPorts(0x80, 1, { read: () => 0, write: () => { served++; const until = performance.now() + 0.05; while (performance.now() < until); } }, 'slow'); // prettier-ignore
    t.native.resume();
    t.native.run(...Array.from({ length: 400 }, () => ({ kind: 'out' as const, address: 0x80, width: 1, values: [1] })));
    const seen: number[] = [];
    while (served < 400) {
      await turns(1);
      seen.push(served);
    }
    expect(seen.length).toBeGreaterThan(4);
    expect(served).toBe(400);
    expect(t.native.script).toEqual([]);
  });

  it('asks for nothing while the guest is idle', async () => {
    const t = setUp();
    const serve = vi.spyOn(t.native, 'serve');
    t.loop.wake();
    await turns(5);
    expect(serve).toHaveBeenCalledTimes(1);
    expect(serve).toHaveLastReturnedWith(Serve.IDLE);
  });

  it('reports a device that throws, once, and stops', async () => {
    const t = setUp();
    t.bus.claimPorts(0x80, 1, { read: () => { throw new Error('bug'); }, write: () => undefined }, 'broken'); // prettier-ignore
    t.native.resume();
    t.native.run({ kind: 'in', address: 0x80, width: 1 }, { kind: 'in', address: 0x80, width: 1 });
    await turns(3);
    t.loop.wake();
    expect(t.onBug).toHaveBeenCalledTimes(1);
    expect(t.native.script.length).toBe(2);
  });

  it('hands events over in between', async () => {
    const t = setUp();
    t.native.emit({ type: 'doorbell', id: 3, value: 1 });
    await turns(2);
    expect(t.onEvents).toHaveBeenCalledWith([{ type: 'doorbell', id: 3, value: 1 }]);
  });
});
