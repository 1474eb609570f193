/**
 * Real-time clock and CMOS memory (Motorola MC146818A data sheet; index port 70h, data port 71h).
 *
 * Time is the clock's wall time plus what the guest has set; registers are computed when read. Offers BCD and binary, 12 and
 * 24 hours, the century register PCs keep at 32h, update-in-progress, and update, alarm and periodic interrupts (periodic ticks
 * that a busy host misses are not made up). Not offered: daylight saving, square wave, the second bank at 72h.
 */
import type { Clock } from '../../../backend/clock';
import type { Disposable } from '../../../lib/disposable';
import { RTC_CENTURY_REGISTER } from '../../bus/pc';
import type { Device, IoHandler, IrqLine } from '../../bus/types';

const Reg = {
  SECONDS: 0, SECONDS_ALARM: 1, MINUTES: 2, MINUTES_ALARM: 3, HOURS: 4, HOURS_ALARM: 5, WEEKDAY: 6, DAY: 7, MONTH: 8, YEAR: 9,
  A: 0x0a, B: 0x0b, C: 0x0c, D: 0x0d, CENTURY: RTC_CENTURY_REGISTER,
} as const; // prettier-ignore
const A_UPDATE_IN_PROGRESS = 0x80;
const B = { SET: 0x80, PERIODIC: 0x40, ALARM: 0x20, UPDATE: 0x10, BINARY: 0x04, HOURS_24: 0x02 } as const;
const C = { IRQ: 0x80, PERIODIC: 0x40, ALARM: 0x20, UPDATE: 0x10 } as const;
const D_VALID_RAM = 0x80;
/** The update cycle is announced this long before the second changes (data sheet, figure 15). */
const UPDATE_ANNOUNCED_MS = 0.244;
const SHUTDOWN_STATUS = 0x0f;
const RESET_A = 0x26; // 32.768 kHz time base, 1024 Hz
const RESET_B = B.HOURS_24;
const ANY = 0xc0;

/** CMOS bytes in which a PC's firmware keeps the memory size; all in the units the names say. */
export function memorySizeRegisters(lowBytes: number, highBytes: number): [register: number, value: number][] {
  const clamp16 = (n: number): number => Math.min(n, 0xffff);
  const baseKiB = 640;
  const extendedKiB = clamp16(Math.max(0, (lowBytes >> 10) - 1024));
  const above16MiBIn64KiB = clamp16(Math.max(0, Math.floor((lowBytes - (16 << 20)) / 65536)));
  const above4GiBIn64KiB = Math.floor(highBytes / 65536);
  return [
    [0x15, baseKiB & 0xff], [0x16, baseKiB >> 8],
    [0x17, extendedKiB & 0xff], [0x18, extendedKiB >> 8], [0x30, extendedKiB & 0xff], [0x31, extendedKiB >> 8],
    [0x34, above16MiBIn64KiB & 0xff], [0x35, above16MiBIn64KiB >> 8],
    [0x5b, above4GiBIn64KiB & 0xff], [0x5c, (above4GiBIn64KiB >> 8) & 0xff], [0x5d, (above4GiBIn64KiB >> 16) & 0xff],
  ]; // prettier-ignore
}

interface Fields {
  second: number;
  minute: number;
  hour: number;
  day: number;
  month: number; // 1–12
  year: number;
}

export class Rtc implements Device, IoHandler {
  readonly name = 'rtc';
  private readonly cmos = new Uint8Array(128);
  private index = 0;
  private offsetMs = 0;
  /** While SET holds the clock still: what the registers show. */
  private held: Fields | undefined;
  private flags = 0;
  private lastSecond = 0;
  private lastPeriod = 0;
  private secondTimer: Disposable | undefined;
  private periodTimer: Disposable | undefined;

  constructor(
    private readonly deps: { clock: Clock; irq: IrqLine },
    memory: readonly (readonly [register: number, value: number])[] = [],
  ) {
    for (const [register, value] of memory) this.cmos[register] = value;
    this.cmos[0x14] = 0x06; // equipment: 80×25 colour, mouse port, FPU is bit 1
    this.reset();
  }

  /**
   * What a program that has its processor reset tells the firmware (IBM AT BIOS, shutdown status). It has a battery like the rest of the
   * memory, but is of no use to a machine that was reset as a whole, whose memory and devices it speaks of.
   */
  get shutdownStatus(): number {
    return this.cmos[SHUTDOWN_STATUS]!;
  }

