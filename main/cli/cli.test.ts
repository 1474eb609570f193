/** The real command, bundled as it ships, as child processes; the VM process is the fake. */
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { builtinModules } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'vite';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Vm } from '../../preload/contract';
import { FAKE_VM, place, type Place } from '../services/testing/bench';

let bundle: string;
let at: Place;
const running: ChildProcessWithoutNullStreams[] = [];

beforeAll(async () => {
  bundle = await mkdtemp(join(tmpdir(), 'lodge-cli-'));
  await build({
    configFile: false,
    logLevel: 'error',
    define: { __LODGE_VERSION__: '"0.0.0-test"' },
    resolve: { conditions: ['node', 'module', 'import', 'default'] },
    build: {
      ssr: true,
      outDir: join(bundle, 'out', 'main'),
      target: 'node18',
      minify: false,
      rolldownOptions: {
        input: { cli: fileURLToPath(new URL('../cli.ts', import.meta.url)) },
        external: [...builtinModules.flatMap((n) => [n, `node:${n}`]), 'bufferutil', 'utf-8-validate'],
        output: { format: 'cjs', entryFileNames: '[name].cjs', chunkFileNames: 'chunks/[name]-[hash].cjs' },
      },
    },
    ssr: { noExternal: true },
  });
  await mkdir(join(bundle, 'out', 'renderer'));
  await writeFile(join(bundle, 'out', 'renderer', 'index.html'), '<!doctype html>');
}, 60_000);
afterAll(() => rm(bundle, { recursive: true, force: true }));
beforeEach(async () => {
  at = await place();
});
afterEach(async () => {
  for (const child of running.splice(0)) child.kill('SIGKILL');
  await at.clean();
});

function start(...args: string[]) {
  const child = spawn(process.execPath, [join(bundle, 'out', 'main', 'cli.cjs'), ...args], {
    env: { ...process.env, LODGE_VM_ENTRY: FAKE_VM, LODGE_DATA_DIR: at.paths.dataDir, XDG_RUNTIME_DIR: join(at.dir, 'run') },
  });
  running.push(child);
  const result = { child, stdout: '', stderr: '', ended: Promise.resolve(0 as number | null) };
  child.stdout.setEncoding('utf8').on('data', (d) => (result.stdout += d));
  child.stderr.setEncoding('utf8').on('data', (d) => (result.stderr += d));
  result.ended = new Promise((resolve) => child.on('close', (code) => resolve(code)));
  return result;
}
async function lodge(...args: string[]) {
  const command = start(...args);
  command.child.stdin.end();
  const code = await command.ended;
  return { code, stdout: command.stdout, stderr: command.stderr };
}
const kernel = () => at.file('vmlinuz', 'kernel');
const runArgs = async (behaviour: string, ...more: string[]) => [
  'run',
  '--kernel',
  await kernel(),
  '--append',
  behaviour,
  '--memory',
  '16',
  ...more,
];

