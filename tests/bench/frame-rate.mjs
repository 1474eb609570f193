/**
 * How many frames a second of a 1920×1080 guest screen, all of it another 60 times a second, reach the canvas of the served app in
 * Chromium, or with `--electron` of the desktop app, and what a still one costs. Exits with 1 when that is below the promise of 30 frames a
 * second, or when the still one sends any. `--seconds N` for a longer look.
 */
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { WebSocket } from 'ws';

const PROMISE_FPS = 30;
const SECONDS = Number(process.argv[process.argv.indexOf('--seconds') + 1]) || 8;
const CHROMIUM = '/usr/bin/chromium';
const ELECTRON = process.argv.includes('--electron')
  ? join(process.env.ELECTRON_OVERRIDE_DIST_PATH ?? '', 'electron')
  : undefined;
const at = (path) => new URL(`../../${path}`, import.meta.url).pathname;
const CLI = at('out/main/cli.cjs');
for (const needed of [ELECTRON ?? CHROMIUM, CLI]) {
  if (existsSync(needed)) continue;
  console.log(`skipped: there is no ${needed}`);
  process.exit(0);
}

const folder = mkdtempSync(join(tmpdir(), 'lodge-frames-'));
const data = join(folder, 'data');
const image = join(folder, 'motion.img');
const flags = '-m16 -nostdlib -static -no-pie -Wl,--build-id=none -Wl,-Ttext=0x7c00 -Wl,--oformat=binary -Wl,-e,_start';
execFileSync('gcc', [...flags.split(' '), '-o', image, at('tests/bench/motion.S')]);
const still = readFileSync(image);
still[509] = 0;
writeFileSync(join(folder, 'still.img'), still);
const lodge = (...args) => execFileSync(process.execPath, [CLI, ...args, '--data', data], { encoding: 'utf8' });

/** CPU seconds of a process and all under it. */
function cpuSeconds(root) {
  const stats = new Map();
  for (const name of readdirSync('/proc').filter((n) => /^\d+$/.test(n))) {
    try {
      const text = readFileSync(`/proc/${name}/stat`, 'utf8');
      stats.set(Number(name), text.slice(text.lastIndexOf(')') + 2).split(' '));
    } catch {
      // It ended meanwhile.
    }
  }
  let ticks = 0;
  for (const [pid, stat] of stats) {
    for (let p = pid; p; p = Number(stats.get(p)?.[1] ?? 0)) {
      if (p !== root) continue;
      ticks += Number(stat[11]) + Number(stat[12]);
      break;
    }
  }
  return ticks / 100;
}

const sleep = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));
const profile = join(folder, 'profile');
const debugging = ['--no-sandbox', '--remote-debugging-port=0', `--user-data-dir=${profile}`];
/** Serves the machines. In Electron, shows them as well. */
const server = ELECTRON
  ? spawn('xvfb-run', ['-a', ELECTRON, ...debugging, at('.'), '--data', data], {
      stdio: ['ignore', 'ignore', 'pipe'],
      // xvfb-run keeps signals from what it runs.
      detached: true,
    })
  : spawn(process.execPath, [CLI, 'serve', '--port', '0', '--data', data], { stdio: ['ignore', 'pipe', 'inherit'] });
const browser = ELECTRON
  ? undefined
  : spawn(CHROMIUM, ['--headless=new', ...debugging, '--disable-background-networking', '--no-first-run', 'about:blank'], {
      stdio: 'ignore',
    });

/**
 * The page, through the browser's debugging protocol and no more of it than this: a test driver that watches the network would
 * be handed every frame as text, and that would be what is measured.
 */
