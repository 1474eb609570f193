import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

/** Boots of real kernels. Each file runs its guests one after the other; as many files at once as there are cores. */
export default defineConfig({
  test: {
    include: ['tests/guest/**/*.guest.ts'],
    environment: 'node',
    testTimeout: 300_000,
    hookTimeout: 60_000,
    maxWorkers: Math.max(1, Math.min(4, Math.floor(availableParallelism() / 2) + 1)),
    retry: 0,
  },
});
