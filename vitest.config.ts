import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

/** Unit tests beside their sources. Guest boots have a configuration of their own in tests/guest. */
export default defineConfig({
  define: { __LODGE_VERSION__: JSON.stringify('0.0.0-test') },
  test: {
    include: ['{main,renderer,preload,native,resources}/**/*.test.{ts,tsx}', 'tests/{conformance,guest}/**/*.test.ts'],
    environment: 'node',
    testTimeout: 20_000,
    maxWorkers: Math.max(1, Math.min(4, availableParallelism())),
    restoreMocks: true,
    coverage: { include: ['main/**', 'renderer/**', 'preload/**'], exclude: ['**/*.test.*'] },
  },
});
