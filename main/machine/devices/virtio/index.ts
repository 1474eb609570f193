import { VirtioBlk, type BlkDeps } from './blk/blk';
import { VirtioPci } from './pci';
import { VirtioRng, type RngDeps } from './rng/rng';

export type { BlkCounters, BlkDeps } from './blk/blk';
export type { RngDeps } from './rng/rng';
export { VirtioBlk, VirtioPci, VirtioRng };

/** A disk as PCI function 1af4:1042. */
export function createVirtioBlk(deps: BlkDeps): { pci: VirtioPci; blk: VirtioBlk } {
  const blk = new VirtioBlk(deps);
  return { pci: new VirtioPci(blk, deps.mem), blk };
}

/** An entropy source as PCI function 1af4:1044. */
export function createVirtioRng(deps: RngDeps): VirtioPci {
  return new VirtioPci(new VirtioRng(deps), deps.mem);
}
