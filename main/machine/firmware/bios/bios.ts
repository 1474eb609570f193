/**
 * The built-in BIOS. Offered: the services of an IBM-compatible AT (INT 08h–1Ch), VGA and VESA BIOS, EDD disk access, El Torito, E820,
 * PCI BIOS 2.1 (real-mode), PS/2 pointer, a boot menu. Not offered: protected-mode entry points (APM, PCI BIOS, VBE), cassette, BASIC.
 *
 * The processor reaches it through one port (rom.ts); it answers by changing the caller's saved registers. Everything the
 * guest passes in is hostile: addresses are bounds-checked by GuestMemory, counts are capped.
 */
import type { Bus } from '../../bus/bus';
import type { Device, IoHandler } from '../../bus/types';
import type { GuestMemory } from '../../memory/guest-memory';
import { Bda, BDA, CONVENTIONAL_KIB, EBDA_BYTES, EBDA_SEGMENT } from './bda';
import { BootMenu } from './boot-menu';
import { Booter } from './boot';
import { DiskServices } from './disk';
import type { Drive } from './drives';
import { RegisterFrame } from './frame';
import { KeyboardServices } from './keyboard';
import { PointerServices } from './pointer';
import { RealModeMemory } from './real-memory';
import {
  buildRom,
  ROM_SEGMENT,
  Rom,
  type RomFonts,
  stubOffset,
  TRAP_POINTER,
  TRAP_PORT,
  TRAP_POST,
  TRAP_SCANCODE,
  TrapStatus,
} from './rom';
import { type MemoryRange, SystemServices } from './system';
import { VbeServices } from './vbe';
import { VgaRegisters } from './vga-registers';
import { VideoServices } from './video';

export interface BiosDependencies {
  readonly bus: Bus;
  readonly memory: GuestMemory;
  readonly fonts: RomFonts;
  readonly floppies: readonly Drive[];
  readonly disks: readonly Drive[];
  readonly discs: readonly Drive[];
  /** Tried from first to last; read at each boot. */
  readonly bootOrder: () => readonly Drive[];
  /** E820 order. */
  readonly memoryMap: readonly MemoryRange[];
  /** Seconds the boot screen waits for F12; 0 boots at once. */
  readonly menuSeconds: number;
  /** The menu comes without F12. */
  readonly openMenu?: () => boolean;
  /** Resources and tables that must be in place before anything boots (PCI BARs, ACPI, SMBIOS). */
  readonly prepare: () => void;
  readonly restart: () => void;
  readonly powerOff: () => void;
  /** A host-side failure the user should hear of. */
  readonly hostError: (message: string) => void;
}

const HARDWARE_VECTORS: readonly [vector: number, offset: number][] = [
  [0x02, Rom.nmi],
  [0x08, Rom.int08],
  [0x09, Rom.int09],
  [0x0e, Rom.int0e],
  [0x70, Rom.rtcInterrupt],
  [0x74, Rom.pointerInterrupt],
];
/** Entry points that old software calls or compares by address. */
const FIXED_SERVICES: readonly [vector: number, offset: number][] = [
  [0x10, Rom.int10],
  [0x11, Rom.int11],
  [0x12, Rom.int12],
  [0x14, Rom.int14],
  [0x15, Rom.int15],
  [0x16, Rom.int16],
  [0x17, Rom.int17],
  [0x19, Rom.int19],
  [0x1a, Rom.int1a],
  [0x40, Rom.int13Floppy],
];

export class Bios implements Device, IoHandler {
  readonly name = 'bios';
  readonly rom: Uint8Array;
  private readonly memory: RealModeMemory;
  private readonly keyboard: KeyboardServices;
  private readonly pointer: PointerServices;
  private readonly video: VideoServices;
  private readonly vbe: VbeServices;
  private readonly disk: DiskServices;
  private readonly system: SystemServices;
  private readonly menu: BootMenu;
  private preparing: Promise<void> | undefined;
  private prepared = false;
  /** Set for LODGE_TRACE=bios: a line for every service that ends. */
  trace: ((line: string) => void) | undefined;

