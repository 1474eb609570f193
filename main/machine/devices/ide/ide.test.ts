import { beforeEach, describe, expect, it, vi } from 'vitest';
import { HostIoError } from '../../../backend/block';
import { Bus } from '../../bus/bus';
import { AtaDisk, AtapiDisc, MediaSlot } from '../ata';
import { MemoryDisk, settle } from '../ata/testing/memory-disk';
import { QuickEngine } from '../../testing/quick-engine';
import { flatMemory } from '../../memory/testing/flat-memory';
import { Piix3Ide } from '.';

const MIB = 1 << 20;

function setUp(engine?: QuickEngine) {
  const mem = flatMemory(4 * MIB);
  const bus = new Bus();
  engine?.connect(bus);
  const levels = new Map<number, boolean>();
  let edges = 0;
  const backend = new MemoryDisk(MIB, mem.data);
  const iso = new MemoryDisk(2048 * 300, mem.data, true);
  const onHostError = vi.fn();
  const ejected = vi.fn();
  const slot = new MediaSlot(ejected);
  const disk = new AtaDisk({ backend, serial: 'disk0', sata: false, onHostError });
  const disc = new AtapiDisc({ slot, serial: 'cd', sata: false, onHostError });
  const ide = new Piix3Ide({
    mem,
    connect: (irq) => ({
      set: (level) => {
        if (level && !levels.get(irq)) edges++;
        levels.set(irq, level);
      },
    }),
    drives: [disk, undefined, disc, undefined],
  });
  ide.claimPorts(bus);
  ide.plug({
    overlayPorts: (start, count, handler, name, options) => bus.overlayPorts(start, count, handler, name, options),
    overlayMmio: () => ({ dispose: () => undefined }),
    mapRegion: () => undefined,
    addDoorbell: () => ({ dispose: () => undefined }),
    interrupt: { set: () => undefined },
    sendMsi: () => undefined,
  });
  ide.writeConfig(0x20, 4, 0xc000);
  ide.setUp();
  const out = (port: number, value: number, width = 1) => bus.writePort(port, width, value);
  const inb = (port: number) => bus.readPort(port, 1) & 0xff;
  /** Registers of the primary channel, LBA28 or as given. */
  const command = (
    opcode: number,
    options: { lba?: number; count?: number; features?: number; device?: number; base?: number } = {},
  ) => {
    const { lba = 0, count = 1, features = 0, base = 0x1f0 } = options;
    out(base + 6, options.device ?? 0xe0 | ((lba >>> 24) & 15));
    out(base + 1, features);
    out(base + 2, count);
    out(base + 3, lba);
    out(base + 4, lba >>> 8);
    out(base + 5, lba >>> 16);
    out(base + 7, opcode);
  };
  const readBlock = (bytes: number, base = 0x1f0) => {
    const into = new Uint8Array(bytes);
    bus.readPortString(base, 2, bytes / 2, into);
    return into;
  };
  const prd = (table: number, ...entries: [at: number, bytes: number][]) =>
    entries.forEach(([at, bytes], i) => {
      mem.view.setUint32(table + i * 8, at, true);
      mem.view.setUint32(table + i * 8 + 4, (bytes & 0xffff) | (i === entries.length - 1 ? 0x8000_0000 : 0), true);
    });
  const startDma = (table: number, toMemory: boolean, base = 0xc000) => {
    out(base + 4, table, 4);
    out(base + 2, 6);
    out(base, toMemory ? 9 : 1);
  };
  const packet = async (cdb: readonly number[], limit = 0xfffe, features = 0) => {
    command(0xa0, { base: 0x170, device: 0xa0, features, lba: limit << 8 });
    const bytes = Uint8Array.from({ length: 12 }, (_, i) => cdb[i] ?? 0);
    bus.writePortString(0x170, 2, 6, bytes);
    await settle();
  };
  /** A packet command by programmed I/O, its data, and the sense key if it failed. */
  const packetIn = async (cdb: readonly number[], limit?: number) => {
    await packet(cdb, limit);
    const parts: number[] = [];
    for (let n = 0; n < 1000; n++) {
      const status = inb(0x177);
      if (status & 1) return { data: undefined, key: inb(0x171) >> 4 };
      if (!(status & 8)) break;
      const bytes = inb(0x174) | (inb(0x175) << 8);
      parts.push(...readBlock(bytes + (bytes & 1), 0x170).subarray(0, bytes));
      await settle();
    }
    return { data: Uint8Array.from(parts), key: 0 };
  };
  const sense = async () => {
    const { data } = await packetIn([3, 0, 0, 0, 18]);
    return [data![2], data![12], data![13]];
  };
  return {
    mem,
    bus,
    backend,
    iso,
    slot,
    ejected,
    onHostError,
    ide,
    disk,
    out,
    inb,
    command,
    readBlock,
    prd,
    startDma,
    packet,
    packetIn,
    sense,
    irq: (n: number) => levels.get(n) ?? false,
    edges: () => edges,
  };
}

