/**
 * A PCI function: what every PCI device is built on. PCI Local Bus 3.0 §6 (type 0 header).
 *
 * It owns the header, BARs (sizing and moving them is ordinary configuration access; the function maps and unmaps what is behind
 * them), a capability list, INTx with its disable and status bits, MSI-X, and doorbells inside BARs. A device derives from it or
 * holds one; it sees offsets within its BARs only.
 */
import type { RegionId } from '../../../../native/addon/types';
import type { Disposable } from '../../../lib/disposable';
import type { Device, IoHandler, IrqLine, MmioHandler } from '../../bus/types';
import { ConfigSpace, type ConfigRegister } from './config-space';
import { Msix, MSIX_BAR_BYTES, MSIX_CAPABILITY_ID, MSIX_ENABLE, MSIX_FUNCTION_MASK, MSIX_PBA_OFFSET } from './msix';

export interface PciIdentity {
  readonly vendor: number;
  readonly device: number;
  readonly revision?: number;
  /** Class, subclass, programming interface: 0xCCSSPP. */
  readonly classCode: number;
  readonly subsystemVendor?: number;
  readonly subsystem?: number;
  /** 0: none, 1: INTA … 4: INTD. */
  readonly interruptPin?: number;
  /** Header type bit 7: the slot has more functions (set on function 0). */
  readonly multifunction?: boolean;
}

interface BarCommon {
  /** Register number 0–5; a 64-bit BAR takes the next one too. */
  readonly index: number;
  /** A power of two: at least 16 for memory (4096 for regions), 4 for ports. */
  readonly bytes: number;
  readonly maxWidth?: 1 | 2 | 4;
}

export type BarSpec =
  | (BarCommon & { readonly kind: 'io'; readonly handler: IoHandler })
  | (BarCommon & {
      readonly kind: 'memory';
      readonly handler: MmioHandler;
      readonly wide?: boolean;
      readonly prefetchable?: boolean;
    })
  /** Backed by a native region from `regionOffset`: the guest's accesses never leave the engine. */
  | (BarCommon & {
      readonly kind: 'region';
      readonly region: RegionId;
      readonly regionOffset?: number;
      readonly wide?: boolean;
      readonly prefetchable?: boolean;
    });

/** What the PCI bus gives a function that is plugged in. */
export interface PciSlot {
  overlayPorts(start: number, count: number, handler: IoHandler, name: string, options: { maxWidth?: 1 | 2 | 4 }): Disposable;
  overlayMmio(start: number, bytes: number, handler: MmioHandler, name: string, options: { maxWidth?: 1 | 2 | 4 }): Disposable;
  mapRegion(region: RegionId, regionOffset: number, at: number, bytes: number): Disposable | undefined;
  addDoorbell(kind: 'mmio' | 'port', address: number, width: 1 | 2 | 4, ring: (value: number) => void): Disposable;
  readonly interrupt: IrqLine;
  sendMsi(address: number, data: number): void;
}

export const Config = {
  VENDOR: 0x00,
  DEVICE: 0x02,
  COMMAND: 0x04,
  STATUS: 0x06,
  REVISION: 0x08,
  PROG_IF: 0x09,
  SUBCLASS: 0x0a,
  CLASS: 0x0b,
  HEADER_TYPE: 0x0e,
  BAR0: 0x10,
  SUBSYSTEM_VENDOR: 0x2c,
  SUBSYSTEM: 0x2e,
  CAPABILITIES: 0x34,
  INTERRUPT_LINE: 0x3c,
  INTERRUPT_PIN: 0x3d,
} as const;

export const Command = { IO: 1, MEMORY: 2, BUS_MASTER: 4, INTX_DISABLE: 0x400 } as const;
const STATUS_INTERRUPT = 0x08;
const STATUS_CAPABILITIES = 0x10;
/** Parity, target and master aborts: never raised here, but cleared as on hardware. */
const STATUS_CLEAR = 0xf900;

interface Bar {
  readonly spec: BarSpec;
  /** Where it is decoded now; undefined while it is not. */
  base: number | undefined;
  mapping: Disposable | undefined;
  doorbells: Disposable[];
}

