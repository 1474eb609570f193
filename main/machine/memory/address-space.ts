/**
 * The guest-physical address map of the PC, and what native regions (RAM, video memory) show up in it.
 *
 *   0 – 0x9ffff          RAM
 *   0xa0000 – 0xbffff    legacy VGA window
 *   0xc0000 – 0xfffff    RAM, reserved for ROM images and firmware tables
 *   1 MiB – 3 GiB        RAM, as much as there is
 *   3 GiB – 0xfebfffff   PCI memory
 *   0xfec00000 – 4 GiB   interrupt controllers, firmware
 *   4 GiB –              the rest of the RAM, then nothing
 */
import type { NativeMachine, RegionId } from '../../../native/addon/types';
import type { Disposable } from '../../lib/disposable';

export const PAGE_BYTES = 4096;
export const LEGACY_VGA_START = 0xa0000;
export const LEGACY_VGA_END = 0xc0000;
export const FIRMWARE_AREA_START = 0xc0000;
export const LOW_RAM_LIMIT = 0xc000_0000;
export const PCI_MEMORY_START = 0xc000_0000;
export const PCI_MEMORY_END = 0xfec0_0000;
export const HIGH_RAM_START = 0x1_0000_0000;

export interface RamLayout {
  /** Bytes from address 0. */
  readonly low: number;
  /** Bytes from 4 GiB. */
  readonly high: number;
}

export function ramLayout(bytes: number): RamLayout {
  const low = Math.min(bytes, LOW_RAM_LIMIT);
  return { low, high: bytes - low };
}

export interface RegionWindows {
  /** Shows part of a native region at an address; undefined where that is not allowed (over RAM, the interrupt controllers). */
  map(region: RegionId, regionOffset: number, at: number, bytes: number): Disposable | undefined;
}

interface RegionWindow {
  readonly region: RegionId;
  readonly regionOffset: number;
  readonly at: number;
  readonly bytes: number;
}

type MapCalls = Pick<NativeMachine, 'addRegion' | 'mapRegion' | 'unmap'>;

export class AddressSpace implements RegionWindows {
  readonly layout: RamLayout;
  private windows: RegionWindow[] = [];

  constructor(
    private readonly native: MapCalls,
    ramBytes: number,
  ) {
    this.layout = ramLayout(ramBytes);
    const { low, high } = this.layout;
    const ram = native.addRegion('ram', ramBytes);
    native.mapRegion(ram, 0, 0, Math.min(low, LEGACY_VGA_START));
    if (low > FIRMWARE_AREA_START) native.mapRegion(ram, FIRMWARE_AREA_START, FIRMWARE_AREA_START, low - FIRMWARE_AREA_START);
    if (high > 0) native.mapRegion(ram, low, HIGH_RAM_START, high);
  }

  map(region: RegionId, regionOffset: number, at: number, bytes: number): Disposable | undefined {
    if (!this.allowed(at, bytes)) return undefined;
    const window: RegionWindow = { region, regionOffset, at, bytes };
    this.windows.push(window);
    this.native.mapRegion(region, regionOffset, at, bytes);
    return { dispose: () => this.remove(window) };
  }

  /** What lay under the window comes back, so that a guest which stacks its BARs gets what the order of mapping says. */
  private remove(window: RegionWindow): void {
    if (!this.windows.includes(window)) return;
    this.windows = this.windows.filter((w) => w !== window);
    this.native.unmap(window.at, window.bytes);
    for (const w of this.windows) {
      if (w.at < window.at + window.bytes && window.at < w.at + w.bytes)
        this.native.mapRegion(w.region, w.regionOffset, w.at, w.bytes);
    }
  }

  private allowed(at: number, bytes: number): boolean {
    if (!Number.isSafeInteger(at) || at < 0 || bytes <= 0 || at % PAGE_BYTES !== 0 || bytes % PAGE_BYTES !== 0) return false;
    const end = at + bytes;
    if (at >= LEGACY_VGA_START && end <= LEGACY_VGA_END) return true;
    // Firmware may begin its PCI memory anywhere above the RAM.
    if (at >= this.layout.low && end <= PCI_MEMORY_END) return true;
    return at >= HIGH_RAM_START + this.layout.high && end <= 2 ** 46;
  }
}