describe('IDE', () => {
  let t: ReturnType<typeof setUp>;
  beforeEach(() => {
    t = setUp();
  });

  it('shows signatures after a reset, and nothing where no drive is', () => {
    expect([t.inb(0x1f7), t.inb(0x1f2), t.inb(0x1f3), t.inb(0x1f4), t.inb(0x1f5)]).toEqual([0x50, 1, 1, 0, 0]);
    expect([t.inb(0x177), t.inb(0x174), t.inb(0x175)]).toEqual([0, 0x14, 0xeb]);
    t.out(0x1f6, 0xb0);
    expect(t.inb(0x1f7)).toBe(0);
    t.ide.writeConfig(0x40, 2, 0);
    expect(t.inb(0x1f7)).toBe(0xff);
  });

  it('is neither busy nor asks for data where no drive is on the cable at all', () => {
    const bus = new Bus();
    const none = [undefined, undefined, undefined, undefined] as const;
    const ide = new Piix3Ide({ mem: flatMemory(1 << 16), connect: () => ({ set: () => undefined }), drives: none });
    ide.claimPorts(bus);
    ide.setUp();
    for (const register of [1, 2, 3, 4, 5, 6, 7]) expect(bus.readPort(0x1f0 + register, 1) & 0xff).toBe(0);
    expect(bus.readPort(0x376, 1) & 0xff).toBe(0);
  });

  it('identifies itself', () => {
    t.command(0xec);
    expect(t.irq(14)).toBe(true);
    expect(t.inb(0x1f7)).toBe(0x58);
    expect(t.irq(14)).toBe(false);
    const data = t.readBlock(512);
    expect(data.reduce((a, b) => (a + b) & 0xff)).toBe(0);
    const view = new DataView(data.buffer);
    expect(view.getUint32(120, true)).toBe(MIB / 512);
    expect(String.fromCharCode(data[55]!, data[54]!, data[57]!, data[56]!)).toBe('Lodg');
    expect(t.inb(0x1f7)).toBe(0x50);
  });

  it('reads by programmed I/O, one interrupt a block, over several chunks', async () => {
    t.command(0x20, { lba: 3, count: 200 });
    const got: number[] = [];
    for (let n = 0; n < 200; n++) {
      await settle();
      expect(t.irq(14)).toBe(true);
      expect(t.inb(0x1f7)).toBe(0x58);
      got.push(...t.readBlock(512));
    }
    expect(Uint8Array.from(got)).toEqual(t.backend.data.slice(1536, 1536 + 200 * 512));
    expect(t.inb(0x1f7)).toBe(0x50);
    expect(t.irq(14)).toBe(false);
    expect(t.edges()).toBe(200);
  });

  it('writes by programmed I/O, in blocks as SET MULTIPLE says, and tells the last interrupt after the data are down', async () => {
    t.command(0xc6, { count: 4 });
    t.inb(0x1f7);
    t.command(0xc5, { lba: 10, count: 6 });
    const data = Uint8Array.from({ length: 3072 }, (_, i) => i * 3);
    expect(t.inb(0x1f7)).toBe(0x58);
    t.backend.slow = true;
    t.bus.writePortString(0x1f0, 4, 512, data.subarray(0, 2048));
    expect(t.inb(0x1f7)).toBe(0x58);
    t.bus.writePortString(0x1f0, 2, 512, data.subarray(2048));
    expect(t.inb(0x3f6)).toBe(0x80);
    expect(t.irq(14)).toBe(false);
    t.backend.release();
    await settle();
    expect(t.irq(14)).toBe(true);
    expect(t.inb(0x1f7)).toBe(0x50);
    expect(t.backend.data.slice(5120, 5120 + 3072)).toEqual(data);
  });

  it('takes 48-bit addresses from two writes of each register, and gives the upper half back on demand', () => {
    t.out(0x1f6, 0x40);
    for (const [port, high, low] of [
      [0x1f2, 0, 1],
      [0x1f3, 0, 0x10],
      [0x1f4, 0, 1],
      [0x1f5, 0, 0],
    ] as const) {
      // prettier-ignore
      t.out(port, high);
      t.out(port, low);
    }
    t.out(0x1f7, 0x42);
    expect(t.inb(0x1f7)).toBe(0x50);
    t.out(0x1f7, 0x27);
    expect(t.inb(0x1f3) | (t.inb(0x1f4) << 8)).toBe(2047);
    t.out(0x3f6, 0x80);
    expect(t.inb(0x1f3)).toBe(0);
  });

  it('refuses addresses past the end, unknown commands and sector 0', () => {
    t.command(0x20, { lba: 2047, count: 2 });
    expect([t.inb(0x1f7), t.inb(0x1f1)]).toEqual([0x51, 0x10]);
    t.command(0xfe);
    expect([t.inb(0x1f7), t.inb(0x1f1)]).toEqual([0x51, 4]);
    t.command(0x20, { device: 0xa0, lba: 0 });
    expect([t.inb(0x1f7), t.inb(0x1f1)]).toEqual([0x51, 0x10]);
  });

  it('moves scattered memory by bus-master DMA in either direction', async () => {
    t.prd(0x1000, [0x2000, 512], [0x9000, 1024], [0x5000, 512]);
    t.command(0xc8, { lba: 8, count: 4 });
    expect(t.irq(14)).toBe(false);
    t.startDma(0x1000, true);
    expect(t.irq(14)).toBe(true);
    expect(t.inb(0xc002) & 7).toBe(4);
    expect(t.mem.data.slice(0x9000, 0x9400)).toEqual(t.backend.data.slice(9 * 512, 11 * 512));
    t.inb(0x1f7);
    t.out(0xc000, 0);
    t.mem.data.fill(0x5a, 0x2000, 0x2200);
    t.startDma(0x1000, false);
    t.backend.slow = true;
    t.command(0xca, { lba: 100, count: 4 });
    expect(t.inb(0x3f6)).toBe(0x80);
    t.backend.release();
    await settle();
    expect(t.inb(0x1f7)).toBe(0x50);
    expect(t.backend.data[51200]).toBe(0x5a);
  });

  it('answers a bad table, bad memory and a table that is too short without harm', () => {
    t.command(0xc8, { count: 1 });
    t.startDma(0xfffffff0, true);
    expect([t.inb(0xc002) & 7, t.inb(0x1f7)]).toEqual([6, 0x51]);
    t.out(0xc000, 0);
    t.prd(0x1000, [0xf000_0000, 512]);
    t.command(0xc8, { count: 1 });
    t.startDma(0x1000, true);
    expect([t.inb(0xc002) & 7, t.inb(0x1f7)]).toEqual([6, 0x51]);
    t.out(0xc000, 0);
    t.prd(0x1000, [0x2000, 512]);
    t.command(0xc8, { count: 2 });
    t.startDma(0x1000, true);
    expect(t.irq(14)).toBe(false);
    expect([t.inb(0xc002) & 7, t.inb(0x1f7)]).toEqual([0, 0x48]);
    t.out(0x3f6, 4);
    t.out(0x3f6, 0);
    expect(t.inb(0x1f7)).toBe(0x50);
  });

  it('a soft reset in the middle of a transfer waits for it and forgets it', async () => {
    t.backend.slow = true;
    t.prd(0x1000, [0x2000, 512]);
    t.command(0xc8);
    t.startDma(0x1000, true);
    t.out(0x3f6, 4);
    t.out(0x3f6, 0);
    expect(t.inb(0x1f7)).toBe(0x80);
    t.backend.release();
    await settle();
    expect([t.inb(0x1f7), t.irq(14)]).toEqual([0x50, false]);
  });

  it('tells host errors to the guest and the user, and goes on', async () => {
    t.backend.failure = new HostIoError('broken', 'io');
    t.command(0x20);
    await settle();
    expect([t.inb(0x1f7), t.inb(0x1f1)]).toEqual([0x51, 0x40]);
    expect(t.onHostError).toHaveBeenCalledTimes(1);
    t.backend.failure = undefined;
    t.command(0x20);
    await settle();
    expect(t.inb(0x1f7)).toBe(0x58);
  });

  it('trims and flushes', async () => {
    t.prd(0x1000, [0x2000, 512]);
    t.mem.view.setUint32(0x2000, 16, true);
    t.mem.view.setUint16(0x2006, 8, true);
    t.out(0x1f2, 0); // a 48-bit command: the count's upper half
    t.command(0x06, { features: 1 });
    t.startDma(0x1000, false);
    await settle();
    expect(t.inb(0x1f7)).toBe(0x50);
    expect(t.backend.discarded).toEqual([[8192, 4096]]);
    t.command(0xe7);
    await settle();
    expect([t.inb(0x1f7), t.backend.flushes]).toEqual([0x50, 1]);
  });

  it('survives any sequence of register accesses', async () => {
    let seed = 12345;
    const random = (n: number) => (seed = (Math.imul(seed, 1103515245) + 12345) >>> 0) % n;
    t.slot.insert({ id: 'x', backend: t.iso });
    const ports = [
      0x1f0, 0x1f1, 0x1f2, 0x1f3, 0x1f4, 0x1f5, 0x1f6, 0x1f7, 0x1f7, 0x170, 0x170, 0x170, 0x172, 0x174, 0x176, 0x177, 0x3f6,
      0x376, 0xc000, 0xc002, 0xc004, 0xc008,
    ];
    for (let n = 0; n < 40000; n++) {
      const port = ports[random(ports.length)]!;
      const width = [1, 2, 4][random(3)]!;
      if (random(3) === 0) t.bus.readPort(port, width);
      else
        t.bus.writePort(
          port,
          width,
          random(4) === 0 ? random(2 ** 31) : [0xa0, 0xc8, 0xec, 0x20, 0x30, 0, 4, 1, 0xe0, 0xb0][random(10)]!,
        );
      if (n % 997 === 0) {
        t.backend.slow = random(2) === 0;
        t.backend.release();
        await settle();
      }
    }
    t.backend.slow = false;
    t.backend.release();
    await settle();
    t.ide.reset();
    t.ide.setUp();
    expect(t.inb(0x1f7)).toBe(0x50);
  });
});

