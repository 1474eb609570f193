/**
 * PIIX3 ISA bridge (Intel 82371SB data sheet, 290550): routes the four PCI interrupt wires to ISA interrupts (PIRQRC, 60h–63h).
 * The edge/level registers belong to the interrupt controllers, the reset control register to the machine.
 */
import { PIRQ_ROUTES } from '../../bus/pc';
import type { IrqLine } from '../../bus/types';
import { PciFunction, type PirqRouter } from '../pci';

const PIRQRC = 0x60;
const ROUTE_OFF = 0x80;
/** Interrupts 0, 1, 2, 8 and 13 cannot be routed to (data sheet §3.2.9). */
const ROUTABLE = new Set([3, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15]);

export class Piix3 extends PciFunction implements PirqRouter {
  private readonly levels = [false, false, false, false];
  private readonly routes: (number | undefined)[] = [undefined, undefined, undefined, undefined];
  private readonly lines: (IrqLine | undefined)[] = [undefined, undefined, undefined, undefined];

  constructor(private readonly connect: (irq: number) => IrqLine) {
    super('piix3', {
      vendor: 0x8086, device: 0x7000, classCode: 0x060100, subsystemVendor: 0x1af4, subsystem: 0x1100, multifunction: true,
    }); // prettier-ignore
    this.defineRegisters([
      { offset: 0x4c, width: 1, name: 'iort', reset: 0x4d, writable: 0xff },
      { offset: 0x4e, width: 2, name: 'xbcs', reset: 0x0003, writable: 0x0fff },
      ...[0, 1, 2, 3].map((i) => ({
        offset: PIRQRC + i,
        width: 1 as const,
        name: `pirqrc${i}`,
        reset: ROUTE_OFF,
        writable: 0x8f,
      })),
      { offset: 0x69, width: 1, name: 'tom', reset: 0x02, writable: 0xff },
    ]);
  }

  /** What firmware does before an OS starts. */
  setUpRoutes(): void {
    PIRQ_ROUTES.forEach((irq, pirq) => this.writeConfig(PIRQRC + pirq, 1, irq));
  }

  setPirq(pirq: number, level: boolean): void {
    this.levels[pirq] = level;
    this.lines[pirq]?.set(level);
  }

  routeOf(pirq: number): number | undefined {
    return this.routes[pirq];
  }

  protected override configWritten(offset: number, width: number): void {
    if (offset < PIRQRC + 4 && offset + width > PIRQRC) this.reroute();
  }

  override reset(): void {
    super.reset();
    this.reroute();
  }

  /** A level that stands moves to the new interrupt. */
  private reroute(): void {
    for (let pirq = 0; pirq < 4; pirq++) {
      const value = this.config.read(PIRQRC + pirq, 1);
      const irq = value & ROUTE_OFF || !ROUTABLE.has(value & 0x0f) ? undefined : value & 0x0f;
      if (irq === this.routes[pirq]) continue;
      this.lines[pirq]?.set(false);
      this.routes[pirq] = irq;
      this.lines[pirq] = irq === undefined ? undefined : this.connect(irq);
      this.lines[pirq]?.set(this.levels[pirq]!);
    }
  }
}