interface Doorbell {
  readonly bar: number;
  readonly offset: number;
  readonly width: 1 | 2 | 4;
  readonly ring: (value: number) => void;
}

/** PCI Local Bus 3.0 §6.8.1, one message, 64-bit address: control, address, data as offsets in the capability. */
const MSI = { ID: 0x05, CONTROL: 2, ADDRESS: 4, ADDRESS_HIGH: 8, DATA: 12, ENABLE: 1, WIDE: 0x80 } as const;

const isPowerOfTwo = (n: number): boolean => n > 0 && Number.isInteger(Math.log2(n));

export class PciFunction implements Device {
  protected readonly config = new ConfigSpace();
  private readonly bars: Bar[] = [];
  private readonly doorbells: Doorbell[] = [];
  /** Undefined until plugged. */
  protected slot: PciSlot | undefined;
  private capabilityEnd = 0x40;
  private capabilityHead = 0;
  private intxLevel = false;
  private msixState: Msix | undefined;
  private msixControl = 0;
  /** Offset of the MSI capability; 0: none. */
  private msi = 0;

  constructor(
    readonly name: string,
    readonly identity: PciIdentity,
  ) {
    this.config.define([
      { offset: Config.VENDOR, width: 2, name: 'vendor', reset: identity.vendor },
      { offset: Config.DEVICE, width: 2, name: 'device', reset: identity.device },
      { offset: Config.COMMAND, width: 2, name: 'command', reset: 0, writable: 0x0547 },
      { offset: Config.STATUS, width: 2, name: 'status', reset: 0, clear: STATUS_CLEAR },
      { offset: Config.REVISION, width: 1, name: 'revision', reset: identity.revision ?? 0 },
      { offset: Config.PROG_IF, width: 1, name: 'programmingInterface', reset: identity.classCode & 0xff },
      { offset: Config.SUBCLASS, width: 2, name: 'class', reset: identity.classCode >>> 8 },
      { offset: 0x0c, width: 1, name: 'cacheLine', reset: 0, writable: 0xff },
      { offset: 0x0d, width: 1, name: 'latency', reset: 0, writable: 0xff },
      { offset: Config.HEADER_TYPE, width: 1, name: 'headerType', reset: identity.multifunction ? 0x80 : 0 },
      { offset: Config.SUBSYSTEM_VENDOR, width: 2, name: 'subsystemVendor', reset: identity.subsystemVendor ?? 0 },
      { offset: Config.SUBSYSTEM, width: 2, name: 'subsystem', reset: identity.subsystem ?? 0 },
      { offset: Config.INTERRUPT_LINE, width: 1, name: 'interruptLine', reset: 0, writable: 0xff },
      { offset: Config.INTERRUPT_PIN, width: 1, name: 'interruptPin', reset: identity.interruptPin ?? 0 },
    ]);
  }

  /** Device-specific registers (0x40–0xff). */
  protected defineRegisters(registers: readonly ConfigRegister[]): void {
    this.config.define(registers);
  }

  addBar(spec: BarSpec): void {
    const { index, bytes, kind } = spec;
    const wide = kind !== 'io' && spec.wide === true;
    const least = kind === 'io' ? 4 : kind === 'memory' ? 16 : 4096;
    if (!isPowerOfTwo(bytes) || bytes < least || (kind === 'io' && bytes > 256) || index < 0 || index + (wide ? 1 : 0) > 5) {
      throw new Error(`${this.name}: BAR ${index} cannot be ${bytes} bytes of ${kind}`);
    }
    const flags = kind === 'io' ? 1 : (wide ? 4 : 0) | (spec.prefetchable ? 8 : 0);
    const offset = Config.BAR0 + index * 4;
    const low = bytes >= 2 ** 32 ? 0 : (2 ** 32 - bytes) >>> 0;
    this.config.define([{ offset, width: 4, name: `bar${index}`, reset: flags, writable: low }]);
    if (wide) {
      const high = bytes > 2 ** 32 ? (2 ** 32 - bytes / 2 ** 32) >>> 0 : 0xffffffff;
      this.config.define([{ offset: offset + 4, width: 4, name: `bar${index}High`, reset: 0, writable: high }]);
    }
    this.bars.push({ spec, base: undefined, mapping: undefined, doorbells: [] });
  }