  /** The reset line clears the interrupt enables and flags; time and memory have a battery. */
  reset(): void {
    this.index = 0;
    this.cmos[SHUTDOWN_STATUS] = 0;
    this.cmos[Reg.A] = RESET_A;
    this.cmos[Reg.B] = RESET_B;
    this.flags = 0;
    this.held = undefined;
    this.lastSecond = this.second();
    this.lastPeriod = this.period();
    this.reschedule();
    this.deps.irq.set(false);
  }

  dispose(): void {
    this.secondTimer?.dispose();
    this.periodTimer?.dispose();
  }

  read(offset: number): number {
    return offset === 0 ? 0xff : this.readRegister(this.index);
  }

  write(offset: number, _width: number, value: number): void {
    // Bit 7 of the index port masks NMI; nothing here raises one.
    if (offset === 0) this.index = value & 0x7f;
    else this.writeRegister(this.index, value);
  }

  private readRegister(register: number): number {
    switch (register) {
      case Reg.SECONDS:
        return this.encode(this.now().second);
      case Reg.MINUTES:
        return this.encode(this.now().minute);
      case Reg.HOURS:
        return this.encodeHour(this.now().hour);
      case Reg.WEEKDAY: {
        const { year, month, day } = this.now();
        return this.encode(new Date(Date.UTC(year, month - 1, day)).getUTCDay() + 1);
      }
      case Reg.DAY:
        return this.encode(this.now().day);
      case Reg.MONTH:
        return this.encode(this.now().month);
      case Reg.YEAR:
        return this.encode(this.now().year % 100);
      case Reg.CENTURY:
        return this.encode(Math.floor(this.now().year / 100));
      case Reg.A:
        return (this.cmos[Reg.A]! & 0x7f) | (this.updateInProgress() ? A_UPDATE_IN_PROGRESS : 0);
      case Reg.C: {
        this.collectFlags();
        const value = this.flags | (this.flags & this.cmos[Reg.B]! & 0x70 ? C.IRQ : 0);
        this.flags = 0;
        this.deps.irq.set(false);
        return value;
      }
      case Reg.D:
        return D_VALID_RAM;
      default:
        return this.cmos[register]!;
    }
  }

  private writeRegister(register: number, value: number): void {
    switch (register) {
      case Reg.SECONDS:
        return this.setFields({ second: this.decode(value) });
      case Reg.MINUTES:
        return this.setFields({ minute: this.decode(value) });
      case Reg.HOURS:
        return this.setFields({ hour: this.decodeHour(value) });
      case Reg.WEEKDAY:
        return; // follows from the date
      case Reg.DAY:
        return this.setFields({ day: this.decode(value) });
      case Reg.MONTH:
        return this.setFields({ month: this.decode(value) });
      case Reg.YEAR:
        return this.setFields({ year: Math.floor(this.now().year / 100) * 100 + this.decode(value) });
      case Reg.CENTURY:
        return this.setFields({ year: this.decode(value) * 100 + (this.now().year % 100) });
      case Reg.A:
        this.cmos[Reg.A] = value & 0x7f;
        this.lastPeriod = this.period();
        return this.reschedule();
      case Reg.B:
        return this.writeControl(value);
      case Reg.C:
      case Reg.D:
        return;
      default:
        this.cmos[register] = value;
    }
  }

  private writeControl(value: number): void {
    // Flags that arose while their interrupt was off must not fire now.
    this.collectFlags();
    if (value & B.SET) {
      this.held ??= this.now();
      value &= ~B.UPDATE; // data sheet: SET clears UIE
    } else if (this.held) {
      const fields = this.held;
      this.held = undefined;
      this.adopt(fields);
    }
    this.cmos[Reg.B] = value;
    this.raise(0);
    this.reschedule();
  }

  private get binary(): boolean {
    return (this.cmos[Reg.B]! & B.BINARY) !== 0;
  }

  private encode(value: number): number {
    return this.binary ? value & 0xff : (Math.floor(value / 10) << 4) | (value % 10);
  }

  private decode(value: number): number {
    return this.binary ? value : (value >> 4) * 10 + (value & 0x0f);
  }

  private encodeHour(hour: number): number {
    if (this.cmos[Reg.B]! & B.HOURS_24) return this.encode(hour);
    return this.encode(hour % 12 === 0 ? 12 : hour % 12) | (hour >= 12 ? 0x80 : 0);
  }

