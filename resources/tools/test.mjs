#!/usr/bin/env node
/**
 * `npm test [-- stage…]`: sets up what is missing, then runs every stage, or those named, and ends with one line of counts.
 * A test that cannot run here is skipped with its reason; the exit code is 0 only if nothing failed.
 */
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { SetupError, at, main, runShown, say, which } from './lib/common.mjs';
import {
  checkNode,
  ensureApp,
  ensureCommands,
  ensureDependencies,
  ensureGuest,
  ensureNative,
  installHint,
} from './lib/setup.mjs';

const bin = (path) => [process.execPath, at('node_modules', path)];
const RESULTS = at('test-results');
const resultFile = (stage) => `${RESULTS}/${stage}.json`;

/**
 * A stage is a command that passes or fails as a whole, unless `read` finds single tests in what it wrote. `variants` are names and
 * environments in which it is run one after the other.
 */
const STAGES = [
  { name: 'typecheck', limit: 300, needs: [], command: () => [...bin('typescript/bin/tsc'), '--build'] },
  { name: 'lint', limit: 300, needs: [], command: () => [process.execPath, at('resources/tools/lint.mjs')] },
  {
    name: 'native',
    limit: 300,
    needs: ['native'],
    command: () => [at('native/build/Release/native_tests')],
    // The tests of the processor, on each tier that executes: long units, and units of a single instruction.
    variants: {
      interpreter: { LODGE_TEST_TIER: 'interpreter' },
      translator: { LODGE_TEST_TIER: 'translator' },
      'translator, one instruction a unit': { LODGE_TEST_TIER: 'translator-1' },
    },
    skip: () => !existsSync(at('native/build/Release/native_tests')) && 'native/build/Release/native_tests was not built',
  },
  {
    name: 'unit',
    limit: 600,
    needs: ['native'],
    programs: { iasl: 'acpica-tools', 'qemu-img': 'qemu-utils' },
    command: () => vitest('unit', at('vitest.config.ts')),
    read: () => readVitest('unit'),
  },
  {
    name: 'guest',
    limit: 2400,
    needs: ['native', 'guest', 'app'],
    programs: {
      xorriso: 'xorriso',
      mformat: 'mtools',
      mcopy: 'mtools',
      gdb: 'gdb',
      mmdebstrap: 'mmdebstrap',
      sfdisk: 'fdisk',
      'mkfs.ext4': 'e2fsprogs',
    },
    prepare: async () => {
      const kernels = (await import('./lib/fixtures.mjs')).ensureFixtures();
      (await import('./lib/media.mjs')).ensureMedia(kernels);
    },
    command: () => vitest('guest', at('tests/guest/vitest.config.ts')),
    read: () => readVitest('guest'),
  },
  {
    name: 'e2e',
    limit: 900,
    needs: ['native', 'guest', 'app'],
    programs: { chromium: 'chromium', 'xvfb-run': 'xvfb', xauth: 'xauth' },
    prepare: prepareEndToEnd,
    command: () => [...virtualDisplay(), ...bin('@playwright/test/cli.js'), 'test', '--config', at('playwright.config.ts')],
    read: readPlaywright,
  },
];

function vitest(stage, config) {
  const reporters = ['--reporter=default', `--reporter=${at('resources/tools/lib/vitest-reporter.mjs')}`];
  return [...bin('vitest/vitest.mjs'), 'run', '--root', at('.'), '--config', config, ...reporters];
}

/** Windows of tests belong on a screen of their own, even where somebody sits at a real one. */
const virtualDisplay = () => (which('xvfb-run') ? ['xvfb-run', '-a', '-s', '-screen 0 1600x1000x24'] : []);

const readJson = (file) => (existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : undefined);

/** @returns {{ passed: number, failed: string[], skipped: { name: string, reason: string }[] } | undefined} */
function readVitest(stage) {
  return readJson(resultFile(stage));
}

function readPlaywright() {
  const report = readJson(resultFile('e2e'));
  if (!report) return undefined;
  const result = { passed: 0, failed: report.errors.map((error) => error.message ?? 'error outside a test'), skipped: [] };
  const walk = (suite, trail) => {
    for (const child of suite.suites ?? []) walk(child, [...trail, child.title]);
    for (const spec of suite.specs ?? [])
      for (const test of spec.tests) {
        const name = [test.projectName, ...trail, spec.title].join(' › ');
        const reason = test.annotations.find((a) => a.type === 'skip')?.description;
        if (test.status === 'skipped') result.skipped.push({ name, reason: reason ?? 'no reason given' });
        else if (test.status === 'unexpected') result.failed.push(name);
        else result.passed++;
      }
  };
  for (const suite of report.suites) walk(suite, [suite.title]);
  return result;
}

