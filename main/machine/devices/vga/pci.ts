/**
 * The VGA as PCI function 1234:1111 ("Bochs display"): BAR 0 VRAM, BAR 2 registers (EDID at 0, VGA ports at 400h, DISPI at 500h).
 * The legacy ports and memory stay claimed whatever the command register says: a primary adapter decodes them from power-on.
 */
import type { Disposable } from '../../../lib/disposable';
import type { Bus } from '../../bus/bus';
import { PciFunction } from '../pci';
import {
  DISPI_PORT_BASE,
  DISPI_PORT_COUNT,
  LEGACY_MEMORY_BASE,
  LEGACY_MEMORY_BYTES,
  LEGACY_PORT_BASE,
  LEGACY_PORT_COUNT,
  MMIO_BYTES,
  VRAM_BYTES,
  type Vga,
} from './vga';

export class VgaPci extends PciFunction {
  constructor(private readonly vga: Vga) {
    super('vga', { vendor: 0x1234, device: 0x1111, classCode: 0x030000, subsystemVendor: 0x1af4, subsystem: 0x1100 });
    this.addBar({ index: 0, kind: 'region', bytes: VRAM_BYTES, region: vga.region, prefetchable: true });
    this.addBar({ index: 2, kind: 'memory', bytes: MMIO_BYTES, handler: vga.mmio });
  }

  override reset(): void {
    super.reset();
    this.vga.reset();
  }

  override dispose(): void {
    super.dispose();
    this.vga.dispose();
  }
}

/** Claims the fixed addresses; everything is released by the Disposable. */
export function claimLegacyVga(bus: Pick<Bus, 'claimPorts' | 'claimMmio'>, vga: Vga): Disposable {
  const claims = [
    bus.claimPorts(LEGACY_PORT_BASE, 0x0c, vga.legacyPorts, 'vga'),
    // 3BCh–3BFh is a parallel port's.
    bus.claimPorts(0x3c0, LEGACY_PORT_BASE + LEGACY_PORT_COUNT - 0x3c0, offsetBy(vga, 0x3c0 - LEGACY_PORT_BASE), 'vga'),
    bus.claimPorts(DISPI_PORT_BASE, DISPI_PORT_COUNT, vga.dispiPorts, 'vga-dispi', { maxWidth: 2 }),
    bus.claimMmio(LEGACY_MEMORY_BASE, LEGACY_MEMORY_BYTES, vga.legacyMemory, 'vga-memory'),
  ];
  return { dispose: () => claims.forEach((claim) => claim.dispose()) };
}

function offsetBy(vga: Vga, bytes: number): Vga['legacyPorts'] {
  return {
    read: (offset, width) => vga.legacyPorts.read(offset + bytes, width),
    write: (offset, width, value) => vga.legacyPorts.write(offset + bytes, width, value),
  };
}
