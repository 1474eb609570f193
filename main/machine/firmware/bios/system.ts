/** INT 11h, 12h, 14h, 15h, 17h and 1Ah: equipment, memory, serial and parallel ports, system services, clock, PCI BIOS. */
import type { Bus } from '../../bus/bus';
import { Bda, CONVENTIONAL_KIB, EBDA_SEGMENT } from './bda';
import type { RegisterFrame } from './frame';
import type { PointerServices } from './pointer';
import type { RealModeMemory } from './real-memory';
import { PIRQ_ROUTER, isRoutable, pirqRegister, routingOptions } from '../mp';
import { ROM_SEGMENT, Rom, TrapStatus } from './rom';

export interface MemoryRange {
  readonly start: number;
  readonly bytes: number;
  /** 1 usable, 2 reserved, 3 ACPI tables, 4 ACPI NVS. */
  readonly type: number;
}

const MIB = 1 << 20;
/** BIOS ticks of a day. */
const TICKS_PER_DAY = 0x1800b0;
/** Register B of the clock and the bit that lets its alarm interrupt. */
const RTC_B = 0x0b;
const RTC_ALARM = 0x20;
/** INT 15h/87h moves at most 32768 words. */
const MAX_BLOCK_BYTES = 0x10000;

export class SystemServices {
  constructor(
    private readonly memory: RealModeMemory,
    private readonly bus: Bus,
    private readonly map: readonly MemoryRange[],
    private readonly pointer: PointerServices,
    private readonly powerOff: () => void,
  ) {}

  /** Usable bytes from `start` up to the first gap. */
  private usableFrom(start: number, limit: number): number {
    const range = this.map.find((r) => r.type === 1 && r.start <= start && r.start + r.bytes > start);
    return range ? Math.min(range.start + range.bytes, limit) - start : 0;
  }

  int11(r: RegisterFrame): void {
    r.ax = this.memory.read16(Bda.equipment);
  }

  int12(r: RegisterFrame): void {
    r.ax = CONVENTIONAL_KIB;
  }

  /** Serial: initialise, send, receive, status. Polled, as the BIOS does it. */
  int14(r: RegisterFrame): void {
    const port = this.memory.read16(Bda.com + (r.dx & 3) * 2);
    if (r.dx > 3 || port === 0) {
      r.ah = 0x80;
      return;
    }
    const line = (): number => this.bus.readPort(port + 5, 1);
    switch (r.ah) {
      case 0x00: {
        const divisor = [1047, 768, 384, 192, 96, 48, 24, 12][r.al >> 5]!;
        this.bus.writePort(port + 3, 1, 0x80 | (r.al & 0x1f));
        this.bus.writePort(port, 1, divisor & 0xff);
        this.bus.writePort(port + 1, 1, divisor >> 8);
        this.bus.writePort(port + 3, 1, r.al & 0x1f);
        this.bus.writePort(port + 4, 1, 0x03);
        r.ax = (line() << 8) | this.bus.readPort(port + 6, 1);
        break;
      }
      case 0x01:
        this.bus.writePort(port, 1, r.al);
        r.ah = line();
        break;
      case 0x02:
        if (line() & 1) {
          r.al = this.bus.readPort(port, 1);
          r.ah = line() & 0x1e;
        } else r.ah = 0x80;
        break;
      default:
        r.ax = (line() << 8) | this.bus.readPort(port + 6, 1);
    }
  }

  /** There is no parallel port. */
  int17(r: RegisterFrame): void {
    r.ah = 0x01;
  }