describe('lodge run', () => {
  it('puts the guest’s serial line on stdout, stdin to the guest, and exits 0 at power-off', async () => {
    expect(await lodge(...(await runArgs('power-off')))).toEqual({ code: 0, stdout: 'guest says hello\n', stderr: '' });
    const command = start(...(await runArgs('echo')));
    await vi.waitFor(() => expect(command.stdout).toContain('hello'), { timeout: 5000 });
    command.child.stdin.write('ls\n');
    await vi.waitFor(() => expect(command.stdout).toContain('<ls\n>'));
    command.child.kill('SIGTERM');
    expect(await command.ended).toBe(143);
  });

  it.each([
    ['debug-exit', [], 33, /^$/],
    ['', ['--timeout', '0.3'], 124, /time limit/],
    ['triple-fault', [], 1, /Triple fault\nrip=0/],
    ['die-start', [], 1, /exit code 3.*\nengine: no memory/],
    ['refuse', [], 1, /There is no \/dev\/kvm\.\nChoose "software"\./],
  ])('%s %j → %i', async (behaviour, more, code, stderr) => {
    const result = await lodge(...(await runArgs(behaviour, ...more)));
    expect(result.code).toBe(code);
    expect(result.stderr).toMatch(stderr);
  });

  it.each([
    [['run', '--kernel', '/nowhere/vmlinuz'], 1, /The kernel is not there: \/nowhere\/vmlinuz/],
    [['run', '--kernel', '/bin/sh', '--disk', '/dev/null'], 1, /is not a file/],
    [['run', '--kernel', '/bin/sh', '--memory', '1000000'], 1, /wants .* GiB of memory.*\nGive it at most/s],
    [['run', '--kernel', '/bin/sh', '--memory', 'much'], 2, /whole number/],
    [['run', '--kernel', '/bin/sh', '--disk', 'x,bus=scsi'], 1, /no disk bus "scsi"/],
    [['run', '--tier', 'warp', '--kernel', '/bin/sh'], 2, /Allowed choices/],
    [['run'], 1, /nothing to run/],
    [['run', '--initrd', 'x', '--disk', 'y'], 1, /--kernel/],
    [['run', '--builtin', '--kernel', '/bin/sh'], 1, /two different things/],
    [['frobnicate'], 2, /unknown command/],
  ])('%j is refused', async (args, code, stderr) => {
    const result = await lodge(...args);
    expect([result.code, result.stdout]).toEqual([code, '']);
    expect(result.stderr).toMatch(stderr);
  });

  it('refuses an empty image', async () => {
    const result = await lodge(...(await runArgs('', '--disk', await at.file('empty.img', ''))));
    expect(result).toMatchObject({ code: 1, stderr: expect.stringContaining('0 bytes') as string });
  });

  it('saves the last picture, at power-off and at the timeout', async () => {
    for (const [behaviour, code] of [
      ['power-off', 0],
      ['', 124],
    ] as const) {
      const file = join(at.dir, `${code}.png`);
      expect((await lodge(...(await runArgs(behaviour, '--timeout', '0.5', '--screenshot', file)))).code).toBe(code);
      expect((await readFile(file)).subarray(1, 4).toString()).toBe('PNG');
    }
  });

  it('says that a picture could not be saved, without a stack', async () => {
    const result = await lodge(...(await runArgs('power-off', '--screenshot', join(at.dir, 'nowhere', 'x.png'))));
    expect(result).toMatchObject({ code: 1, stderr: expect.stringContaining('picture could not be saved') as string });
    expect(result.stderr).not.toContain('   at ');
  });

  it('with --name answers another shell, and is stopped from there', async () => {
    const command = start(...(await runArgs('', '--name', 'guest', '--serial', 'none')));
    await vi.waitFor(async () => expect((await lodge('text', 'guest')).stdout).toMatch(/^hello/), {
      timeout: 10_000,
      interval: 200,
    });
    expect(await lodge('keys', 'guest', 'ls\\n<enter>')).toEqual({ code: 0, stdout: '', stderr: '' });
    expect(JSON.parse((await lodge('text', 'guest', '--json')).stdout)).toMatchObject({
      lines: expect.arrayContaining(['{"name":"keys","keys":"ls\\n<enter>"}']) as string[],
    });
    const file = join(at.dir, 'shot.png');
    expect((await lodge('screenshot', 'guest', file)).code).toBe(0);
    expect((await readFile(file)).length).toBeGreaterThan(60);
    const listed = JSON.parse((await lodge('list', '--json')).stdout) as Vm[];
    expect(listed.map((vm) => [vm.definition.name, vm.ephemeral])).toEqual([
      ['Lodge Demo', false],
      ['guest', true],
    ]);
    const twin = await lodge(...(await runArgs('', '--name', 'guest')));
    expect(twin).toMatchObject({ code: 1, stderr: expect.stringContaining('running already') as string });
    expect((await lodge('stop', 'guest')).code).toBe(0);
    expect(await command.ended).toBe(1);
    expect(command.stderr).toContain('stopped from outside');
    expect(await lodge('text', 'guest')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('No Lodge is running') as string,
    });
  });

  it('takes its VM process along when it is killed', async () => {
    const command = start(...(await runArgs('')));
    await vi.waitFor(() => expect(command.stdout).toContain('hello'), { timeout: 5000 });
    const kids = (await readFile(`/proc/${command.child.pid}/task/${command.child.pid}/children`, 'utf8'))
      .trim()
      .split(' ')
      .map(Number);
    command.child.kill('SIGKILL');
    await command.ended;
    await vi.waitFor(
      () => {
        for (const pid of kids) expect(() => process.kill(pid, 0)).toThrow();
      },
      { timeout: 3000 },
    );
  });
});

describe('the library from the command line', () => {
  it('creates and lists without a server, and says how to start', async () => {
    const created = await lodge('create', 'Box', '--kernel', await kernel(), '--memory', '32', '--new-disk', '1G', '--json');
    expect(JSON.parse(created.stdout)).toMatchObject({ definition: { name: 'Box', memoryMiB: 32, disks: [{ kind: 'disk' }] } });
    expect((await lodge('list')).stdout).toMatch(/stopped +1 CPU +32 MiB +Box\n/);
    expect(await lodge('start', 'Box')).toMatchObject({ code: 1, stderr: expect.stringContaining('lodge serve') as string });
    expect(JSON.parse((await lodge('create', 'box', '--builtin', '--json')).stderr)).toMatchObject({
      error: { code: 'nameTaken' },
    });
  });

  it('drives a running server', async () => {
    const server = start('serve', '--port', '0', '--json');
    await vi.waitFor(() => expect(server.stdout).toContain('url'), { timeout: 10_000 });
    await lodge('create', 'Box', '--kernel', await kernel(), '--memory', '16');
    expect(JSON.parse((await lodge('start', 'box', '--json')).stdout)).toMatchObject({ state: 'running' });
    expect((await lodge('pause', 'Box')).code).toBe(0);
    expect(JSON.parse((await lodge('show', 'Box')).stdout)).toMatchObject({ state: 'paused' });
    expect(await lodge('shutdown', 'Box')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('Resume it first') as string,
    });
    expect(await lodge('start', 'nobody')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('no machine called') as string,
    });
    expect(await lodge('serve')).toMatchObject({ code: 1, stderr: expect.stringContaining('--data') as string });
    server.child.kill('SIGTERM');
    expect(await server.ended).toBe(0);
    expect(server.stderr).toContain('powering off Box');
  });

  it('opens with a broken settings file', async () => {
    await lodge('list');
    await writeFile(at.paths.preferencesFile, '{{{');
    const result = await lodge('list');
    expect(result).toMatchObject({ code: 0, stderr: expect.stringContaining('was kept as') as string });
    expect(result.stdout).toContain('Lodge Demo');
  });
});
