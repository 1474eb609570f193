/**
 * The first megabyte (and more, for INT 15h/87h) as the firmware sees it: RAM directly, anything else (the VGA window in planar
 * modes) through the bus as an access of the processor would go. Reads of nothing give ones, writes to nothing are dropped.
 */
import type { Bus } from '../../bus/bus';
import { gpa, type GuestMemory } from '../../memory/guest-memory';

export class RealModeMemory {
  private readonly one = new Uint8Array(1);

  constructor(
    private readonly memory: GuestMemory,
    private readonly bus: Bus,
  ) {}

  read8(at: number): number {
    return this.memory.readInto(gpa(at), this.one) ? this.one[0]! : this.bus.readMmio(at, 1);
  }
  read16(at: number): number {
    return this.memory.readU16(gpa(at)) ?? this.bus.readMmio(at, 2);
  }
  read32(at: number): number {
    return this.memory.readU32(gpa(at)) ?? this.bus.readMmio(at, 4);
  }
  write8(at: number, value: number): void {
    this.one[0] = value;
    if (!this.memory.write(gpa(at), this.one)) this.bus.writeMmio(at, 1, value & 0xff);
  }
  write16(at: number, value: number): void {
    if (!this.memory.writeU16(gpa(at), value & 0xffff)) this.bus.writeMmio(at, 2, value & 0xffff);
  }
  write32(at: number, value: number): void {
    if (!this.memory.writeU32(gpa(at), value >>> 0)) this.bus.writeMmio(at, 4, value >>> 0);
  }
  read(at: number, bytes: number): Uint8Array {
    const direct = this.memory.read(gpa(at), bytes);
    if (direct) return direct;
    return Uint8Array.from({ length: bytes }, (_, i) => this.read8(at + i));
  }
  write(at: number, data: Uint8Array): void {
    if (this.memory.write(gpa(at), data)) return;
    data.forEach((byte, i) => this.write8(at + i, byte));
  }
  fill(at: number, bytes: number, value: number): void {
    if (this.memory.fill(gpa(at), bytes, value)) return;
    for (let i = 0; i < bytes; i++) this.write8(at + i, value);
  }
}
