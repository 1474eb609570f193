/** The PC: which devices there are, at which addresses, on which interrupt wires. Everything is claimed here, once, at build time. */
import { Quick, type NativeMachine } from '../../native/addon/types';
import type { CharBackend } from '../backend/char';
import type { Clock } from '../backend/clock';
import type { DisplaySource } from '../backend/display';
import type { PointerSink } from '../backend/input';
import { QuickPorts } from '../machine/bus/quick-ports';
import { Bus } from '../machine/bus/bus';
import { Doorbells } from '../machine/bus/doorbells';
import { IrqWires } from '../machine/bus/irq';
import { COM_PORTS, GSI_COUNT, KEYBOARD_IRQ, MOUSE_IRQ, RTC_IRQ, SCI_IRQ } from '../machine/bus/pc';
import type { Device } from '../machine/bus/types';
import { I440fx, Piix3, Piix4Pm, ResetControl } from '../machine/devices/chipset';
import { DEBUG_EXIT_PORT, DebugExit } from '../machine/devices/debug-exit/debug-exit';
import { COMMAND_PORT, DATA_PORT, I8042, type KeyboardLeds } from '../machine/devices/i8042';
import { PciBus } from '../machine/devices/pci';
import { Port92 } from '../machine/devices/port92';
import { memorySizeRegisters, Rtc } from '../machine/devices/rtc/mc146818';
import { Uart16550, UART_PORTS } from '../machine/devices/serial/uart16550';
import { CfiFlash, type FlashDeps } from '../machine/devices/flash/cfi-flash';
import { FW_CFG_PORT, FW_CFG_PORTS, FwCfg } from '../machine/devices/fw-cfg/fw-cfg';
import { claimLegacyVga, Vga, VgaPci } from '../machine/devices/vga';
import { ROM_FONTS } from '../machine/devices/vga/font';
import { createVirtioRng, createVirtioTablet, createVirtioVga, mouseAndTablet } from '../machine/devices/virtio';
import { Bios } from '../machine/firmware/bios/bios';
import { ROM_BASE, ROM_BYTES } from '../machine/firmware/bios/rom';
import { firmwareFiles } from '../machine/firmware/fw-cfg-files';
import { memoryMap } from '../machine/firmware/layout';
import type { FirmwareKernel } from '../machine/firmware/linux';
import { installBiosData, installFirmwareTables } from '../machine/firmware/tables';
import { AddressSpace, HIGH_RAM_START } from '../machine/memory/address-space';
import { createGuestMemory, gpa, type GuestMemory } from '../machine/memory/guest-memory';
import { Storage, type BoardDisk } from './storage';

export type { BoardDisk };

/** External firmware: code that ends at 4 GiB, and in front of it the flash that holds UEFI's variables. */
export interface BoardFlash {
  readonly code: Uint8Array;
  readonly variables?: { readonly contents: Uint8Array; changed(offset: number, bytes: number): void };
  readonly vgaRom?: Uint8Array;
  /** What it is to start, instead of looking at disks. */
  readonly kernel?: FirmwareKernel;
}

export interface BoardOptions {
  readonly native: NativeMachine;
  /** The engine's. */
  readonly exitBuffer: ArrayBuffer;
  readonly clock: Clock;
  readonly ramBytes: number;
  readonly cpus: number;
  /** What a table says of the processors' speed. */
  readonly cpuMegahertz: number;
  readonly version: string;
  /** COM1 first. */
  readonly serial: readonly CharBackend[];
  readonly disks: readonly BoardDisk[];
  readonly debugExit: boolean;
  readonly video: 'vga' | 'virtio';
  /** The built-in BIOS is there, and the processors start in it. */
  readonly bios: boolean;
  /** Instead of the built-in BIOS. */
  readonly flash?: BoardFlash;
  /** How long firmware waits for the key of its boot menu. */
  readonly menuSeconds: number;
  /** The boot menu comes without a key, wherever firmware can do that, until the first reset. */
  readonly openMenu?: boolean;
  /** The disk or disc to start from this time; from the first reset on, the order is the usual one. */
  readonly bootFirst?: string;
  /** What firmware says at its debug port. */
  readonly firmwareLog?: (text: string) => void;
  readonly fillRandom: (into: Uint8Array) => void;
  /** Runs a callback in a later turn of the event loop. */
  readonly defer: (callback: () => void) => void;
  /** What the guest asks of the machine. All are called from within an exit. */
  readonly onReset: () => void;
  /** The processor's reset line alone, as the keyboard controller and port 92h have it. */
  readonly onProcessorReset: () => void;
  readonly onPowerOff: () => void;
  readonly onDebugExit: (code: number) => void;
  readonly onLeds: (leds: KeyboardLeds) => void;
  /** Its driver of the pointer with absolute positions came or went. */
  readonly onPointerMode: () => void;
  readonly onDiskError: (diskId: string, message: string) => void;
  /** The guest took a disc or floppy out; nothing uses it any more. */
  readonly onEjected: (disk: BoardDisk) => void;
}

