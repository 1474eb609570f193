import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { HostIoError, type BlockBackend } from '../../../backend/block';
import type { MmioHandler } from '../../bus/types';
import type { PciSlot } from '../pci';
import { createVirtioBlk, createVirtioRng, VirtioPci } from './index';
import { nextStatus, Status } from './device';
import { COMMON_REGISTERS } from './pci';
import { flatMemory } from '../../memory/testing/flat-memory';
import { QueueDriver } from './testing/driver';

const DISK_BYTES = 64 * 1024;
const layout = { size: 16, descriptors: 0x1000, driver: 0x2000, device: 0x3000 };

/** A disk in memory that can be told to fail, or to finish later. */
class MemoryDisk implements BlockBackend {
  readonly bytes = DISK_BYTES;
  readonly blockBytes = 512;
  readonly discards = true;
  readOnly = false;
  readonly data = new Uint8Array(DISK_BYTES);
  flushes = 0;
  readonly waiting: (() => void)[] = [];
  later = false;
  failure: Error | undefined;
  constructor(private readonly mem: ReturnType<typeof flatMemory>) {}
  private move(
    offset: number,
    ranges: Float64Array,
    move: (at: number, gpa: number, bytes: number) => void,
  ): void | Promise<void> {
    if (this.failure) throw this.failure;
    const run = (): void => {
      let at = offset;
      for (let i = 0; i < ranges.length; i += 2) {
        if (ranges[i]! + ranges[i + 1]! > this.mem.data.length) throw Object.assign(new Error('not RAM'), { code: 'EFAULT' });
        move(at, ranges[i]!, ranges[i + 1]!);
        at += ranges[i + 1]!;
      }
    };
    if (!this.later) return run();
    return new Promise((resolve) => this.waiting.push(() => (run(), resolve())));
  }
  read(offset: number, ranges: Float64Array): void | Promise<void> {
    return this.move(offset, ranges, (at, gpa, n) => this.mem.data.set(this.data.subarray(at, at + n), gpa));
  }
  write(offset: number, ranges: Float64Array): void | Promise<void> {
    return this.move(offset, ranges, (at, gpa, n) => this.data.set(this.mem.data.subarray(gpa, gpa + n), at));
  }
  async flush(): Promise<void> {
    this.flushes++;
  }
  async discard(offset: number, bytes: number): Promise<void> {
    this.data.fill(0, offset, offset + bytes);
  }
  async writeZeroes(offset: number, bytes: number): Promise<void> {
    this.data.fill(0, offset, offset + bytes);
  }
  async readBytes(): Promise<void> {}
  async writeBytes(): Promise<void> {}
  async close(): Promise<void> {}
}

/** A function plugged in at fixed addresses, driven through its BARs as a guest would. */
function plug(pci: VirtioPci) {
  const bars = new Map<number, MmioHandler>();
  const doorbells: ((value: number) => void)[] = [];
  const state = { intx: false, msi: [] as [number, number][] };
  const slot: PciSlot = {
    overlayPorts: () => ({ dispose: () => undefined }),
    overlayMmio: (start, _bytes, handler) => (bars.set(start, handler), { dispose: () => bars.delete(start) }),
    mapRegion: () => undefined,
    addDoorbell: (_kind, _address, _width, ring) => (doorbells.push(ring), { dispose: () => undefined }),
    interrupt: { set: (level) => (state.intx = level) },
    sendMsi: (address, data) => state.msi.push([address, data]),
  };
  pci.plug(slot);
  pci.writeConfig(0x14, 4, 0xe0000000);
  pci.writeConfig(0x20, 4, 0xe0010000);
  pci.writeConfig(0x04, 2, 6);
  const bar = bars.get(0xe0010000)!;
  return { state, doorbells, bar, msix: bars.get(0xe0000000)! };
}

