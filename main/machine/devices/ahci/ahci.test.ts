import { beforeEach, describe, expect, it, vi } from 'vitest';
import { AtaDisk, AtapiDisc, MediaSlot } from '../ata';
import { MemoryDisk, settle } from '../ata/testing/memory-disk';
import { flatMemory } from '../../memory/testing/flat-memory';
import { Ahci } from '.';
import { HBA_REGISTERS, PORT_REGISTERS } from './registers';

const MIB = 1 << 20;
const LIST = 0x1000;
const FIS = 0x2000;
const TABLES = 0x4000;

function setUp() {
  const mem = flatMemory(4 * MIB);
  const backend = new MemoryDisk(MIB, mem.data);
  const iso = new MemoryDisk(2048 * 64, mem.data, true);
  const slot = new MediaSlot(vi.fn());
  slot.insert({ id: 'a', backend: iso });
  const onHostError = vi.fn();
  const ahci = new Ahci({
    mem,
    drives: [
      new AtaDisk({ backend, serial: 'disk0', sata: true, onHostError }),
      new AtapiDisc({ slot, serial: 'cd', sata: true, onHostError }),
    ],
  });
  const intx = { level: false };
  const sendMsi = vi.fn();
  const nothing = { dispose: () => undefined };
  ahci.plug({
    overlayPorts: () => nothing,
    overlayMmio: () => nothing,
    mapRegion: () => undefined,
    addDoorbell: () => nothing,
    interrupt: { set: (level) => (intx.level = level) },
    sendMsi,
  });
  ahci.writeConfig(4, 2, 6);
  const port = (n: number, offset: number) => 0x100 + n * 0x80 + offset;
  const read = (offset: number) => ahci.read(offset, 4) >>> 0;
  const write = (offset: number, value: number) => ahci.write(offset, 4, value);
  const start = (n: number) => {
    write(port(n, 0x00), LIST + n * 0x400);
    write(port(n, 0x08), FIS + n * 0x100);
    write(port(n, 0x18), 0x11);
    write(port(n, 0x30), 0xffffffff);
    write(port(n, 0x10), 0xffffffff);
    write(port(n, 0x14), 0xffffffff);
    write(0x08, 0xff);
    write(0x04, 0x8000_0002);
  };
  /** Builds a command in a slot; queued ones are written to SACT too. */
  const prepare = (
    n: number,
    tag: number,
    c: {
      opcode: number;
      lba?: number;
      count?: number;
      features?: number;
      write?: boolean;
      packet?: readonly number[];
      prds?: readonly [number, number][];
    },
  ) => {
    const header = LIST + n * 0x400 + tag * 32;
    const table = TABLES + n * 0x10000 + tag * 0x200;
    const prds = c.prds ?? [];
    mem.view.setUint32(header, 5 | (c.packet ? 0x20 : 0) | (c.write ? 0x40 : 0) | (prds.length << 16), true);
    mem.view.setUint32(header + 8, table, true);
    mem.view.setUint32(header + 12, 0, true);
    const lba = c.lba ?? 0;
    const [features, count] = [c.features ?? 0, c.count ?? 0];
    mem.data.set(
      [0x27, 0x80, c.opcode, features, lba, lba >> 8, lba >> 16, 0x40, lba >>> 24, 0, 0, features >> 8, count, count >> 8, 0, 0],
      table,
    );
    if (c.packet) mem.data.set(c.packet, table + 0x40);
    prds.forEach(([at, bytes], i) => {
      mem.view.setUint32(table + 0x80 + i * 16, at, true);
      mem.view.setUint32(table + 0x84 + i * 16, 0, true);
      mem.view.setUint32(table + 0x8c + i * 16, bytes - 1, true);
    });
  };
  return { mem, backend, iso, slot, ahci, intx, sendMsi, port, read, write, start, prepare };
}

