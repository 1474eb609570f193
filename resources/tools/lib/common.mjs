/** Small shared pieces of the project's scripts. Node's own modules only: they run before dependencies are installed. */
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, dirname, join, resolve } from 'node:path';

export const ROOT = resolve(import.meta.dirname ?? dirname(new URL(import.meta.url).pathname), '../../..');
export const at = (...parts) => join(ROOT, ...parts);

/** Downloads and fixtures outlive a clone: they are kept beside other programs' caches. */
export const CACHE = process.env.LODGE_CACHE ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'lodge');

export const say = (text) => process.stderr.write(`lodge: ${text}\n`);

/** A failure with a sentence for the user; anything else is a bug and shows its stack. */
export class SetupError extends Error {}

export function which(command) {
  for (const folder of (process.env.PATH ?? '').split(delimiter)) {
    for (const suffix of process.platform === 'win32' ? ['.exe', '.cmd', ''] : ['']) {
      const path = join(folder, command + suffix);
      if (folder && existsSync(path)) return path;
    }
  }
  return undefined;
}

/** Runs a command quietly; its output is shown only when it fails. */
export function runQuiet(command, args, { cwd = ROOT, env = process.env, what = command, timeoutSeconds = 900 } = {}) {
  const result = spawnSync(command, args, { cwd, env, encoding: 'utf8', timeout: timeoutSeconds * 1000, maxBuffer: 64 << 20 });
  if (result.status === 0) return result.stdout;
  const why =
    result.error?.code === 'ENOENT'
      ? `${command} is not installed`
      : result.error?.code === 'ETIMEDOUT'
        ? `no end after ${timeoutSeconds} s`
        : `exit code ${result.status ?? result.signal}`;
  const tail = `${result.stdout ?? ''}${result.stderr ?? ''}`.trimEnd().split('\n').slice(-40).join('\n');
  throw new SetupError(`${what} failed (${why})${tail ? `:\n${tail}` : ''}`);
}

/**
 * Runs a command with its output on our own, in its own process group, so that a time limit ends its children as well.
 * @returns {Promise<{ code: number, timedOut: boolean }>}
 */
export function runShown(command, args, { cwd = ROOT, env = process.env, timeoutSeconds = 0, stdio = 'inherit' } = {}) {
  return new Promise((done) => {
    const child = spawn(command, args, { cwd, env, stdio, detached: process.platform !== 'win32' });
    let timedOut = false;
    const end = (signal) => {
      try {
        if (process.platform === 'win32') child.kill(signal);
        else process.kill(-child.pid, signal);
      } catch {
        // Gone already.
      }
    };
    const timer = timeoutSeconds
      ? setTimeout(() => {
          timedOut = true;
          end('SIGTERM');
          setTimeout(() => end('SIGKILL'), 5000).unref();
        }, timeoutSeconds * 1000)
      : undefined;
    const forward = (signal) => end(signal);
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, forward);
    const finish = (code) => {
      clearTimeout(timer);
      for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.off(signal, forward);
      done({ code, timedOut });
    };
    child.on('error', (error) => {
      say(`${command}: ${error.message}`);
      finish(127);
    });
    child.on('exit', (code, signal) => {
      // A group may outlive its leader (a browser, an X server): nothing of it may stay.
      if (timedOut) end('SIGKILL');
      finish(code ?? (signal ? 128 : 1));
    });
  });
}

const SKIP = new Set(['node_modules', 'build', 'out', '.git', '.cache']);

/** Every file under the given root-relative files and folders, sorted; missing ones are simply not there. */
export function filesUnder(paths, keep = () => true) {
  const found = [];
  const walk = (path) => {
    const stat = statSync(at(path), { throwIfNoEntry: false });
    if (stat?.isFile() && keep(path)) found.push(path);
    if (stat?.isDirectory()) for (const name of readdirSync(at(path))) if (!SKIP.has(name)) walk(`${path}/${name}`);
  };
  paths.forEach(walk);
  return found.sort();
}

export function hashOf(files, ...extra) {
  const hash = createHash('sha256');
  for (const file of files)
    hash
      .update(`${file}\0`)
      .update(readFileSync(at(file)))
      .update('\0');
  for (const text of extra) hash.update(`${text}\0`);
  return hash.digest('hex');
}

/**
 * Runs `build` unless `outputs` all exist and were made from exactly this `hash`.
 * @returns {Promise<boolean>} whether it was built now
 */
export async function ifStale(name, hash, outputs, build) {
  const stamp = at('out', '.stamps', name);
  if (outputs.every((file) => existsSync(at(file))) && existsSync(stamp) && readFileSync(stamp, 'utf8') === hash) return false;
  await build();
  const missing = outputs.find((file) => !existsSync(at(file)));
  if (missing) throw new SetupError(`Building ${name} ended without an error but made no ${missing}`);
  mkdirSync(dirname(stamp), { recursive: true });
  writeFileSync(stamp, hash);
  return true;
}

/** Runs a script's main function; a SetupError is shown as the sentence it is. */
export function main(body) {
  Promise.resolve()
    .then(body)
    .catch((error) => {
      say(error instanceof SetupError ? error.message : (error.stack ?? String(error)));
      process.exitCode = 1;
    });
}