describe('IDE registers that need not wait', () => {
  it('make a command three accesses that wait', () => {
    const engine = new QuickEngine();
    const t = setUp(engine);
    t.prd(0x1000, [0x2000, 4096]);
    const status = () => engine.read(0x1f7, 1);
    // As a driver of the field reads eight sectors; see ATA/ATAPI-7 vol. 2 and Bus Master IDE §3.1.
    for (let n = 0; n < 3; n++) {
      engine.waited = engine.quick = 0;
      expect(status()).toBe(0x50);
      engine.write(0x1f6, 1, 0xe0);
      expect([engine.read(0x3f6, 1), status()]).toEqual([0x50, 0x50]);
      for (const [port, value] of [[0x1f1, 0], [0x1f2, 8], [0x1f3, 24], [0x1f4, 0], [0x1f5, 0], [0x1f6, 0xe0]] as const) engine.write(port, 1, value); // prettier-ignore
      expect(status()).toBe(0x50);
      engine.write(0xc004, 4, 0x1000);
      engine.write(0xc000, 1, 8);
      engine.write(0x1f7, 1, 0xc8);
      expect(engine.read(0x3f6, 1)).toBe(0x58);
      expect(engine.read(0xc000, 1)).toBe(8);
      engine.write(0xc000, 1, 9);
      expect(t.irq(14)).toBe(true);
      expect(engine.read(0xc002, 1)).toBe(4);
      expect(engine.read(0xc000, 1)).toBe(9);
      engine.write(0xc000, 1, 8);
      expect(engine.read(0x3f6, 1)).toBe(0x50);
      expect(status()).toBe(0x50);
      expect(t.irq(14)).toBe(false);
      engine.write(0xc002, 1, 4);
      expect([engine.waited, engine.quick]).toEqual([3, 20]);
      expect(t.mem.data.slice(0x2000, 0x3000)).toEqual(t.backend.data.slice(24 * 512, 32 * 512));
      t.mem.data.fill(0, 0x2000, 0x3000);
    }
  });

  it('show the guest what it would see if all waited', async () => {
    let seed = 4711;
    // The low bits of the generator repeat soon.
    const random = (n: number) => ((seed = (Math.imul(seed, 1103515245) + 12345) >>> 0) >>> 8) % n;
    const engine = new QuickEngine();
    const quick = setUp(engine);
    const slow = setUp();
    const both = [quick, slow];
    for (const t of both) {
      t.slot.insert({ id: 'x', backend: t.iso });
      t.prd(0x1000, [0x2000, 512], [0x9000, 1024], [0x5000, 512]);
    }
    const ports = [
      0x1f1, 0x1f2, 0x1f2, 0x1f3, 0x1f4, 0x1f5, 0x1f6, 0x1f6, 0x1f7, 0x1f7, 0x1f0, 0x3f6, 0x3f6, 0xc000, 0xc000, 0xc002, 0xc002,
      0xc004, 0x172, 0x176, 0x177, 0x170, 0x376, 0xc008, 0xc00a,
    ]; // prettier-ignore
    const values = [0, 1, 2, 4, 6, 8, 9, 0x10, 0xa0, 0xb0, 0xc8, 0xca, 0xe0, 0xe7, 0xec, 0x20, 0x30, 0x35, 0x25];
    for (let n = 0; n < 30_000; n++) {
      const port = ports[random(ports.length)]!;
      const width = port === 0xc004 ? 4 : random(12) === 0 ? 2 : 1;
      if (random(2) === 0) expect(engine.read(port, width), `step ${n}`).toBe(slow.bus.readPort(port, width));
      else {
        // 0: the soft reset is seldom asked for, or nothing else would happen.
        const some = values[random(values.length)]!;
        const value = port === 0xc004 ? 0x1000 : port === 0x3f6 ? (random(20) === 0 ? 4 : random(4) === 0 ? 2 : 0) : some;
        engine.write(port, width, value);
        slow.bus.writePort(port, width, value);
      }
      if (random(300) === 0) {
        const decoded = random(3) === 0 ? 0 : 0x8000;
        engine.deliver(); // as the access of configuration space would
        for (const t of both) t.ide.writeConfig(0x40, 2, decoded);
      }
      if (random(300) === 0) {
        // Its ports are elsewhere, or nowhere.
        const base = random(2) === 0 ? 0xd000 : 0xc000;
        engine.deliver();
        for (const t of both) t.ide.writeConfig(0x20, 4, base);
      }
      if (random(40) === 0) {
        const held = random(2) === 0;
        for (const t of both) {
          t.backend.slow = held;
          t.backend.release();
        }
        await settle();
      }
      expect([quick.irq(14), quick.irq(15), quick.edges()], `step ${n}`).toEqual([slow.irq(14), slow.irq(15), slow.edges()]);
    }
    expect(engine.quick).toBeGreaterThan(engine.waited / 4);
    expect(Buffer.compare(quick.backend.data, slow.backend.data)).toBe(0);
    expect(Buffer.compare(quick.mem.data, slow.mem.data)).toBe(0);
  });
});