describe('AHCI', () => {
  let t: ReturnType<typeof setUp>;
  beforeEach(() => {
    t = setUp();
  });

  it('walks its registers: reset values, and nothing else changes when ones are written', () => {
    for (const row of HBA_REGISTERS) expect(t.read(row.offset), row.name).toBe(row.reset >>> 0);
    t.write(0x00, 0);
    t.write(0x0c, 0);
    expect([t.read(0), t.read(0x0c)]).toEqual([HBA_REGISTERS[0]!.reset, 0x3f]);
    for (const row of PORT_REGISTERS) {
      if (row.offset === 0x18 || row.offset === 0x2c) continue;
      const before = t.read(t.port(3, row.offset));
      t.write(t.port(3, row.offset), 0xffffffff);
      expect(t.read(t.port(3, row.offset)), row.name).toBe(((before | (row.writable ?? 0)) & ~(row.clear ?? 0)) >>> 0);
    }
    for (let offset = 0; offset < 4096; offset++)
      for (const width of [1, 2, 4]) expect(t.ahci.read(offset, width)).toBeGreaterThanOrEqual(-(2 ** 31));
  });

  it('shows which ports have what', () => {
    t.start(0);
    t.start(1);
    expect([t.read(t.port(0, 0x28)), t.read(t.port(0, 0x24)), t.read(t.port(0, 0x20))]).toEqual([0x123, 0x101, 0x150]);
    expect([t.read(t.port(1, 0x28)), t.read(t.port(1, 0x24))]).toEqual([0x123, 0xeb140101]);
    expect([t.read(t.port(2, 0x28)), t.read(t.port(2, 0x24))]).toEqual([0, 0xffffffff]);
    expect(t.mem.data[FIS + 0x40]).toBe(0x34);
    t.write(t.port(0, 0x2c), 1);
    expect(t.read(t.port(0, 0x28))).toBe(0);
    t.write(t.port(0, 0x2c), 0);
    expect([t.read(t.port(0, 0x28)), t.read(t.port(0, 0x10)) & 0x40]).toEqual([0x123, 0x40]);
  });

  it('identifies by the PIO protocol, reads and writes by DMA, with INTx', async () => {
    t.start(0);
    t.prepare(0, 0, { opcode: 0xec, prds: [[0x20000, 512]] });
    t.write(t.port(0, 0x38), 1);
    expect([t.read(t.port(0, 0x38)), t.read(t.port(0, 0x10)), t.intx.level]).toEqual([0, 2, true]);
    expect([t.mem.data[FIS + 0x20], t.mem.data[FIS + 0x2f]]).toEqual([0x5f, 0x50]);
    expect(t.mem.view.getUint32(0x20000 + 200, true)).toBe(2048);
    t.write(t.port(0, 0x10), 0xffffffff);
    expect(t.intx.level).toBe(true);
    t.write(0x08, 1);
    expect(t.intx.level).toBe(false);
    t.backend.slow = true;
    t.prepare(0, 5, { opcode: 0x25, lba: 40, count: 4, prds: [[0x30000, 1024], [0x40000, 1024]] }); // prettier-ignore
    t.write(t.port(0, 0x38), 1 << 5);
    expect([t.read(t.port(0, 0x38)), t.read(t.port(0, 0x20))]).toEqual([32, 0x80]);
    t.backend.release();
    await settle();
    expect([t.read(t.port(0, 0x38)), t.read(t.port(0, 0x20)), t.intx.level]).toEqual([0, 0x50, true]);
    expect(t.mem.data.slice(0x40000, 0x40400)).toEqual(t.backend.data.slice(42 * 512, 44 * 512));
    expect(t.mem.view.getUint32(LIST + 5 * 32 + 4, true)).toBe(2048);
    t.backend.slow = false;
    t.mem.data.fill(0x77, 0x30000, 0x30200);
    t.prepare(0, 1, { opcode: 0x35, lba: 9, count: 1, write: true, prds: [[0x30000, 512]] });
    t.write(t.port(0, 0x38), 2);
    expect(t.backend.data[9 * 512]).toBe(0x77);
  });

  it('runs queued commands side by side and tells those that end together in one FIS', async () => {
    t.start(0);
    t.backend.slow = true;
    const issue = (bits: number) => {
      t.write(t.port(0, 0x34), bits);
      t.write(t.port(0, 0x38), bits);
    };
    for (const tag of [3, 9, 31])
      t.prepare(0, tag, { opcode: 0x60, lba: tag, features: 1, count: tag << 3, prds: [[0x50000 + tag * 512, 512]] });
    issue(8 | (1 << 9) | (1 << 31));
    expect([t.read(t.port(0, 0x38)), t.read(t.port(0, 0x34))]).toEqual([0, (8 | (1 << 9) | (1 << 31)) >>> 0]);
    t.backend.release();
    await settle();
    expect(t.read(t.port(0, 0x34))).toBe(0);
    expect(t.mem.data[0x50000 + 31 * 512]).toBe(t.backend.data[31 * 512]);
    t.backend.slow = false;
    issue(8 | (1 << 9));
    expect(t.mem.view.getUint32(FIS + 0x58 + 4, true)).toBe(8 | (1 << 9));
  });

  it('stops at an error of a queued command, and says in the log which it was', () => {
    t.start(0);
    t.prepare(0, 4, { opcode: 0x60, lba: 5000, features: 1, count: 4 << 3, prds: [[0x50000, 512]] });
    t.write(t.port(0, 0x34), 16);
    t.write(t.port(0, 0x38), 16);
    expect(t.read(t.port(0, 0x10)) & (1 << 30)).not.toBe(0);
    expect([t.read(t.port(0, 0x20)), t.read(t.port(0, 0x34))]).toEqual([0x1051, 16]);
    t.write(t.port(0, 0x18), 0x10);
    t.write(t.port(0, 0x18), 0x11);
    expect(t.read(t.port(0, 0x34))).toBe(0);
    t.prepare(0, 0, { opcode: 0x2f, lba: 0x10, count: 1, prds: [[0x60000, 512]] });
    t.write(t.port(0, 0x38), 1);
    expect([t.mem.data[0x60000], t.mem.data[0x60002], t.mem.data[0x60003]]).toEqual([4, 0x41, 0x10]);
    expect(t.mem.data.slice(0x60000, 0x60200).reduce((a, b) => (a + b) & 0xff)).toBe(0);
  });

  it('carries packets', () => {
    t.start(1);
    const ask = (packet: readonly number[], bytes: number, features = 1) => {
      t.prepare(1, 0, {
        opcode: 0xa0,
        features,
        packet: Array.from({ length: 12 }, (_, i) => packet[i] ?? 0),
        prds: [[0x70000, bytes]],
      });
      t.write(t.port(1, 0x38), 1);
    };
    ask([0], 2);
    ask([0x28, 0, 0, 0, 0, 5, 0, 0, 2], 4096);
    expect(t.read(t.port(1, 0x20))).toBe(0x50);
    expect(t.mem.data.slice(0x70000, 0x71000)).toEqual(t.iso.data.slice(5 * 2048, 7 * 2048));
    ask([0x12, 0, 0, 0, 36], 36, 0);
    expect(t.mem.data[0x70000]).toBe(5);
    ask([0xff], 2);
    expect(t.read(t.port(1, 0x20))).toBe(0x5451);
  });

  it('sends one message for each new cause when MSI is on', () => {
    const at = t.ahci.readConfig(0x34, 1);
    expect(t.ahci.readConfig(at, 1)).toBe(5);
    t.ahci.writeConfig(at + 4, 4, 0xfee01000);
    t.ahci.writeConfig(at + 12, 2, 0x4041);
    t.ahci.writeConfig(at + 2, 2, 1);
    t.start(0);
    t.sendMsi.mockClear();
    t.prepare(0, 0, { opcode: 0xe7 });
    t.prepare(0, 0, { opcode: 0x40, lba: 1, count: 1 });
    t.write(t.port(0, 0x38), 1);
    expect(t.sendMsi.mock.calls).toEqual([[0xfee01000, 0x4041]]);
    expect(t.intx.level).toBe(false);
    t.ahci.writeConfig(at + 4, 4, 0x1000);
    t.write(t.port(0, 0x38), 1);
    expect(t.sendMsi).toHaveBeenCalledTimes(1);
  });

  it('answers lists, tables and data outside memory with a bus error of the port', () => {
    t.start(0);
    t.write(t.port(0, 0x18), 0x10);
    t.write(t.port(0, 0x00), 0xfffffc00);
    t.write(t.port(0, 0x18), 0x11);
    t.write(t.port(0, 0x38), 1);
    expect(t.read(t.port(0, 0x10)) & (1 << 29)).not.toBe(0);
    t.start(0);
    t.write(t.port(0, 0x18), 0x10);
    t.start(0);
    t.prepare(0, 0, { opcode: 0x25, count: 1, prds: [[0xf000_0000, 512]] });
    t.write(t.port(0, 0x38), 1);
    expect(t.read(t.port(0, 0x10)) & (1 << 29)).not.toBe(0);
    t.write(0x04, 1);
    expect([t.read(0x04), t.read(t.port(0, 0x20))]).toEqual([0x8000_0000, 0x150]);
  });

  it('survives any registers and any memory', async () => {
    let seed = 99;
    const random = (n: number) => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) % n;
    for (let i = 0; i < 0x8000; i++) t.mem.data[LIST + i] = random(256);
    for (let n = 0; n < 20000; n++) {
      const offset = t.port(random(3), random(16) * 4);
      t.write(random(20) === 0 ? random(8) * 4 : offset, [1, 0x11, 0x10, 0xffffffff, random(2 ** 31), LIST, FIS, 0][random(8)]!);
      t.read(random(1024) * 4);
      if (n % 500 === 0) {
        t.start(random(2));
        t.prepare(0, random(32), {
          opcode: [0x60, 0x25, 0xec, 0x06, 0xa0, 0xea][random(6)]!,
          lba: random(4000),
          count: random(300),
          features: random(9),
          prds: [[random(5 * MIB), random(70000) + 1]],
        });
        t.backend.slow = random(2) === 0;
        t.backend.release();
        await settle();
      }
    }
    t.backend.release();
    await t.ahci.quiesce();
    t.ahci.reset();
    expect(t.read(t.port(0, 0x20))).toBe(0x150);
  });
});
