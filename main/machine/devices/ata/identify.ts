/** What drives say about themselves: IDENTIFY DEVICE and IDENTIFY PACKET DEVICE. ATA/ATAPI-7 vol. 1 §6.17–6.18, ACS-2 for TRIM and SATA. */

export const IDENTIFY_BYTES = 512;
/** Cylinder-head-sector addressing reaches this far (§6.2.1). */
const MAX_CYLINDERS = 16383;
export const DEFAULT_HEADS = 16;
export const DEFAULT_SECTORS = 63;
export const MAX_MULTIPLE = 16;
/** 28-bit commands reach this far. */
export const LBA28_SECTORS = 0x0fffffff;
/** Blocks of ranges one DATA SET MANAGEMENT takes. */
export const TRIM_BLOCKS = 8;

export interface Geometry {
  readonly cylinders: number;
  readonly heads: number;
  readonly sectors: number;
}

export interface TransferMode {
  /** Selected modes as bits; one of them at most is set. */
  readonly multiword: number;
  readonly ultra: number;
}

export const defaultGeometry = (sectors: number): Geometry => ({
  cylinders: Math.max(1, Math.min(MAX_CYLINDERS, Math.floor(sectors / (DEFAULT_HEADS * DEFAULT_SECTORS)))),
  heads: DEFAULT_HEADS,
  sectors: DEFAULT_SECTORS,
});

export interface DriveIdentity {
  readonly serial: string;
  readonly model: string;
  readonly firmware: string;
}

export interface DiskFacts extends DriveIdentity {
  readonly sectors: number;
  readonly geometry: Geometry;
  readonly multiple: number;
  readonly mode: TransferMode;
  readonly writeCache: boolean;
  readonly lookAhead: boolean;
  readonly smart: boolean;
  readonly trims: boolean;
  readonly sata: boolean;
}

class Words {
  readonly bytes = new Uint8Array(IDENTIFY_BYTES);
  private readonly view = new DataView(this.bytes.buffer);

  set(word: number, value: number): void {
    this.view.setUint16(word * 2, value & 0xffff, true);
  }

  setLong(word: number, value: number): void {
    this.view.setUint32(word * 2, value >>> 0, true);
  }

  /** ASCII, padded with spaces; the first character is in the upper byte of a word (§3.2.9). */
  text(word: number, bytes: number, text: string): void {
    for (let i = 0; i < bytes; i++) {
      const code = text.charCodeAt(i);
      this.bytes[word * 2 + (i ^ 1)] = code >= 0x20 && code < 0x7f ? code : 0x20;
    }
  }

  /** Integrity word: the sum of all bytes is zero. */
  seal(): Uint8Array {
    this.bytes[510] = 0xa5;
    let sum = 0;
    for (let i = 0; i < 511; i++) sum += this.bytes[i]!;
    this.bytes[511] = -sum & 0xff;
    return this.bytes;
  }

  common(identity: DriveIdentity, mode: TransferMode, sata: boolean): void {
    this.text(10, 20, identity.serial);
    this.text(23, 8, identity.firmware);
    this.text(27, 40, identity.model);
    this.set(53, 0x0007); // words 54–58, 64–70 and 88 are valid
    this.set(63, 0x0007 | (mode.multiword << 8));
    this.set(64, 0x0003); // PIO modes 3 and 4
    for (let word = 65; word <= 68; word++) this.set(word, 120); // cycle times, ns
    this.set(80, 0x00f0); // ATA/ATAPI-4 to -7
    this.set(88, 0x003f | (mode.ultra << 8)); // Ultra DMA 0–5
    if (sata)
      this.set(76, 0x0006); // 1.5 and 3 Gb/s
    else this.set(93, 0x600b); // 80-wire cable; diagnostics passed
  }
}

export function identifyDisk(facts: DiskFacts): Uint8Array {
  const words = new Words();
  const native = defaultGeometry(facts.sectors);
  const { geometry, sectors } = facts;
  words.common(facts, facts.mode, facts.sata);
  words.set(0, 0x0040); // fixed
  words.set(1, native.cylinders);
  words.set(3, native.heads);
  words.set(6, native.sectors);
  words.set(47, 0x8000 | MAX_MULTIPLE);
  words.set(48, 0x0001); // 32-bit data port
  words.set(49, 0x2f00); // standby timers, IORDY, LBA, DMA
  words.set(50, 0x4000);
  words.set(51, 0x0200);
  words.set(54, geometry.cylinders);
  words.set(55, geometry.heads);
  words.set(56, geometry.sectors);
  words.setLong(57, Math.min(sectors, geometry.cylinders * geometry.heads * geometry.sectors));
  if (facts.multiple > 0) words.set(59, 0x0100 | facts.multiple);
  words.setLong(60, Math.min(sectors, LBA28_SECTORS));
  if (facts.sata) {
    words.set(75, 31); // queue depth less one
    words.set(76, 0x0106); // native command queuing
  }
  const features = 0x4069; // NOP, look-ahead, write cache, power management, SMART
  words.set(82, features);
  words.set(83, 0x7400); // FLUSH CACHE (EXT), 48-bit addresses
  words.set(84, 0x4020); // general-purpose logs
  words.set(85, 0x4008 | (facts.lookAhead ? 0x40 : 0) | (facts.writeCache ? 0x20 : 0) | (facts.smart ? 1 : 0));
  words.set(86, 0x3400);
  words.set(87, 0x4020);
  words.setLong(100, sectors);
  words.setLong(102, Math.floor(sectors / 2 ** 32));
  words.set(106, 0x6003); // 8 logical sectors a physical one
  if (facts.trims) {
    words.set(105, TRIM_BLOCKS);
    words.set(169, 0x0001);
  }
  words.set(217, 0x0001); // does not turn
  return words.seal();
}

export function identifyDisc(identity: DriveIdentity, mode: TransferMode, sata: boolean): Uint8Array {
  const words = new Words();
  words.common(identity, mode, sata);
  words.set(0, 0x85c0); // packet device, CD/DVD, removable, answers at once, 12-byte packets
  words.set(49, 0x0f00); // IORDY, LBA, DMA
  words.set(51, 0x0200);
  words.set(82, 0x4210); // NOP, DEVICE RESET, PACKET
  words.set(83, 0x4000);
  words.set(84, 0x4000);
  words.set(85, 0x4210);
  words.set(87, 0x4000);
  return words.seal();
}
