/** `npx vite --config resources/tools/page-dev.config.ts`, then open /dev/. The served and packaged app come from electron.vite.config.ts. */
import { resolve } from 'node:path';
import react from '@vitejs/plugin-react';
import postcssPresetMantine from 'postcss-preset-mantine';
import { defineConfig } from 'vite';

export default defineConfig({
  root: resolve(import.meta.dirname, '../../renderer'),
  plugins: [react()],
  css: { postcss: { plugins: [postcssPresetMantine()] } },
  server: { host: '127.0.0.1' },
});
