/** For tests: the firmware over memory and disks of its own, called as its ROM calls it. */
import type { BlockBackend } from '../../../../backend/block';
import { Bus } from '../../../bus/bus';
import { flatMemory } from '../../../memory/testing/flat-memory';
import { Bios, type BiosDependencies } from '../bios';
import type { Drive } from '../drives';
import { TrapStatus } from '../rom';

const RAM_BYTES = 4 << 20;
const STACK = { segment: 0x2000, pointer: 0x1000 };

function fakeDisk(ram: Uint8Array, contents: Uint8Array, options: { delayed?: boolean; fails?: boolean } = {}): BlockBackend {
  const move = (offset: number, ranges: Float64Array, write: boolean): void => {
    for (let i = 0; i < ranges.length; i += 2) {
      const [at, bytes] = [ranges[i]!, ranges[i + 1]!];
      if (write) contents.set(ram.subarray(at, at + bytes), offset);
      else ram.set(contents.subarray(offset, offset + bytes), at);
      offset += bytes;
    }
  };
  const run = (offset: number, ranges: Float64Array, write: boolean): void | Promise<void> => {
    if (options.fails) throw new Error('the host disk is broken');
    if (!options.delayed) return move(offset, ranges, write);
    return Promise.resolve().then(() => move(offset, ranges, write));
  };
  return {
    bytes: contents.length,
    readOnly: false,
    discards: false,
    blockBytes: 512,
    read: (offset, ranges) => run(offset, ranges, false),
    write: (offset, ranges) => run(offset, ranges, true),
    flush: () => Promise.resolve(),
    discard: () => Promise.resolve(),
    writeZeroes: () => Promise.resolve(),
    readBytes: (offset, into) => Promise.resolve(void into.set(contents.subarray(offset, offset + into.length))),
    writeBytes: (offset, from) => Promise.resolve(void contents.set(from, offset)),
    close: () => Promise.resolve(),
  };
}

interface Registers {
  eax?: number;
  ebx?: number;
  ecx?: number;
  edx?: number;
  si?: number;
  di?: number;
  ds?: number;
  es?: number;
}

export class Rig {
  readonly memory = flatMemory(RAM_BYTES);
  readonly ram = this.memory.data;
  readonly view = this.memory.view;
  readonly errors: string[] = [];
  readonly disks: Drive[] = [];
  readonly discs: Drive[] = [];
  restarts = 0;
  /** How often a service halted for an interrupt. */
  waits = 0;
  bios!: Bios;

  build(options: Partial<BiosDependencies> = {}): this {
    const font = (height: number): Uint8Array => Uint8Array.from({ length: 256 * height }, (_, i) => i & 0xff);
    this.bios = new Bios({
      bus: new Bus(),
      memory: this.memory,
      fonts: { font8x8: font(8), font8x14: font(14), font8x16: font(16) },
      floppies: [],
      disks: this.disks,
      discs: this.discs,
      bootOrder: () => [...this.disks, ...this.discs],
      memoryMap: [
        { start: 0, bytes: 0x9fc00, type: 1 },
        { start: 0x9fc00, bytes: 0x60400, type: 2 },
        { start: 0x100000, bytes: RAM_BYTES - 0x100000, type: 1 },
      ],
      menuSeconds: 0,
      prepare: () => undefined,
      restart: () => this.restarts++,
      powerOff: () => undefined,
      hostError: (message) => this.errors.push(message),
      ...options,
    });
    this.ram.set(this.bios.rom, 0xf0000);
    return this;
  }

  disk(contents: Uint8Array, options?: Parameters<typeof fakeDisk>[2]): this {
    const backend = fakeDisk(this.ram, contents, options);
    this.disks.push({ medium: 'disk', label: 'disk a.img', backend: () => backend });
    return this;
  }

  disc(contents: Uint8Array): this {
    const backend = fakeDisk(this.ram, contents);
    this.discs.push({ medium: 'disc', label: 'disc b.iso', backend: () => backend });
    return this;
  }

  /** One trap of a frame that is already on the stack. */
  trap(): number {
    this.view.setUint16(this.at(0), 0, true);
    this.bios.write(0, 4, ((STACK.segment << 16) | STACK.pointer) >>> 0);
    return this.view.getUint16(this.at(0), true);
  }

  at(offset: number): number {
    return STACK.segment * 16 + STACK.pointer + offset;
  }

  async call(
    vector: number,
    registers: Registers = {},
  ): Promise<Required<Registers> & { carry: boolean; zero: boolean; ah: number; al: number; cs: number; ip: number }> {
    const v = this.view;
    v.setUint16(this.at(2), registers.es ?? 0, true);
    v.setUint16(this.at(4), registers.ds ?? 0, true);
    v.setUint32(this.at(6), registers.di ?? 0, true);
    v.setUint32(this.at(10), registers.si ?? 0, true);
    v.setUint32(this.at(22), registers.ebx ?? 0, true);
    v.setUint32(this.at(26), registers.edx ?? 0, true);
    v.setUint32(this.at(30), registers.ecx ?? 0, true);
    v.setUint32(this.at(34), registers.eax ?? 0, true);
    v.setUint16(this.at(38), vector, true);
    v.setUint32(this.at(40), 0, true);
    v.setUint16(this.at(44), 0, true);
    for (let i = 0, status = this.trap(); status !== TrapStatus.done; i++, status = this.trap()) {
      if (status === TrapStatus.waitForInterrupt) this.waits++;
      if (i > 50) throw new Error('the service never finishes');
      await Promise.resolve();
    }
    const flags = v.getUint16(this.at(44), true);
    const eax = v.getUint32(this.at(34), true);
    return {
      eax,
      ebx: v.getUint32(this.at(22), true),
      ecx: v.getUint32(this.at(30), true),
      edx: v.getUint32(this.at(26), true),
      si: v.getUint16(this.at(10), true),
      di: v.getUint16(this.at(6), true),
      ds: v.getUint16(this.at(4), true),
      es: v.getUint16(this.at(2), true),
      carry: (flags & 1) !== 0,
      zero: (flags & 0x40) !== 0,
      ah: (eax >> 8) & 0xff,
      al: eax & 0xff,
      ip: v.getUint16(this.at(40), true),
      cs: v.getUint16(this.at(42), true),
    };
  }

  screen(): string[] {
    return Array.from({ length: 25 }, (_, row) =>
      Array.from({ length: 80 }, (_, column) => String.fromCharCode(this.ram[0xb8000 + (row * 80 + column) * 2]!))
        .join('')
        .trimEnd(),
    );
  }
}
