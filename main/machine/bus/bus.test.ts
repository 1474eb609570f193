import { describe, expect, it, vi } from 'vitest';
import { Bus } from './bus';
import { IrqWires } from './irq';
import { RangeMap } from './range-map';
import type { IoHandler } from './types';

class Registers implements IoHandler {
  readonly log: string[] = [];
  constructor(private readonly value = 0) {}
  read(offset: number, width: number): number {
    this.log.push(`r${width}@${offset}`);
    return this.value + offset;
  }
  write(offset: number, width: number, value: number): void {
    this.log.push(`w${width}@${offset}=${value.toString(16)}`);
  }
}

describe('RangeMap', () => {
  it('refuses overlapping claims and says whose it is', () => {
    const map = new RangeMap<string>(0x10000);
    map.claim(0x3f8, 8, 'a', 'COM1');
    expect(() => map.claim(0x3ff, 1, 'b', 'other')).toThrow(/COM1/);
    expect(() => map.claim(0xffff, 2, 'b', 'other')).toThrow(/valid range/);
  });
  it('lets fixed claims win over overlays, and the earlier overlay over the later', () => {
    const map = new RangeMap<string>(1 << 20);
    const low = map.overlay(0x100, 0x100, 'low', 'low');
    map.overlay(0x180, 0x100, 'high', 'high');
    map.claim(0x110, 0x10, 'fixed', 'fixed');
    expect([0x100, 0x110, 0x11f, 0x120, 0x1ff, 0x200].map((a) => map.find(a)?.owner)).toEqual([
      'low',
      'fixed',
      'fixed',
      'low',
      'low',
      'high',
    ]);
    expect(map.find(0x120)?.base).toBe(0x100);
    low.dispose();
    expect([0x100, 0x110, 0x180, 0x280].map((a) => map.find(a)?.owner)).toEqual([undefined, 'fixed', 'high', undefined]);
  });
});

describe('Bus', () => {
  it('routes offsets, answers ones for nobody, counts it', () => {
    const bus = new Bus();
    const dev = new Registers(0x40);
    bus.claimPorts(0x3f8, 8, dev, 'dev', { maxWidth: 1 });
    expect(bus.readPort(0x3fa, 1)).toBe(0x42);
    bus.trace = vi.fn();
    expect([bus.readPort(0x80, 1), bus.readPort(0x80, 2), bus.readPort(0x80, 4)]).toEqual([0xff, 0xffff, 0xffffffff]);
    bus.writePort(0x80, 1, 1);
    expect([bus.unclaimedReads, bus.unclaimedWrites]).toEqual([3, 1]);
    expect(bus.trace).toHaveBeenLastCalledWith({ space: 'port', direction: 'write', address: 0x80, width: 1, value: 1 });
  });
  it('splits accesses wider than the device and across its end', () => {
    const bus = new Bus();
    const narrow = new Registers(0x10);
    bus.claimPorts(0x60, 2, narrow, 'narrow', { maxWidth: 1 });
    expect(bus.readPort(0x60, 4)).toBe(0xffff1110);
    bus.writePort(0x5f, 2, 0xabcd);
    expect(narrow.log).toEqual(['r1@0', 'r1@1', 'w1@0=ab']);
    expect(bus.readPort(0xffff, 4)).toBe(0xffffffff);
  });
  it('loops string I/O for devices without it and hands it over where there is', () => {
    const bus = new Bus();
    const dev = new Registers();
    bus.claimPorts(0x1f0, 1, dev, 'dev', { maxWidth: 2 });
    bus.claimPorts(0x1f1, 1, dev, 'dev2', { maxWidth: 2 });
    bus.writePortString(0x1f1, 1, 2, Uint8Array.of(7, 8));
    expect(dev.log).toEqual(['w1@0=7', 'w1@0=8']);
    const into = new Uint8Array(2);
    const strings = {
      read: () => 0,
      write: () => undefined,
      readString: (_o: number, _w: number, _c: number, to: Uint8Array) => void to.fill(9),
    };
    bus.claimPorts(0x200, 2, strings, 'strings');
    bus.readPortString(0x200, 2, 1, into);
    expect([...into]).toEqual([9, 9]);
  });
});

describe('IrqWires', () => {
  it('is the OR of its owners and reports changes only', () => {
    const drive = vi.fn();
    const wires = new IrqWires(16, drive);
    const [a, b] = [wires.connect(11), wires.connect(11)];
    a.set(true);
    b.set(true);
    a.set(false);
    a.set(false);
    expect(drive.mock.calls).toEqual([[11, true]]);
    b.set(false);
    expect(drive.mock.calls).toEqual([
      [11, true],
      [11, false],
    ]);
    expect(() => wires.connect(16)).toThrow();
  });
});