  /** Adds a capability after the last one; `body` starts behind the two header bytes. Returns its offset. */
  addCapability(id: number, body: Uint8Array, writable?: Uint8Array): number {
    const offset = this.capabilityEnd;
    const length = (2 + body.length + 3) & ~3;
    if (offset + length > 256) throw new Error(`${this.name}: capability ${id} does not fit`);
    // Each capability goes in front of the list: only the head needs to be patched.
    const registers: ConfigRegister[] = [
      { offset, width: 1, name: `capability${offset.toString(16)}`, reset: id },
      { offset: offset + 1, width: 1, name: `capability${offset.toString(16)}Next`, reset: this.capabilityHead },
    ];
    body.forEach((byte, i) =>
      registers.push({
        offset: offset + 2 + i,
        width: 1,
        name: `capability${offset.toString(16)}+${i + 2}`,
        reset: byte,
        writable: writable?.[i] ?? 0,
      }),
    );
    this.config.define(registers);
    this.capabilityHead = offset;
    this.capabilityEnd = offset + length;
    this.setHardwired();
    return offset;
  }

  /** Gives the function a BAR of its own with an MSI-X table, and the capability that points there. */
  enableMsix(options: { bar: number; vectors: number }): Msix {
    const msix = new Msix(options.vectors, (address, data) => this.slot?.sendMsi(address, data));
    this.addBar({ index: options.bar, kind: 'memory', bytes: MSIX_BAR_BYTES, handler: msix });
    const body = new Uint8Array(10);
    const view = new DataView(body.buffer);
    view.setUint16(0, options.vectors - 1, true);
    view.setUint32(2, options.bar, true);
    view.setUint32(6, MSIX_PBA_OFFSET | options.bar, true);
    const writable = new Uint8Array(10);
    writable[1] = (MSIX_ENABLE | MSIX_FUNCTION_MASK) >>> 8;
    this.msixControl = this.addCapability(MSIX_CAPABILITY_ID, body, writable) + 2;
    this.msixState = msix;
    return msix;
  }

  /** Offers one message; see `raiseMsi`. */
  enableMsi(): void {
    const body = new Uint8Array(12);
    body[0] = MSI.WIDE;
    const writable = new Uint8Array(12);
    writable[0] = MSI.ENABLE;
    writable.fill(0xff, 2, 12);
    writable[2] = 0xfc;
    this.msi = this.addCapability(MSI.ID, body, writable);
  }

  get msiEnabled(): boolean {
    return this.msi !== 0 && (this.config.read(this.msi + MSI.CONTROL, 2) & MSI.ENABLE) !== 0;
  }

  /** Only when enabled. A message to anywhere but the local APIC window goes nowhere: the address is the guest's. */
  raiseMsi(): void {
    if (!this.msiEnabled) return;
    const address = this.config.read(this.msi + MSI.ADDRESS, 4);
    if (this.config.read(this.msi + MSI.ADDRESS_HIGH, 4) !== 0 || address >>> 20 !== 0xfee) return;
    this.slot?.sendMsi(address, this.config.read(this.msi + MSI.DATA, 2));
  }

  get msix(): Msix | undefined {
    return this.msixState;
  }

  /** A register inside a BAR whose writes the engine may report without waiting; see Doorbells. Before `plug` only. */
  addDoorbell(bar: number, offset: number, width: 1 | 2 | 4, ring: (value: number) => void): void {
    this.doorbells.push({ bar, offset, width, ring });
  }

  /** DMA and MSI are allowed. */
  get busMaster(): boolean {
    return (this.config.read(Config.COMMAND, 2) & Command.BUS_MASTER) !== 0;
  }

  /** INTx: level-triggered and shared. */
  readonly intx: IrqLine = {
    set: (level) => {
      this.intxLevel = level;
      this.updateIntx();
    },
  };

