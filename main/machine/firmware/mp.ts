/**
 * For systems that do not read ACPI: the tables of Intel's MultiProcessor Specification 1.4 (chapter 4), and Microsoft's PCI interrupt
 * routing table ($PIR, version 1.0). They say of processors, interrupt wires and routes what the ACPI tables say. Pure.
 */
import { PCI_SLOTS, pirqOf, PIRQ_ROUTES } from '../bus/pc';
import { IO_APIC_ADDRESS, LEVEL_INTERRUPTS, LOCAL_APIC_ADDRESS } from './acpi/tables';

const PCI_INTERRUPTS: readonly number[] = PIRQ_ROUTES;
const FLOATING_BYTES = 16;
const HEADER_BYTES = 44;
const PROCESSOR_BYTES = 20;
const ENTRY_BYTES = 8;
const Entry = { PROCESSOR: 0, BUS: 1, IO_APIC: 2, IO_INTERRUPT: 3, LOCAL_INTERRUPT: 4 } as const;
const Interrupt = { INT: 0, NMI: 1, EXTERNAL: 3 } as const;
const PCI_BUS = 0;
const ISA_BUS = 1;
const ALL_LOCAL_APICS = 0xff;
const IO_APIC_ID = 0;
/** Trigger mode and polarity: as the bus has it; level-triggered and active high, as the PIRQ wires are at the controllers' inputs. */
const CONFORMS = 0x00;
const LEVEL_HIGH = 0x0d;
const ISA_INTERRUPTS = 16;
const SPEC_REVISION = 4;

const ascii = (into: Uint8Array, at: number, text: string): void => [...text].forEach((c, i) => (into[at + i] = c.charCodeAt(0)));

/** The byte at `at` makes all of them add up to zero. */
function balance(bytes: Uint8Array, at: number): void {
  bytes[at] = 0;
  bytes[at] = -bytes.reduce((sum, byte) => sum + byte, 0) & 0xff;
}

function processor(index: number): Uint8Array {
  const bytes = new Uint8Array(PROCESSOR_BYTES);
  const view = new DataView(bytes.buffer);
  // Local APIC version 14h; enabled, and the first one starts the others. Signature and features: family 6, with FPU, APIC, CX8 and MCE.
  bytes.set([Entry.PROCESSOR, index, 0x14, index === 0 ? 3 : 1]);
  view.setUint32(4, 0x600, true);
  view.setUint32(8, 0x0381, true);
  return bytes;
}

function bus(id: number, name: string): Uint8Array {
  const bytes = new Uint8Array(ENTRY_BYTES);
  bytes.set([Entry.BUS, id]);
  ascii(bytes, 2, name.padEnd(6));
  return bytes;
}

function ioApic(): Uint8Array {
  const bytes = new Uint8Array(ENTRY_BYTES);
  bytes.set([Entry.IO_APIC, IO_APIC_ID, 0x11, 1]);
  new DataView(bytes.buffer).setUint32(4, IO_APIC_ADDRESS, true);
  return bytes;
}

const interrupt = (
  entry: typeof Entry.IO_INTERRUPT | typeof Entry.LOCAL_INTERRUPT,
  type: number,
  flags: number,
  [fromBus, source]: readonly [bus: number, source: number],
  [apic, pin]: readonly [apic: number, pin: number],
): Uint8Array => Uint8Array.of(entry, type, flags, 0, fromBus, source, apic, pin);

function interrupts(): Uint8Array[] {
  const { IO_INTERRUPT, LOCAL_INTERRUPT } = Entry;
  const level = (irq: number): boolean => LEVEL_INTERRUPTS.includes(irq);
  const isa = Array.from({ length: ISA_INTERRUPTS }, (_, irq) => irq)
    // The cascade is no source, and what the PCI wires drive is theirs.
    .filter((irq) => irq !== 2 && !PCI_INTERRUPTS.includes(irq))
    .map((irq) =>
      interrupt(
        IO_INTERRUPT,
        Interrupt.INT,
        level(irq) ? LEVEL_HIGH : CONFORMS,
        [ISA_BUS, irq],
        [IO_APIC_ID, irq === 0 ? 2 : irq],
      ),
    );
  const pci: Uint8Array[] = [];
  for (let slot = 1; slot < PCI_SLOTS; slot++)
    for (let pin = 1; pin <= 4; pin++)
      pci.push(
        interrupt(
          IO_INTERRUPT,
          Interrupt.INT,
          LEVEL_HIGH,
          [PCI_BUS, (slot << 2) | (pin - 1)],
          [IO_APIC_ID, PCI_INTERRUPTS[pirqOf(slot, pin)]!],
        ),
      );
  return [
    ...pci,
    ...isa,
    interrupt(LOCAL_INTERRUPT, Interrupt.EXTERNAL, CONFORMS, [ISA_BUS, 0], [ALL_LOCAL_APICS, 0]),
    interrupt(LOCAL_INTERRUPT, Interrupt.NMI, CONFORMS, [ISA_BUS, 0], [ALL_LOCAL_APICS, 1]),
  ];
}

