/** The registers of an interrupted real-mode program, as a service stub pushed them (rom.ts), read and changed in place. */
import type { RealModeMemory } from './real-memory';

/** Byte offsets from the stack pointer that the trap port was given. */
const F = {
  status: 0,
  es: 2,
  ds: 4,
  edi: 6,
  esi: 10,
  ebp: 14,
  ebx: 22,
  edx: 26,
  ecx: 30,
  eax: 34,
  vector: 38,
  ip: 40,
  cs: 42,
  flags: 44,
} as const;

const CARRY = 0x0001;
const ZERO = 0x0040;
const INTERRUPT = 0x0200;

export class RegisterFrame {
  private readonly at: number;

  constructor(
    private readonly memory: RealModeMemory,
    stackSegment: number,
    stackPointer: number,
  ) {
    this.at = stackSegment * 16 + stackPointer;
  }

  get vector(): number {
    return this.memory.read16(this.at + F.vector);
  }
  set status(value: number) {
    this.memory.write16(this.at + F.status, value);
  }

  get eax(): number {
    return this.memory.read32(this.at + F.eax);
  }
  set eax(v: number) {
    this.memory.write32(this.at + F.eax, v);
  }
  get ebx(): number {
    return this.memory.read32(this.at + F.ebx);
  }
  set ebx(v: number) {
    this.memory.write32(this.at + F.ebx, v);
  }
  get ecx(): number {
    return this.memory.read32(this.at + F.ecx);
  }
  set ecx(v: number) {
    this.memory.write32(this.at + F.ecx, v);
  }
  get edx(): number {
    return this.memory.read32(this.at + F.edx);
  }
  set edx(v: number) {
    this.memory.write32(this.at + F.edx, v);
  }

  get ax(): number {
    return this.memory.read16(this.at + F.eax);
  }
  set ax(v: number) {
    this.memory.write16(this.at + F.eax, v);
  }
  get bx(): number {
    return this.memory.read16(this.at + F.ebx);
  }
  set bx(v: number) {
    this.memory.write16(this.at + F.ebx, v);
  }
  get cx(): number {
    return this.memory.read16(this.at + F.ecx);
  }
  set cx(v: number) {
    this.memory.write16(this.at + F.ecx, v);
  }
  get dx(): number {
    return this.memory.read16(this.at + F.edx);
  }
  set dx(v: number) {
    this.memory.write16(this.at + F.edx, v);
  }
  get si(): number {
    return this.memory.read16(this.at + F.esi);
  }
  set si(v: number) {
    this.memory.write16(this.at + F.esi, v);
  }
  get di(): number {
    return this.memory.read16(this.at + F.edi);
  }
  set di(v: number) {
    this.memory.write16(this.at + F.edi, v);
  }
  get edi(): number {
    return this.memory.read32(this.at + F.edi);
  }
  set edi(v: number) {
    this.memory.write32(this.at + F.edi, v);
  }
  get bp(): number {
    return this.memory.read16(this.at + F.ebp);
  }
  set bp(v: number) {
    this.memory.write16(this.at + F.ebp, v);
  }
  get es(): number {
    return this.memory.read16(this.at + F.es);
  }
  set es(v: number) {
    this.memory.write16(this.at + F.es, v);
  }
  get ds(): number {
    return this.memory.read16(this.at + F.ds);
  }
  set ds(v: number) {
    this.memory.write16(this.at + F.ds, v);
  }

  get al(): number {
    return this.memory.read8(this.at + F.eax);
  }
  set al(v: number) {
    this.memory.write8(this.at + F.eax, v);
  }
  get ah(): number {
    return this.memory.read8(this.at + F.eax + 1);
  }
  set ah(v: number) {
    this.memory.write8(this.at + F.eax + 1, v);
  }
  get bl(): number {
    return this.memory.read8(this.at + F.ebx);
  }
  set bl(v: number) {
    this.memory.write8(this.at + F.ebx, v);
  }
  get bh(): number {
    return this.memory.read8(this.at + F.ebx + 1);
  }
  set bh(v: number) {
    this.memory.write8(this.at + F.ebx + 1, v);
  }
  get cl(): number {
    return this.memory.read8(this.at + F.ecx);
  }
  set cl(v: number) {
    this.memory.write8(this.at + F.ecx, v);
  }
  get ch(): number {
    return this.memory.read8(this.at + F.ecx + 1);
  }
  set ch(v: number) {
    this.memory.write8(this.at + F.ecx + 1, v);
  }
  get dl(): number {
    return this.memory.read8(this.at + F.edx);
  }
  set dl(v: number) {
    this.memory.write8(this.at + F.edx, v);
  }
  get dh(): number {
    return this.memory.read8(this.at + F.edx + 1);
  }
  set dh(v: number) {
    this.memory.write8(this.at + F.edx + 1, v);
  }

  set carry(on: boolean) {
    this.setFlag(CARRY, on);
  }
  set zero(on: boolean) {
    this.setFlag(ZERO, on);
  }

  /** Where the stub's IRET goes, with interrupts enabled and the carry clear. */
  jump(segment: number, offset: number): void {
    this.memory.write16(this.at + F.cs, segment);
    this.memory.write16(this.at + F.ip, offset);
    this.memory.write16(this.at + F.flags, INTERRUPT);
  }

  /** The interrupted program may take interrupts again when the service returns. */
  enableInterrupts(): void {
    this.setFlag(INTERRUPT, true);
  }

  /** For traces. */
  describe(): string {
    const m = this.memory;
    const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, '0');
    const registers = (['eax', 'ebx', 'ecx', 'edx', 'esi', 'edi', 'ebp'] as const).map(
      (name) => `${name}=${hex(m.read32(this.at + F[name]), 8)}`,
    );
    const word = (offset: number): string => hex(m.read16(this.at + offset), 4);
    return `${registers.join(' ')} ds=${word(F.ds)} es=${word(F.es)} at ${word(F.cs)}:${word(F.ip)} flags=${word(F.flags)}`;
  }

  private setFlag(flag: number, on: boolean): void {
    const flags = this.memory.read16(this.at + F.flags);
    this.memory.write16(this.at + F.flags, on ? flags | flag : flags & ~flag);
  }
}
