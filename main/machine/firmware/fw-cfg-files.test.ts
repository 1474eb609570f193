import { describe, expect, it } from 'vitest';
import { FwCfgKey } from '../bus/fw-cfg-items';
import { buildAcpi } from './acpi/tables';
import { firmwareFiles, type FirmwareFilesInput } from './fw-cfg-files';

const MIB = 1 << 20;
const input = (change: Partial<FirmwareFilesInput> = {}): FirmwareFilesInput => ({
  cpus: 2,
  serialPorts: 1,
  ramBytes: 512 * MIB,
  version: '1.0',
  ram: { low: 512 * MIB, high: 0 },
  bootOrder: () => ['/pci@i0cf8/scsi@3/disk@0,0', '/pci@i0cf8/scsi@4/disk@0,0'],
  menuMilliseconds: () => 0,
  powerManagementBase: () => 0x600,
  ...change,
});

function read(contents: ReturnType<typeof firmwareFiles>, name: string): Uint8Array {
  const file = contents.files.find((f) => f.name === name);
  if (!file) throw new Error(`no ${name}`);
  const bytes = new Uint8Array(file.item.bytes);
  file.item.read(0, bytes);
  return bytes;
}
const text = (bytes: Uint8Array): string => String.fromCharCode(...bytes).split('\0')[0]!;
const sum = (bytes: Uint8Array): number => bytes.reduce((total, byte) => (total + byte) & 0xff, 0);

/** What firmware does with the loader script: each file at an address of its own. */
function link(contents: ReturnType<typeof firmwareFiles>, addresses: Record<string, number>) {
  const files = new Map<string, Uint8Array>();
  const script = read(contents, 'etc/table-loader');
  for (let at = 0; at < script.length; at += 128) {
    const view = new DataView(script.buffer, at, 128);
    const name = (offset: number): string => text(script.subarray(at + offset, at + offset + 56));
    const target = (): { bytes: Uint8Array; view: DataView } => {
      const bytes = files.get(name(4))!;
      return { bytes, view: new DataView(bytes.buffer) };
    };
    switch (view.getUint32(0, true)) {
      case 1:
        files.set(name(4), read(contents, name(4)));
        expect(addresses[name(4)]! % view.getUint32(60, true)).toBe(0);
        break;
      case 2: {
        const [offset, width] = [view.getUint32(116, true), view.getUint8(120)];
        const base = BigInt(addresses[name(60)]!);
        if (width === 4) target().view.setUint32(offset, Number(BigInt(target().view.getUint32(offset, true)) + base), true);
        else target().view.setBigUint64(offset, target().view.getBigUint64(offset, true) + base, true);
        break;
      }
      case 3: {
        const { bytes } = target();
        const [offset, start, length] = [view.getUint32(60, true), view.getUint32(64, true), view.getUint32(68, true)];
        expect(bytes[offset]).toBe(0);
        bytes[offset] = -sum(bytes.subarray(start, start + length));
        break;
      }
      default:
        throw new Error('unknown loader command');
    }
  }
  return files;
}