const VGA_SLOT = 2;
/** As much of external firmware as a PC shows below 1 MiB as well. */
const SHADOW_BYTES = 128 << 10;
const SHADOW_END = 1 << 20;
/** Reading it gives E9h where somebody listens (Bochs). */
const DEBUG_PORT = 0x402;
/** External firmware opens its menu at a key only: time to read which one, and to press it. */
const EXTERNAL_MENU_MS = 10_000;
const CMOS_FLOPPIES = 0x10;

export class Board {
  readonly bus = new Bus();
  readonly memory: GuestMemory;
  readonly space: AddressSpace;
  readonly doorbells: Doorbells;
  readonly pci: PciBus;
  readonly pm: Piix4Pm;
  readonly keyboardController: I8042;
  readonly vga: Vga;
  /** What the monitor shows. */
  readonly display: DisplaySource;
  /** The monitor has another size now; undefined where the adapter could not tell its driver. */
  readonly resizeDisplay: ((width: number, height: number) => void) | undefined;
  readonly pointer: PointerSink;
  private readonly host: I440fx;
  readonly storage: Storage;
  private readonly piix3: Piix3;
  private readonly rtc: Rtc;
  private readonly bios: Bios | undefined;
  private bootFirst: string | undefined;
  private openMenu: boolean;
  /** In the order of the reset line. */
  private readonly devices: Device[] = [];

