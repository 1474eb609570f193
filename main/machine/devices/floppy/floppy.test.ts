import { beforeEach, describe, expect, it, vi } from 'vitest';
import { FakeClock } from '../../testing/fake-clock';
import { Bus } from '../../bus/bus';
import { MediaSlot } from '../ata';
import { MemoryDisk, settle } from '../ata/testing/memory-disk';
import { Dma8237 } from '../dma8237';
import { flatMemory } from '../../memory/testing/flat-memory';
import { FloppyController } from '.';

const DOR = 2;
const MSR = 4;
const FIFO = 5;
const DIR = 7;

function setUp() {
  const mem = flatMemory(1 << 20);
  const bus = new Bus();
  const clock = new FakeClock();
  const dma = new Dma8237(mem);
  dma.reset();
  dma.claimPorts(bus);
  const image = new MemoryDisk(1474560, mem.data);
  const slot = new MediaSlot(vi.fn());
  slot.insert({ id: 'a', backend: image });
  let irq = false;
  const fdc = new FloppyController({
    irq: { set: (level) => (irq = level) },
    dma: dma.channel(2),
    clock,
    slots: [slot],
    onHostError: vi.fn(),
  });
  fdc.reset();
  const send = (...bytes: number[]) => {
    for (const byte of bytes) {
      expect(fdc.read(MSR) & 0xc0).toBe(0x80);
      fdc.write(FIFO, 1, byte);
    }
  };
  const wait = async () => {
    for (let i = 0; i < 10; i++) {
      clock.advance(5e6);
      await settle();
    }
  };
  const result = () => {
    const bytes: number[] = [];
    while ((fdc.read(MSR) & 0xd0) === 0xd0) bytes.push(fdc.read(FIFO));
    return bytes;
  };
  /** Channel 2, as the BIOS programs it. */
  const programDma = (mode: number, at: number, bytes: number) => {
    const out = (port: number, value: number) => bus.writePort(port, 1, value & 0xff);
    out(0x0a, 6);
    out(0x0c, 0);
    out(0x0b, mode | 2);
    out(0x04, at);
    out(0x04, at >> 8);
    out(0x81, at >> 16);
    out(0x05, bytes - 1);
    out(0x05, (bytes - 1) >> 8);
    out(0x0a, 2);
  };
  const start = async () => {
    fdc.write(DOR, 1, 0x1c);
    await wait();
    for (let drive = 0; drive < 4; drive++) {
      send(8);
      expect(result()).toEqual([0xc0 | drive, 0]);
    }
    fdc.write(DIR, 1, 0);
    send(3, 0xaf, 2);
  };
  const seek = async (cylinder: number) => {
    send(0x0f, 0, cylinder);
    await wait();
    expect(irq).toBe(true);
    send(8);
    expect(result()).toEqual([0x20, cylinder]);
    expect(irq).toBe(false);
  };
  return { mem, bus, clock, dma, image, slot, fdc, send, wait, result, programDma, start, seek, irq: () => irq };
}