describe('ATAPI', () => {
  let t: ReturnType<typeof setUp>;
  beforeEach(() => {
    t = setUp();
  });

  it('is not ready without a disc, announces one, and reads it by PIO and DMA', async () => {
    expect((await t.packetIn([0])).key).toBe(2);
    expect(await t.sense()).toEqual([2, 0x3a, 1]);
    t.slot.insert({ id: 'a', backend: t.iso });
    expect((await t.packetIn([0])).key).toBe(6);
    expect(await t.sense()).toEqual([6, 0x28, 0]);
    expect((await t.packetIn([0])).key).toBe(0);
    const capacity = await t.packetIn([0x25]);
    expect([...capacity.data!]).toEqual([0, 0, 1, 43, 0, 0, 8, 0]);
    const pio = await t.packetIn([0x28, 0, 0, 0, 0, 7, 0, 0, 3], 2048);
    expect(pio.data).toEqual(t.iso.data.slice(7 * 2048, 10 * 2048));
    const odd = await t.packetIn([0x28, 0, 0, 0, 0, 7, 0, 0, 1], 1000);
    expect(odd.data).toEqual(t.iso.data.slice(7 * 2048, 8 * 2048));
    t.prd(0x1000, [0x8000, 4096]);
    await t.packet([0xa8, 0, 0, 0, 0, 20, 0, 0, 0, 2], 0, 1);
    t.startDma(0x1000, true, 0xc008);
    expect(t.irq(15)).toBe(true);
    expect([t.inb(0x177), t.inb(0x172)]).toEqual([0x50, 3]);
    expect(t.mem.data.slice(0x8000, 0x9000)).toEqual(t.iso.data.slice(20 * 2048, 22 * 2048));
    expect((await t.packetIn([0x28, 0, 0, 0, 1, 43, 0, 0, 2])).key).toBe(5);
    expect(await t.sense()).toEqual([5, 0x21, 0]);
  });

  it('says what it is', async () => {
    const inquiry = await t.packetIn([0x12, 0, 0, 0, 36]);
    expect(inquiry.data![0]).toBe(5);
    expect(String.fromCharCode(...inquiry.data!.slice(8, 13))).toBe('Lodge');
    const page = await t.packetIn([0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 128]);
    expect(page.data![8]).toBe(0x2a);
    expect(page.data!.length).toBe(((page.data![0]! << 8) | page.data![1]!) + 2);
    t.slot.insert({ id: 'a', backend: t.iso });
    const config = await t.packetIn([0x46, 0, 0, 0, 0, 0, 0, 1, 0]);
    expect([config.data![6], config.data![7]]).toEqual([0, 8]);
    await t.packetIn([0]);
    const toc = await t.packetIn([0x43, 0, 0, 0, 0, 0, 0, 0, 100]);
    expect([...toc.data!]).toEqual([0, 18, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0, 0, 0x14, 0xaa, 0, 0, 0, 1, 44]);
    expect((await t.packetIn([0xff])).key).toBe(5);
  });

  it('locks, refuses to eject, asks, ejects, and is filled again', async () => {
    t.slot.insert({ id: 'a', backend: t.iso });
    await t.packetIn([0]);
    const event = async () => [...(await t.packetIn([0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8])).data!].slice(4, 6);
    expect(await event()).toEqual([2, 2]);
    expect(await event()).toEqual([0, 2]);
    await t.packetIn([0x1e, 0, 0, 0, 1]);
    expect((await t.packetIn([0x1b, 0, 0, 0, 2])).key).toBe(5);
    expect(await t.sense()).toEqual([5, 0x53, 2]);
    expect(await t.slot.remove(false)).toBeUndefined();
    expect(await event()).toEqual([1, 2]);
    await t.packetIn([0x1e]);
    expect((await t.packetIn([0x1b, 0, 0, 0, 2])).key).toBe(0);
    await settle();
    expect(t.ejected).toHaveBeenCalledWith({ id: 'a', backend: t.iso });
    expect(await event()).toEqual([3, 1]);
    expect((await t.packetIn([0])).key).toBe(2);
    expect(await t.sense()).toEqual([2, 0x3a, 2]);
    t.slot.insert({ id: 'b', backend: t.iso });
    expect(await event()).toEqual([2, 2]);
    await t.packetIn([0x1e, 0, 0, 0, 1]);
    await t.packetIn([0x1e, 0, 0, 0, 1]);
    expect((await t.slot.remove(true))?.id).toBe('b');
  });

  it('an image that is being read is given back only afterwards', async () => {
    t.slot.insert({ id: 'a', backend: t.iso });
    await t.packetIn([0]);
    t.iso.slow = true;
    await t.packet([0x28, 0, 0, 0, 0, 0, 0, 0, 1]);
    let out = false;
    void t.slot.remove(true).then(() => (out = true));
    await settle();
    expect(out).toBe(false);
    t.iso.release();
    await settle();
    expect(out).toBe(true);
  });
});
