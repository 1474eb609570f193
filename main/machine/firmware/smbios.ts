/** SMBIOS 2.8 (DSP0134): entry point and the structures an OS or a firmware's setup reads to name the machine and count its memory. */
import { HIGH_RAM_START, ramLayout } from '../memory/address-space';

export interface SmbiosConfig {
  readonly ramBytes: number;
  readonly cpus: number;
  /** Of the host's processors, which run the guest's; absent: not known. */
  readonly cpuMegahertz?: number;
  readonly version: string;
}

/** The structures follow one byte behind it, aligned. */
export const SMBIOS_ENTRY_BYTES = 31;
const ENTRY_INTERMEDIATE = 0x10;

class Structure {
  private readonly strings: string[] = [];
  private readonly formatted: number[];
  constructor(
    readonly type: number,
    private readonly handle: number,
  ) {
    this.formatted = [type, 0, handle & 0xff, handle >> 8];
  }
  u8(...values: number[]): this {
    this.formatted.push(...values.map((v) => v & 0xff));
    return this;
  }
  u16(value: number): this {
    return this.u8(value, value >> 8);
  }
  u32(value: number): this {
    return this.u16(value & 0xffff).u16(value >>> 16);
  }
  u64(value: number): this {
    return this.u32(value % 2 ** 32).u32(Math.floor(value / 2 ** 32));
  }
  text(value: string): this {
    this.strings.push(value);
    return this.u8(this.strings.length);
  }
  finish(): number[] {
    this.formatted[1] = this.formatted.length;
    const text = this.strings.flatMap((s) => [...[...s].map((c) => c.charCodeAt(0) & 0x7f), 0]);
    return [...this.formatted, ...(text.length > 0 ? text : [0]), 0];
  }
  get id(): number {
    return this.handle;
  }
}

/** As CPUID names it where the processor is the engine's own. */
const PROCESSOR = 'Lodge Virtual CPU';
const MEMORY_ARRAY = 0x1000;

/** §7.20: what of the memory is where. Addresses count KiB, the last one belongs to it. */
function mappedAddresses({ ramBytes }: SmbiosConfig): Structure[] {
  const { low, high } = ramLayout(ramBytes);
  const ranges = [{ start: 0, bytes: low }, ...(high > 0 ? [{ start: HIGH_RAM_START, bytes: high }] : [])];
  return ranges.map(({ start, bytes }, i) => {
    const [first, last] = [start / 1024, Math.ceil((start + bytes) / 1024) - 1];
    const structure = new Structure(19, 0x1300 + i);
    // Where 32 bits do not reach, 64-bit addresses of bytes follow.
    return last < 0xffff_ffff
      ? structure.u32(first).u32(last).u16(MEMORY_ARRAY).u8(1).u64(0).u64(0)
      : structure
          .u32(0xffff_ffff)
          .u32(0xffff_ffff)
          .u16(MEMORY_ARRAY)
          .u8(1)
          .u64(start)
          .u64((last + 1) * 1024 - 1);
  });
}

function structures(config: SmbiosConfig): number[][] {
  const megahertz = Math.min(0xffff, Math.round(config.cpuMegahertz ?? 0));
  const mebibytes = Math.ceil(config.ramBytes / (1 << 20));
  const kibibytes = mebibytes * 1024;
  const list = [
    new Structure(0, 0x0000) // BIOS
      .text('Lodge').text(config.version).u16(0xe000).text('01/01/2024').u8(1)
      .u32(1 << 3).u32(0).u8(0, 0x1c).u8(0, 1, 0xff, 0xff), // prettier-ignore
    new Structure(1, 0x0100) // system
      .text('Lodge')
      .text('Virtual Machine')
      .text(config.version)
      .u8(0, ...new Array<number>(16).fill(0), 6, 0, 0),
    new Structure(3, 0x0300) // enclosure: other
      .text('Lodge')
      .u8(1, 0, 0, 0, 3, 3, 3, 2)
      .u32(0)
      .u8(0, 0, 0, 0, 0),
    ...Array.from(
      { length: config.cpus },
      (_, i) =>
      new Structure(4, 0x0400 + i)
        .text(`CPU ${i}`).u8(3, 1).text('Lodge').u32(0).u32(0).text(PROCESSOR).u8(0).u16(0).u16(megahertz).u16(megahertz).u8(0x41, 1)
        .u16(0xffff).u16(0xffff).u16(0xffff).u8(0, 0, 0, 1, 1, 1).u16(4).u16(1), // prettier-ignore
    ),
    new Structure(16, MEMORY_ARRAY).u8(1, 3, 3).u32(kibibytes < 0x8000_0000 ? kibibytes : 0x8000_0000).u16(0xfffe).u16(1)
      .u32(kibibytes < 0x8000_0000 ? 0 : config.ramBytes % 2 ** 32).u32(kibibytes < 0x8000_0000 ? 0 : Math.floor(config.ramBytes / 2 ** 32)), // prettier-ignore
    new Structure(17, 0x1100).u16(MEMORY_ARRAY).u16(0xfffe).u16(64).u16(64).u16(mebibytes < 0x7fff ? mebibytes : 0x7fff).u8(9, 0).text('DIMM 0').u8(0, 7)
      .u16(2).u16(0).u8(0, 0, 0, 0, 0).u32(mebibytes < 0x7fff ? 0 : mebibytes).u16(0).u16(0).u16(0).u16(0), // prettier-ignore
    ...mappedAddresses(config),
    new Structure(32, 0x2000).u8(0, 0, 0, 0, 0, 0, 0), // the last start had no error
    new Structure(127, 0x7f00),
  ];
  return list.map((s) => s.finish());
}

function checksum(bytes: Uint8Array, at: number, from: number, to: number): void {
  let sum = 0;
  for (let i = from; i < to; i++) sum += bytes[i]!;
  bytes[at] = -sum & 0xff;
}

/** Entry point at `at` (16-byte aligned, in 0xf0000–0xfffff, where an OS scans), the structures behind it. */
export function buildSmbios(config: SmbiosConfig, at: number): Uint8Array {
  const list = structures(config);
  const table = list.flat();
  const tableAt = at + 32;
  const bytes = new Uint8Array(32 + table.length);
  const view = new DataView(bytes.buffer);
  const text = (offset: number, s: string): void => [...s].forEach((c, i) => (bytes[offset + i] = c.charCodeAt(0)));
  text(0, '_SM_');
  bytes[5] = SMBIOS_ENTRY_BYTES;
  bytes.set([2, 8], 6);
  view.setUint16(8, Math.max(...list.map((s) => s.length)), true);
  text(ENTRY_INTERMEDIATE, '_DMI_');
  view.setUint16(0x16, table.length, true);
  view.setUint32(0x18, tableAt, true);
  view.setUint16(0x1c, list.length, true);
  bytes[0x1e] = 0x28;
  bytes.set(table, 32);
  checksum(bytes, 0x15, ENTRY_INTERMEDIATE, SMBIOS_ENTRY_BYTES);
  checksum(bytes, 4, 0, SMBIOS_ENTRY_BYTES);
  return bytes;
}