function start(pci: VirtioPci, features = 0xffffffffffn) {
  const bus = plug(pci);
  const { bar } = bus;
  bar.write(0x14, 1, 0);
  for (const status of [1, 3]) bar.write(0x14, 1, status);
  for (const word of [0, 1]) {
    bar.write(0x00, 4, word);
    const offered = bar.read(0x04, 4);
    bar.write(0x08, 4, word);
    bar.write(0x0c, 4, Number(BigInt(offered) & (features >> BigInt(word * 32)) & 0xffffffffn));
  }
  bar.write(0x14, 1, 0x0b);
  bar.write(0x16, 2, 0);
  bar.write(0x18, 2, layout.size);
  [layout.descriptors, layout.driver, layout.device].forEach((at, i) => {
    bar.write(0x20 + i * 8, 4, at);
    bar.write(0x24 + i * 8, 4, 0);
  });
  bar.write(0x1c, 2, 1);
  bar.write(0x14, 1, 0x0f);
  return bus;
}

describe('device status', () => {
  it('allows the order of §3.1.1 and nothing else', () => {
    expect(nextStatus(0, 1)).toBe(1);
    expect(nextStatus(0, 3)).toBe(3);
    expect(nextStatus(0, 2)).toBeUndefined();
    expect(nextStatus(3, 0x0b)).toBe(0x0b);
    expect(nextStatus(3, 7)).toBeUndefined(); // DRIVER_OK before FEATURES_OK
    expect(nextStatus(0x0b, 1)).toBeUndefined(); // bits are only added
    expect(nextStatus(0x0f | Status.NEEDS_RESET, 0x8f)).toBe(0x8f | Status.NEEDS_RESET);
  });
});

