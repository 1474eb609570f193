/** Addresses and wires that are the same in every PC: what devices, firmware tables and the machine's builder agree on. */

/** ACPI fixed hardware: where firmware puts the power management block, and its registers. */
export const PM_BASE = 0x600;
export const PM_PORTS = 64;
export const SMBUS_BASE = 0x700;
export const SMBUS_PORTS = 16;
export const Pm = { STATUS: 0x00, ENABLE: 0x02, CONTROL: 0x04, TIMER: 0x08, GPE_STATUS: 0x0c, GPE_ENABLE: 0x0e } as const;
export const SCI_IRQ = 9;
/** SLP_TYP that switches the machine off. */
export const SLEEP_TYPE_S5 = 0;

export const COM_PORTS = [
  { port: 0x3f8, irq: 4 },
  { port: 0x2f8, irq: 3 },
] as const;

export const RTC_IRQ = 8;
export const RTC_CENTURY_REGISTER = 0x32;
export const KEYBOARD_IRQ = 1;
export const MOUSE_IRQ = 12;

/** Interrupt inputs of the I/O APIC; the first 16 are the ISA interrupts. */
export const GSI_COUNT = 24;

/** On the one PCI bus; slot 0 is the host bridge. */
export const PCI_SLOTS = 32;

/** ISA interrupts of the wires PIRQA to PIRQD, as firmware routes them. */
export const PIRQ_ROUTES = [10, 10, 11, 11] as const;

/** PCI-to-PCI bridge specification §9.1, with slot 1 wired to start at PIRQA. Pins count from 1 (INTA). */
export const pirqOf = (slot: number, pin: number): number => (pin - 1 + slot - 1) & 3;
