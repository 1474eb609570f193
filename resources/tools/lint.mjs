#!/usr/bin/env node
/** `npm run lint`: ESLint over everything (with the import boundaries), then the formatting of what is kept formatted. */
import { at, filesUnder, main, runShown } from './lib/common.mjs';

const FORMATTED = [
  'resources/tools',
  'main/app',
  'main/index.ts',
  'preload/index.ts',
  'tests/e2e',
  'tests/guest',
  'eslint.config.js',
];

main(async () => {
  const eslint = await runShown(process.execPath, [at('node_modules/eslint/bin/eslint.js'), '.', '--max-warnings', '0']);
  const files = filesUnder(FORMATTED, (file) => /\.(ts|tsx|js|mjs|mts|json)$/.test(file));
  const prettier = await runShown(process.execPath, [
    at('node_modules/prettier/bin/prettier.cjs'),
    '--check',
    '--log-level',
    'warn',
    ...files,
  ]);
  process.exitCode = eslint.code || prettier.code;
});