describe('virtio over PCI', () => {
  let mem: ReturnType<typeof flatMemory>;
  let disk: MemoryDisk;
  let driver: QueueDriver;
  let deferred: (() => void)[];
  let hostErrors: HostIoError[];
  let pci: VirtioPci;
  beforeEach(() => {
    mem = flatMemory(0x40000);
    disk = new MemoryDisk(mem);
    driver = new QueueDriver(mem, layout);
    deferred = [];
    hostErrors = [];
    pci = createVirtioBlk({
      backend: disk,
      mem,
      serial: 'lodge-disk-0',
      defer: (f) => deferred.push(f),
      onHostError: (e) => hostErrors.push(e),
    }).pci;
  });

  function request(type: number, sector: number, data: { bytes: number; write: boolean; at?: number }): void {
    mem.view.setUint32(0x8000, type, true);
    mem.view.setUint32(0x8004, 0, true);
    mem.view.setBigUint64(0x8008, BigInt(sector), true);
    mem.data[0x8100] = 0xee;
    driver.chain(0, [
      { at: 0x8000, bytes: 16 },
      ...(data.bytes ? [{ at: data.at ?? 0x9000, bytes: data.bytes, write: data.write }] : []),
      { at: 0x8100, bytes: 1, write: true },
    ]);
    driver.offer(0);
  }
  const status = (): number => mem.data[0x8100]!;

  it('shows the capabilities a modern driver looks for', () => {
    plug(pci);
    expect(pci.readConfig(0, 4)).toBe(0x10421af4);
    const types: number[] = [];
    for (let at = pci.readConfig(0x34, 1); at !== 0; at = pci.readConfig(at + 1, 1)) {
      if (pci.readConfig(at, 1) === 0x09) types.push(pci.readConfig(at + 3, 1));
    }
    expect(types.sort()).toEqual([1, 2, 3, 4]);
  });

  it('every register of the common configuration answers at its width and byte by byte', () => {
    const { bar } = plug(pci);
    for (const r of COMMON_REGISTERS) {
      let bytes = 0;
      for (let i = r.width - 1; i >= 0; i--) bytes = bytes * 256 + bar.read(r.offset + i, 1);
      expect(bytes, r.name).toBe(bar.read(r.offset, r.width));
    }
  });

  it('refuses features it did not offer and drivers without VERSION_1', () => {
    const { bar } = plug(pci);
    bar.write(0x14, 1, 1);
    bar.write(0x14, 1, 3);
    bar.write(0x14, 1, 0x0b);
    expect(bar.read(0x14, 1)).toBe(3);
  });

  it('reads, writes, flushes and names the disk', async () => {
    const { doorbells, state, bar } = start(pci);
    expect(bar.read(0x14, 1)).toBe(0x0f);
    expect(bar.read(0x2000, 4)).toBe(DISK_BYTES / 512);
    disk.data.fill(0x5a, 1024, 2048);
    request(0, 2, { bytes: 1024, write: true });
    doorbells[0]!(0);
    expect([status(), mem.data[0x9000], mem.data[0x93ff]]).toEqual([0, 0x5a, 0x5a]);
    expect(driver.takeUsed()).toEqual({ head: 0, written: 1025 });
    expect(state.intx).toBe(true);
    expect(bar.read(0x1000, 1)).toBe(1);
    expect(state.intx).toBe(false);
    expect(bar.read(0x1000, 1)).toBe(0);
    mem.data.fill(0x77, 0x9000, 0x9200);
    request(1, 0, { bytes: 512, write: false });
    bar.write(0x3000, 2, 0); // notification without a doorbell
    expect([status(), disk.data[0], disk.data[511], disk.data[512]]).toEqual([0, 0x77, 0x77, 0]);
    request(8, 0, { bytes: 20, write: true });
    doorbells[0]!(0);
    expect(new TextDecoder().decode(mem.data.subarray(0x9000, 0x900c))).toBe('lodge-disk-0');
    request(4, 0, { bytes: 0, write: false });
    doorbells[0]!(0);
    await Promise.resolve();
    await Promise.resolve();
    expect([disk.flushes, status()]).toEqual([1, 0]);
  });

  it('discards and writes zeroes over the ranges it was given', async () => {
    const { doorbells } = start(pci);
    disk.data.fill(1);
    mem.view.setBigUint64(0x9000, 4n, true);
    mem.view.setUint32(0x9008, 2, true);
    mem.view.setUint32(0x900c, 0, true);
    request(13, 0, { bytes: 16, write: false });
    doorbells[0]!(0);
    await new Promise((r) => setTimeout(r, 0));
    expect(status()).toBe(0);
    expect([disk.data[2047], disk.data[2048], disk.data[3071], disk.data[3072]]).toEqual([1, 0, 0, 1]);
    mem.view.setUint32(0x900c, 2, true);
    request(11, 0, { bytes: 16, write: false });
    doorbells[0]!(0);
    expect(status()).toBe(2);
  });

  it('answers what is wrong with the status the specification has for it', () => {
    const { doorbells } = start(pci);
    const answers: [number, number, { bytes: number; write: boolean; at?: number }, number][] = [
      [0, DISK_BYTES / 512, { bytes: 512, write: true }, 1], // past the end
      [0, 2 ** 50, { bytes: 512, write: true }, 1],
      [0, 0, { bytes: 100, write: true }, 1], // not whole sectors
      [0, 0, { bytes: 512, write: true, at: 0x7000_0000 }, 1], // not RAM
      [77, 0, { bytes: 512, write: true }, 2],
    ];
    for (const [type, sector, data, expected] of answers) {
      request(type, sector, data);
      doorbells[0]!(0);
      expect(status(), `type ${type} sector ${sector}`).toBe(expected);
    }
    expect(hostErrors).toEqual([]);
  });

  it('turns a host failure into an I/O error and tells the user', () => {
    const { doorbells } = start(pci);
    disk.failure = new HostIoError('no space', 'noSpace');
    request(1, 0, { bytes: 512, write: false });
    doorbells[0]!(0);
    expect(status()).toBe(1);
    expect(hostErrors.map((e) => e.kind)).toEqual(['noSpace']);
  });

  it('a chain without room for an answer means NEEDS_RESET, and reset brings the device back', () => {
    const { doorbells, bar } = start(pci);
    driver.chain(0, [{ at: 0x8000, bytes: 16 }]);
    driver.offer(0);
    doorbells[0]!(0);
    expect(bar.read(0x14, 1) & Status.NEEDS_RESET).toBe(Status.NEEDS_RESET);
    expect(pci.faults.get('badRequest')).toBe(1);
    bar.write(0x14, 1, 0);
    expect(bar.read(0x14, 1)).toBe(0);
  });

  it('stays in reset until the last transfer has let go of guest memory, and never answers on the old rings', async () => {
    const { doorbells, bar } = start(pci);
    disk.later = true;
    request(0, 0, { bytes: 512, write: true });
    doorbells[0]!(0);
    bar.write(0x14, 1, 0);
    expect(bar.read(0x14, 1)).not.toBe(0);
    disk.waiting[0]!();
    await new Promise((r) => setTimeout(r, 0));
    expect(bar.read(0x14, 1)).toBe(0);
    expect(driver.usedIndex).toBe(0);
  });

  it('a second reset while a transfer is under way is told of its end as well', async () => {
    start(pci);
    disk.later = true;
    request(0, 0, { bytes: 512, write: true });
    pci.device.onNotify(0);
    const told: number[] = [];
    for (const n of [1, 2]) void Promise.resolve(pci.device.reset()).then(() => told.push(n));
    await new Promise((r) => setTimeout(r, 0));
    expect(told).toEqual([]);
    disk.waiting[0]!();
    await new Promise((r) => setTimeout(r, 0));
    expect(told).toEqual([1, 2]);
    expect(pci.device.reset()).toBeUndefined();
  });

  it('serves a flood in turns', () => {
    const { doorbells } = start(pci);
    request(0, 0, { bytes: 512, write: true });
    const original = mem.readU16;
    // The avail index is always one ahead: a driver that never stops.
    mem.readU16 = (at) => (at === layout.driver + 2 ? (driver.usedIndex + 1) & 0xffff : original(at));
    doorbells[0]!(0);
    expect(deferred).toHaveLength(1);
    expect(driver.usedIndex).toBe(256);
  });

  it('sends MSI-X messages by the queue vector', () => {
    const { bar, msix, doorbells, state } = start(pci);
    msix.write(0x10, 4, 0xfee00000);
    msix.write(0x18, 4, 0x41);
    msix.write(0x1c, 4, 0);
    for (let at = pci.readConfig(0x34, 1); at !== 0; at = pci.readConfig(at + 1, 1)) {
      if (pci.readConfig(at, 1) === 0x11) pci.writeConfig(at + 2, 2, 0x8000);
    }
    bar.write(0x16, 2, 0);
    bar.write(0x1a, 2, 1);
    request(0, 0, { bytes: 512, write: true });
    doorbells[0]!(0);
    expect(state.msi).toEqual([[0xfee00000, 0x41]]);
    bar.write(0x1a, 2, 9);
    expect(bar.read(0x1a, 2)).toBe(0xffff);
  });

  it('survives any sequence of register accesses', () => {
    const access = fc.tuple(
      fc.integer({ min: 0, max: 0x3fff }),
      fc.constantFrom(1, 2, 4),
      fc.integer({ min: 0, max: 0xffffffff }),
      fc.boolean(),
    );
    fc.assert(
      fc.property(fc.array(access, { maxLength: 60 }), fc.uint8Array({ minLength: 256, maxLength: 256 }), (accesses, rings) => {
        const fresh = flatMemory(0x10000);
        for (let at = 0; at < 0x4000; at += 256) fresh.data.set(rings, at);
        const d = createVirtioBlk({
          backend: new MemoryDisk(fresh),
          mem: fresh,
          serial: '',
          defer: () => undefined,
          onHostError: () => undefined,
        });
        const { bar, doorbells } = start(d.pci);
        for (const [offset, width, value, isWrite] of accesses) {
          // Most of the space is empty: fold the offsets onto where the registers are.
          const at = (offset & 0x3000) | (offset & 0x3f);
          if (isWrite) bar.write(at, width, value);
          else expect(bar.read(at, width)).toBeLessThan(2 ** (8 * width));
          doorbells[0]!(0);
        }
      }),
    );
  });

  it('rng fills buffers', () => {
    const rng = createVirtioRng({ mem, fillRandom: (into) => void into.fill(0xab), defer: () => undefined });
    const { doorbells, bar } = start(rng);
    expect(bar.read(0x18, 2)).toBe(8); // the driver asked for more entries than there are
    const small = new QueueDriver(mem, { ...layout, size: 8 });
    small.chain(0, [{ at: 0x9000, bytes: 64, write: true }]);
    small.offer(0);
    doorbells[0]!(0);
    expect(small.takeUsed()).toEqual({ head: 0, written: 64 });
    expect(mem.data.subarray(0x9000, 0x9040).every((b) => b === 0xab)).toBe(true);
  });
});
