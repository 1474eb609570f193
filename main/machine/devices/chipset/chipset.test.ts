import { describe, expect, it, vi } from 'vitest';
import { Bus } from '../../bus/bus';
import { Doorbells } from '../../bus/doorbells';
import { IrqWires } from '../../bus/irq';
import { FakeClock } from '../../testing/fake-clock';
import { PciBus, PciFunction } from '../pci';
import { PM_BASE } from '../../bus/pc';
import { I440fx, Piix3, Piix4Pm, PM_TIMER_HZ, ResetControl } from '.';

function setUp() {
  const native = { addDoorbell: vi.fn(), removeDoorbell: vi.fn(), sendMsi: vi.fn() };
  const bus = new Bus();
  const clock = new FakeClock();
  const drive = vi.fn<(gsi: number, level: boolean) => void>();
  const wires = new IrqWires(24, drive);
  const systemReset = vi.fn();
  const powerOff = vi.fn();
  const pci = new PciBus({
    bus,
    doorbells: new Doorbells(native),
    regions: { map: () => undefined },
    native,
    resetControl: new ResetControl(systemReset),
  });
  const piix3 = new Piix3((irq) => wires.connect(irq));
  const pm = new Piix4Pm({ clock, sci: wires.connect(9), powerOff });
  pci.plug(new I440fx(), 0);
  pci.plug(piix3, 1, 0);
  pci.plug(pm, 1, 3);
  pci.setRouter(piix3);
  piix3.setUpRoutes();
  pm.setUp();
  return { bus, clock, drive, systemReset, powerOff, pci, piix3, pm };
}

describe('chipset', () => {
  it('routes PCI interrupts and moves a standing level', () => {
    const t = setUp();
    const fn = new PciFunction('nic', { vendor: 1, device: 1, classCode: 0x020000, interruptPin: 1 });
    t.pci.plug(fn, 3); // PIRQC
    t.pci.assignResources();
    expect(fn.readConfig(0x3c, 1)).toBe(11);
    fn.intx.set(true);
    expect(t.drive.mock.calls).toEqual([[11, true]]);
    t.piix3.writeConfig(0x62, 1, 5);
    t.piix3.writeConfig(0x62, 1, 2); // reserved: off
    t.piix3.writeConfig(0x62, 1, 0x80);
    expect(t.drive.mock.calls.slice(1)).toEqual([
      [11, false],
      [5, true],
      [5, false],
    ]);
  });

  it('counts the PM timer on guest time', () => {
    const t = setUp();
    const before = t.bus.readPort(PM_BASE + 8, 4);
    t.clock.advance(1e9);
    expect(t.bus.readPort(PM_BASE + 8, 4) - before).toBe(PM_TIMER_HZ);
    t.clock.advance(10e9);
    expect(t.bus.readPort(PM_BASE + 8, 4)).toBe((11 * PM_TIMER_HZ) % 2 ** 24);
    expect(t.bus.readPort(PM_BASE + 9, 2)).toBe(((11 * PM_TIMER_HZ) % 2 ** 24) >> 8);
  });

  it('interrupts at a timer overflow only when asked to', () => {
    const t = setUp();
    t.clock.advance(5e9);
    expect([t.bus.readPort(PM_BASE, 2) & 1, t.clock.pending]).toEqual([1, 0]);
    t.bus.writePort(PM_BASE, 2, 1);
    t.bus.writePort(PM_BASE + 2, 2, 1);
    t.clock.advance(2.4e9);
    expect(t.drive.mock.calls).toEqual([[9, true]]);
    t.bus.writePort(PM_BASE, 2, 1);
    expect(t.drive).toHaveBeenLastCalledWith(9, false);
  });

  it('presses the power button', () => {
    const t = setUp();
    t.bus.writePort(PM_BASE + 2, 2, 0x100);
    t.pm.pressPowerButton();
    expect(t.drive.mock.calls).toEqual([[9, true]]);
    expect(t.bus.readPort(PM_BASE, 2)).toBe(0x100);
    t.bus.writePort(PM_BASE + 1, 1, 1);
    expect(t.drive).toHaveBeenLastCalledWith(9, false);
  });

  it('powers off for S5 only, by word or by byte', () => {
    const t = setUp();
    expect(t.bus.readPort(PM_BASE + 4, 2)).toBe(1);
    t.bus.writePort(PM_BASE + 4, 2, 0x2000 | (5 << 10));
    expect(t.powerOff).not.toHaveBeenCalled();
    t.bus.writePort(PM_BASE + 4, 2, 0x2001);
    t.bus.writePort(PM_BASE + 5, 1, 0x20);
    expect(t.powerOff).toHaveBeenCalledTimes(2);
  });

  it('resets through CF9 on the rising edge', () => {
    const t = setUp();
    t.bus.writePort(0xcf9, 1, 2);
    t.bus.writePort(0xcf9, 1, 6);
    t.bus.writePort(0xcf9, 1, 6);
    expect(t.systemReset).toHaveBeenCalledTimes(1);
    expect(t.bus.readPort(0xcf9, 1)).toBe(6);
  });

  it('has an SMBus on which nobody answers', () => {
    const t = setUp();
    t.bus.writePort(0x704, 1, 0xa1);
    t.bus.writePort(0x702, 1, 0x48);
    expect(t.bus.readPort(0x700, 1)).toBe(4);
    t.bus.writePort(0x700, 1, 4);
    expect([t.bus.readPort(0x700, 1), t.bus.readPort(0x704, 1)]).toEqual([0, 0xa1]);
  });

  it('survives every offset at every width', () => {
    const t = setUp();
    for (let offset = 0; offset < 64; offset++) {
      for (const width of [1, 2, 4]) {
        t.bus.writePort(PM_BASE + offset, width, 0xffffffff);
        expect(t.bus.readPort(PM_BASE + offset, width)).toBeLessThanOrEqual(2 ** (8 * width) - 1);
      }
    }
  });
});
