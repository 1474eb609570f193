/**
 * PIIX4 power management function (Intel 82371AB data sheet, 290562, §7; ACPI 2.0 §4.7 fixed hardware). A 64-byte block of ports at
 * PMBASE: PM1 status/enable/control, the 24-bit 3.579545 MHz timer, GPE0. Offers power button, power-off (S5), SCI. ACPI is always
 * on (SCI_EN is wired). The SMBus host has a block of its own (smbus.ts). Not offered: sleep states S1–S4, the legacy SMI side.
 */
import type { Clock } from '../../../backend/clock';
import type { Disposable } from '../../../lib/disposable';
import { Pm, PM_BASE, PM_PORTS, SCI_IRQ, SLEEP_TYPE_S5, SMBUS_BASE, SMBUS_PORTS } from '../../bus/pc';
import type { IoHandler, IrqLine } from '../../bus/types';
import { PciFunction } from '../pci';
import { SmbusHost } from './smbus';

export const PM_TIMER_HZ = 3579545;

const PMBA = 0x40;
const PMREGMISC = 0x80;
const DEVACTB = 0x58;
const DEVACTB_APMC_EN = 1 << 25;
const SMBBA = 0x90;
const SMBHSTCFG = 0xd2;
/** Host enabled; its interrupt is IRQ 9. */
const SMBUS_ON = 9;
const Pm1 = { TIMER: 0x0001, GLOBAL: 0x0020, POWER_BUTTON: 0x0100, RTC: 0x0400, WAKE: 0x8000 } as const;
const STATUS_BITS = Pm1.TIMER | Pm1.GLOBAL | Pm1.POWER_BUTTON | Pm1.RTC | Pm1.WAKE;
const ENABLE_BITS = Pm1.TIMER | Pm1.GLOBAL | Pm1.POWER_BUTTON | Pm1.RTC;
const Control = { SCI_ENABLE: 1, SLEEP_TYPE_SHIFT: 10, SLEEP_ENABLE: 0x2000 } as const;
const CONTROL_STORED = 0x1c06; // SLP_TYP, GBL_RLS, BM_RLD
/** TMR_STS is set each time bit 23 of the timer changes. */
const TIMER_HALF = 2 ** 23;

export class Piix4Pm extends PciFunction implements IoHandler {
  private status = 0;
  private enable = 0;
  private control = 0;
  private gpeStatus = 0;
  private gpeEnable = 0;
  private lastHalf = 0;
  private timer: Disposable | undefined;
  private readonly smbus = new SmbusHost();
  private readonly blocks: { base: number; ports: Disposable | undefined }[] = [
    { base: 0, ports: undefined },
    { base: 0, ports: undefined },
  ];

  constructor(private readonly deps: { clock: Clock; sci: IrqLine; powerOff: () => void }) {
    super('piix4-pm', {
      vendor: 0x8086,
      device: 0x7113,
      revision: 3,
      classCode: 0x068000,
      subsystemVendor: 0x1af4,
      subsystem: 0x1100,
    });
    this.defineRegisters([
      { offset: PMBA, width: 4, name: 'pmba', reset: 1, writable: 0xffc0 },
      { offset: PMREGMISC, width: 1, name: 'pmregmisc', reset: 0, writable: 1 },
      // APMC_EN is set as if firmware had installed its SMI handler: there is no system management mode to enter.
      { offset: DEVACTB, width: 4, name: 'devactb', reset: DEVACTB_APMC_EN, writable: 0 },
      { offset: SMBBA, width: 4, name: 'smbba', reset: 1, writable: 0xfff0 },
      { offset: SMBHSTCFG, width: 1, name: 'smbhstcfg', reset: 0, writable: 0x0f },
    ]);
  }

  /** What firmware does before an OS starts. */
  setUp(): void {
    this.writeConfig(PMBA, 4, PM_BASE);
    this.writeConfig(PMREGMISC, 1, 1);
    this.writeConfig(SMBBA, 4, SMBUS_BASE);
    this.writeConfig(SMBHSTCFG, 1, SMBUS_ON);
    this.writeConfig(0x3c, 1, SCI_IRQ);
  }

  pressPowerButton(): void {
    this.status |= Pm1.POWER_BUTTON;
    this.update();
  }

  override reset(): void {
    super.reset();
    this.smbus.reset();
    this.status = this.enable = this.control = this.gpeStatus = this.gpeEnable = 0;
    this.lastHalf = this.half();
    this.armTimer();
    this.update();
    this.decode();
  }

  override dispose(): void {
    super.dispose();
    this.timer?.dispose();
    for (const block of this.blocks) block.ports?.dispose();
  }

  protected override configWritten(): void {
    this.decode();
  }

