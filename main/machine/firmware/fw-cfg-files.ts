/**
 * What external firmware (SeaBIOS, OVMF) is told through fw_cfg: memory, processors, ACPI and SMBIOS tables with the loader script that
 * places them (QEMU's hw/acpi/bios-linker-loader is the format's only documentation), boot order. Pure.
 */
import {
  ascii,
  bytesItem,
  type FwCfgContents,
  type FwCfgFile,
  type FwCfgItem,
  FwCfgKey,
  numberItem,
  textItem,
} from '../bus/fw-cfg-items';
import type { RamLayout } from '../memory/address-space';
import type { FirmwareKernel } from './linux';
import { type AcpiConfig, type AcpiImage, buildAcpi } from './acpi/tables';
import { E820, memoryMap } from './layout';
import { buildSmbios, SMBIOS_ENTRY_BYTES, type SmbiosConfig } from './smbios';

export interface FirmwareFilesInput extends AcpiConfig, SmbiosConfig {
  readonly ram: RamLayout;
  /** Open Firmware device paths, first to boot first. */
  readonly bootOrder: () => readonly string[];
  /** Where the power management registers are now: OVMF moves them before it asks for the tables. */
  readonly powerManagementBase: () => number;
  /** Option ROMs that firmware runs for the display. */
  readonly vgaRom?: Uint8Array;
  /** Started before anything else. */
  readonly kernel?: FirmwareKernel;
  /** Milliseconds the boot menu's key is waited for at this start; 0: no menu. */
  readonly menuMilliseconds: () => number;
}

/** In the folder of what a BIOS runs and can boot from. */
const KERNEL_ROM = 'genroms/kernel.bin';
const RSDP_FILE = 'etc/acpi/rsdp';
const TABLES_FILE = 'etc/acpi/tables';
/** The RSDP takes the first 64 bytes of the image; the other tables start aligned behind it, at address 0. */
const RSDP_AREA = 64;

export function firmwareFiles(input: FirmwareFilesInput): FwCfgContents {
  const { cpus, ramBytes, ram, kernel, menuMilliseconds } = input;
  const bootOrder = (): readonly string[] => [...(kernel ? [`/rom@${KERNEL_ROM}`] : []), ...input.bootOrder()];
  const files: FwCfgFile[] = [
    { name: 'etc/e820', item: bytesItem(e820(ram)) },
    ...acpiFiles(input),
    ...smbiosFiles(input),
    { name: 'bootorder', item: changingItem(() => textItem(bootOrder().join('\n'))) },
    { name: 'etc/boot-fail-wait', item: numberItem(0xffffffff, 4) },
    { name: 'etc/boot-menu-wait', item: changingItem(() => numberItem(menuMilliseconds(), 4)) },
  ];
  if (input.vgaRom) files.push({ name: 'vgaroms/vgabios.bin', item: bytesItem(input.vgaRom) });
  if (kernel) files.push({ name: KERNEL_ROM, item: bytesItem(kernel.optionRom) });
  const items = new Map([
    [FwCfgKey.UUID, bytesItem(new Uint8Array(16))],
    [FwCfgKey.RAM_SIZE, numberItem(ramBytes, 8)],
    [FwCfgKey.NO_GRAPHICS, numberItem(0, 2)],
    [FwCfgKey.CPUS, numberItem(cpus, 2)],
    [FwCfgKey.MAX_CPUS, numberItem(cpus, 2)],
    [FwCfgKey.BOOT_MENU, changingItem(() => numberItem(menuMilliseconds() > 0 ? 1 : 0, 2))],
    ...(kernel?.items ?? []),
  ]);
  return { items, files };
}

/** What is read is what holds then; each start may have another value of the same size. */
const changingItem = (now: () => FwCfgItem): FwCfgItem => ({
  bytes: now().bytes,
  read: (offset, into) => now().read(offset, into),
});

