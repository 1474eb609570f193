/**
 * ACPI tables (ACPI 6.4 §5.2; the layouts here are those of revision 2.0, which every OS reads): RSDP, RSDT, XSDT, FADT, FACS, MADT,
 * DSDT. Built as one image for one address, because they point at each other.
 */
import { Pm, PM_BASE, RTC_CENTURY_REGISTER, SCI_IRQ } from '../../bus/pc';
import { type AcpiConfig, dsdtBody } from './dsdt';

export type { AcpiConfig } from './dsdt';

const OEM_ID = 'LODGE ';
const OEM_TABLE = 'LODGEPC ';
const CREATOR = 'LODG';
const HEADER_BYTES = 36;

export const LOCAL_APIC_ADDRESS = 0xfee0_0000;
export const IO_APIC_ADDRESS = 0xfec0_0000;

class Table {
  readonly bytes: Uint8Array;
  readonly view: DataView;

  constructor(length: number) {
    this.bytes = new Uint8Array(length);
    this.view = new DataView(this.bytes.buffer);
  }

  text(offset: number, value: string): this {
    for (let i = 0; i < value.length; i++) this.bytes[offset + i] = value.charCodeAt(i);
    return this;
  }
  u8(offset: number, value: number): this {
    this.view.setUint8(offset, value);
    return this;
  }
  u16(offset: number, value: number): this {
    this.view.setUint16(offset, value, true);
    return this;
  }
  u32(offset: number, value: number): this {
    this.view.setUint32(offset, value, true);
    return this;
  }
  u64(offset: number, value: number): this {
    return this.u32(offset, value % 2 ** 32).u32(offset + 4, Math.floor(value / 2 ** 32));
  }
  /** All bytes of the range add up to 0. */
  checksum(at: number, length: number): this {
    this.bytes[at] = 0;
    let sum = 0;
    for (let i = 0; i < length; i++) sum += this.bytes[i]!;
    this.bytes[at] = -sum & 0xff;
    return this;
  }
}

function sdt(signature: string, revision: number, body: Uint8Array): Table {
  const table = new Table(HEADER_BYTES + body.length);
  table.bytes.set(body, HEADER_BYTES);
  return table
    .text(0, signature)
    .u32(4, table.bytes.length)
    .u8(8, revision)
    .text(10, OEM_ID)
    .text(16, OEM_TABLE)
    .u32(24, 1)
    .text(28, CREATOR)
    .u32(32, 1)
    .checksum(9, table.bytes.length);
}

/** Generic address structure in port space. §5.2.3.2. Access size: the width itself where it is one access. */
function portAddress(table: Table, offset: number, port: number, bits: number): void {
  const access = bits === 32 ? 3 : bits === 16 ? 2 : 1;
  table
    .u8(offset, 1)
    .u8(offset + 1, bits)
    .u8(offset + 2, 0)
    .u8(offset + 3, access)
    .u64(offset + 4, port);
}

const FADT_WBINVD = 1 << 0;
const FADT_PROC_C1 = 1 << 2;
const FADT_NO_SLEEP_BUTTON = 1 << 5;
const FADT_RESET_REGISTER = 1 << 10;
const BOOT_LEGACY_DEVICES = 1;
const BOOT_8042 = 2;
const RESET_PORT = 0xcf9;
const RESET_VALUE = 6;

function fadt(facs: number, dsdt: number, pmBase: number): Table {
  const t = new Table(244);
  t.u32(36, facs).u32(40, dsdt);
  t.u16(46, SCI_IRQ); // no SMI command port: ACPI is always enabled
  t.u32(56, pmBase + Pm.STATUS)
    .u32(64, pmBase + Pm.CONTROL)
    .u32(76, pmBase + Pm.TIMER)
    .u32(80, pmBase + Pm.GPE_STATUS);
  t.u8(88, 4).u8(89, 2).u8(91, 4).u8(92, 4);
  t.u16(96, 0xffff).u16(98, 0xffff); // C2 and C3 do not exist
  t.u8(108, RTC_CENTURY_REGISTER);
  t.u16(109, BOOT_LEGACY_DEVICES | BOOT_8042);
  t.u32(112, FADT_WBINVD | FADT_PROC_C1 | FADT_NO_SLEEP_BUTTON | FADT_RESET_REGISTER);
  portAddress(t, 116, RESET_PORT, 8);
  t.u8(128, RESET_VALUE);
  t.u64(132, facs).u64(140, dsdt);
  portAddress(t, 148, pmBase + Pm.STATUS, 32);
  portAddress(t, 172, pmBase + Pm.CONTROL, 16);
  portAddress(t, 208, pmBase + Pm.TIMER, 32);
  portAddress(t, 220, pmBase + Pm.GPE_STATUS, 32);
  return sdt('FACP', 3, t.bytes.subarray(HEADER_BYTES));
}

/** Level-triggered, active high: how PCI interrupts and the SCI arrive. §5.2.12.5. */
const LEVEL_HIGH = 0x0d;
export const LEVEL_INTERRUPTS: readonly number[] = [5, 9, 10, 11];