  int15(r: RegisterFrame): number {
    switch (r.ah) {
      case 0x24:
        this.a20(r);
        break;
      case 0x4f: // keyboard intercept: nobody took the scancode in AL
        r.carry = true;
        break;
      case 0x53:
        return this.apm(r);
      case 0x86: {
        // Wait CX:DX microseconds: the timer tick is the only clock that needs no state here, so sleep in its steps.
        return this.wait(r);
      }
      case 0x87:
        this.moveBlock(r);
        break;
      case 0x88:
        r.ax = Math.min(0xfc00, this.usableFrom(MIB, 64 * MIB) / 1024);
        r.carry = false;
        break;
      case 0x90: // device busy, interrupt complete: hooks for multitasking
      case 0x91:
        r.ah = 0;
        r.carry = false;
        break;
      case 0xc0:
        r.es = ROM_SEGMENT;
        r.bx = Rom.systemConfiguration;
        r.ah = 0;
        r.carry = false;
        break;
      case 0xc1:
        r.es = EBDA_SEGMENT;
        r.carry = false;
        break;
      case 0xc2:
        this.pointer.int15(r);
        break;
      case 0xe8:
        this.bigMemory(r);
        break;
      default:
        r.ah = 0x86;
        r.carry = true;
    }
    return TrapStatus.done;
  }

  private a20(r: RegisterFrame): void {
    const port92 = this.bus.readPort(0x92, 1);
    r.carry = false;
    r.ah = 0;
    if (r.al === 0 || r.al === 1) this.bus.writePort(0x92, 1, (port92 & ~3) | (r.al << 1));
    else if (r.al === 2) r.al = (port92 >> 1) & 1;
    else if (r.al === 3)
      r.bx = 3; // keyboard controller and port 92h
    else {
      r.ah = 0x86;
      r.carry = true;
    }
  }

  private waitUntil: number | undefined;

  private wait(r: RegisterFrame): number {
    const now = this.memory.read32(Bda.ticks);
    if (this.waitUntil === undefined) {
      const ticks = Math.ceil((((r.cx << 16) | r.dx) >>> 0) / 54925);
      if (ticks > 0) this.waitUntil = (now + ticks) % TICKS_PER_DAY;
    }
    if (this.waitUntil !== undefined && (this.waitUntil - now + TICKS_PER_DAY) % TICKS_PER_DAY > 0) {
      const left = (this.waitUntil - now + TICKS_PER_DAY) % TICKS_PER_DAY;
      if (left < TICKS_PER_DAY / 2) return TrapStatus.waitForInterrupt;
    }
    this.waitUntil = undefined;
    r.carry = false;
    return TrapStatus.done;
  }

  /** Set while a program waits for the one interrupt that CPU idle lasts. */
  private idling = false;

  /** APM 1.2, real-mode interface only: asked about, idle until something happens, the power there is, and off. */
  private apm(r: RegisterFrame): number {
    r.carry = false;
    switch (r.al) {
      case 0x00:
        r.ax = 0x0102;
        r.bx = 0x504d; // 'PM'
        r.cx = 0;
        break;
      case 0x01: // connect
      case 0x04: // disconnect
      case 0x06: // the processor is busy
      case 0x08: // power management on or off
      case 0x0d: // of one device
      case 0x0f: // engage
        break;
      case 0x05:
        this.idling = !this.idling;
        return this.idling ? TrapStatus.waitForInterrupt : TrapStatus.done;
      case 0x07:
        if (r.bx === 0x0001 && r.cx === 0x0003) this.powerOff();
        break;
      case 0x0a:
        r.bx = 0x01ff; // on the mains; what a battery has left is unknown …
        r.cx = 0x80ff; // … because there is none
        r.dx = 0xffff;
        break;
      case 0x0b:
        r.ah = 0x80; // nothing happened
        r.carry = true;
        break;
      case 0x0e:
        r.ax = 0x0102;
        break;
      default:
        r.ah = { 0x02: 0x06, 0x03: 0x08 }[r.al] ?? 0x0c; // no 16-bit, no 32-bit interface; no such function
        r.carry = true;
    }
    return TrapStatus.done;
  }

  /** Copies CX words between the linear addresses in the third and fourth descriptor of the GDT at ES:SI. */
  private moveBlock(r: RegisterFrame): void {
    const table = r.es * 16 + r.si;
    const base = (entry: number): number =>
      (this.memory.read16(table + entry + 2) |
        (this.memory.read8(table + entry + 4) << 16) |
        (this.memory.read8(table + entry + 7) << 24)) >>>
      0;
    const bytes = Math.min(r.cx * 2, MAX_BLOCK_BYTES);
    this.memory.write(base(0x18), this.memory.read(base(0x10), bytes));
    r.ah = 0;
    r.carry = false;
    r.zero = true;
  }

