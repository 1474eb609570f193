import type { Vga } from '../vga';
import { VirtioBlk, type BlkDeps } from './blk/blk';
import { VirtioVga } from './gpu/adapter';
import { VirtioGpu, type GpuDeps } from './gpu/gpu';
import { VirtioPci } from './pci';
import { VirtioRng, type RngDeps } from './rng/rng';

export type { BlkCounters, BlkDeps } from './blk/blk';
export type { RngDeps } from './rng/rng';
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
