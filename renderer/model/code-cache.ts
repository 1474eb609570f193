import { CODE_CACHE_MIB } from './types';

/** What is offered for the code cache, in MiB; whatever the machine has now is among them. */
export function codeCacheSizes(current?: number): number[] {
  const sizes = new Set([16, 32, 64, 128, CODE_CACHE_MIB, 512, 1024, 2048]);
  if (current !== undefined) sizes.add(current);
  return [...sizes].sort((a, b) => a - b);
}