  /** Where BAR `index` is decoded now; undefined while it is not. */
  barBase(index: number): number | undefined {
    return this.bars.find((b) => b.spec.index === index)?.base;
  }

  get barSpecs(): readonly BarSpec[] {
    return this.bars.map((b) => b.spec);
  }

  plug(slot: PciSlot): void {
    this.slot = slot;
  }

  readConfig(offset: number, width: number): number {
    return this.config.read(offset, width);
  }

  writeConfig(offset: number, width: number, value: number): void {
    this.config.write(offset, width, value);
    if (offset < Config.CAPABILITIES) this.remap();
    if (offset < Config.STATUS && offset + width > Config.COMMAND) this.updateIntx();
    if (this.msixState && offset < this.msixControl + 2 && offset + width > this.msixControl) {
      this.msixState.setControl(this.config.read(this.msixControl, 2));
    }
    this.configWritten(offset, width);
  }

  /** For devices with registers of their own in configuration space. */
  protected configWritten(_offset: number, _width: number): void {}

  reset(): void {
    this.config.reset();
    this.setHardwired();
    this.msixState?.reset();
    this.intx.set(false);
    this.remap();
  }

  dispose(): void {
    for (const bar of this.bars) this.unmapBar(bar);
    this.intx.set(false);
  }

  private setHardwired(): void {
    if (this.capabilityHead === 0) return;
    this.config.set(Config.CAPABILITIES, 1, this.capabilityHead);
    this.config.set(Config.STATUS, 2, this.config.read(Config.STATUS, 2) | STATUS_CAPABILITIES);
  }

  private updateIntx(): void {
    const status = this.config.read(Config.STATUS, 2);
    this.config.set(Config.STATUS, 2, this.intxLevel ? status | STATUS_INTERRUPT : status & ~STATUS_INTERRUPT);
    const disabled = (this.config.read(Config.COMMAND, 2) & Command.INTX_DISABLE) !== 0;
    this.slot?.interrupt.set(this.intxLevel && !disabled);
  }

  private remap(): void {
    const command = this.config.read(Config.COMMAND, 2);
    for (const bar of this.bars) {
      const base = this.decodedBase(bar.spec, command);
      if (base === bar.base) continue;
      this.unmapBar(bar);
      if (base !== undefined) this.mapBar(bar, base);
    }
  }

  private decodedBase(spec: BarSpec, command: number): number | undefined {
    const offset = Config.BAR0 + spec.index * 4;
    const low = this.config.read(offset, 4);
    if (spec.kind === 'io') {
      const base = (low & ~3) >>> 0;
      return command & Command.IO && base !== 0 && base + spec.bytes <= 0x10000 ? base : undefined;
    }
    const base = ((low & ~15) >>> 0) + (spec.wide ? this.config.read(offset + 4, 4) * 2 ** 32 : 0);
    return command & Command.MEMORY && base !== 0 && base + spec.bytes <= 2 ** 52 ? base : undefined;
  }

  private mapBar(bar: Bar, base: number): void {
    bar.base = base;
    const { slot } = this;
    if (!slot) return;
    const { spec } = bar;
    const name = `${this.name} BAR${spec.index}`;
    const options = spec.maxWidth === undefined ? {} : { maxWidth: spec.maxWidth };
    if (spec.kind === 'io') bar.mapping = slot.overlayPorts(base, spec.bytes, spec.handler, name, options);
    else if (spec.kind === 'memory') bar.mapping = slot.overlayMmio(base, spec.bytes, spec.handler, name, options);
    else bar.mapping = slot.mapRegion(spec.region, spec.regionOffset ?? 0, base, spec.bytes);
    const kind = spec.kind === 'io' ? 'port' : 'mmio';
    for (const d of this.doorbells) {
      if (d.bar === spec.index) bar.doorbells.push(slot.addDoorbell(kind, base + d.offset, d.width, d.ring));
    }
  }

  private unmapBar(bar: Bar): void {
    for (const d of bar.doorbells) d.dispose();
    bar.doorbells = [];
    bar.mapping?.dispose();
    bar.mapping = undefined;
    bar.base = undefined;
  }
}
