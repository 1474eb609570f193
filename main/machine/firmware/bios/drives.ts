/** The drives INT 13h offers: what backs them, their numbers and their geometry. */
import type { BlockBackend } from '../../../backend/block';
import { floppyFormat } from '../../bus/floppies';

export type DriveMedium = 'floppy' | 'disk' | 'disc';

export interface Drive {
  readonly medium: DriveMedium;
  /** For the boot screen: "SATA disk debian.img". */
  readonly label: string;
  /** Read at each use: floppies and discs come and go. */
  readonly backend: () => BlockBackend | undefined;
  /** Of a drive whose medium a program may lock in or send out. */
  readonly tray?: Tray;
}

export interface Tray {
  locked: boolean;
  /** The medium leaves by the guest's wish. */
  eject(): void;
}

export interface Geometry {
  readonly cylinders: number;
  readonly heads: number;
  readonly sectors: number;
}

/** An image of another size is addressed as the smallest diskette that holds it. */
export function floppyGeometry(bytes: number): { geometry: Geometry; type: number } {
  const { type, cylinders, heads, sectors } = floppyFormat(bytes);
  return { geometry: { cylinders, heads, sectors }, type };
}

/**
 * Geometry for CHS calls. A partition table written under some geometry is believed (all entries must end at the same head and
 * sector); otherwise LBA-assisted translation (Phoenix EDD 3.0 §2): 63 sectors and the fewest of 16 … 255 heads that reach.
 */
export function diskGeometry(bytes: number, firstSector?: Uint8Array): Geometry {
  const total = Math.floor(bytes / 512);
  const told = firstSector && geometryOfPartitions(firstSector);
  const sectors = told?.sectors ?? 63;
  const heads = told?.heads ?? ([16, 32, 64, 128] as const).find((h) => total <= h * 63 * 1024) ?? 255;
  return { cylinders: Math.max(1, Math.min(1024, Math.floor(total / (heads * sectors)))), heads, sectors };
}

function geometryOfPartitions(sector: Uint8Array): { heads: number; sectors: number } | undefined {
  if (sector[510] !== 0x55 || sector[511] !== 0xaa) return undefined;
  let heads = 0;
  let sectors = 0;
  for (let at = 446; at < 510; at += 16) {
    if (sector[at + 4] === 0 || sector[at + 4] === 0xee) continue;
    const endHead = sector[at + 5]! + 1;
    const endSector = sector[at + 6]! & 63;
    if ((heads && heads !== endHead) || (sectors && sectors !== endSector)) return undefined;
    heads = endHead;
    sectors = endSector;
  }
  return heads >= 2 && heads <= 255 && sectors >= 1 ? { heads, sectors } : undefined;
}