  private bigMemory(r: RegisterFrame): void {
    r.carry = false;
    switch (r.al) {
      case 0x01: {
        const low = Math.min(0x3c00, this.usableFrom(MIB, 16 * MIB) / 1024);
        const high = Math.floor(this.usableFrom(16 * MIB, 2 ** 32) / 65536);
        r.ax = low;
        r.cx = low;
        r.bx = high;
        r.dx = high;
        break;
      }
      case 0x20: {
        const entry = this.map[r.ebx];
        if (r.edx !== 0x534d4150 || !entry || r.ecx < 20) {
          r.ah = 0x86;
          r.carry = true;
          break;
        }
        const at = r.es * 16 + r.di;
        const m = this.memory;
        m.write32(at, entry.start % 2 ** 32);
        m.write32(at + 4, Math.floor(entry.start / 2 ** 32));
        m.write32(at + 8, entry.bytes % 2 ** 32);
        m.write32(at + 12, Math.floor(entry.bytes / 2 ** 32));
        m.write32(at + 16, entry.type);
        r.eax = 0x534d4150;
        r.ecx = 20;
        r.ebx = r.ebx + 1 < this.map.length ? r.ebx + 1 : 0;
        break;
      }
      default:
        r.ah = 0x86;
        r.carry = true;
    }
  }

  int1a(r: RegisterFrame): void {
    const m = this.memory;
    r.carry = false;
    switch (r.ah) {
      case 0x00: {
        const ticks = m.read32(Bda.ticks);
        r.cx = ticks >>> 16;
        r.dx = ticks & 0xffff;
        r.al = m.read8(Bda.midnight);
        m.write8(Bda.midnight, 0);
        break;
      }
      case 0x01:
        m.write32(Bda.ticks, ((r.cx << 16) | r.dx) >>> 0);
        m.write8(Bda.midnight, 0);
        break;
      case 0x02:
        r.ch = this.cmos(4);
        r.cl = this.cmos(2);
        r.dh = this.cmos(0);
        r.dl = this.cmos(0x0b) & 1;
        break;
      case 0x03:
        this.setCmos(4, r.ch);
        this.setCmos(2, r.cl);
        this.setCmos(0, r.dh);
        break;
      case 0x04:
        r.ch = this.cmos(0x32);
        r.cl = this.cmos(9);
        r.dh = this.cmos(8);
        r.dl = this.cmos(7);
        break;
      case 0x05:
        this.setCmos(0x32, r.ch);
        this.setCmos(9, r.cl);
        this.setCmos(8, r.dh);
        this.setCmos(7, r.dl);
        break;
      case 0x06:
        r.carry = !this.setAlarm(r.ch, r.cl, r.dh);
        break;
      case 0x07:
        this.setCmos(RTC_B, this.cmos(RTC_B) & ~RTC_ALARM);
        break;
      case 0xb1:
        this.pciBios(r);
        break;
      default:
        r.carry = true;
    }
  }

  /** INT 4Ah comes at that time of day, in BCD; false: an alarm is set already. */
  private setAlarm(hours: number, minutes: number, seconds: number): boolean {
    const control = this.cmos(RTC_B);
    if (control & RTC_ALARM) return false;
    this.setCmos(5, hours);
    this.setCmos(3, minutes);
    this.setCmos(1, seconds);
    this.setCmos(RTC_B, control | RTC_ALARM);
    return true;
  }

  cmos(index: number): number {
    this.bus.writePort(0x70, 1, index);
    return this.bus.readPort(0x71, 1);
  }
  private setCmos(index: number, value: number): void {
    this.bus.writePort(0x70, 1, index);
    this.bus.writePort(0x71, 1, value);
  }

  /** Seconds since midnight → the tick count at 40:6C. */
  startClock(): void {
    const bcd = (value: number): number => (value >> 4) * 10 + (value & 15);
    const seconds = bcd(this.cmos(4)) * 3600 + bcd(this.cmos(2)) * 60 + bcd(this.cmos(0));
    this.memory.write32(Bda.ticks, Math.floor((seconds * TICKS_PER_DAY) / 86400));
    this.memory.write8(Bda.midnight, 0);
    this.waitUntil = undefined;
    this.idling = false;
  }