  constructor(private readonly options: BoardOptions) {
    const { native, clock, onReset, onProcessorReset } = options;
    const { bus } = this;
    this.bootFirst = options.bootFirst;
    this.openMenu = options.openMenu ?? false;
    this.space = new AddressSpace(native, options.ramBytes);
    this.memory = createGuestMemory(native);
    this.doorbells = new Doorbells(native);
    bus.quickPorts = new QuickPorts(native, new Uint32Array(options.exitBuffer, Quick.WORDS, Quick.PORTS));
    const wires = new IrqWires(GSI_COUNT, (gsi, level) => native.setIrq(gsi, level));

    const resetControl = this.add(new ResetControl(onReset));
    this.pci = new PciBus({ bus, doorbells: this.doorbells, regions: this.space, native, resetControl });
    this.piix3 = new Piix3((irq) => wires.connect(irq));
    this.pm = new Piix4Pm({ clock, sci: wires.connect(SCI_IRQ), powerOff: options.onPowerOff });
    this.host = new I440fx();
    this.pci.plug(this.host, 0);
    this.pci.plug(this.piix3, 1, 0);
    this.pci.plug(this.pm, 1, 3);
    this.pci.setRouter(this.piix3);

    this.vga = new Vga({ native, windows: this.space, clock });
    claimLegacyVga(bus, this.vga);
    if (options.video === 'virtio') {
      const adapter = createVirtioVga(this.vga, { mem: this.memory, defer: options.defer });
      this.pci.plug(adapter, VGA_SLOT);
      this.display = adapter;
      this.resizeDisplay = (width, height) => adapter.resize(width, height);
    } else {
      this.pci.plug(new VgaPci(this.vga), VGA_SLOT);
      this.display = this.vga;
    }

    this.keyboardController = this.add(
      new I8042({
        irq1: wires.connect(KEYBOARD_IRQ),
        irq12: wires.connect(MOUSE_IRQ),
        clock,
        onLeds: options.onLeds,
        systemReset: onProcessorReset,
      }),
    );
    bus.claimPorts(DATA_PORT, 1, this.keyboardController.dataPort, 'i8042 data', { maxWidth: 1 });
    bus.claimPorts(COMMAND_PORT, 1, this.keyboardController.commandPort, 'i8042 command', { maxWidth: 1 });
    bus.claimPorts(0x92, 1, this.add(new Port92(onProcessorReset)), 'port 92', { maxWidth: 1 });

    this.storage = new Storage({
      bus,
      pci: this.pci,
      mem: this.memory,
      clock,
      connect: (irq) => wires.connect(irq),
      defer: options.defer,
      disks: options.disks,
      onDiskError: options.onDiskError,
      onEjected: options.onEjected,
    });
    this.pci.plug(this.storage.ide, 1, 1);
    this.add(this.storage.dma);
    if (this.storage.floppy) this.add(this.storage.floppy);

    const { low, high } = this.space.layout;
    const floppies: [number, number][] = [[CMOS_FLOPPIES, this.storage.floppyTypes]];
    const rtc = (this.rtc = this.add(
      new Rtc({ clock, irq: wires.connect(RTC_IRQ) }, [...memorySizeRegisters(low, high), ...floppies]),
    ));
    bus.claimPorts(0x70, 2, rtc, 'rtc', { maxWidth: 1 });

    options.serial.slice(0, COM_PORTS.length).forEach((backend, i) => {
      const { port, irq } = COM_PORTS[i]!;
      const uart = this.add(new Uart16550(`COM${i + 1}`, { irq: wires.connect(irq), backend }));
      bus.claimPorts(port, UART_PORTS, uart, uart.name, { maxWidth: 1 });
    });
    if (options.debugExit) bus.claimPorts(DEBUG_EXIT_PORT, 1, this.add(new DebugExit(options.onDebugExit)), 'debug exit');

    const { mouse } = this.keyboardController;
    if (options.video === 'virtio') {
      // A guest that has the driver of one has that of the other, and a screen that follows the window is one to point at.
      const { pci, tablet } = createVirtioTablet({ mem: this.memory, onMode: options.onPointerMode });
      this.pci.plugAnywhere(pci);
      this.pointer = mouseAndTablet(mouse, tablet);
    } else this.pointer = mouse;
    this.pci.plugAnywhere(createVirtioRng({ mem: this.memory, fillRandom: options.fillRandom, defer: options.defer }));
    this.devices.push(this.pci);
    if (options.bios) this.bios = this.add(this.createBios());
    if (options.flash) this.plugFlash(options.flash);
  }

  /** The machine's reset line. The vCPUs are parked; the engine's own devices are reset by its owner. */
  reset(): void {
    this.bootFirst = undefined;
    this.openMenu = false;
    for (const device of this.devices) device.reset();
  }

  /** A program has arranged to go on behind a reset of its processor: the built-in BIOS (rom.ts) will jump to where it said. */
  get resumesAfterReset(): boolean {
    return this.bios !== undefined && (this.rtc.shutdownStatus === 0x05 || this.rtc.shutdownStatus === 0x0a);
  }

  /** No disk request is in flight any more; what was is done. Nothing new begins until the guest's driver starts again. */
  async quiesce(): Promise<void> {
    await this.storage.quiesce();
  }

  /** What firmware does before an operating system starts. Returns the address of the ACPI root pointer. */
  setUpPlatform(): number {
    this.host.setUp();
    this.piix3.setUpRoutes();
    this.pm.setUp();
    this.pci.assignResources();
    this.storage.setUp();
    const { cpus, cpuMegahertz, ramBytes, version } = this.options;
    return installFirmwareTables(this.memory, {
      cpus,
      cpuMegahertz,
      ramBytes,
      version,
      serialPorts: this.serialPorts,
      floppy: this.storage.floppy !== undefined,
    });
  }

  /** The state in which the processors find the machine when the BIOS is to boot it. */
  loadFirmware(): void {
    const { flash } = this.options;
    const rom = this.bios?.rom ?? flash?.code.subarray(-SHADOW_BYTES);
    if (!rom) throw new Error('this machine was built without firmware');
    if (!this.memory.write(gpa(this.bios ? ROM_BASE : SHADOW_END - rom.length), rom))
      throw new Error('the BIOS area is not backed by RAM');
  }

