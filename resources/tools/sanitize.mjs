#!/usr/bin/env node
/**
 * `node resources/tools/sanitize.mjs thread|address [part of a test's name]…`: the engine's tests under a sanitizer, built in a folder
 * of their own, where only what changed is compiled again.
 */
import { cpSync, existsSync, mkdirSync, readFileSync, statSync } from 'node:fs';
import { cpus } from 'node:os';
import { basename } from 'node:path';
import { at, main, runQuiet, runShown, say, SetupError } from './lib/common.mjs';
import { nodeGypArguments } from './lib/setup.mjs';

/** Leaks are not looked for: tests end with machines that stand. */
const OPTIONS = {
  thread: { TSAN_OPTIONS: 'report_thread_leaks=0 history_size=4' },
  address: { ASAN_OPTIONS: 'detect_leaks=0' },
};

main(async () => {
  const [kind, ...tests] = process.argv.slice(2);
  const options = OPTIONS[kind];
  if (!options) throw new SetupError(`Say which sanitizer: ${Object.keys(OPTIONS).join(' or ')}`);
  const folder = at('out/sanitize', kind, 'native');
  mkdirSync(folder, { recursive: true });
  // What is the same stays as it is, and what is not gets the time of now: make compares times.
  cpSync(at('native'), folder, {
    recursive: true,
    filter: (from, to) => {
      if (statSync(from).isDirectory()) return basename(from) !== 'build';
      return !existsSync(to) || !readFileSync(from).equals(readFileSync(to));
    },
  });
  const env = { ...process.env, LODGE_SANITIZE: kind };
  say(`building the engine's tests with the ${kind} sanitizer (several minutes the first time)…`);
  const gyp = [
    at('node_modules/node-gyp/bin/node-gyp.js'),
    'configure',
    '--directory',
    folder,
    '--silent',
    ...nodeGypArguments(),
  ];
  runQuiet(process.execPath, gyp, { env, what: 'Configuring the engine' });
  const make = ['-C', `${folder}/build`, `-j${cpus().length}`, 'BUILDTYPE=Release', 'native_tests'];
  runQuiet('make', make, { env, what: 'Building the engine', timeoutSeconds: 3600 });
  // Addresses at random may lie where the thread sanitizer expects none.
  const { code } = await runShown('setarch', ['-R', `${folder}/build/Release/native_tests`, ...tests], {
    env: { ...options, ...env },
  });
  process.exitCode = code;
});
