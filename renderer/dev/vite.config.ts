/** `npx vite --config renderer/dev/vite.config.ts`, then open /dev/. The served and packaged app come from electron.vite.config.ts. */
import { resolve } from 'node:path';
import react from '@vitejs/plugin-react';
import postcssPresetMantine from 'postcss-preset-mantine';
import { defineConfig } from 'vite';

export default defineConfig({
  root: resolve(import.meta.dirname, '..'),
  plugins: [react()],
  css: { postcss: { plugins: [postcssPresetMantine()] } },
  server: { host: '127.0.0.1' },
});
