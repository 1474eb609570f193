/** One build for all: main and preload as CommonJS that needs no node_modules at run time, the page for Chrome 114 and newer. */
import { builtinModules } from 'node:module';
import { resolve } from 'node:path';
import react from '@vitejs/plugin-react';
import { defineConfig } from 'electron-vite';
import postcssPresetMantine from 'postcss-preset-mantine';
import packageJson from './package.json' with { type: 'json' };

const root = import.meta.dirname;
const at = (path: string): string => resolve(root, path);

const external = [
  'electron',
  ...builtinModules.flatMap((name) => [name, `node:${name}`]),
  // Optional native accelerators of ws, which falls back to its own code without them.
  'bufferutil',
  'utf-8-validate',
];
const define = { __LODGE_VERSION__: JSON.stringify(packageJson.version) };

const commonjs = (outDir: string, input: Record<string, string>) => ({
  define,
  resolve: { conditions: ['node', 'module', 'import', 'default'] },
  build: {
    outDir,
    target: 'node18',
    externalizeDeps: false,
    minify: false,
    sourcemap: true,
    rolldownOptions: {
      input,
      external,
      output: { format: 'cjs' as const, entryFileNames: '[name].cjs', chunkFileNames: 'chunks/[name]-[hash].cjs' },
    },
  },
});

export default defineConfig({
  main: commonjs(at('out/main'), { index: at('main/index.ts'), cli: at('main/cli.ts'), vm: at('main/vm/entry.ts') }),
  // A sandboxed preload is a single CommonJS file.
  preload: commonjs(at('out/preload'), { index: at('preload/index.ts') }),
  renderer: {
    root: at('renderer'),
    // Relative, because the page is opened from file:// as well as from the server's root.
    base: './',
    define,
    plugins: [react()],
    css: { postcss: { plugins: [postcssPresetMantine()] } },
    build: {
      outDir: at('out/renderer'),
      target: 'chrome114',
      minify: true,
      sourcemap: false,
      // CSP allows no data: fonts or scripts, so nothing but small pictures is inlined.
      assetsInlineLimit: (file: string) => (/\.(svg|png)$/.test(file) ? undefined : false),
      rolldownOptions: { input: at('renderer/index.html') },
    },
  },
});
