#!/usr/bin/env node
/**
 * `npm start [-- --browser] [arguments for Lodge]`: sets up what is missing, then opens Lodge in Electron where its binary
 * can be had and a display exists, and otherwise serves the same application on loopback and says why.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { at, main, runShown, say } from './lib/common.mjs';
import { ensureBuilt } from './lib/setup.mjs';

/** @returns {{ executable: string } | { why: string }} */
function findElectron() {
  if (process.platform === 'linux' && !process.env.DISPLAY && !process.env.WAYLAND_DISPLAY)
    return { why: 'there is no display (neither DISPLAY nor WAYLAND_DISPLAY is set)' };
  const names = { win32: 'electron.exe', darwin: 'Electron.app/Contents/MacOS/Electron' };
  const name = names[process.platform] ?? 'electron';
  const override = process.env.ELECTRON_OVERRIDE_DIST_PATH;
  if (override) {
    const executable = join(override, name);
    return existsSync(executable) ? { executable } : { why: `ELECTRON_OVERRIDE_DIST_PATH holds no ${name}` };
  }
  const installed = () => {
    const pathFile = at('node_modules/electron/path.txt');
    if (!existsSync(pathFile)) return undefined;
    const executable = at('node_modules/electron/dist', readFileSync(pathFile, 'utf8').trim());
    return existsSync(executable) ? executable : undefined;
  };
  let executable = installed();
  if (executable) return { executable };
  say('fetching Electron…');
  // Importing the package would download without a time limit; its installer run as a program can be given one.
  const fetched = spawnSync(process.execPath, [at('node_modules/electron/install.js')], { encoding: 'utf8', timeout: 300_000 });
  executable = installed();
  if (fetched.status === 0 && executable) return { executable };
  const cause = fetched.error?.code === 'ETIMEDOUT' ? 'its download took too long' : 'it could not be downloaded';
  return { why: `Electron's binary is not here and ${cause}` };
}

main(async () => {
  const args = process.argv.slice(2);
  await ensureBuilt({});
  const browser = args.includes('--browser');
  const rest = args.filter((arg) => arg !== '--browser');
  const electron = browser ? { why: 'you asked for the browser' } : findElectron();
  if ('executable' in electron) {
    // Chromium's sandbox refuses to run for root.
    const root = process.getuid?.() === 0 ? ['--no-sandbox'] : [];
    if (root.length > 0) say("running as root: Chromium's own sandbox is off");
    const env = { ...process.env };
    // Set by some editors' terminals; it would turn Electron into plain Node.
    delete env.ELECTRON_RUN_AS_NODE;
    process.exitCode = (await runShown(electron.executable, [...root, at('.'), ...rest], { env })).code;
    return;
  }
  say(`serving Lodge to a browser, because ${electron.why}`);
  process.exitCode = (await runShown(process.execPath, [at('out/main/cli.cjs'), 'serve', ...rest])).code;
});
