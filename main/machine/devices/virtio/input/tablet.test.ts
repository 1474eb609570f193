import { beforeEach, describe, expect, it } from 'vitest';
import type { VirtioTransport } from '../device';
import { flatMemory } from '../../../memory/testing/flat-memory';
import { QueueDriver } from '../testing/driver';
import { Virtqueue } from '../virtqueue';
import { mouseAndTablet, VirtioTablet } from './tablet';

const BUFFERS = 0x8000;
const QUEUE = { size: 16, descriptors: 0x1000, driver: 0x2000, device: 0x3000 };

function setup() {
  const mem = flatMemory(1 << 16);
  let modes = 0;
  const tablet = new VirtioTablet({ mem, onMode: () => modes++ });
  const faults: string[] = [];
  const layouts = [QUEUE, { ...QUEUE, descriptors: 0x1400, driver: 0x2400, device: 0x3400 }];
  const drivers = layouts.map((layout) => new QueueDriver(mem, layout));
  const rings = layouts.map((layout) => new Virtqueue(mem, layout, { indirect: false, eventIndex: false }));
  const transport: VirtioTransport = {
    queue: (index) => rings[index],
    signal: () => undefined,
    configChanged: () => undefined,
    fail: (fault) => faults.push(fault),
  };
  let next = 0;
  const give = (count: number, bytes = 8): void => {
    for (let i = 0; i < count; i++, next++) {
      const slot = next % QUEUE.size;
      drivers[0]!.describe(QUEUE.descriptors, slot, { at: BUFFERS + slot * 8, bytes, write: true });
      drivers[0]!.offer(slot);
    }
    tablet.onNotify(0);
  };
  const events = (): number[][] => {
    const seen: number[][] = [];
    for (let used = drivers[0]!.takeUsed(); used; used = drivers[0]!.takeUsed()) {
      expect(used.written).toBe(8);
      const at = BUFFERS + used.head * 8;
      seen.push([mem.view.getUint16(at, true), mem.view.getUint16(at + 2, true), mem.view.getInt32(at + 4, true)]);
    }
    return seen;
  };
  const config = (select: number, subselect: number): number[] => {
    tablet.writeConfig(0, select);
    tablet.writeConfig(1, subselect);
    const all = tablet.readConfig();
    expect(all.slice(8 + all[2]!).every((byte) => byte === 0)).toBe(true);
    return [...all.slice(8, 8 + all[2]!)];
  };
  return { mem, tablet, transport, drivers, faults, give, events, config, modes: () => modes };
}

const SYN = [0, 0, 0];

describe('virtio-tablet', () => {
  let t: ReturnType<typeof setup>;
  beforeEach(() => (t = setup()));

  it('says what it is', () => {
    expect(String.fromCharCode(...t.config(1, 0))).toBe('Lodge tablet');
    expect(t.config(3, 0)).toEqual([6, 0, 0xf4, 0x1a, 3, 0, 1, 0]);
    expect(t.config(0x11, 3)).toEqual([3]);
    expect(t.config(0x11, 2)).toEqual([0, 1]);
    expect(t.config(0x11, 1)).toEqual([...new Array<number>(0x110 >> 3).fill(0), 0x1f]);
    expect(t.config(0x12, 1)).toEqual([0, 0, 0, 0, 0xff, 0xff, ...new Array<number>(14).fill(0)]);
    for (const [select, subselect] of [
      [0, 0],
      [0x11, 4],
      [0x12, 2],
      [0x10, 0],
      [0xff, 0xff],
    ] as const)
      // prettier-ignore
      expect(t.config(select, subselect)).toEqual([]);
  });

  it('takes positions while it has a driver, and sends what changed', () => {
    t.tablet.pointer(1, 2, 0, 0);
    expect([t.tablet.absolute, t.modes()]).toEqual([false, 0]);
    t.tablet.start(t.transport);
    expect([t.tablet.absolute, t.modes()]).toEqual([true, 1]);
    t.give(16);
    t.tablet.pointer(100, 200, 0, 0);
    t.tablet.pointer(100, 300, 0b10, 0);
    t.tablet.pointer(100, 300, 0b10, 0);
    t.tablet.pointer(100, 300, 0b00, 2);
    expect(t.events()).toEqual([
      ...[[3, 0, 100], [3, 1, 200], SYN],
      ...[[3, 1, 300], [1, 0x111, 1], SYN],
      ...[[1, 0x111, 0], [2, 8, -2], SYN],
    ]); // prettier-ignore
    t.tablet.reset();
    expect([t.tablet.absolute, t.modes()]).toEqual([false, 2]);
    expect(t.faults).toEqual([]);
  });

  it('a driver that gives no room misses positions, never a button that is still held', () => {
    t.tablet.start(t.transport);
    t.give(2);
    t.tablet.pointer(5, 6, 1, 1);
    expect(t.events()).toEqual([]);
    t.tablet.pointer(7, 8, 1, 1);
    t.give(3);
    expect(t.events()).toEqual([[3, 0, 7], [3, 1, 8], [1, 0x110, 1], [2, 8, -2], SYN]); // prettier-ignore
    t.give(8);
    expect(t.events()).toEqual([]);
  });

  it('lets go of the buttons when the pointer is captured or the viewer leaves', () => {
    const moves: number[][] = [];
    const both = mouseAndTablet({ absolute: false, relative: (...m) => moves.push(m), pointer: () => undefined }, t.tablet);
    expect(both.absolute).toBe(false);
    t.tablet.start(t.transport);
    expect(both.absolute).toBe(true);
    t.give(16);
    both.pointer(9, 9, 0b11, 0);
    t.events();
    both.relative(3, 4, 0b01, 0);
    both.relative(0, 0, 0, 0);
    expect(t.events()).toEqual([[1, 0x111, 0], SYN, [1, 0x110, 0], SYN]); // prettier-ignore
    expect(moves).toEqual([[3, 4, 1, 0], [0, 0, 0, 0]]); // prettier-ignore
  });

  it('buffers too small for an event need a reset; status is taken and ignored', () => {
    t.tablet.start(t.transport);
    t.tablet.pointer(1, 1, 0, 0);
    t.give(1, 7);
    expect(t.faults).toEqual(['badRequest']);
    t.drivers[1]!.chain(0, [{ at: BUFFERS, bytes: 8 }]);
    t.drivers[1]!.offer(0);
    t.tablet.onNotify(1);
    expect(t.drivers[1]!.takeUsed()).toEqual({ head: 0, written: 0 });
  });
});
