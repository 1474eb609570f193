import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { flatMemory } from '../../memory/testing/flat-memory';
import { QueueDriver } from './testing/driver';
import { checkLayout, readRanges, sliceRanges, Virtqueue, writeRanges, type QueueLayout } from './virtqueue';

const layout: QueueLayout = { size: 8, descriptors: 0x1000, driver: 0x2000, device: 0x3000 };
const DATA = 0x8000;

function setup(features = { indirect: true, eventIndex: false }) {
  const mem = flatMemory(0x20000);
  return { mem, driver: new QueueDriver(mem, layout), queue: new Virtqueue(mem, layout, features) };
}

describe('split virtqueue', () => {
  it('yields readable and writable parts in order, and gives chains back', () => {
    const { driver, queue } = setup();
    driver.chain(2, [
      { at: DATA, bytes: 16 },
      { at: DATA + 0x100, bytes: 512, write: true },
      { at: DATA + 0x400, bytes: 1, write: true },
    ]);
    driver.offer(2);
    const chain = queue.pop();
    expect(chain).toEqual({
      ok: true,
      value: {
        head: 2,
        readable: [DATA, 16],
        writable: [DATA + 0x100, 512, DATA + 0x400, 1],
        readableBytes: 16,
        writableBytes: 513,
      },
    });
    expect(queue.pop()).toEqual({ ok: true, value: undefined });
    expect(queue.outstanding).toBe(1);
    expect(queue.push(2, 513)).toBeUndefined();
    expect(driver.takeUsed()).toEqual({ head: 2, written: 513 });
    expect(queue.outstanding).toBe(0);
  });

  it('follows an indirect table', () => {
    const { driver, queue } = setup();
    driver.chain(
      0,
      [
        { at: DATA, bytes: 4 },
        { at: DATA + 4, bytes: 8, write: true },
      ],
      0x6000,
    );
    driver.describe(layout.descriptors, 5, { at: 0x6000, bytes: 32, indirect: true });
    driver.offer(5);
    expect(queue.pop()).toMatchObject({ ok: true, value: { head: 5, readableBytes: 4, writableBytes: 8 } });
  });

  it('goes on past the wrap of its 16-bit indices', () => {
    const { driver, queue } = setup();
    driver.chain(0, [{ at: DATA, bytes: 4 }]);
    for (let i = 0; i < 70_000; i++) {
      driver.offer(0);
      const chain = queue.pop();
      if (!chain.ok || !chain.value) throw new Error(`lost at ${i}`);
      queue.push(0, 0);
      expect(driver.takeUsed()?.head).toBe(0);
    }
  });

  const faults: [string, (s: ReturnType<typeof setup>) => void, string][] = [
    ['a head outside the table', ({ driver }) => driver.offer(8), 'headOutOfRange'],
    [
      'a loop',
      ({ driver }) => (driver.describe(layout.descriptors, 0, { at: DATA, bytes: 1, next: 0 }), driver.offer(0)),
      'chainTooLong',
    ],
    [
      'a next outside the table',
      ({ driver }) => (driver.describe(layout.descriptors, 0, { at: DATA, bytes: 1, next: 99 }), driver.offer(0)),
      'nextOutOfRange',
    ],
    [
      'readable after writable',
      ({ driver }) => (
        driver.chain(0, [
          { at: DATA, bytes: 1, write: true },
          { at: DATA, bytes: 1 },
        ]),
        driver.offer(0)
      ),
      'readableAfterWritable',
    ],
    ['an avail index that jumped', ({ mem }) => mem.view.setUint16(layout.driver + 2, 9, true), 'availIndexJumped'],
    [
      'a chain over 4 GiB',
      ({ driver }) => (
        driver.chain(0, [
          { at: 0, bytes: 0xffffffff },
          { at: 0, bytes: 2 },
        ]),
        driver.offer(0)
      ),
      'chainTooBig',
    ],
    [
      'an indirect table in an indirect table',
      ({ driver }) => {
        driver.describe(0x6000, 0, { at: 0x6000, bytes: 16, indirect: true });
        driver.describe(layout.descriptors, 0, { at: 0x6000, bytes: 16, indirect: true });
        driver.offer(0);
      },
      'nestedIndirect',
    ],
    [
      'a ragged indirect table',
      ({ driver }) => (driver.describe(layout.descriptors, 0, { at: 0x6000, bytes: 17, indirect: true }), driver.offer(0)),
      'badIndirectTable',
    ],
    [
      'an indirect table outside RAM',
      ({ driver }) => (
        driver.describe(layout.descriptors, 0, { at: 0x7fff_ffff_0000, bytes: 16, indirect: true }),
        driver.offer(0)
      ),
      'ringNotInMemory',
    ],
  ];
  it.each(faults)('refuses %s', (_, prepare, fault) => {
    const s = setup();
    prepare(s);
    expect(s.queue.pop()).toEqual({ ok: false, error: fault });
  });

  it('refuses what was not negotiated, and more in flight than the queue has entries', () => {
    const s = setup({ indirect: false, eventIndex: false });
    s.driver.describe(layout.descriptors, 0, { at: 0x6000, bytes: 16, indirect: true });
    s.driver.offer(0);
    expect(s.queue.pop()).toEqual({ ok: false, error: 'indirectNotNegotiated' });
    const t = setup();
    t.driver.chain(0, [{ at: DATA, bytes: 1 }]);
    for (let i = 0; i < 8; i++) {
      t.driver.offer(0);
      t.queue.pop();
    }
    t.driver.offer(0);
    expect(t.queue.pop()).toEqual({ ok: false, error: 'tooManyInFlight' });
  });

  it('tells the driver only when it wants to hear', () => {
    const { driver, queue, mem } = setup();
    expect(queue.takeInterrupt()).toBe(false);
    queue.push(0, 0);
    expect(queue.takeInterrupt()).toBe(true);
    expect(queue.takeInterrupt()).toBe(false);
    mem.view.setUint16(layout.driver, 1, true); // NO_INTERRUPT
    queue.push(0, 0);
    expect(queue.takeInterrupt()).toBe(false);
    const e = setup({ indirect: true, eventIndex: true });
    e.driver.setUsedEvent(2);
    const answers = [];
    for (let i = 0; i < 4; i++) {
      e.queue.push(0, 0);
      answers.push(e.queue.takeInterrupt());
    }
    expect(answers).toEqual([false, false, true, false]);
    expect(driver.usedIndex).toBe(2);
  });

  it('asks for a notification at the next entry when it ran dry (event index)', () => {
    const { driver, queue, mem } = setup({ indirect: true, eventIndex: true });
    driver.chain(0, [{ at: DATA, bytes: 1 }]);
    driver.offer(0);
    queue.pop();
    queue.pop();
    expect(mem.view.getUint16(layout.device + 4 + layout.size * 8, true)).toBe(1);
  });

  it('never throws, loops or leaves the bounds, whatever the rings hold', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 128, maxLength: 128 }),
        fc.uint8Array({ minLength: 24, maxLength: 24 }),
        fc.boolean(),
        fc.boolean(),
        (descriptors, avail, indirect, eventIndex) => {
          const { mem, queue } = setup({ indirect, eventIndex });
          mem.data.set(descriptors, layout.descriptors);
          mem.data.set(avail, layout.driver);
          for (let i = 0; i < 12; i++) {
            const chain = queue.pop();
            if (!chain.ok || !chain.value) break;
            const { readable, writable, readableBytes, writableBytes } = chain.value;
            expect(readableBytes + writableBytes).toBeLessThanOrEqual(2 ** 32);
            expect(readable.length + writable.length).toBeLessThanOrEqual(2 * 1024);
            readRanges(mem, readable, new Uint8Array(64));
            writeRanges(mem, writable, new Uint8Array(64));
            queue.push(chain.value.head, 0);
            queue.takeInterrupt();
          }
        },
      ),
      { numRuns: 2000 },
    );
  });
});