describe('floppy controller', () => {
  let t: ReturnType<typeof setUp>;
  beforeEach(async () => {
    t = setUp();
    await t.start();
  });

  it('reads by DMA over both sides of a cylinder until terminal count', async () => {
    await t.seek(5);
    t.programDma(0x44, 0x8000, 20 * 512);
    t.send(0xe6, 0, 5, 0, 10, 2, 18, 0x1b, 0xff);
    await t.wait();
    expect(t.irq()).toBe(true);
    expect(t.result()).toEqual([0, 0, 0, 5, 1, 12, 2]);
    expect(t.irq()).toBe(false);
    const first = (5 * 2 * 18 + 9) * 512;
    expect(t.mem.data.slice(0x8000, 0x8000 + 20 * 512)).toEqual(t.image.data.slice(first, first + 20 * 512));
    expect(t.bus.readPort(0x08, 1) & 0xff).toBe(4);
  });

  it('writes by DMA, and not on a protected diskette', async () => {
    t.programDma(0x48, 0x8000, 512);
    t.mem.data.fill(0x42, 0x8000, 0x8200);
    t.send(0x45, 4, 0, 1, 3, 2, 18, 0x1b, 0xff);
    await t.wait();
    expect(t.result()).toEqual([4, 0, 0, 0, 1, 4, 2]);
    expect(t.image.data[(18 + 2) * 512 + 511]).toBe(0x42);
    await t.slot.remove(true);
    t.slot.insert({ id: 'b', backend: new MemoryDisk(1474560, t.mem.data, true) });
    t.send(0x45, 0, 0, 0, 1, 2, 18, 0x1b, 0xff);
    await t.wait();
    expect(t.result().slice(0, 2)).toEqual([0x40, 2]);
  });

  it('reads without DMA, byte by byte', async () => {
    t.send(3, 0xaf, 3);
    t.send(0x46, 0, 0, 0, 17, 2, 18, 0x1b, 0xff);
    await t.wait();
    expect(t.irq()).toBe(true);
    const bytes: number[] = [];
    while ((t.fdc.read(MSR) & 0xe0) === 0xe0) bytes.push(t.fdc.read(FIFO));
    expect(Uint8Array.from(bytes)).toEqual(t.image.data.slice(16 * 512, 18 * 512));
    expect(t.result()).toEqual([0x40, 0x80, 0, 1, 0, 1, 2]);
  });

  it('knows wrong rates, cylinders, sectors and missing diskettes', async () => {
    const read = async (c: number, h: number, r: number) => {
      t.programDma(0x44, 0x8000, 512);
      t.send(0x46, h << 2, c, h, r, 2, 18, 0x1b, 0xff);
      await t.wait();
      return t.result().slice(0, 3);
    };
    expect(await read(0, 0, 19)).toEqual([0x40, 4, 0]);
    expect(await read(1, 0, 1)).toEqual([0x40, 4, 0x10]);
    t.fdc.write(DIR, 1, 2);
    expect(await read(0, 0, 1)).toEqual([0x40, 1, 1]);
    t.fdc.write(DIR, 1, 0);
    expect(await read(0, 1, 1)).toEqual([4, 0, 0]);
    await t.slot.remove(true);
    expect(await read(0, 0, 1)).toEqual([0x40, 1, 1]);
  });

  it('shows the change line until a step with a diskette in', async () => {
    expect(t.fdc.read(DIR) & 0x80).toBe(0x80);
    await t.seek(1);
    expect(t.fdc.read(DIR) & 0x80).toBe(0);
    await t.slot.remove(true);
    await t.seek(2);
    expect(t.fdc.read(DIR) & 0x80).toBe(0x80);
  });

  it('formats a track', async () => {
    await t.seek(3);
    t.programDma(0x48, 0x8000, 18 * 4);
    t.send(0x4d, 4, 2, 18, 0x54, 0xf6);
    await t.wait();
    expect(t.result().slice(0, 3)).toEqual([4, 0, 0]);
    const track = (3 * 2 + 1) * 18 * 512;
    expect(t.image.data[track - 1]).not.toBe(0xf6);
    expect(t.image.data.slice(track, track + 18 * 512).every((byte) => byte === 0xf6)).toBe(true);
  });

  it('answers the commands that ask who it is, and unknown ones', () => {
    t.send(0x10);
    expect(t.result()).toEqual([0x90]);
    t.send(0x94);
    expect(t.result()).toEqual([0x10]);
    t.send(0x13, 0, 0x57, 0);
    t.send(0x0e);
    expect(t.result()).toEqual([0, 0, 0, 0, 0xaf, 2, 0, 0x80, 0x57, 0]);
    t.send(0x18);
    expect(t.result()).toEqual([0x80]);
  });

  it('survives any bytes at any port', async () => {
    let seed = 7;
    const random = (n: number) => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) % n;
    for (let n = 0; n < 30000; n++) {
      if (random(3) === 0) t.fdc.read(random(8));
      else
        t.fdc.write(
          [FIFO, FIFO, FIFO, MSR, DIR, random(50) === 0 ? DOR : FIFO][random(6)]!,
          1,
          random(2) ? random(256) : [6, 0x45, 0x4d, 8, 2, 1, 18, 0x1c][random(8)]!,
        );
      if (n % 100 === 0) {
        t.programDma([0x44, 0x48, 0x40, 0x68][random(4)]!, random(1 << 24), random(65536) + 1);
        await t.wait();
      }
    }
    t.fdc.reset();
    await t.start();
  });
});

describe('8237', () => {
  it('wraps inside its page, moves words, repeats and counts down', () => {
    const t = setUp();
    const out = (port: number, value: number) => t.bus.writePort(port, 1, value & 0xff);
    t.programDma(0x44, 0x1fffe, 4);
    expect(t.dma.channel(2).remaining).toBe(4);
    expect(t.dma.channel(2).toMemory(Uint8Array.of(1, 2, 3, 4))).toEqual({ moved: 4, terminal: true });
    expect([...t.mem.data.slice(0x1fffe, 0x20000), ...t.mem.data.slice(0x10000, 0x10002)]).toEqual([1, 2, 3, 4]);
    expect(t.dma.channel(2).remaining).toBe(0);
    out(0xd4, 5);
    out(0xd8, 0);
    out(0xd6, 0x55);
    out(0xc4, 0x00);
    out(0xc4, 0x10);
    out(0x8b, 0x03);
    out(0xc6, 1);
    out(0xc6, 0);
    out(0xd4, 1);
    expect(t.dma.channel(5).toMemory(Uint8Array.of(9, 8, 7, 6))).toEqual({ moved: 4, terminal: true });
    expect([...t.mem.data.slice(0x22000, 0x22004)]).toEqual([9, 8, 7, 6]);
    expect(t.dma.channel(5).remaining).toBe(4);
    t.programDma(0x48, 0x100, 4);
    expect(t.dma.channel(2).toMemory(new Uint8Array(1))).toBeUndefined();
    t.programDma(0x44, 0xff0000, 4);
    expect(t.dma.channel(2).toMemory(new Uint8Array(4))).toBeUndefined();
  });
});