  private decode(): void {
    const pmOn = (this.config.read(PMREGMISC, 1) & 1) !== 0;
    const smbusOn = (this.config.read(SMBHSTCFG, 1) & 1) !== 0;
    this.place(0, pmOn ? this.config.read(PMBA, 4) & 0xffc0 : 0, PM_PORTS, this, 'ACPI power management');
    this.place(1, smbusOn ? this.config.read(SMBBA, 4) & 0xfff0 : 0, SMBUS_PORTS, this.smbus, 'SMBus');
  }

  /** Where the power management registers are, or will be put by the built-in firmware. */
  get ioBase(): number {
    return this.blocks[0]!.base || PM_BASE;
  }

  private place(index: number, base: number, count: number, handler: IoHandler, name: string): void {
    const block = this.blocks[index]!;
    if (base === block.base) return;
    block.base = base;
    block.ports?.dispose();
    block.ports =
      base === 0 ? undefined : this.slot?.overlayPorts(base, count, handler, name, handler === this.smbus ? { maxWidth: 1 } : {});
  }

  read(offset: number, width: number): number {
    if (offset === Pm.TIMER && width === 4) return this.ticks() % 2 ** 24;
    let value = 0;
    for (let i = 0; i < width; i++) value |= this.readByte(offset + i) << (8 * i);
    return value >>> 0;
  }

  write(offset: number, width: number, value: number): void {
    // Registers are 16 bits wide; a byte write changes its half only.
    for (let i = 0; i < width;) {
      const at = (offset + i) & ~1;
      const odd = (offset + i) & 1;
      const bytes = odd || width - i === 1 ? 1 : 2;
      const mask = (bytes === 2 ? 0xffff : 0xff) << (8 * odd);
      this.writeWord(at, ((value >>> (8 * i)) << (8 * odd)) & mask, mask);
      i += bytes;
    }
  }

  private readByte(offset: number): number {
    const shift = (offset & 1) * 8;
    if (offset >= Pm.TIMER && offset < Pm.TIMER + 4)
      return (this.ticks() / 2 ** (8 * (offset - Pm.TIMER))) & (offset === 0x0b ? 0 : 0xff);
    switch (offset & ~1) {
      case Pm.STATUS:
        this.collectTimer();
        return (this.status >> shift) & 0xff;
      case Pm.ENABLE:
        return (this.enable >> shift) & 0xff;
      case Pm.CONTROL:
        return ((this.control | Control.SCI_ENABLE) >> shift) & 0xff;
      case Pm.GPE_STATUS:
        return (this.gpeStatus >> shift) & 0xff;
      case Pm.GPE_ENABLE:
        return (this.gpeEnable >> shift) & 0xff;
      default:
        return 0;
    }
  }

  private writeWord(offset: number, value: number, mask: number): void {
    switch (offset) {
      case Pm.STATUS:
        this.collectTimer();
        this.status &= ~(value & STATUS_BITS);
        break;
      case Pm.ENABLE:
        this.enable = (this.enable & ~mask) | (value & ENABLE_BITS);
        this.armTimer();
        break;
      case Pm.CONTROL: {
        const whole = (this.control & ~mask) | value;
        this.control = whole & CONTROL_STORED;
        if (value & Control.SLEEP_ENABLE && ((whole >> Control.SLEEP_TYPE_SHIFT) & 7) === SLEEP_TYPE_S5) this.deps.powerOff();
        break;
      }
      case Pm.GPE_STATUS:
        this.gpeStatus &= ~value;
        break;
      case Pm.GPE_ENABLE:
        this.gpeEnable = (this.gpeEnable & ~mask) | value;
        break;
      default:
        return;
    }
    this.update();
  }

  private ticks(): number {
    return Math.floor((this.deps.clock.now() * PM_TIMER_HZ) / 1e9);
  }

  private half(): number {
    return Math.floor(this.ticks() / TIMER_HALF);
  }

  private collectTimer(): void {
    const half = this.half();
    if (half !== this.lastHalf) this.status |= Pm1.TIMER;
    this.lastHalf = half;
  }

  /** Only a guest that wants the overflow interrupt costs a timer. */
  private armTimer(): void {
    this.timer?.dispose();
    this.timer = undefined;
    if (!(this.enable & Pm1.TIMER)) return;
    const next = ((this.half() + 1) * TIMER_HALF * 1e9) / PM_TIMER_HZ;
    // A nanosecond more: the tick count must have reached the half when the callback looks.
    this.timer = this.deps.clock.at(next + 1, () => {
      this.collectTimer();
      this.update();
      this.armTimer();
    });
  }

  private update(): void {
    this.deps.sci.set((this.status & this.enable & ENABLE_BITS) !== 0 || (this.gpeStatus & this.gpeEnable) !== 0);
  }
}
