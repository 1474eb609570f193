/**
 * PCI configuration space of one function: 256 bytes described by a table of registers. PCI Local Bus 3.0 §6.1–6.2.
 * A bit is read-only unless a register says that it is writable or that writing one clears it.
 */

export interface ConfigRegister {
  readonly offset: number;
  readonly width: 1 | 2 | 4;
  readonly name: string;
  readonly reset: number;
  /** Bits the guest can write. */
  readonly writable?: number;
  /** Bits the guest clears by writing one. */
  readonly clear?: number;
}

export const CONFIG_BYTES = 256;

export class ConfigSpace {
  private readonly bytes = new Uint8Array(CONFIG_BYTES);
  private readonly resetImage = new Uint8Array(CONFIG_BYTES);
  private readonly writable = new Uint8Array(CONFIG_BYTES);
  private readonly clear = new Uint8Array(CONFIG_BYTES);
  private readonly names = new Map<number, string>();

  define(registers: readonly ConfigRegister[]): void {
    for (const r of registers) {
      for (let i = 0; i < r.width; i++) {
        const at = r.offset + i;
        const owner = this.names.get(at);
        if (at >= CONFIG_BYTES || owner !== undefined) throw new Error(`PCI register ${r.name} overlaps ${owner ?? 'the end'}`);
        this.names.set(at, r.name);
        this.resetImage[at] = this.bytes[at] = (r.reset >>> (8 * i)) & 0xff;
        this.writable[at] = ((r.writable ?? 0) >>> (8 * i)) & 0xff;
        this.clear[at] = ((r.clear ?? 0) >>> (8 * i)) & 0xff;
      }
    }
  }

  reset(): void {
    this.bytes.set(this.resetImage);
  }

  /** Bytes past the end read as ones. */
  read(offset: number, width: number): number {
    let value = 0;
    for (let i = 0; i < width; i++) value |= (this.bytes[offset + i] ?? 0xff) << (8 * i);
    return value >>> 0;
  }

  /** As the guest writes: masks apply. */
  write(offset: number, width: number, value: number): void {
    for (let i = 0; i < width; i++) {
      const at = offset + i;
      if (at >= CONFIG_BYTES) return;
      const byte = (value >>> (8 * i)) & 0xff;
      const mask = this.writable[at]!;
      this.bytes[at] = ((this.bytes[at]! & ~mask) | (byte & mask)) & ~(byte & this.clear[at]!);
    }
  }

  /** As the device writes: masks do not apply. */
  set(offset: number, width: number, value: number): void {
    for (let i = 0; i < width; i++) this.bytes[offset + i] = (value >>> (8 * i)) & 0xff;
  }
}
