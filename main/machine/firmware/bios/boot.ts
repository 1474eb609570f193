/**
 * INT 19h: tries the boot devices in order, says what it does, and offers a menu (F12). The first sector of a diskette or disk; the
 * default entry of a disc's El Torito catalogue (El Torito 1.0 §2).
 */
import type { BlockBackend } from '../../../backend/block';
import type { DiskServices } from './disk';
import type { Drive } from './drives';
import type { RealModeMemory } from './real-memory';

const BOOT_ADDRESS = 0x7c00;
const DISC_SECTOR = 2048;
/** El Torito: the boot record volume descriptor is sector 17 of the session. */
const BOOT_RECORD_SECTOR = 17;
/** Platform of a catalogue's entries: 0 is a PC's BIOS. */
const EFI_PLATFORM = 0xef;
/** The loader's part of a first sector: what follows is the disk's signature and the partition table. */
const BOOT_CODE_BYTES = 440;
const UEFI_ONLY = 'UEFI only: choose a UEFI firmware for this machine';
/** Partition types of a GPT's protective entry and of an EFI system partition. */
const EFI_PARTITIONS: readonly number[] = [0xee, 0xef];
/** More than any loader asks for in its catalogue entry; beyond lies the EBDA. */
const MAX_BOOT_IMAGE_BYTES = 0x9f000 - BOOT_ADDRESS;

export type BootTarget = { ok: true; segment: number; offset: number; drive: number } | { ok: false; why: string };

export interface CatalogueEntry {
  readonly mediaType: number;
  readonly loadSegment: number;
  readonly sectorCount: number;
  readonly start: number;
}

/** The validation entry must sum to zero and end in 55 AA; the default entry follows. */
export function parseBootCatalogue(sector: Uint8Array): CatalogueEntry | string {
  const view = new DataView(sector.buffer, sector.byteOffset, sector.byteLength);
  let sum = 0;
  for (let i = 0; i < 32; i += 2) sum += view.getUint16(i, true);
  if (sector[0] !== 1 || (sum & 0xffff) !== 0 || view.getUint16(30, true) !== 0xaa55) return 'its boot catalogue is damaged';
  if (sector[1] === EFI_PLATFORM) return `it boots by ${UEFI_ONLY}`;
  if (sector[32] !== 0x88) return 'its boot entry is marked as not bootable';
  const mediaType = sector[33]! & 0x0f;
  if (mediaType > 4) return 'its boot entry has an unknown emulation type';
  return {
    mediaType,
    loadSegment: view.getUint16(34, true) || BOOT_ADDRESS >> 4,
    sectorCount: view.getUint16(38, true),
    start: view.getUint32(40, true),
  };
}

export class Booter {
  constructor(
    private readonly memory: RealModeMemory,
    private readonly disks: DiskServices,
  ) {}

  async load(drive: Drive): Promise<BootTarget> {
    const backend = drive.backend();
    if (!backend) return { ok: false, why: 'there is no medium in it' };
    if (backend.bytes < 512) return { ok: false, why: 'it is empty' };
    try {
      return drive.medium === 'disc' ? await this.loadDisc(drive, backend) : await this.loadSector(drive, backend);
    } catch (e) {
      return { ok: false, why: `it cannot be read (${(e as Error).message})` };
    }
  }

  private async loadSector(drive: Drive, backend: BlockBackend): Promise<BootTarget> {
    const sector = new Uint8Array(512);
    await backend.readBytes(0, sector);
    const signed = sector[510] === 0x55 && sector[511] === 0xaa;
    if (drive.medium === 'disk' && !signed) return { ok: false, why: 'its first sector has no boot signature' };
    if (drive.medium === 'disk' && sector.subarray(0, BOOT_CODE_BYTES).every((byte) => byte === 0)) {
      const efi = [446, 462, 478, 494].some((at) => EFI_PARTITIONS.includes(sector[at + 4]!));
      return { ok: false, why: efi ? `it boots by ${UEFI_ONLY}` : 'its first sector holds no program' };
    }
    // Diskettes older than the signature exist; one that starts with zeroes or one byte repeated is blank.
    if (!signed && sector.every((byte) => byte === sector[0])) return { ok: false, why: 'it is blank' };
    this.disks.setEmulation(undefined);
    this.memory.write(BOOT_ADDRESS, sector);
    return { ok: true, segment: 0, offset: BOOT_ADDRESS, drive: this.disks.numberOf(drive) ?? 0 };
  }

  private async loadDisc(drive: Drive, backend: BlockBackend): Promise<BootTarget> {
    const sector = new Uint8Array(DISC_SECTOR);
    if (backend.bytes < (BOOT_RECORD_SECTOR + 1) * DISC_SECTOR) return { ok: false, why: 'it is too short to be a disc' };
    await backend.readBytes(BOOT_RECORD_SECTOR * DISC_SECTOR, sector);
    const id = String.fromCharCode(...sector.subarray(0, 39));
    if (sector[0] !== 0 || id.slice(1, 6) !== 'CD001' || !id.startsWith('EL TORITO SPECIFICATION', 7)) {
      return { ok: false, why: 'it is not a bootable disc' };
    }
    const catalogueSector = new DataView(sector.buffer).getUint32(71, true);
    if ((catalogueSector + 1) * DISC_SECTOR > backend.bytes) return { ok: false, why: 'its boot catalogue lies outside of it' };
    await backend.readBytes(catalogueSector * DISC_SECTOR, sector);
    const entry = parseBootCatalogue(sector);
    if (typeof entry === 'string') return { ok: false, why: entry };
    const emulated = entry.mediaType !== 0;
    const bytes = emulated ? 512 : Math.max(1, entry.sectorCount) * 512;
    if (bytes > MAX_BOOT_IMAGE_BYTES) return { ok: false, why: 'its boot image is larger than memory below 640 KiB' };
    const from = entry.start * DISC_SECTOR;
    if (from + bytes > backend.bytes) return { ok: false, why: 'its boot image lies outside of it' };
    const image = new Uint8Array(bytes);
    await backend.readBytes(from, image);
    const number = emulated ? (entry.mediaType === 4 ? 0x80 : 0x00) : (this.disks.numberOf(drive) ?? 0xe0);
    this.disks.setEmulation({ ...entry, drive: number, disc: drive });
    const segment = emulated ? BOOT_ADDRESS >> 4 : entry.loadSegment;
    this.memory.write(segment * 16, image);
    return segment === BOOT_ADDRESS >> 4
      ? { ok: true, segment: 0, offset: BOOT_ADDRESS, drive: number }
      : { ok: true, segment, offset: 0, drive: number };
  }
}