describe('files for external firmware', () => {
  it('links ACPI tables that are those of the built-in firmware, elsewhere', () => {
    const at = 0x7e0000;
    const files = link(firmwareFiles(input()), { 'etc/acpi/rsdp': 0xf6000, 'etc/acpi/tables': at });
    const rsdp = files.get('etc/acpi/rsdp')!;
    const tables = files.get('etc/acpi/tables')!;
    expect(text(rsdp.subarray(0, 8))).toBe('RSD PTR ');
    expect([sum(rsdp.subarray(0, 20)), sum(rsdp)]).toEqual([0, 0]);
    const view = new DataView(tables.buffer);
    const table = (address: number): Uint8Array =>
      tables.subarray(address - at, address - at + view.getUint32(address - at + 4, true));
    const pointer = new DataView(rsdp.buffer);
    const xsdt = table(Number(pointer.getBigUint64(24, true)));
    expect([text(xsdt.subarray(0, 4)), sum(xsdt)]).toEqual(['XSDT', 0]);
    const entries = Array.from({ length: (xsdt.length - 36) / 8 }, (_, i) =>
      table(Number(new DataView(xsdt.buffer, xsdt.byteOffset + 36 + 8 * i).getBigUint64(0, true))),
    );
    expect(entries.map((e) => [text(e.subarray(0, 4)), sum(e)])).toEqual([['FACP', 0], ['APIC', 0]]); // prettier-ignore
    const fadt = new DataView(entries[0]!.buffer, entries[0]!.byteOffset);
    expect(fadt.getUint32(40, true)).toBe(Number(fadt.getBigUint64(140, true)));
    const dsdt = table(fadt.getUint32(40, true));
    expect([text(dsdt.subarray(0, 4)), sum(dsdt)]).toEqual(['DSDT', 0]);
    expect(text(tables.subarray(fadt.getUint32(36, true) - at, fadt.getUint32(36, true) - at + 4))).toBe('FACS');
    expect(fadt.getUint32(36, true) % 64).toBe(0);
    // The DSDT alone depends on where PCI memory begins.
    expect(dsdt.length).toBe(buildAcpi(input(), 0xe0000).tables.get('DSDT')!.length);
  });

  it('makes the tables when they are read: where the power management registers are by then', () => {
    let base = 0;
    const contents = firmwareFiles(input({ powerManagementBase: () => base }));
    const pmTimer = (): number => {
      const tables = read(contents, 'etc/acpi/tables');
      const at = Buffer.from(tables).indexOf('FACP');
      return new DataView(tables.buffer).getUint32(at + 76, true);
    };
    base = 0xb000;
    expect(pmTimer()).toBe(0xb008);
    base = 0x600;
    expect(pmTimer()).toBe(0x608);
  });

  it('tells of RAM below and above 4 GiB', () => {
    const rows = (bytes: Uint8Array): number[][] => {
      const view = new DataView(bytes.buffer);
      return Array.from({ length: bytes.length / 20 }, (_, i) => [
        Number(view.getBigUint64(i * 20, true)),
        Number(view.getBigUint64(i * 20 + 8, true)),
        view.getUint32(i * 20 + 16, true),
      ]);
    };
    expect(rows(read(firmwareFiles(input()), 'etc/e820'))).toEqual([[0, 512 * MIB, 1]]);
    const big = firmwareFiles(input({ ram: { low: 3072 * MIB, high: 1024 * MIB }, ramBytes: 4096 * MIB }));
    expect(rows(read(big, 'etc/e820'))).toEqual([[0, 3072 * MIB, 1], [4096 * MIB, 1024 * MIB, 1]]); // prettier-ignore
  });

  it('says at each start how long the key of the boot menu is waited for', () => {
    let wait = 10_000;
    const contents = firmwareFiles(input({ menuMilliseconds: () => wait }));
    const menu = contents.items.get(FwCfgKey.BOOT_MENU)!;
    const said = (): number[] => {
      const flag = new Uint8Array(menu.bytes);
      menu.read(0, flag);
      return [new DataView(read(contents, 'etc/boot-menu-wait').buffer).getUint32(0, true), ...flag];
    };
    expect(said()).toEqual([10_000, 1, 0]);
    wait = 0;
    expect(said()).toEqual([0, 0, 0]);
  });

  it('says what to boot first, and hands out the display’s ROM', () => {
    const contents = firmwareFiles(input({ vgaRom: Uint8Array.of(0x55, 0xaa) }));
    expect(text(read(contents, 'bootorder'))).toBe('/pci@i0cf8/scsi@3/disk@0,0\n/pci@i0cf8/scsi@4/disk@0,0');
    expect([...read(contents, 'vgaroms/vgabios.bin')]).toEqual([0x55, 0xaa]);
    expect(text(read(contents, 'etc/smbios/smbios-anchor'))).toContain('_SM_');
  });
});