async function openPage() {
  let port;
  if (browser) {
    const portFile = join(profile, 'DevToolsActivePort');
    await until(() => existsSync(portFile) && readFileSync(portFile, 'utf8').includes('\n'), 'no browser');
    [port] = readFileSync(portFile, 'utf8').split('\n');
  } else port = await said(server.stderr, /DevTools listening on ws:\/\/[^:]+:(\d+)/);
  let targets;
  await until(async () => {
    targets = await (await fetch(`http://127.0.0.1:${port}/json`)).json();
    return targets.some(({ type }) => type === 'page');
  }, 'no page');
  const socket = new WebSocket(targets.find(({ type }) => type === 'page').webSocketDebuggerUrl);
  await new Promise((open) => socket.once('open', open));
  const waiting = new Map();
  socket.on('message', (text) => {
    const { id, result } = JSON.parse(text);
    waiting.get(id)?.(result);
    waiting.delete(id);
  });
  let id = 0;
  const send = (method, params = {}) =>
    new Promise((done) => {
      waiting.set(++id, done);
      socket.send(JSON.stringify({ id, method, params }));
    });
  return {
    send,
    evaluate: async (expression) => (await send('Runtime.evaluate', { expression, returnByValue: true })).result.value,
  };
}

function said(stream, pattern) {
  return new Promise((found) => {
    let text = '';
    stream.on('data', (chunk) => {
      text += chunk;
      const match = pattern.exec(text);
      if (match) found(match[1]);
    });
  });
}

async function until(condition, problem) {
  for (let i = 0; i < 600; i++, await sleep(0.1)) if (await condition()) return;
  throw new Error(problem);
}

let failed = false;
try {
  const url = browser && (await said(server.stdout, /(https?:\/\/\S+)/));
  const page = await openPage();
  // Acknowledgements are sent after a frame was drawn and composed.
  const source = `window.framesDrawn = 0;
      for (const [type, name] of [[WebSocket, 'send'], [MessagePort, 'postMessage']]) {
        const original = type.prototype[name];
        type.prototype[name] = function (message, ...rest) {
          if (typeof message === 'string' && message.includes('"frameDrawn"')) window.framesDrawn++;
          return original.call(this, message, ...rest);
        };
      }`;
  await page.send('Page.enable');
  await page.send('Page.addScriptToEvaluateOnNewDocument', { source });
  await page.send('Emulation.setDeviceMetricsOverride', { width: 2000, height: 1300, deviceScaleFactor: 1, mobile: false });
  if (url) await page.send('Page.navigate', { url });
  else await page.send('Page.reload');
  await until(() => page.evaluate("document.querySelector('button') !== null"), 'no page');
  for (const kind of ['motion', 'still']) {
    lodge('create', kind, '--memory', '64', '--disk', `${join(folder, kind)}.img,readonly`);
    const { definition } = JSON.parse(lodge('show', kind));
    lodge('start', kind);
    await page.evaluate(`location.hash = '#/vm/${definition.id}'`);
    await until(() => page.evaluate('window.framesDrawn > 0'), 'no picture');
    await sleep(3);
    const frames = () => page.evaluate('window.framesDrawn');
    const used = () => cpuSeconds(server.pid) + (browser ? cpuSeconds(browser.pid) : 0);
    const [frames0, cpu0, time0] = [await frames(), used(), performance.now()];
    await sleep(SECONDS);
    const [frames1, cpu1] = [await frames(), used()];
    const seconds = (performance.now() - time0) / 1000;
    const fps = (frames1 - frames0) / seconds;
    const cores = (cpu1 - cpu0) / seconds;
    console.log(`${kind}: ${fps.toFixed(1)} frames/s; ${(100 * cores).toFixed(1)} % of a core for everything`);
    if (kind === 'motion' && fps < PROMISE_FPS) failed = true;
    if (kind === 'still' && frames1 !== frames0) failed = true;
    lodge('stop', kind);
    await page.evaluate("location.hash = '#/', (window.framesDrawn = 0)");
  }
} finally {
  browser?.kill('SIGKILL');
  if (ELECTRON) process.kill(-server.pid, 'SIGKILL');
  else server.kill('SIGTERM');
  await new Promise((gone) => server.once('exit', gone));
  rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
}
process.exit(failed ? 1 : 0);
