import { defineConfig } from '@playwright/test';

/** End-to-end tests of the built application: served to Chromium, and in Electron. `npm test -- e2e` sets everything up. */
export default defineConfig({
  testDir: 'tests/e2e',
  outputDir: 'test-results/e2e',
  // Each test boots machines of its own; two at once would fight for two cores.
  workers: 1,
  timeout: 180_000,
  expect: { timeout: 20_000 },
  reporter: [['list'], ['json', { outputFile: process.env.LODGE_TEST_RESULTS ?? 'test-results/e2e.json' }]],
  use: { actionTimeout: 15_000, screenshot: 'off', trace: 'retain-on-failure' },
  projects: [
    { name: 'served', metadata: { kind: 'served' }, testIgnore: '**/*.electron.spec.ts' },
    { name: 'electron', metadata: { kind: 'electron' }, testIgnore: '**/*.served.spec.ts' },
  ],
});
