import js from '@eslint/js';
import reactHooks from 'eslint-plugin-react-hooks';
import globals from 'globals';
import ts from 'typescript-eslint';
import { boundaryRule } from './resources/tools/lib/boundary-rule.mjs';

const TESTS = ['**/*.test.{ts,tsx}', 'tests/**', 'resources/**', 'renderer/dev/**', '**/*.config.ts'];

export default ts.config(
  { ignores: ['out', 'dist', 'node_modules', '.cache', 'native/build', 'test-results', 'playwright-report', 'coverage'] },
  js.configs.recommended,
  ...ts.configs.recommended,
  {
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    languageOptions: { globals: globals.node },
    plugins: { lodge: { rules: { boundaries: boundaryRule } } },
    rules: {
      'lodge/boundaries': ['error', { root: import.meta.dirname }],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_', caughtErrors: 'none' }],
      // A device's tables index with values that were checked a line above.
      '@typescript-eslint/no-non-null-assertion': 'off',
      'no-empty': ['error', { allowEmptyCatch: true }],
      // Control characters are what serial lines, keyboards and text screens are made of.
      'no-control-regex': 'off',
      eqeqeq: ['error', 'always', { null: 'ignore' }],
    },
  },
  {
    // Rules that need types: the ones that catch real bugs in asynchronous code and in unions.
    files: ['main/**/*.ts', 'preload/**/*.ts', 'renderer/**/*.{ts,tsx}', 'native/**/*.ts'],
    ignores: TESTS,
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': ['error', { checksVoidReturn: { attributes: false } }],
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
    },
  },
  {
    files: ['main/**/*.ts'],
    ignores: TESTS,
    // Standard output belongs to the guest (lodge run) and to --json.
    rules: { 'no-console': 'error' },
  },
  {
    files: ['renderer/**/*.{ts,tsx}'],
    languageOptions: { globals: globals.browser },
    plugins: { 'react-hooks': reactHooks },
    rules: { 'react-hooks/rules-of-hooks': 'error', 'react-hooks/exhaustive-deps': 'error' },
  },
  { files: ['**/*.cjs'], rules: { '@typescript-eslint/no-require-imports': 'off' } },
  // Tests reach across folders, and talk to fakes whose shapes they know.
  { files: TESTS, rules: { 'lodge/boundaries': 'off', '@typescript-eslint/no-explicit-any': 'off' } },
);
