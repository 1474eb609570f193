/**
 * ISO 9660 volumes: volume id (ECMA-119 §8.4) and whether an El Torito boot catalogue with a bootable default entry is there
 * (El Torito 1.0 §2). Reads a few sectors through a callback; hostile input.
 */
import { latin1 } from './formats';

export const ISO_SECTOR = 2048;
const FIRST_DESCRIPTOR = 16;
/** Descriptors end with a terminator; more than these is no disc anybody made. */
const DESCRIPTORS_MAX = 32;

export interface IsoInfo {
  readonly volumeId: string;
  readonly bootable: boolean;
  /** What the volume says it has. */
  readonly bytes: number;
}

/** Up to 2048 bytes at the sector; shorter at the end of the file. */
export type ReadSector = (sector: number) => Promise<Uint8Array>;

export async function inspectIso(read: ReadSector): Promise<IsoInfo | undefined> {
  let volumeId: string | undefined;
  let catalogue: number | undefined;
  let bytes = 0;
  for (let i = 0; i < DESCRIPTORS_MAX; i++) {
    const sector = await read(FIRST_DESCRIPTOR + i);
    if (sector.length < ISO_SECTOR || latin1(sector.subarray(1, 6)) !== 'CD001') break;
    const type = sector[0];
    if (type === 255) break;
    if (type === 1 && volumeId === undefined) {
      volumeId = latin1(sector.subarray(40, 72));
      // §8.4.8 volume space size, in logical blocks of §8.4.12.
      const view = new DataView(sector.buffer, sector.byteOffset);
      bytes = view.getUint32(80, true) * view.getUint16(128, true);
    }
    if (type === 0 && latin1(sector.subarray(7, 39)) === 'EL TORITO SPECIFICATION') {
      catalogue ??= new DataView(sector.buffer, sector.byteOffset).getUint32(0x47, true);
    }
  }
  if (volumeId === undefined) return undefined;
  return { volumeId, bytes, bootable: catalogue !== undefined && isBootCatalogue(await read(catalogue)) };
}

/** Validation entry (§2.1: header 1, key 55AAh, 16-bit sum 0), then the default entry with boot indicator 88h. */
function isBootCatalogue(sector: Uint8Array): boolean {
  if (sector.length < 64 || sector[0] !== 1 || sector[30] !== 0x55 || sector[31] !== 0xaa) return false;
  const words = new DataView(sector.buffer, sector.byteOffset);
  let sum = 0;
  for (let at = 0; at < 32; at += 2) sum += words.getUint16(at, true);
  return (sum & 0xffff) === 0 && sector[32] === 0x88;
}