  private decodeHour(value: number): number {
    if (this.cmos[Reg.B]! & B.HOURS_24) return this.decode(value);
    return (this.decode(value & 0x7f) % 12) + (value & 0x80 ? 12 : 0);
  }

  private milliseconds(): number {
    return this.deps.clock.wallClock() + this.offsetMs;
  }

  private second(): number {
    return Math.floor(this.milliseconds() / 1000);
  }

  private now(): Fields {
    if (this.held) return this.held;
    const date = new Date(this.milliseconds());
    return {
      second: date.getUTCSeconds(), minute: date.getUTCMinutes(), hour: date.getUTCHours(), day: date.getUTCDate(),
      month: date.getUTCMonth() + 1, year: date.getUTCFullYear(),
    }; // prettier-ignore
  }

  private setFields(change: Partial<Fields>): void {
    const fields = { ...this.now(), ...change };
    if (this.held) this.held = fields;
    else this.adopt(fields);
  }

  /** Impossible dates roll over, as JS dates do; the guest reads back what the clock then shows. */
  private adopt(f: Fields): void {
    const target = Date.UTC(f.year, f.month - 1, f.day, f.hour, f.minute, f.second);
    if (!Number.isFinite(target)) return;
    const fraction = this.milliseconds() % 1000;
    this.offsetMs += target + fraction - this.milliseconds();
    this.lastSecond = this.second();
    this.reschedule();
  }

  private updateInProgress(): boolean {
    if (this.cmos[Reg.B]! & B.SET) return false;
    return 1000 - (this.milliseconds() % 1000) <= UPDATE_ANNOUNCED_MS;
  }

  /** Nanoseconds of the periodic rate; 0 when off. */
  private periodNs(): number {
    const rate = this.cmos[Reg.A]! & 0x0f;
    if (rate === 0) return 0;
    const shift = rate <= 2 ? rate + 6 : rate - 1; // rates 1 and 2 repeat 8 and 9
    return (2 ** shift * 1e9) / 32768;
  }

  private period(): number {
    const ns = this.periodNs();
    return ns === 0 ? 0 : Math.floor(this.deps.clock.now() / ns);
  }

  /** Flags rise whether or not their interrupt is on; worked out when somebody looks. */
  private collectFlags(): void {
    const second = this.second();
    if (second !== this.lastSecond && !(this.cmos[Reg.B]! & B.SET)) {
      this.flags |= C.UPDATE;
      if (this.alarmMatches()) this.flags |= C.ALARM;
    }
    this.lastSecond = second;
    const period = this.period();
    if (period !== this.lastPeriod) this.flags |= C.PERIODIC;
    this.lastPeriod = period;
  }

  private alarmMatches(): boolean {
    const t = this.now();
    const match = (register: number, shown: number): boolean => {
      const value = this.cmos[register]!;
      return (value & ANY) === ANY || value === shown;
    };
    return (
      match(Reg.SECONDS_ALARM, this.encode(t.second)) &&
      match(Reg.MINUTES_ALARM, this.encode(t.minute)) &&
      match(Reg.HOURS_ALARM, this.encodeHour(t.hour))
    );
  }

  private raise(flags: number): void {
    this.flags |= flags;
    if (this.flags & this.cmos[Reg.B]! & 0x70) this.deps.irq.set(true);
  }

  /** Timers run only for interrupts that are on: a guest that does not use the clock costs nothing. */
  private reschedule(): void {
    this.secondTimer?.dispose();
    this.periodTimer?.dispose();
    this.secondTimer = this.periodTimer = undefined;
    const control = this.cmos[Reg.B]!;
    if (control & (B.UPDATE | B.ALARM) && !(control & B.SET)) this.armSecond();
    const ns = this.periodNs();
    if (control & B.PERIODIC && ns > 0) this.armPeriod(ns);
  }

  private armSecond(): void {
    const { clock } = this.deps;
    const toNext = 1000 - (this.milliseconds() % 1000);
    this.secondTimer = clock.at(clock.now() + toNext * 1e6, () => {
      this.collectFlags();
      this.raise(0);
      this.armSecond();
    });
  }

  private armPeriod(ns: number): void {
    const { clock } = this.deps;
    const next = (Math.floor(clock.now() / ns) + 1) * ns;
    this.periodTimer = clock.at(next, () => {
      this.lastPeriod = this.period();
      this.raise(C.PERIODIC);
      this.armPeriod(ns);
    });
  }
}
