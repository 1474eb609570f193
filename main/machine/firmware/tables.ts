/** What firmware leaves in memory for any OS: ACPI, SMBIOS, MP and PCI routing tables, the BIOS data area. */
import { COM_PORTS } from '../bus/pc';
import { gpa, type GuestMemory } from '../memory/guest-memory';
import { type AcpiConfig, buildAcpi } from './acpi/tables';
import {
  ACPI_END,
  ACPI_START,
  BIOS_DATA_AREA,
  EBDA_START,
  MP_END,
  MP_START,
  PIR_START,
  SMBIOS_END,
  SMBIOS_START,
} from './layout';
import { buildMpTables, buildPirTable } from './mp';
import { buildSmbios, type SmbiosConfig } from './smbios';

/** For any way to boot. Returns the address of the RSDP. */
export function installFirmwareTables(memory: GuestMemory, config: AcpiConfig & SmbiosConfig): number {
  const acpi = buildAcpi(config, ACPI_START);
  if (acpi.bytes.length > ACPI_END - ACPI_START) throw new Error('the ACPI tables do not fit below the SMBIOS area');
  const smbios = buildSmbios(config, SMBIOS_START);
  if (smbios.length > SMBIOS_END - SMBIOS_START) throw new Error('the SMBIOS tables do not fit');
  const mp = buildMpTables(config.cpus, MP_START);
  if (mp.length > MP_END - MP_START) throw new Error('the MP tables do not fit');
  const images: [number, Uint8Array][] = [[ACPI_START, acpi.bytes], [SMBIOS_START, smbios], [MP_START, mp], [PIR_START, buildPirTable()]]; // prettier-ignore
  for (const [at, bytes] of images) if (!memory.write(gpa(at), bytes)) throw noRam();
  return acpi.rsdp;
}

/** The BIOS data area, for systems that look into it though no BIOS ran. */
export function installBiosData(memory: GuestMemory, serialPorts: number): void {
  const bda = new Uint8Array(0x20);
  const view = new DataView(bda.buffer);
  COM_PORTS.slice(0, serialPorts).forEach(({ port }, i) => view.setUint16(2 * i, port, true));
  view.setUint16(0x0e, EBDA_START >> 4, true);
  view.setUint16(0x10, 0x0026 | (serialPorts << 9), true); // equipment: FPU, mouse, 80×25 colour
  view.setUint16(0x13, EBDA_START >> 10, true);
  const ebda = Uint8Array.of(1); // its size in KiB
  if (!memory.write(gpa(BIOS_DATA_AREA), bda) || !memory.write(gpa(EBDA_START), ebda)) throw noRam();
}

const noRam = (): Error => new Error('the firmware area is not backed by RAM');