  /** For an operating system that is loaded without a BIOS. */
  loadBiosData(): void {
    installBiosData(this.memory, this.serialPorts);
  }

  /** A line for every BIOS service that ends. */
  traceBios(to: (line: string) => void): void {
    if (this.bios) this.bios.trace = to;
  }

  dispose(): void {
    for (const device of [...this.devices].reverse()) device.dispose?.();
  }

  private get serialPorts(): number {
    return Math.min(this.options.serial.length, COM_PORTS.length);
  }

  private createBios(): Bios {
    const { native, onReset, onPowerOff, onDiskError } = this.options;
    const bios = new Bios({
      bus: this.bus,
      memory: this.memory,
      fonts: { font8x8: ROM_FONTS.get(8)!, font8x14: ROM_FONTS.get(14)!, font8x16: ROM_FONTS.get(16)! },
      floppies: this.storage.drives('floppy'),
      disks: this.storage.drives('disk'),
      discs: this.storage.drives('disc'),
      bootOrder: () => this.storage.bootOrder(this.bootFirst),
      memoryMap: memoryMap(this.space.layout),
      menuSeconds: this.options.menuSeconds,
      openMenu: () => this.openMenu,
      prepare: () => void this.setUpPlatform(),
      restart: onReset,
      powerOff: onPowerOff,
      hostError: (message) => onDiskError('bios', message),
    });
    // The reset vector lies at the top of the first 4 GiB; the copy below 1 MiB is RAM, as on machines that shadow their ROM.
    const rom = native.addRegion('rom', ROM_BYTES);
    native.regionWrite(rom, 0, bios.rom);
    native.mapRegion(rom, 0, 2 ** 32 - ROM_BYTES, ROM_BYTES);
    return bios;
  }

  private plugFlash({ code, variables, vgaRom, kernel }: BoardFlash): void {
    const { native, cpus, cpuMegahertz, ramBytes, version, menuSeconds, firmwareLog } = this.options;
    const rom = native.addRegion('rom', code.length);
    native.regionWrite(rom, 0, code);
    const at = HIGH_RAM_START - code.length;
    native.mapRegion(rom, 0, at, code.length);
    if (variables) {
      const { contents } = variables;
      const start = at - contents.length;
      const region = native.addRegion('flash', contents.length);
      native.regionWrite(region, 0, contents);
      const deps: FlashDeps = {
        changed: (offset, bytes) => {
          native.regionWrite(region, offset, contents.subarray(offset, offset + bytes));
          variables.changed(offset, bytes);
        },
        readDirectly: (on) => (on ? native.mapRegion(region, 0, start, contents.length) : native.unmap(start, contents.length)),
      };
      const flash = this.add(new CfiFlash(contents, deps));
      this.bus.claimMmio(start, contents.length, flash, flash.name);
    }
    const contents = firmwareFiles({
      ...{
        cpus,
        cpuMegahertz,
        ramBytes,
        version,
        serialPorts: this.serialPorts,
        ram: this.space.layout,
        floppy: this.storage.floppy !== undefined,
      },
      bootOrder: () => this.storage.bootPaths(this.bootFirst),
      powerManagementBase: () => this.pm.ioBase,
      menuMilliseconds: () => (this.openMenu ? EXTERNAL_MENU_MS : Math.round(menuSeconds * 1000)),
      ...(vgaRom && { vgaRom }),
      ...(kernel && { kernel }),
    });
    this.bus.claimPorts(FW_CFG_PORT, FW_CFG_PORTS, this.add(new FwCfg(this.memory, contents)), 'fw_cfg');
    if (firmwareLog) {
      const port = {
        read: () => 0xe9,
        write: (_offset: number, _width: number, value: number) => firmwareLog(String.fromCharCode(value)),
      };
      this.bus.claimPorts(DEBUG_PORT, 1, port, 'debug port', { maxWidth: 1 });
    }
  }

  private add<T extends Device>(device: T): T {
    this.devices.push(device);
    return device;
  }
}
