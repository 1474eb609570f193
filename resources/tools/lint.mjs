#!/usr/bin/env node
/** `npm run lint`: ESLint over everything (with the import boundaries), then the formatting. */
import { at, filesUnder, main, runShown } from './lib/common.mjs';

const FORMATTED = [
  'main',
  'native/addon',
  'preload',
  'renderer',
  'resources/tools',
  'tests',
  'eslint.config.js',
  'electron.vite.config.ts',
];

main(async () => {
  const eslint = await runShown(process.execPath, [at('node_modules/eslint/bin/eslint.js'), '.', '--max-warnings', '0']);
  const files = filesUnder(FORMATTED, (file) => /\.(ts|tsx|js|mjs|mts|css)$/.test(file));
  const prettier = await runShown(process.execPath, [
    at('node_modules/prettier/bin/prettier.cjs'),
    '--check',
    '--log-level',
    'warn',
    ...files,
  ]);
  process.exitCode = eslint.code || prettier.code;
});
