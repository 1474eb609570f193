import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import type { Rect } from '../../../../backend/display';
import { Emitter } from '../../../../lib/disposable';
import type { Vga } from '../../vga';
import type { VirtioTransport } from '../device';
import { flatMemory } from '../../../memory/testing/flat-memory';
import { QueueDriver } from '../testing/driver';
import { Virtqueue } from '../virtqueue';
import { VirtioVga } from './adapter';
import { VirtioGpu } from './gpu';
import { Command, Response } from './request';

const MEMORY = 8 << 20;
const REQUEST = 0x4000;
const ANSWER = 0x6000;
const BACKING = 0x100000;
const QUEUE = { size: 16, descriptors: 0x1000, driver: 0x2000, device: 0x3000 };
const BGRX = 2;
const RGBA = 67;

function setup() {
  const mem = flatMemory(MEMORY);
  const gpu = new VirtioGpu({ mem, defer: (callback) => deferred.push(callback) });
  const deferred: (() => void)[] = [];
  const faults: string[] = [];
  let changes = 0;
  const queues = [QUEUE, { ...QUEUE, descriptors: 0x1400, driver: 0x2400, device: 0x3400 }];
  const drivers = queues.map((layout) => new QueueDriver(mem, layout));
  const rings = queues.map((layout) => new Virtqueue(mem, layout, { indirect: false, eventIndex: false }));
  const transport: VirtioTransport = {
    queue: (index) => rings[index],
    signal: () => undefined,
    configChanged: () => changes++,
    fail: (fault) => faults.push(fault),
  };
  gpu.start(transport);
  /** One request on one queue; the answer's bytes as 32-bit words. */
  const ask = (
    type: number,
    fields: readonly number[] = [],
    options: { queue?: number; fence?: number; room?: number } = {},
  ): number[] => {
    const { queue = 0, fence, room = 2048 } = options;
    mem.view.setUint32(REQUEST, type, true);
    mem.view.setUint32(REQUEST + 4, fence === undefined ? 0 : 1, true);
    mem.view.setBigUint64(REQUEST + 8, BigInt(fence ?? 0), true);
    mem.view.setUint32(REQUEST + 16, 0, true);
    fields.forEach((value, i) => mem.view.setUint32(REQUEST + 24 + i * 4, value, true));
    const request = { at: REQUEST, bytes: 24 + fields.length * 4 };
    const driver = drivers[queue]!;
    driver.chain(0, room === 0 ? [request] : [request, { at: ANSWER, bytes: room, write: true }]);
    driver.offer(0);
    gpu.onNotify(queue);
    for (const turn of deferred.splice(0)) turn();
    const used = driver.takeUsed();
    return Array.from({ length: (used?.written ?? 0) / 4 }, (_, i) => mem.view.getUint32(ANSWER + i * 4, true));
  };
  const rect = (x: number, y: number, width: number, height: number) => [x, y, width, height];
  const create = (id: number, width: number, height: number, format = BGRX) =>
    ask(Command.RESOURCE_CREATE_2D, [id, format, width, height])[0];
  const attach = (id: number, ...pieces: [number, number][]) =>
    ask(Command.RESOURCE_ATTACH_BACKING, [id, pieces.length, ...pieces.flatMap(([at, bytes]) => [at, 0, bytes, 0])])[0];
  const transfer = (id: number, r: number[], offset = 0) => ask(Command.TRANSFER_TO_HOST_2D, [...r, offset, 0, id, 0])[0];
  const show = (id: number, r: number[]) => ask(Command.SET_SCANOUT, [...r, 0, id])[0];
  const flush = (id: number, r: number[]) => ask(Command.RESOURCE_FLUSH, [...r, id, 0])[0];
  return { mem, gpu, ask, rect, create, attach, transfer, show, flush, faults, deferred, drivers, changes: () => changes };
}

const pixels = (gpu: Pick<VirtioGpu, 'render'>, r: Rect): number[] => {
  const out = new Uint8Array(r.width * r.height * 4);
  gpu.render(r, out);
  return [...new Uint32Array(out.buffer)];
};