/** The floating pointer at `at` (16-byte aligned, below 1 MiB where systems look for it), the configuration table behind it. */
export function buildMpTables(cpus: number, at: number): Uint8Array {
  const entries = [
    ...Array.from({ length: cpus }, (_, i) => processor(i)),
    bus(PCI_BUS, 'PCI'),
    bus(ISA_BUS, 'ISA'),
    ioApic(),
    ...interrupts(),
  ];
  const bytes = new Uint8Array(FLOATING_BYTES + HEADER_BYTES + entries.reduce((sum, entry) => sum + entry.length, 0));
  const floating = bytes.subarray(0, FLOATING_BYTES);
  ascii(floating, 0, '_MP_');
  new DataView(bytes.buffer).setUint32(4, at + FLOATING_BYTES, true);
  floating.set([1, SPEC_REVISION], 8);
  balance(floating, 10);

  const table = bytes.subarray(FLOATING_BYTES);
  const view = new DataView(table.buffer, FLOATING_BYTES);
  ascii(table, 0, 'PCMP');
  view.setUint16(4, table.length, true);
  table[6] = SPEC_REVISION;
  ascii(table, 8, 'LODGE   ');
  ascii(table, 16, 'PC          ');
  view.setUint16(34, entries.length, true);
  view.setUint32(36, LOCAL_APIC_ADDRESS, true);
  let next = HEADER_BYTES;
  for (const entry of entries) {
    table.set(entry, next);
    next += entry.length;
  }
  balance(table, 7);
  return bytes;
}

/** The configuration registers that route the wires: PIRQRC of the PIIX3, which is what systems know how to program. */
const PIRQ_REGISTERS = 0x60;
const ROUTER = { function: 1 << 3, vendorAndDevice: 0x7000_8086 } as const;
/** Interrupts that a wire may be given: 5, 10 and 11, as in the ACPI tables. */
const ROUTABLE = (1 << 5) | (1 << 10) | (1 << 11);
const PIR_HEADER_BYTES = 32;
const PIR_SLOT_BYTES = 16;

/** Which register of the router (its device and function, and the offset) routes a pin, 1 to 4, of a device; for one of ROUTABLE. */
export const pirqRegister = (slot: number, pin: number): number => PIRQ_REGISTERS + pirqOf(slot, pin);
export const isRoutable = (irq: number): boolean => (ROUTABLE & (1 << irq)) !== 0;
export const PIRQ_ROUTER = ROUTER.function;

/** The routing table without its header, an entry for each slot: what the PCI BIOS tells of it (PCI BIOS 2.1 §3.5). */
export const routingOptions = (): Uint8Array => buildPirTable().subarray(PIR_HEADER_BYTES);

/** To be put at a 16-byte boundary from F0000h to FFFFFh. */
export function buildPirTable(): Uint8Array {
  const slots = PCI_SLOTS - 1;
  const bytes = new Uint8Array(PIR_HEADER_BYTES + slots * PIR_SLOT_BYTES);
  const view = new DataView(bytes.buffer);
  ascii(bytes, 0, '$PIR');
  view.setUint16(4, 0x0100, true);
  view.setUint16(6, bytes.length, true);
  bytes[9] = ROUTER.function;
  view.setUint32(12, ROUTER.vendorAndDevice, true);
  for (let slot = 1; slot <= slots; slot++) {
    const at = PIR_HEADER_BYTES + (slot - 1) * PIR_SLOT_BYTES;
    bytes[at + 1] = slot << 3;
    for (let pin = 1; pin <= 4; pin++) {
      bytes[at + 2 + 3 * (pin - 1)] = pirqRegister(slot, pin);
      view.setUint16(at + 3 + 3 * (pin - 1), ROUTABLE, true);
    }
  }
  balance(bytes, 31);
  return bytes;
}