/** RAM only: what else is reserved below 1 MiB is the firmware's own. */
function e820(ram: RamLayout): Uint8Array {
  const ranges = memoryMap(ram).filter((range) => range.type === E820.RAM && range.start >= 0x100000);
  const all = [
    { start: 0, end: ram.low },
    ...ranges.filter((r) => r.start >= 2 ** 32).map((r) => ({ start: r.start, end: r.start + r.bytes })),
  ];
  const view = new DataView(new ArrayBuffer(all.length * 20));
  all.forEach(({ start, end }, i) => {
    view.setBigUint64(i * 20, BigInt(start), true);
    view.setBigUint64(i * 20 + 8, BigInt(end - start), true);
    view.setUint32(i * 20 + 16, E820.RAM, true);
  });
  return new Uint8Array(view.buffer);
}

function smbiosFiles(config: SmbiosConfig): FwCfgFile[] {
  const image = buildSmbios(config, 0);
  return [
    { name: 'etc/smbios/smbios-anchor', item: bytesItem(image.slice(0, SMBIOS_ENTRY_BYTES)) },
    { name: 'etc/smbios/smbios-tables', item: bytesItem(image.slice(SMBIOS_ENTRY_BYTES + 1)) },
  ];
}

const Loader = { ALLOCATE: 1, ADD_POINTER: 2, ADD_CHECKSUM: 3 } as const;
const Zone = { HIGH: 1, F_SEGMENT: 2 } as const;
const COMMAND_BYTES = 128;
const NAME_BYTES = 56;

/** As SeaBIOS and OVMF lay out an i440FX: from 2 GiB on where RAM ends below, else from the end of low RAM. */
const pciMemoryStart = ({ low }: RamLayout): number => Math.max(2 ** 31, low);

function acpiFiles(config: FirmwareFilesInput): FwCfgFile[] {
  const build = (): AcpiImage => {
    const moved = { pciMemoryStart: pciMemoryStart(config.ram), pmBase: config.powerManagementBase() };
    const built = buildAcpi({ ...config, ...moved }, -RSDP_AREA);
    // Firmware either subtracts from what is there or expects zero.
    for (const { at } of built.relocations.checksums) built.bytes[at + RSDP_AREA] = 0;
    return built;
  };
  const image = build();
  const place = (address: number): { file: string; offset: number } =>
    address < 0 ? { file: RSDP_FILE, offset: address + RSDP_AREA } : { file: TABLES_FILE, offset: address };
  const script: Uint8Array[] = [
    command(Loader.ALLOCATE, [RSDP_FILE], [16], Zone.F_SEGMENT),
    command(Loader.ALLOCATE, [TABLES_FILE], [64], Zone.HIGH),
  ];
  for (const { at, bytes: width } of image.relocations.pointers) {
    const { file, offset } = place(at);
    script.push(command(Loader.ADD_POINTER, [file, TABLES_FILE], [offset], width));
  }
  for (const { at, start, bytes: length } of image.relocations.checksums) {
    const { file, offset } = place(at);
    script.push(command(Loader.ADD_CHECKSUM, [file], [offset, place(start).offset, length]));
  }
  let current = image.bytes;
  const tables: FwCfgItem = {
    bytes: image.bytes.length - RSDP_AREA,
    read: (offset, into) => {
      // Who starts to read gets the tables of this moment; whoever goes on gets the rest of the same.
      if (offset === 0) current = build().bytes;
      into.set(current.subarray(RSDP_AREA + offset, RSDP_AREA + offset + into.length));
    },
  };
  return [
    { name: RSDP_FILE, item: bytesItem(image.bytes.slice(0, 36)) },
    { name: TABLES_FILE, item: tables },
    { name: 'etc/table-loader', item: bytesItem(Uint8Array.from(script.flatMap((c) => [...c]))) },
  ];
}

/** File names, 32-bit numbers, and a last byte, side by side. */
function command(kind: number, names: readonly string[], numbers: readonly number[], last?: number): Uint8Array {
  const out = new Uint8Array(COMMAND_BYTES);
  const view = new DataView(out.buffer);
  view.setUint32(0, kind, true);
  let at = 4;
  for (const name of names) {
    out.set(ascii(name), at);
    at += NAME_BYTES;
  }
  for (const value of numbers) {
    view.setUint32(at, value, true);
    at += 4;
  }
  if (last !== undefined) out[at] = last;
  return out;
}