function madt(cpus: number): Table {
  const overrides: [irq: number, gsi: number, flags: number][] = [
    [0, 2, 0],
    ...LEVEL_INTERRUPTS.map((n) => [n, n, LEVEL_HIGH] as [number, number, number]),
  ];
  const t = new Table(8 + cpus * 8 + 12 + overrides.length * 10 + 6);
  t.u32(0, LOCAL_APIC_ADDRESS).u32(4, 1); // the 8259s exist
  let at = 8;
  for (let i = 0; i < cpus; i++, at += 8)
    t.u8(at, 0)
      .u8(at + 1, 8)
      .u8(at + 2, i)
      .u8(at + 3, i)
      .u32(at + 4, 1);
  t.u8(at, 1)
    .u8(at + 1, 12)
    .u8(at + 2, 0)
    .u32(at + 4, IO_APIC_ADDRESS)
    .u32(at + 8, 0);
  at += 12;
  for (const [irq, gsi, flags] of overrides) {
    t.u8(at, 2)
      .u8(at + 1, 10)
      .u8(at + 3, irq)
      .u32(at + 4, gsi)
      .u16(at + 8, flags);
    at += 10;
  }
  t.u8(at, 4)
    .u8(at + 1, 6)
    .u8(at + 2, 0xff)
    .u8(at + 5, 1); // NMI at LINT1 of every processor
  return sdt('APIC', 1, t.bytes);
}

export interface AcpiImage {
  readonly bytes: Uint8Array;
  /** Address of the RSDP. */
  readonly rsdp: number;
  /** By signature, as in the image: for checks. */
  readonly tables: ReadonlyMap<string, Uint8Array>;
  /** What must change when the image moves: by address. */
  readonly relocations: {
    /** Little-endian addresses that point into the image. */
    readonly pointers: readonly { readonly at: number; readonly bytes: 4 | 8 }[];
    /** The byte at `at` makes the range add up to 0. */
    readonly checksums: readonly { readonly at: number; readonly start: number; readonly bytes: number }[];
  };
}

/** `at`: a 64-byte aligned address between 0xe0000 and 0xfffff, where an OS scans for the RSDP. */
export function buildAcpi(config: AcpiConfig, at: number): AcpiImage {
  const parts: { address: number; bytes: Uint8Array }[] = [];
  let next = at;
  const place = (table: Table, alignment: number): number => {
    next = Math.ceil(next / alignment) * alignment;
    const address = next;
    parts.push({ address, bytes: table.bytes });
    next += table.bytes.length;
    return address;
  };
  const rsdp = new Table(36);
  const rsdpAt = place(rsdp, 16);
  const facs = new Table(64).text(0, 'FACS').u32(4, 64).u8(32, 1);
  const facsAt = place(facs, 64);
  const dsdt = sdt('DSDT', 2, dsdtBody(config));
  const dsdtAt = place(dsdt, 16);
  const fadtTable = fadt(facsAt, dsdtAt, config.pmBase ?? PM_BASE);
  const madtTable = madt(config.cpus);
  const fadtAt = place(fadtTable, 16);
  const madtAt = place(madtTable, 16);
  const pointers = [fadtAt, madtAt];

  const short = new Table(4 * pointers.length);
  const long = new Table(8 * pointers.length);
  pointers.forEach((p, i) => (short.u32(4 * i, p), long.u64(8 * i, p)));
  const rsdt = sdt('RSDT', 1, short.bytes);
  const xsdt = sdt('XSDT', 1, long.bytes);
  const rsdtAt = place(rsdt, 16);
  const xsdtAt = place(xsdt, 16);
  rsdp.text(0, 'RSD PTR ').text(9, OEM_ID).u8(15, 2).u32(16, rsdtAt).u32(20, 36).u64(24, xsdtAt).checksum(8, 20).checksum(32, 36);

  const bytes = new Uint8Array(next - at);
  for (const part of parts) bytes.set(part.bytes, part.address - at);
  const tables = new Map(
    Object.entries({ DSDT: dsdt, FACP: fadtTable, APIC: madtTable, FACS: facs, RSDT: rsdt, XSDT: xsdt }).map(([k, t]) => [
      k,
      t.bytes,
    ]),
  );
  const headed: [number, Table][] = [
    [dsdtAt, dsdt],
    [fadtAt, fadtTable],
    [madtAt, madtTable],
    [rsdtAt, rsdt],
    [xsdtAt, xsdt],
  ];
  const relocations: AcpiImage['relocations'] = {
    pointers: [
      ...[36, 40].map((offset) => ({ at: fadtAt + offset, bytes: 4 as const })),
      ...[132, 140].map((offset) => ({ at: fadtAt + offset, bytes: 8 as const })),
      ...pointers.map((_, i) => ({ at: rsdtAt + HEADER_BYTES + 4 * i, bytes: 4 as const })),
      ...pointers.map((_, i) => ({ at: xsdtAt + HEADER_BYTES + 8 * i, bytes: 8 as const })),
      { at: rsdpAt + 16, bytes: 4 },
      { at: rsdpAt + 24, bytes: 8 },
    ],
    checksums: [
      ...headed.map(([start, table]) => ({ at: start + 9, start, bytes: table.bytes.length })),
      { at: rsdpAt + 8, start: rsdpAt, bytes: 20 },
      { at: rsdpAt + 32, start: rsdpAt, bytes: 36 },
    ],
  };
  return { bytes, rsdp: rsdpAt, tables, relocations };
}
