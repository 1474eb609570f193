/**
 * How many frames a second of a 1920×1080 guest screen that always moves reach the canvas of the served app in Chromium, and what
 * a still one costs. Exits with 1 when that is below the promise of 30 frames a second. `--seconds N` for a longer look.
 */
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { WebSocket } from 'ws';

const PROMISE_FPS = 30;
const SECONDS = Number(process.argv[process.argv.indexOf('--seconds') + 1]) || 8;
const CHROMIUM = '/usr/bin/chromium';
const at = (path) => new URL(`../../${path}`, import.meta.url).pathname;
const CLI = at('out/main/cli.cjs');
for (const needed of [CHROMIUM, CLI]) {
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
const server = spawn(process.execPath, [CLI, 'serve', '--port', '0', '--data', data], { stdio: ['ignore', 'pipe', 'inherit'] });
const profile = join(folder, 'profile');
const browser = spawn(
  CHROMIUM,
  [
    ...['--headless=new', '--no-sandbox', '--disable-background-networking', '--no-first-run', '--remote-debugging-port=0'],
    ...[`--user-data-dir=${profile}`, '--window-size=2000,1400', 'about:blank'],
  ],
  { stdio: 'ignore' },
);

/**
 * The page, through the browser's debugging protocol and no more of it than this: a test driver that watches the network would
 * be handed every frame as text, and that would be what is measured.
 */
async function openPage() {
  const portFile = join(profile, 'DevToolsActivePort');
  await until(() => existsSync(portFile) && readFileSync(portFile, 'utf8').includes('\n'), 'no browser');
  const [port] = readFileSync(portFile, 'utf8').split('\n');
  const targets = await (await fetch(`http://127.0.0.1:${port}/json`)).json();
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

async function until(condition, problem) {
  for (let i = 0; i < 600; i++, await sleep(0.1)) if (await condition()) return;
  throw new Error(problem);
}

let failed = false;
try {
  const url = await new Promise((found) => {
    let text = '';
    server.stdout.on('data', (chunk) => {
      text += chunk;
      const match = /https?:\/\/\S+/.exec(text);
      if (match) found(match[0]);
    });
  });
  const page = await openPage();
  // Acknowledgements are sent after a frame was drawn and composed.
  await page.send('Page.addScriptToEvaluateOnNewDocument', {
    source: `window.framesDrawn = 0;
      const send = WebSocket.prototype.send;
      WebSocket.prototype.send = function (message) {
        if (typeof message === 'string' && message.includes('"frameDrawn"')) window.framesDrawn++;
        return send.call(this, message);
      };`,
  });
  await page.send('Page.enable');
  await page.send('Page.navigate', { url });
  await until(() => page.evaluate("document.querySelector('button') !== null"), 'no page');
  for (const kind of ['motion', 'still']) {
    lodge('create', kind, '--memory', '64', '--disk', `${join(folder, kind)}.img,readonly`);
    const { definition } = JSON.parse(lodge('show', kind));
    lodge('start', kind);
    await page.evaluate(`location.hash = '#/vm/${definition.id}'`);
    await until(() => page.evaluate('window.framesDrawn > 0'), 'no picture');
    await sleep(3);
    const frames = () => page.evaluate('window.framesDrawn');
    const [frames0, cpu0, browser0, time0] = [await frames(), cpuSeconds(server.pid), cpuSeconds(browser.pid), performance.now()];
    await sleep(SECONDS);
    const [frames1, cpu1, browser1] = [await frames(), cpuSeconds(server.pid), cpuSeconds(browser.pid)];
    const seconds = (performance.now() - time0) / 1000;
    const fps = (frames1 - frames0) / seconds;
    const share = (used) => `${((100 * used) / seconds).toFixed(1)} %`;
    console.log(
      `${kind}: ${fps.toFixed(1)} frames/s; of a core: server and machine ${share(cpu1 - cpu0)}, browser ${share(browser1 - browser0)}`,
    );
    if (kind === 'motion' && fps < PROMISE_FPS) failed = true;
    if (kind === 'still' && frames1 !== frames0) failed = true;
    lodge('stop', kind);
    await page.evaluate("location.hash = '#/', (window.framesDrawn = 0)");
  }
} finally {
  browser.kill('SIGKILL');
  server.kill('SIGTERM');
  await new Promise((gone) => server.once('exit', gone));
  rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
}
process.exit(failed ? 1 : 0);