describe('layout and ranges', () => {
  it('refuses sizes and addresses the specification does not allow', () => {
    expect(checkLayout(layout)).toBeUndefined();
    expect(checkLayout({ ...layout, size: 6 })).toBe('badQueueSize');
    expect(checkLayout({ ...layout, size: 0 })).toBe('badQueueSize');
    expect(checkLayout({ ...layout, descriptors: 8 })).toBe('ringMisaligned');
    expect(checkLayout({ ...layout, device: 2 ** 60 })).toBe('ringNotInMemory');
  });

  it('cuts ranges like the bytes they stand for', () => {
    const parts = fc.array(fc.integer({ min: 1, max: 20 }), { maxLength: 8 });
    fc.assert(
      fc.property(parts, fc.nat(40), fc.nat(40), (lengths, skip, bytes) => {
        const ranges = lengths.flatMap((n, i) => [i * 100, n]);
        const flat = lengths.flatMap((n, i) => Array.from({ length: n }, (_, k) => i * 100 + k));
        const cut = sliceRanges(ranges, skip, bytes);
        const got: number[] = [];
        for (let i = 0; i < cut.length; i += 2) for (let k = 0; k < cut[i + 1]!; k++) got.push(cut[i]! + k);
        expect(got).toEqual(flat.slice(skip, skip + bytes));
      }),
    );
  });
});