  constructor(private readonly deps: BiosDependencies) {
    const { bus, fonts } = deps;
    this.rom = buildRom(fonts, EBDA_SEGMENT);
    this.memory = new RealModeMemory(deps.memory, bus);
    const vga = new VgaRegisters(bus);
    this.keyboard = new KeyboardServices(this.memory, deps.restart);
    this.pointer = new PointerServices(this.memory, bus);
    this.video = new VideoServices(this.memory, vga, fonts, () => this.vbe.leave());
    this.vbe = new VbeServices(
      this.memory,
      bus,
      vga,
      (mode) => this.video.setMode(mode),
      () => this.video.current.number,
      () => this.video.modeChanged(),
    );
    this.disk = new DiskServices(this.memory, deps.floppies, deps.disks, deps.discs, deps.hostError);
    this.system = new SystemServices(this.memory, bus, deps.memoryMap, this.pointer, deps.powerOff);
    const booter = new Booter(this.memory, this.disk);
    this.menu = new BootMenu({
      order: deps.bootOrder,
      open: deps.openMenu ?? (() => false),
      menuTicks: Math.ceil(deps.menuSeconds * 18.2),
      load: (drive) => booter.load(drive),
      print: (text, attribute) => this.print(text, attribute),
      clear: () => void this.video.setMode(3),
      takeKey: () => this.keyboard.take(),
      ticks: () => this.memory.read32(Bda.ticks),
    });
    bus.claimPorts(TRAP_PORT, 4, this, 'firmware trap');
  }

  reset(): void {
    this.preparing = undefined;
    this.prepared = false;
    this.menu.reset();
  }

  read(): number {
    return 0xffffffff;
  }

  /** SS:SP of a saved frame. Anything else a guest writes here makes the firmware serve nonsense from the guest's own memory. */
  write(_offset: number, width: number, value: number): void {
    if (width !== 4) return;
    const frame = new RegisterFrame(this.memory, value >>> 16, value & 0xffff);
    if (!this.trace) {
      frame.status = this.serve(frame);
      return;
    }
    const before = `INT ${frame.vector.toString(16)} ${frame.describe()}`;
    const status = (frame.status = this.serve(frame));
    if (status === TrapStatus.done) this.trace(`${before} -> ${frame.describe()}`);
  }

  private serve(r: RegisterFrame): number {
    switch (r.vector) {
      case TRAP_POST:
        return this.selfTest();
      case TRAP_SCANCODE: {
        const call = this.keyboard.scancode(r.al);
        r.carry = call === 'break';
        r.zero = call === 'printScreen';
        return TrapStatus.done;
      }
      case TRAP_POINTER:
        this.pointer.interrupt(r);
        return TrapStatus.done;
      case 0x10:
        if (r.ah === 0x4f) this.vbe.int10(r);
        else if (r.ah === 0x1c) this.vbe.int10State(r);
        else this.video.int10(r);
        return TrapStatus.done;
      case 0x11:
        this.system.int11(r);
        return TrapStatus.done;
      case 0x12:
        this.system.int12(r);
        return TrapStatus.done;
      case 0x13:
      case 0x40:
        return this.disk.int13(r);
      case 0x14:
        this.system.int14(r);
        return TrapStatus.done;
      case 0x15:
        return this.system.int15(r);
      case 0x16:
        return this.keyboard.int16(r);
      case 0x17:
        this.system.int17(r);
        return TrapStatus.done;
      case 0x18: // the program gave up booting: go on with the next device
        this.menu.next();
        return this.menu.step(r);
      case 0x19:
        return this.menu.step(r);
      case 0x1a:
        this.system.int1a(r);
        return TrapStatus.done;
      default:
        return TrapStatus.done;
    }
  }