  // ---- PCI BIOS 2.1 -------------------------------------------------------------------------------------------

  private config(bus: number, devfn: number, offset: number): number {
    this.bus.writePort(0xcf8, 4, (0x80000000 | (bus << 16) | (devfn << 8) | (offset & 0xfc)) >>> 0);
    return 0xcfc + (offset & 3);
  }

  private find(r: RegisterFrame, matches: (devfn: number) => boolean, index: number): void {
    for (let devfn = 0, seen = 0; devfn < 256; devfn++) {
      if ((this.bus.readPort(this.config(0, devfn, 0), 4) & 0xffff) === 0xffff) continue;
      if (!matches(devfn) || seen++ !== index) continue;
      r.bx = devfn;
      r.ah = 0;
      return;
    }
    r.ah = 0x86; // device not found
    r.carry = true;
  }

  private pciBios(r: RegisterFrame): void {
    const port = (): number => this.config(r.bh, r.bl, r.di & 0xff);
    const misaligned = (width: number): boolean => {
      if ((r.di & (width - 1)) === 0 && r.di < 256) return false;
      r.ah = 0x87; // bad register number
      r.carry = true;
      return true;
    };
    switch (r.al) {
      case 0x01:
        r.ax = 0x0001; // configuration mechanism 1
        r.edx = 0x20494350; // 'PCI '
        r.bx = 0x0210;
        r.cl = 0;
        break;
      case 0x02: {
        const id = ((r.cx << 16) | r.dx) >>> 0;
        this.find(r, (devfn) => this.bus.readPort(this.config(0, devfn, 0), 4) === id, r.si);
        break;
      }
      case 0x03: {
        const code = r.ecx & 0xffffff;
        this.find(r, (devfn) => this.bus.readPort(this.config(0, devfn, 8), 4) >>> 8 === code, r.si);
        break;
      }
      case 0x08:
        r.cl = this.bus.readPort(port(), 1);
        r.ah = 0;
        break;
      case 0x09:
        if (misaligned(2)) break;
        r.cx = this.bus.readPort(port(), 2);
        r.ah = 0;
        break;
      case 0x0a:
        if (misaligned(4)) break;
        r.ecx = this.bus.readPort(port(), 4);
        r.ah = 0;
        break;
      case 0x0b:
        this.bus.writePort(port(), 1, r.cl);
        r.ah = 0;
        break;
      case 0x0c:
        if (misaligned(2)) break;
        this.bus.writePort(port(), 2, r.cx);
        r.ah = 0;
        break;
      case 0x0d:
        if (misaligned(4)) break;
        this.bus.writePort(port(), 4, r.ecx);
        r.ah = 0;
        break;
      case 0x0e:
        r.ah = this.tellRouting(r);
        r.carry = r.ah !== 0;
        break;
      case 0x0f:
        r.ah = this.setRoute(r.bl, r.cl, r.ch) ? 0 : 0x88;
        r.carry = r.ah !== 0;
        break;
      default:
        r.ah = 0x81; // function not supported
        r.carry = true;
    }
  }

  /** ES:DI holds the size and the far address of a buffer for the routing options; the size is told back. */
  private tellRouting(r: RegisterFrame): number {
    const options = routingOptions();
    const at = r.es * 16 + r.di;
    const room = this.memory.read16(at);
    this.memory.write16(at, options.length);
    if (room < options.length) return 0x89; // buffer too small
    this.memory.write(this.memory.read16(at + 4) * 16 + this.memory.read16(at + 2), options);
    r.bx = 0; // no interrupt is for PCI alone
    return 0;
  }

  /** INTA# to INTD# are 0Ah to 0Dh. */
  private setRoute(devfn: number, pin: number, irq: number): boolean {
    if (pin < 0x0a || pin > 0x0d || !isRoutable(irq)) return false;
    this.bus.writePort(this.config(0, PIRQ_ROUTER, pirqRegister(devfn >> 3, pin - 9)), 1, irq);
    return true;
  }
}