/** What the end-to-end tests are told of this machine; a missing piece becomes the reason of the tests that need it. */
async function prepareEndToEnd() {
  try {
    const { electronDist } = await import('./electron-dist.mjs');
    process.env.ELECTRON_OVERRIDE_DIST_PATH ??= await electronDist();
  } catch (error) {
    process.env.LODGE_TEST_NO_ELECTRON = error.message.split('\n')[0];
  }
}

async function runStage(stage) {
  if (stage.programs) {
    const missing = ensureCommands(stage.programs, { install: true });
    if (missing.length > 0) say(`${stage.name}: tests that need ${missing.join(', ')} will be skipped; ${installHint(missing)}`);
  }
  const reason = stage.skip?.();
  if (reason) return { passed: 0, failed: [], skipped: [{ name: stage.name, reason }] };
  if (stage.prepare) await stage.prepare();
  const total = { passed: 0, failed: [], skipped: [] };
  for (const [name, variables] of Object.entries(stage.variants ?? { '': {} })) {
    const result = await runCommand(stage, name ? `${stage.name} (${name})` : stage.name, variables);
    for (const key of ['failed', 'skipped']) total[key].push(...result[key]);
    total.passed += result.passed;
  }
  return total;
}

async function runCommand(stage, name, variables) {
  rmSync(resultFile(stage.name), { force: true });
  const [command, ...args] = stage.command();
  const env = { ...process.env, ...variables, LODGE_TEST_RESULTS: resultFile(stage.name) };
  const { code, timedOut } = await runShown(command, args, {
    env,
    timeoutSeconds: stage.limit,
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  const result = (!timedOut && stage.read?.()) || { passed: code === 0 ? 1 : 0, failed: [], skipped: [] };
  if (timedOut) result.failed.push(`${name}: ended after its time limit of ${stage.limit} s`);
  else if (code !== 0 && result.failed.length === 0) result.failed.push(`${name} (exit code ${code})`);
  return result;
}

main(async () => {
  const wanted = process.argv.slice(2);
  const unknown = wanted.find((name) => !STAGES.some((stage) => stage.name === name));
  if (unknown) throw new SetupError(`There is no stage '${unknown}'; choose among ${STAGES.map((s) => s.name).join(', ')}`);
  const stages = STAGES.filter((stage) => wanted.length === 0 || wanted.includes(stage.name));

  checkNode();
  ensureDependencies();
  mkdirSync(dirname(resultFile('x')), { recursive: true });
  const total = { passed: 0, failed: [], skipped: [] };

  // A part that does not build fails the stages that need it, and only those.
  const parts = { native: () => ensureNative({ install: true }), guest: () => ensureGuest({ install: true }), app: ensureApp };
  const broken = new Map();
  for (const part of Object.keys(parts).filter((p) => stages.some((stage) => stage.needs.includes(p)))) {
    try {
      await parts[part]();
    } catch (error) {
      say(error instanceof SetupError ? error.message : error.stack);
      broken.set(part, error.message.split('\n')[0]);
    }
  }

  for (const stage of stages) {
    say(`── ${stage.name} ──`);
    const started = Date.now();
    const lacking = stage.needs.find((part) => broken.has(part));
    let result;
    try {
      result = lacking ? { passed: 0, failed: [`${stage.name}: ${broken.get(lacking)}`], skipped: [] } : await runStage(stage);
    } catch (error) {
      result = { passed: 0, failed: [`${stage.name}: ${error.message}`], skipped: [] };
    }
    const seconds = Math.round((Date.now() - started) / 1000);
    say(
      `${stage.name}: ${result.passed} passed, ${result.failed.length} failed, ${result.skipped.length} skipped in ${seconds} s`,
    );
    total.passed += result.passed;
    total.failed.push(...result.failed);
    total.skipped.push(...result.skipped);
  }

  process.stdout.write('\n');
  for (const { name, reason } of total.skipped) process.stdout.write(`skipped: ${name}: ${reason}\n`);
  for (const name of total.failed) process.stdout.write(`failed: ${name}\n`);
  process.stdout.write(`${total.passed} passed, ${total.failed.length} failed, ${total.skipped.length} skipped\n`);
  process.exitCode = total.failed.length > 0 ? 1 : 0;
});
