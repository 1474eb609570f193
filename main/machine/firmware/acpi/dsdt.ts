/** The machine's devices in AML: processors, the PCI root with its windows and interrupt routing, link devices, legacy devices. */
import { COM_PORTS, PM_BASE, PM_PORTS, pirqOf, SLEEP_TYPE_S5, SMBUS_BASE, SMBUS_PORTS } from '../../bus/pc';
import { PCI_MEMORY_END, PCI_MEMORY_START } from '../../memory/address-space';
import * as aml from './aml';

export interface AcpiConfig {
  /** Where firmware begins to place PCI memory; PCI_MEMORY_START unless told. */
  readonly pciMemoryStart?: number;
  /** Where firmware put the power management registers; PM_BASE unless told. */
  readonly pmBase?: number;
  readonly cpus: number;
  /** COM ports that exist. */
  readonly serialPorts: number;
  /** There is a floppy controller. */
  readonly floppy?: boolean;
}

const LINKS = ['LNKA', 'LNKB', 'LNKC', 'LNKD'] as const;
/** Interrupts an OS may choose for a link. */
const LINK_CHOICES = [5, 10, 11] as const;
/** In an extended interrupt descriptor the first interrupt starts here. */
const INTERRUPT_OFFSET = 5;
const PRESENT = 0x0f;

function cpu(index: number): aml.Aml {
  const id = `C${index.toString(16).toUpperCase().padStart(3, '0')}`;
  return aml.device(id, aml.named('_HID', aml.string('ACPI0007')), aml.named('_UID', aml.integer(index)));
}

function link(index: number): aml.Aml {
  const register = aml.name(`PRQ${index}`);
  return aml.device(
    LINKS[index]!,
    aml.named('_HID', aml.eisaId('PNP0C0F')),
    aml.named('_UID', aml.integer(index + 1)),
    aml.named('_PRS', aml.resources(aml.sharedInterrupts(...LINK_CHOICES))),
    aml.method(
      '_STA',
      0,
      false,
      aml.when(aml.and(register, aml.integer(0x80)), aml.ret(aml.integer(0x09))),
      aml.ret(aml.integer(0x0b)),
    ),
    aml.method('_DIS', 0, false, aml.or(register, aml.integer(0x80), register)),
    aml.method(
      '_CRS',
      0,
      true,
      aml.named('BUF', aml.resources(aml.sharedInterrupts(0))),
      aml.createDwordField(aml.name('BUF'), INTERRUPT_OFFSET, 'IRQX'),
      aml.store(aml.and(register, aml.integer(0x0f)), aml.name('IRQX')),
      aml.ret(aml.name('BUF')),
    ),
    aml.method(
      '_SRS',
      1,
      true,
      aml.createDwordField(aml.arg(0), INTERRUPT_OFFSET, 'IRQX'),
      aml.store(aml.name('IRQX'), register),
    ),
  );
}

function interruptRouting(): aml.Aml {
  const entries: aml.Aml[] = [];
  // A package holds at most 255 elements: 31 slots × 4 pins fit.
  for (let slot = 1; slot < 32; slot++) {
    for (let pin = 1; pin <= 4; pin++) {
      const link = LINKS[pirqOf(slot, pin)]!;
      entries.push(aml.pkg(aml.integer(slot * 0x10000 + 0xffff), aml.integer(pin - 1), aml.name(link), aml.integer(0)));
    }
  }
  return aml.named('_PRT', aml.pkg(...entries));
}

function legacy(id: string, hid: string, uid: number | undefined, ...resources: aml.Aml[]): aml.Aml {
  return aml.device(
    id,
    aml.named('_HID', aml.eisaId(hid)),
    ...(uid === undefined ? [] : [aml.named('_UID', aml.integer(uid))]),
    aml.named('_STA', aml.integer(PRESENT)),
    aml.named('_CRS', aml.resources(...resources)),
  );
}

export function dsdtBody(config: AcpiConfig): Uint8Array {
  const coms = COM_PORTS.slice(0, config.serialPorts).map(({ port, irq }, i) =>
    legacy(`COM${i + 1}`, 'PNP0501', i + 1, aml.io(port, 8), aml.irq(irq)),
  );
  const terms = [
    aml.scope(
      '\\_SB',
      ...Array.from({ length: config.cpus }, (_, i) => cpu(i)),
      aml.device(
        'PCI0',
        aml.named('_HID', aml.eisaId('PNP0A03')),
        aml.named('_UID', aml.integer(0)),
        aml.named(
          '_CRS',
          aml.resources(
            aml.busNumbers(0, 255),
            aml.ioWindow(0, 0x0cf7),
            aml.io(0xcf8, 8),
            aml.ioWindow(0x0d00, 0xffff),
            aml.memoryWindow(0xa0000, 0xbffff, true),
            aml.memoryWindow(config.pciMemoryStart ?? PCI_MEMORY_START, PCI_MEMORY_END - 1, false),
          ),
        ),
        interruptRouting(),
        aml.device(
          'ISA',
          aml.named('_ADR', aml.integer(0x0001_0000)),
          aml.region('PIRQ', aml.PCI_CONFIG_SPACE, 0x60, 4),
          legacy('RTC', 'PNP0B00', undefined, aml.io(0x70, 2), aml.irq(8)),
          legacy('KBD', 'PNP0303', undefined, aml.io(0x60, 1), aml.io(0x64, 1), aml.irq(1)),
          legacy('MOU', 'PNP0F13', undefined, aml.irq(12)),
          ...coms,
          ...(config.floppy
            ? [legacy('FDC0', 'PNP0700', undefined, aml.io(0x3f2, 4), aml.io(0x3f7, 1), aml.irq(6), aml.dma(2))]
            : []),
          legacy('PMR', 'PNP0C02', 1, aml.io(config.pmBase ?? PM_BASE, PM_PORTS), aml.io(SMBUS_BASE, SMBUS_PORTS)),
        ),
      ),
      aml.fields('PCI0.ISA.PIRQ', ['PRQ0', 8], ['PRQ1', 8], ['PRQ2', 8], ['PRQ3', 8]),
      ...LINKS.map((_, i) => link(i)),
    ),
    aml.named('\\_S5', aml.pkg(aml.integer(SLEEP_TYPE_S5), aml.integer(SLEEP_TYPE_S5), aml.integer(0), aml.integer(0))),
  ];
  return Uint8Array.from(terms.flatMap((t) => [...t]));
}