describe('virtio-gpu', () => {
  let t: ReturnType<typeof setup>;
  beforeEach(() => (t = setup()));

  it('tells its one monitor, repeats fences, and says when the monitor changes', () => {
    const info = t.ask(Command.GET_DISPLAY_INFO, [], { fence: 77 });
    expect(info.slice(0, 4)).toEqual([Response.OK_DISPLAY_INFO, 1, 77, 0]);
    expect(info.slice(6, 12)).toEqual([0, 0, 1280, 800, 1, 0]);
    expect(info.slice(12)).toEqual(new Array(15 * 6).fill(0));
    t.gpu.resize(1000.7, 3);
    t.gpu.resize(1000, 64);
    expect(t.changes()).toBe(1);
    expect([...t.gpu.readConfig().slice(0, 12)]).toEqual([1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
    expect(t.ask(Command.GET_DISPLAY_INFO).slice(6, 10)).toEqual([0, 0, 1000, 64]);
    t.gpu.writeConfig(4, 1);
    expect(t.gpu.readConfig()[0]).toBe(0);
  });

  it('has an EDID for any size of window, its sum right and its timing the size', () => {
    fc.assert(
      fc.property(fc.integer({ min: 64, max: 9000 }), fc.integer({ min: 64, max: 9000 }), (width, height) => {
        t.gpu.resize(width, height);
        expect(t.ask(Command.GET_EDID, [0, 0]).slice(0, 1)).toEqual([Response.OK_EDID]);
        expect(t.mem.view.getUint32(ANSWER + 24, true)).toBe(128);
        const edid = t.mem.data.slice(ANSWER + 32, ANSWER + 32 + 128);
        expect(edid.reduce((sum, byte) => (sum + byte) & 0xff, 0)).toBe(0);
        const d = edid.slice(54);
        expect([d[2]! | ((d[4]! >> 4) << 8), d[5]! | ((d[7]! >> 4) << 8)]).toEqual([
          Math.min(width, 4095),
          Math.min(height, 4095),
        ]);
        expect(d[0]! | (d[1]! << 8)).toBeGreaterThan(0);
      }),
    );
    expect(t.ask(Command.GET_EDID, [1, 0])[0]).toBe(Response.ERR_INVALID_SCANOUT_ID);
  });

  it('shows what was transferred from scattered memory, and nothing else', () => {
    expect(t.create(1, 8, 4)).toBe(Response.OK_NODATA);
    for (let i = 0; i < 32; i++) t.mem.view.setUint32(BACKING + (i < 5 ? i * 4 : 0x1000 + i * 4), 0x00010203 * (i + 1), true);
    // 20 bytes, nothing, then the rest elsewhere: a line begins in one piece and ends in another.
    expect(t.attach(1, [BACKING, 20], [0, 0], [BACKING + 0x1000 + 20, 108])).toBe(Response.OK_NODATA);
    expect(t.attach(1, [BACKING, 128])).toBe(Response.ERR_UNSPEC);
    expect(t.show(1, t.rect(0, 0, 8, 4))).toBe(Response.OK_NODATA);
    expect(t.gpu.screen).toEqual({ width: 8, height: 4, mode: 'graphics' });
    expect(t.gpu.takeDirty()).toEqual([{ x: 0, y: 0, width: 8, height: 4 }]);
    expect(t.transfer(1, t.rect(2, 0, 4, 2), 8)).toBe(Response.OK_NODATA);
    expect(t.gpu.takeDirty()).toEqual([]);
    expect(t.flush(1, t.rect(2, 0, 4, 2))).toBe(Response.OK_NODATA);
    expect(t.gpu.takeDirty()).toEqual([{ x: 2, y: 0, width: 4, height: 2 }]);
    const rgba = (i: number) => (0xff000000 | (((i + 1) * 3) << 16) | (((i + 1) * 2) << 8) | (i + 1)) >>> 0;
    const black = 0xff000000;
    expect(pixels(t.gpu, { x: 0, y: 0, width: 8, height: 3 })).toEqual([
      ...[black, black, rgba(2), rgba(3), rgba(4), rgba(5), black, black],
      ...[black, black, rgba(10), rgba(11), rgba(12), rgba(13), black, black],
      ...new Array<number>(8).fill(black),
    ]);
    // What the guest writes later is not seen until it says so.
    t.mem.data.fill(0xff, BACKING, BACKING + 0x2000);
    expect(pixels(t.gpu, { x: 2, y: 0, width: 1, height: 1 })).toEqual([rgba(2)]);
    expect(t.transfer(1, t.rect(0, 0, 8, 4))).toBe(Response.OK_NODATA);
    expect(new Set(pixels(t.gpu, { x: 0, y: 0, width: 8, height: 4 }))).toEqual(new Set([0xffffffff]));
  });

  it('shows a part of a picture, and is off without one', () => {
    const changes: object[] = [];
    t.gpu.onScreenChange((screen) => changes.push(screen));
    expect(t.gpu.active).toBe(false);
    t.create(1, 100, 100);
    t.show(1, t.rect(10, 20, 30, 40));
    expect(t.gpu.active).toBe(true);
    t.gpu.takeDirty();
    t.flush(1, t.rect(0, 0, 20, 25));
    t.flush(1, t.rect(50, 70, 10, 10));
    expect(t.gpu.takeDirty()).toEqual([{ x: 0, y: 0, width: 10, height: 5 }]);
    expect(t.show(0, t.rect(0, 0, 0, 0))).toBe(Response.OK_NODATA);
    t.show(1, t.rect(0, 0, 50, 50));
    expect(t.ask(Command.RESOURCE_UNREF, [1, 0])[0]).toBe(Response.OK_NODATA);
    t.gpu.reset();
    expect(t.gpu.active).toBe(false);
    expect(changes).toEqual([
      { width: 30, height: 40, mode: 'graphics' },
      { width: 30, height: 40, mode: 'off' },
      { width: 50, height: 50, mode: 'graphics' },
      { width: 50, height: 50, mode: 'off' },
      { width: 50, height: 50, mode: 'off' }, // and back to the VGA
    ]);
  });

  it('draws the cursor over the picture, and takes it away again', () => {
    t.create(1, 200, 200);
    t.show(1, t.rect(0, 0, 200, 200));
    t.create(2, 64, 64, RGBA);
    // Half transparent red at its first pixel, opaque green at its second.
    t.mem.view.setUint32(BACKING, 0x80000080, true);
    t.mem.view.setUint32(BACKING + 4, 0xff00ff00, true);
    t.attach(2, [BACKING, 64 * 64 * 4]);
    t.transfer(2, t.rect(0, 0, 64, 64));
    t.gpu.takeDirty();
    expect(t.ask(Command.UPDATE_CURSOR, [0, 10, 20, 0, 2, 3, 4, 0], { queue: 1, room: 0 })).toEqual([]);
    expect(t.gpu.takeDirty()).toEqual([{ x: 7, y: 16, width: 64, height: 64 }]);
    expect(pixels(t.gpu, { x: 7, y: 16, width: 3, height: 1 })).toEqual([0xff000080, 0xff00ff00, 0xff000000]);
    // Over white, half of it shows through; partly outside the screen at the left and above.
    t.mem.data.fill(0xff, BACKING + 0x10000, BACKING + 0x10000 + 160000);
    t.attach(1, [BACKING + 0x10000, 160000]);
    t.transfer(1, t.rect(0, 0, 200, 200));
    t.ask(Command.MOVE_CURSOR, [0, 2, 4, 0, 0, 0, 0, 0], { queue: 1, room: 0 });
    expect(t.gpu.takeDirty()).toEqual([
      { x: 7, y: 16, width: 64, height: 64 },
      { x: 0, y: 0, width: 63, height: 64 },
    ]);
    expect(pixels(t.gpu, { x: 0, y: 0, width: 2, height: 1 })).toEqual([0xff00ff00, 0xffffffff]);
    t.ask(Command.UPDATE_CURSOR, [0, 0, 0, 0, 0, 0, 0, 0], { queue: 1, room: 0 });
    expect(new Set(pixels(t.gpu, { x: 0, y: 0, width: 200, height: 200 }))).toEqual(new Set([0xffffffff]));
    expect(t.ask(Command.MOVE_CURSOR, [0, 2, 4, 0, 0, 0, 0, 0])[0]).toBe(Response.ERR_UNSPEC); // not on the control queue
    expect(t.ask(Command.GET_DISPLAY_INFO, [], { queue: 1 })[0]).toBe(Response.ERR_UNSPEC);
  });

  it('refuses what does not fit, keeps a bounded amount, and lets go of it', () => {
    expect([t.create(0, 8, 8), t.create(1, 0, 8), t.create(1, 8, 16385), t.create(1, 8, 8, 5)]).toEqual([
      ...[
        Response.ERR_INVALID_RESOURCE_ID,
        Response.ERR_INVALID_PARAMETER,
        Response.ERR_INVALID_PARAMETER,
        Response.ERR_INVALID_PARAMETER,
      ],
    ]);
    expect([t.create(1, 8, 8), t.create(1, 8, 8)]).toEqual([Response.OK_NODATA, Response.ERR_INVALID_RESOURCE_ID]);
    expect([t.transfer(1, t.rect(0, 0, 8, 8)), t.attach(1, [BACKING, 255]), t.transfer(1, t.rect(0, 0, 8, 8))]).toEqual([
      ...[Response.ERR_INVALID_PARAMETER, Response.OK_NODATA, Response.ERR_INVALID_PARAMETER],
    ]);
    for (const [x, y, w, h] of [
      [0, 0, 9, 1],
      [1, 0, 8, 1],
      [0, 0, 0, 1],
      [0xffffffff, 0, 2, 1],
      [0, 0, 1, 0xffffffff],
    ] as const) {
      // prettier-ignore
      expect(t.transfer(1, [x, y, w, h])).toBe(Response.ERR_INVALID_PARAMETER);
      expect(t.flush(1, [x, y, w, h])).toBe(Response.ERR_INVALID_PARAMETER);
      expect(t.show(1, [x, y, w, h])).toBe(Response.ERR_INVALID_PARAMETER);
    }
    expect(t.ask(Command.SET_SCANOUT, [0, 0, 8, 8, 1, 1])[0]).toBe(Response.ERR_INVALID_SCANOUT_ID);
    expect([t.flush(9, t.rect(0, 0, 1, 1)), t.show(9, t.rect(0, 0, 1, 1))]).toEqual([
      Response.ERR_INVALID_RESOURCE_ID,
      Response.ERR_INVALID_RESOURCE_ID,
    ]);
    // A list that is longer than its request, or than anybody needs; memory that is none.
    expect(t.ask(Command.RESOURCE_DETACH_BACKING, [1, 0])[0]).toBe(Response.OK_NODATA);
    expect(t.ask(Command.RESOURCE_ATTACH_BACKING, [1, 2, 0, 0, 64, 0])[0]).toBe(Response.ERR_INVALID_PARAMETER);
    expect(t.ask(Command.RESOURCE_ATTACH_BACKING, [1, 0xffffffff])[0]).toBe(Response.ERR_INVALID_PARAMETER);
    expect([t.attach(1, [0xfffff000, 4096]), t.transfer(1, t.rect(0, 0, 8, 8))]).toEqual([
      Response.OK_NODATA,
      Response.ERR_INVALID_PARAMETER,
    ]);
    expect(t.ask(0x7777)[0]).toBe(Response.ERR_UNSPEC);
    // 64 MiB each: the fourth does not fit beside the small one.
    expect([2, 3, 4, 5].map((id) => t.create(id, 4096, 4096))).toEqual([
      ...[Response.OK_NODATA, Response.OK_NODATA, Response.OK_NODATA, Response.ERR_OUT_OF_MEMORY],
    ]);
    expect([t.ask(Command.RESOURCE_UNREF, [3, 0])[0], t.create(5, 4096, 4096)]).toEqual([Response.OK_NODATA, Response.OK_NODATA]);
    expect(t.faults).toEqual([]);
    t.ask(Command.GET_DISPLAY_INFO, [], { room: 8 }); // no room for an answer: as much of it as fits
    expect(t.faults).toEqual([]);
  });

  it('gives others their turn when a guest asks for much at once', () => {
    t.create(1, 4096, 2048);
    t.attach(1, [BACKING, 32 << 20]); // most of it is no memory: each transfer is refused at its end
    const rect = t.rect(0, 0, 4096, 2048);
    const driver = t.drivers[0]!;
    t.mem.view.setUint32(REQUEST, Command.TRANSFER_TO_HOST_2D, true);
    [...rect, 0, 0, 1, 0].forEach((value, i) => t.mem.view.setUint32(REQUEST + 24 + i * 4, value, true));
    for (let i = 0; i < 5; i++) {
      driver.chain(i * 2, [
        { at: REQUEST, bytes: 56 },
        { at: ANSWER + i * 64, bytes: 24, write: true },
      ]);
      driver.offer(i * 2);
    }
    const served = (): number => {
      let n = 0;
      while (driver.takeUsed()) n++;
      return n;
    };
    t.gpu.onNotify(0);
    expect(served()).toBe(2);
    t.gpu.onNotify(0); // the rest has its turn already
    expect(served()).toBe(0);
    t.deferred.shift()!();
    expect(served()).toBe(2);
    t.deferred.shift()!();
    expect([served(), t.deferred.length]).toEqual([1, 0]);
  });

  it('a request without a whole header needs a reset', () => {
    t.drivers[0]!.chain(0, [{ at: REQUEST, bytes: 23 }]);
    t.drivers[0]!.offer(0);
    t.gpu.onNotify(0);
    expect(t.faults).toEqual(['badRequest']);
  });

  it('survives any sequence of any requests', () => {
    const type = fc.constantFrom(...Object.values(Command), 0x109, 0);
    const word = fc.oneof(
      fc.integer({ min: 0, max: 4 }),
      fc.integer({ min: 0, max: 300 }),
      fc.constant(BACKING),
      fc.nat(0xffffffff),
    );
    const step = fc.record({
      type,
      fields: fc.array(word, { maxLength: 24 }),
      queue: fc.nat(1),
      room: fc.constantFrom(0, 8, 24, 2048),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const u = setup();
        u.create(1, 64, 64);
        u.attach(1, [BACKING, 64 * 64 * 4]);
        u.show(1, [0, 0, 64, 64]);
        for (const { type: t2, fields, queue, room } of steps) {
          u.ask(t2, fields, { queue, room });
          const { width, height } = u.gpu.screen;
          for (const r of u.gpu.takeDirty()) {
            expect(
              r.x >= 0 && r.y >= 0 && r.width > 0 && r.height > 0 && r.x + r.width <= width && r.y + r.height <= height,
            ).toBe(true);
            if (r.width * r.height < 1 << 16) pixels(u.gpu, r);
          }
        }
        expect(u.faults).toEqual([]);
      }),
      { numRuns: 200 },
    );
  });
});

describe('the adapter', () => {
  it('shows the VGA until the driver’s first picture, and again after its reset', () => {
    const vgaChange = new Emitter<{ width: number; height: number; mode: 'text' }>();
    const vga = {
      region: 1,
      mmio: { read: () => 0, write: () => undefined },
      screen: { width: 720, height: 400, mode: 'text' as const },
      onScreenChange: vgaChange.event,
      takeDirty: () => [],
      render: (_: Rect, out: Uint8Array) => out.fill(7),
      text: () => ['C:\\>'],
      reset: () => undefined,
      dispose: () => undefined,
    };
    const t = setup();
    const adapter = new VirtioVga(vga as unknown as Vga, t.gpu, t.mem);
    const changes: object[] = [];
    adapter.onScreenChange((screen) => changes.push(screen));
    expect([adapter.identity.vendor, adapter.identity.device, adapter.identity.classCode]).toEqual([0x1af4, 0x1050, 0x030000]);
    expect([adapter.screen.mode, adapter.text()]).toEqual(['text', ['C:\\>']]);
    t.create(1, 100, 50);
    expect(adapter.screen.mode).toBe('text');
    t.show(1, t.rect(0, 0, 100, 50));
    expect([adapter.screen, adapter.text()]).toEqual([{ width: 100, height: 50, mode: 'graphics' }, null]);
    expect(adapter.takeDirty()).toEqual([{ x: 0, y: 0, width: 100, height: 50 }]);
    expect(adapter.takeDirty()).toEqual([]);
    // What happens behind the picture is nobody's business.
    vgaChange.fire({ width: 640, height: 480, mode: 'text' });
    adapter.reset();
    expect(adapter.takeDirty()).toEqual([{ x: 0, y: 0, width: 720, height: 400 }]);
    expect(pixels(adapter, { x: 0, y: 0, width: 1, height: 1 })).toEqual([0x07070707]);
    expect(changes).toEqual([{ width: 100, height: 50, mode: 'graphics' }, vga.screen]);
    adapter.dispose();
  });
});
