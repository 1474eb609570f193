/** Everything a clean clone lacks: dependencies, engine, built-in guest, application. Each step is skipped when up to date. */
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync } from 'node:fs';
import { cpus } from 'node:os';
import { dirname, resolve } from 'node:path';
import { ROOT, SetupError, at, filesUnder, hashOf, ifStale, runQuiet, say, which } from './common.mjs';

export function checkNode() {
  const [major] = process.versions.node.split('.').map(Number);
  if (major < 20) throw new SetupError(`Lodge needs Node 20 or newer; this is ${process.versions.node}`);
}

const isDebian = () => existsSync('/etc/debian_version') && which('apt-get');
const isRoot = () => process.getuid?.() === 0;

/** What to tell somebody who lacks these commands. */
export const installHint = (packages) =>
  isDebian() ? `sudo apt-get install ${packages.join(' ')}` : `install ${packages.join(', ')}`;

/**
 * Makes sure of system commands: `{ command: package }`. As root on Debian they are installed, once and quietly.
 * @returns {string[]} packages that are still missing
 */
export function ensureCommands(wanted, { install }) {
  const lacking = () => [
    ...new Set(
      Object.keys(wanted)
        .filter((c) => !which(c))
        .map((c) => wanted[c]),
    ),
  ];
  const packages = lacking();
  if (packages.length === 0 || !install || !isDebian() || !isRoot()) return packages;
  say(`installing ${packages.join(' ')} with apt-get…`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const apt = (...args) =>
    spawnSync('apt-get', ['-qq', '-o', 'Dpkg::Use-Pty=0', ...args], { env, encoding: 'utf8', timeout: 600_000 });
  const add = () => apt('install', '-y', '--no-install-recommends', ...packages);
  let result = add();
  if (result.status !== 0) {
    apt('update');
    result = add();
  }
  if (result.status !== 0) say(`apt-get could not install them: ${result.stderr.trim().split('\n').pop()}`);
  return lacking();
}

/** npm keeps what it installed in node_modules/.package-lock.json: compare with what the lock file asks for. */
function dependenciesAreCurrent() {
  const installedFile = at('node_modules', '.package-lock.json');
  if (!existsSync(installedFile)) return false;
  const wanted = JSON.parse(readFileSync(at('package-lock.json'), 'utf8')).packages;
  const installed = JSON.parse(readFileSync(installedFile, 'utf8')).packages;
  return Object.entries(wanted).every(
    ([path, entry]) => path === '' || entry.optional || entry.devOptional || installed[path]?.version === entry.version,
  );
}

export function ensureDependencies() {
  if (dependenciesAreCurrent()) return;
  say('installing dependencies (npm ci, about a minute)…');
  runQuiet(process.platform === 'win32' ? 'npm.cmd' : 'npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], {
    what: 'npm ci',
  });
}

/** node-gyp fetches Node's headers unless told where they are: beside the running Node they usually exist. */
export function nodeGypArguments() {
  const prefix = resolve(dirname(process.execPath), '..');
  return existsSync(resolve(prefix, 'include/node/node_api.h')) ? [`--nodedir=${prefix}`] : [];
}

export async function ensureNative({ install = false } = {}) {
  const sources = filesUnder(['native'], (f) => /\.(cpp|cc|c|h|hpp|inc|gyp|gypi)$/.test(f));
  const addon = 'native/build/Release/lodge.node';
  const built = await ifStale('native', hashOf(sources, process.versions.modules, process.arch), [addon], () => {
    const missing = ensureCommands({ 'g++': 'g++', make: 'make', python3: 'python3' }, { install });
    if (missing.length > 0) throw new SetupError(`The engine needs a C++20 compiler, make and Python: ${installHint(missing)}`);
    say('building the engine (C++, a few minutes the first time)…');
    const gyp = at('node_modules/node-gyp/bin/node-gyp.js');
    const options = ['--directory', at('native'), '--silent', ...nodeGypArguments()];
    const env = { ...process.env, JOBS: String(Math.max(1, cpus().length)) };
    const step = (...args) =>
      runQuiet(process.execPath, [gyp, ...args, ...options], { env, what: 'Building the engine', timeoutSeconds: 1800 });
    step('configure');
    step('build', '-j', env.JOBS);
  });
  // The application carries its engine in out/, so that out/ alone is a complete Lodge; node-gyp may have been run by hand.
  const carried = at('out/native/lodge.node');
  const current = existsSync(carried) && statSync(carried).mtimeMs >= statSync(at(addon)).mtimeMs;
  if (!current) {
    mkdirSync(dirname(carried), { recursive: true });
    // A running Lodge has the old file mapped: it is replaced, never written into.
    rmSync(carried, { force: true });
    copyFileSync(at(addon), carried);
  }
  return built;
}

export async function ensureGuest({ install = false } = {}) {
  const folder = 'resources/guest';
  const sources = filesUnder([folder]);
  const script = ['build.sh', 'build.mjs'].find((name) => existsSync(at(folder, name)));
  if (!script) return false;
  return ifStale('guest', hashOf(sources), ['out/guest/lodge-guest.bin'], () => {
    const missing = ensureCommands({ gcc: 'gcc', ld: 'binutils' }, { install });
    if (missing.length > 0) throw new SetupError(`The built-in guest needs a C compiler: ${installHint(missing)}`);
    say('building the built-in guest…');
    runQuiet(script.endsWith('.sh') ? 'bash' : process.execPath, [at(folder, script)], { what: 'Building the built-in guest' });
  });
}

export async function ensureApp() {
  const sources = filesUnder(
    ['main', 'preload', 'renderer', 'resources/catalogue', 'resources/fonts', 'native/addon'],
    (f) => !/\.test\.tsx?$/.test(f),
  );
  const config = filesUnder(['electron.vite.config.ts', 'package.json', 'package-lock.json', 'tsconfig.base.json']);
  const outputs = [
    'out/main/index.cjs',
    'out/main/cli.cjs',
    'out/main/vm.cjs',
    'out/preload/index.cjs',
    'out/renderer/index.html',
  ];
  return ifStale('app', hashOf([...sources, ...config]), outputs, () => {
    say('building the application…');
    runQuiet(process.execPath, [at('node_modules/electron-vite/bin/electron-vite.js'), 'build', '--logLevel', 'warn'], {
      what: 'Building the application',
    });
    checkBundles();
  });
}

/** The command line and the VM process run in plain Node: nothing they load may ask for Electron. */
export function checkBundles() {
  const seen = new Set();
  const visit = (file, trail) => {
    if (seen.has(file)) return;
    seen.add(file);
    for (const [, specifier] of readFileSync(file, 'utf8').matchAll(/\brequire\(["']([^"']+)["']\)/g)) {
      if (specifier === 'electron')
        throw new SetupError(`${[...trail, file].join(' → ')} loads electron, but must run in plain Node`);
      if (specifier.startsWith('.')) {
        const next = resolve(dirname(file), specifier);
        if (existsSync(next)) visit(next, [...trail, file]);
      }
    }
  };
  for (const entry of ['cli', 'vm']) if (existsSync(at(`out/main/${entry}.cjs`))) visit(at(`out/main/${entry}.cjs`), []);
  const chunks = at('out/main/chunks');
  if (existsSync(chunks) && readdirSync(chunks).some((name) => name.endsWith('.mjs')))
    throw new SetupError(`${chunks} holds ES modules`);
}

/** All of it, in order. */
export async function ensureBuilt(options) {
  checkNode();
  ensureDependencies();
  await ensureNative(options);
  await ensureGuest(options);
  await ensureApp();
}

export { ROOT };
