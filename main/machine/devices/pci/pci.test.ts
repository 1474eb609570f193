import { beforeEach, describe, expect, it, vi } from 'vitest';
import { Bus } from '../../bus/bus';
import { Doorbells } from '../../bus/doorbells';
import { QuickEngine } from '../../testing/quick-engine';
import { AddressSpace } from '../../memory/address-space';
import { pirqOf } from '../../bus/pc';
import { PciBus, PciFunction } from '.';

function setUp(engine?: QuickEngine) {
  const native = {
    addDoorbell: vi.fn(),
    removeDoorbell: vi.fn(),
    sendMsi: vi.fn(),
    addRegion: vi.fn(() => 0),
    mapRegion: vi.fn(),
    unmap: vi.fn(),
  };
  const bus = new Bus();
  engine?.connect(bus);
  const doorbells = new Doorbells(native);
  const regions = new AddressSpace(native, 64 << 20);
  const resetControl = { read: vi.fn(() => 0), write: vi.fn() };
  const pci = new PciBus({ bus, doorbells, regions, native, resetControl });
  const config = (slot: number, offset: number) => {
    bus.writePort(0xcf8, 4, (0x8000_0000 | (slot << 11) | (offset & 0xfc)) >>> 0);
    return 0xcfc + (offset & 3);
  };
  const read = (slot: number, offset: number, width = 4) => bus.readPort(config(slot, offset), width);
  const write = (slot: number, offset: number, value: number, width = 4) => bus.writePort(config(slot, offset), width, value);
  return { native, bus, doorbells, pci, read, write, resetControl };
}

const identity = { vendor: 0x1af4, device: 0x1042, classCode: 0x010000, interruptPin: 1 };