  private selfTest(): number {
    if (!this.preparing) {
      this.initialiseMemory();
      this.deps.prepare();
      this.initialiseKeyboardController();
      this.keyboard.initialise();
      this.pointer.initialise();
      this.system.startClock();
      this.memory.write8(Bda.videoFlags, 0x11); // a VGA that draws text with 400 lines
      this.video.setMode(3);
      this.menu.reset();
      this.preparing = this.disk.initialise().then(() => void (this.prepared = true));
    }
    if (!this.prepared) return TrapStatus.again;
    this.memory.write8(Bda.diskCount, this.disk.hardDiskCount);
    this.preparing = undefined;
    this.prepared = false;
    return TrapStatus.done;
  }

  private initialiseMemory(): void {
    const m = this.memory;
    const vector = (n: number, offset: number): void => {
      m.write16(n * 4, offset);
      m.write16(n * 4 + 2, ROM_SEGMENT);
    };
    for (let n = 0; n < 0x78; n++) vector(n, Rom.iret);
    for (let n = 0x0a; n < 0x10; n++) vector(n, Rom.masterInterrupt);
    for (let n = 0x71; n < 0x78; n++) vector(n, Rom.slaveInterrupt);
    for (const [n, offset] of HARDWARE_VECTORS) vector(n, offset);
    for (const [n, offset] of FIXED_SERVICES) vector(n, offset);
    vector(0x13, stubOffset(0x13));
    vector(0x18, stubOffset(0x18));
    vector(0x1d, Rom.videoParameters);
    vector(0x1e, Rom.floppyParameters);
    vector(0x1f, Rom.font8x8High);
    vector(0x43, Rom.font8x8);
    // Free for programs: 60h–67h are zero so that software can find an unused one.
    m.fill(0x60 * 4, 32, 0);

    m.fill(BDA, 0x100, 0);
    m.fill(EBDA_SEGMENT * 16, EBDA_BYTES, 0);
    m.write8(EBDA_SEGMENT * 16, EBDA_BYTES / 1024);
    m.write16(Bda.ebdaSegment, EBDA_SEGMENT);
    m.write16(Bda.memoryKiB, CONVENTIONAL_KIB);
    const serial = [0x3f8, 0x2f8].filter((port) => this.deps.bus.readPort(port + 5, 1) !== 0xff);
    serial.forEach((port, i) => m.write16(Bda.com + 2 * i, port));
    const floppies = this.deps.floppies.length;
    // Equipment: diskette present and count, coprocessor, pointing device, 80×25 colour, serial ports.
    m.write16(Bda.equipment, (floppies ? 1 | ((floppies - 1) << 6) : 0) | 0x0002 | 0x0004 | 0x0020 | (serial.length << 9));
    m.fill(Bda.comTimeout, 4, 1);
    m.write8(Bda.resetFlag, 0);
  }

  /** Keyboard on, translated to set 1, with its interrupt; the pointing device off until somebody asks for it. */
  private initialiseKeyboardController(): void {
    const { bus } = this.deps;
    for (let i = 0; i < 32 && bus.readPort(0x64, 1) & 1; i++) bus.readPort(0x60, 1);
    bus.writePort(0x64, 1, 0x60);
    bus.writePort(0x60, 1, 0x61 & ~0x10);
    bus.writePort(0x64, 1, 0xae);
    bus.writePort(0x60, 1, 0xf4);
    for (let i = 0; i < 32 && bus.readPort(0x64, 1) & 1; i++) bus.readPort(0x60, 1);
  }

  private print(text: string, attribute = 0x07): void {
    for (const character of text) {
      if (character === '\n') this.video.teletype(0x0d, 0);
      // Names of files may hold anything; the screen has code page 437.
      const code = character.charCodeAt(0);
      this.video.teletype(code < 0x7f ? code : 0x3f, 0, attribute);
    }
  }
}
