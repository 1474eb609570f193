import type { Vga } from '../vga';
import { VirtioBlk, type BlkDeps } from './blk/blk';
import { VirtioVga } from './gpu/adapter';
import { VirtioGpu, type GpuDeps } from './gpu/gpu';
import { VirtioTablet, type TabletDeps } from './input/tablet';
import { VirtioPci } from './pci';
import { VirtioRng, type RngDeps } from './rng/rng';

export type { BlkCounters, BlkDeps } from './blk/blk';
export type { RngDeps } from './rng/rng';
export { mouseAndTablet } from './input/tablet';
export { VirtioBlk, VirtioPci, VirtioRng, VirtioVga };

/** A disk as PCI function 1af4:1042. */
export function createVirtioBlk(deps: BlkDeps): { pci: VirtioPci; blk: VirtioBlk } {
  const blk = new VirtioBlk(deps);
  return { pci: new VirtioPci(blk, deps.mem), blk };
}

/** An entropy source as PCI function 1af4:1044. */
export function createVirtioRng(deps: RngDeps): VirtioPci {
  return new VirtioPci(new VirtioRng(deps), deps.mem);
}

/** The display adapter as PCI function 1af4:1050, around a VGA. */
export function createVirtioVga(vga: Vga, deps: GpuDeps): VirtioVga {
  return new VirtioVga(vga, new VirtioGpu(deps), deps.mem);
}

/** A pointer with absolute positions as PCI function 1af4:1052. */
export function createVirtioTablet(deps: TabletDeps): { pci: VirtioPci; tablet: VirtioTablet } {
  const tablet = new VirtioTablet(deps);
  return { pci: new VirtioPci(tablet, deps.mem), tablet };
}