describe('PCI', () => {
  let t: ReturnType<typeof setUp>;
  beforeEach(() => {
    t = setUp();
  });

  it('finds functions through mechanism 1 and nothing elsewhere', () => {
    t.pci.plug(new PciFunction('a', identity), 3);
    expect(t.read(3, 0)).toBe(0x10421af4);
    expect(t.read(3, 2, 2)).toBe(0x1042);
    expect(t.read(4, 0)).toBe(0xffffffff);
    t.bus.writePort(0xcf8, 4, 3 << 11);
    expect(t.bus.readPort(0xcfc, 4)).toBe(0xffffffff);
    t.write(3, 0, 0);
    expect(t.read(3, 0)).toBe(0x10421af4);
    expect(() => t.pci.plug(new PciFunction('b', identity), 3)).toThrow(/holds a/);
  });

  it('takes an address without making the guest wait', () => {
    const engine = new QuickEngine();
    const { pci } = setUp(engine);
    pci.plug(new PciFunction('a', identity), 3);
    engine.write(0xcf8, 4, 0x8000_1800);
    expect([engine.quick, engine.waited]).toEqual([1, 0]);
    expect(engine.read(0xcf8, 4)).toBe(0x8000_1800);
    engine.write(0xcf8, 4, 0x8000_2000);
    engine.write(0xcf8, 4, 0x8000_1800);
    expect(engine.read(0xcfc, 4)).toBe(0x10421af4);
  });

  it('reaches the reset control register inside the address register', () => {
    t.bus.writePort(0xcf9, 1, 6);
    expect(t.resetControl.write).toHaveBeenCalledWith(6);
  });

  it('sizes, moves and turns off BARs', () => {
    const fn = new PciFunction('a', identity);
    const handler = { read: () => 0x55, write: () => undefined };
    fn.addBar({ index: 0, kind: 'io', bytes: 64, handler });
    fn.addBar({ index: 2, kind: 'memory', bytes: 0x4000, handler, wide: true, prefetchable: true });
    t.pci.plug(fn, 3);
    t.write(3, 0x10, 0xffffffff);
    expect(t.read(3, 0x10)).toBe(0xffffffc1);
    t.write(3, 0x18, 0xffffffff);
    t.write(3, 0x1c, 0xffffffff);
    expect([t.read(3, 0x18), t.read(3, 0x1c)]).toEqual([0xffffc00c, 0xffffffff]);
    t.pci.assignResources();
    const [io, mmio] = [fn.barBase(0)!, fn.barBase(2)!];
    expect([io % 64, mmio % 0x4000]).toEqual([0, 0]);
    expect([t.bus.readPort(io, 1), t.bus.readMmio(mmio + 8, 4)]).toEqual([0x55, 0x55]);
    t.write(3, 0x1c, 2); // to 8 GiB and some
    expect(t.bus.readMmio(mmio, 4)).toBe(0xffffffff);
    expect(t.bus.readMmio(2 * 2 ** 32 + mmio, 4)).toBe(0x55);
    t.write(3, 4, 0, 2);
    expect([fn.barBase(0), fn.barBase(2)]).toEqual([undefined, undefined]);
    expect(t.bus.readPort(io, 1)).toBe(0xff);
  });

  it('maps native regions and never over RAM', () => {
    const fn = new PciFunction('vga', identity);
    fn.addBar({ index: 0, kind: 'region', region: 7, bytes: 1 << 24, prefetchable: true });
    t.pci.plug(fn, 2);
    t.pci.assignResources();
    expect(t.native.mapRegion).toHaveBeenLastCalledWith(7, 0, fn.barBase(0), 1 << 24);
    t.native.mapRegion.mockClear();
    t.write(2, 0x10, 0x0100_0000); // inside the 64 MiB of RAM
    expect(t.native.unmap).toHaveBeenCalledTimes(1);
    expect(t.native.mapRegion).not.toHaveBeenCalled();
  });

  it('chains capabilities and keeps the list through reset', () => {
    const fn = new PciFunction('a', identity);
    const first = fn.addCapability(9, Uint8Array.of(16, 1, 2));
    const second = fn.addCapability(9, Uint8Array.of(16));
    t.pci.plug(fn, 3);
    for (let round = 0; round < 2; round++) {
      expect(t.read(3, 6, 2) & 0x10).toBe(0x10);
      expect(t.read(3, 0x34, 1)).toBe(second);
      expect(t.read(3, second + 1, 1)).toBe(first);
      expect(t.read(3, first, 4)).toBe(0x01100009);
      fn.reset();
    }
  });

  it('delivers MSI-X: masks, pending bits, bus master, hostile addresses', () => {
    const fn = new PciFunction('a', identity);
    const msix = fn.enableMsix({ bar: 1, vectors: 3 });
    t.pci.plug(fn, 3);
    t.pci.assignResources();
    const table = fn.barBase(1)!;
    const cap = t.read(3, 0x34, 1);
    expect(t.read(3, cap + 2, 2)).toBe(2);
    expect([t.read(3, cap + 4), t.read(3, cap + 8)]).toEqual([1, 0x801]);
    t.write(3, 4, 6, 2);
    t.bus.writeMmio(table, 4, 0xfee01000);
    t.bus.writeMmio(table + 8, 4, 0x41);
    t.write(3, cap + 2, 0x8000, 2);
    msix.raise(0); // still masked
    expect(t.native.sendMsi).not.toHaveBeenCalled();
    expect(t.bus.readMmio(table + 0x800, 4)).toBe(1);
    t.bus.writeMmio(table + 12, 4, 0);
    expect(t.native.sendMsi.mock.calls).toEqual([[0xfee01000, 0x41]]);
    expect(t.bus.readMmio(table + 0x800, 4)).toBe(0);
    msix.raise(0);
    msix.raise(99);
    expect(t.native.sendMsi).toHaveBeenCalledTimes(2);
    t.bus.writeMmio(table, 4, 0x1000);
    msix.raise(0);
    expect([t.native.sendMsi.mock.calls.length, msix.dropped]).toEqual([2, 1]);
    t.bus.writeMmio(table, 4, 0xfee00000);
    t.write(3, 4, 2, 2);
    msix.raise(0);
    expect(t.native.sendMsi).toHaveBeenCalledTimes(2);
  });

  it('wires INTx by slot, with status and disable bits', () => {
    const setPirq = vi.fn();
    t.pci.setRouter({ setPirq, routeOf: () => 11 });
    const fn = new PciFunction('a', identity);
    t.pci.plug(fn, 3);
    t.pci.assignResources();
    expect(t.read(3, 0x3c, 1)).toBe(11);
    fn.intx.set(true);
    expect(setPirq).toHaveBeenLastCalledWith(pirqOf(3, 1), true);
    expect(t.read(3, 6, 2) & 8).toBe(8);
    t.write(3, 4, 0x400, 2);
    expect(setPirq).toHaveBeenLastCalledWith(2, false);
    expect(t.read(3, 6, 2) & 8).toBe(8);
  });

  it('registers doorbells where the BAR is, moves them, and routes their events', () => {
    const fn = new PciFunction('a', identity);
    const ring = vi.fn();
    fn.addBar({ index: 4, kind: 'memory', bytes: 0x1000, handler: { read: () => 0, write: () => undefined } });
    fn.addDoorbell(4, 0x10, 2, ring);
    t.pci.plug(fn, 3);
    t.pci.assignResources();
    const [kind, address, width, id] = t.native.addDoorbell.mock.calls[0]! as [string, number, number, number];
    expect([kind, address, width]).toEqual(['mmio', fn.barBase(4)! + 0x10, 2]);
    t.doorbells.ring(id, 1);
    t.write(3, 4, 0, 2);
    expect(t.native.removeDoorbell).toHaveBeenCalledWith(id);
    t.doorbells.ring(id, 2);
    expect(ring.mock.calls).toEqual([[1]]);
  });
});
