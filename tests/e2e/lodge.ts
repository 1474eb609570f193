/**
 * Lodge under test: the built application, served to Chromium or in Electron, with a data folder of its own. Tests are written
 * once against this.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { availableParallelism, loadavg, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import {
  _electron,
  chromium,
  expect,
  test as base,
  type Browser,
  type BrowserContext,
  type ElectronApplication,
  type Locator,
  type Page,
} from '@playwright/test';
import { FIXTURES, type GuestFixture } from '../../resources/tools/lib/fixtures.mjs';

export const ROOT = resolve(import.meta.dirname, '../..');
const CLI = join(ROOT, 'out/main/cli.cjs');
const CHROMIUM = '/usr/bin/chromium';
const ELECTRON = process.env['ELECTRON_OVERRIDE_DIST_PATH'];
/**
 * How much longer than on an idle machine things may take: the number of processes that want each core, measured now, unless
 * LODGE_TEST_PATIENCE says it.
 */
export function patience(): number {
  const given = Number(process.env['LODGE_TEST_PATIENCE']);
  return given > 0 ? given : Math.min(6, Math.max(1, loadavg()[0]! / availableParallelism()));
}

export const BUILTIN = { ready: 'Lodge guest ready' };

export interface CommandResult {
  code: number | null;
  stdout: string;
  stderr: string;
}

export abstract class Lodge {
  abstract readonly kind: 'served' | 'electron';
  abstract readonly library: Page;
  abstract readonly context: BrowserContext;
  protected constructor(readonly dataDir: string) {}

  /** The process of a running machine. */
  abstract vmPid(name: string): Promise<number>;
  abstract close(): Promise<void>;

  /** `lodge …` on the same data folder, which reaches this Lodge through its socket. */
  command(...args: string[]): CommandResult {
    const env = { ...process.env, LODGE_DATA_DIR: this.dataDir };
    const { status, stdout, stderr } = spawnSync(process.execPath, [CLI, ...args], { env, encoding: 'utf8', timeout: 60_000 });
    return { code: status, stdout, stderr };
  }

  /** The machine's text screen; '' while it has none. */
  screenText(name: string): string {
    const { code, stdout } = this.command('text', name);
    return code === 0 ? stdout : '';
  }

  machine(name: string): Locator {
    return this.library.getByText(name, { exact: true }).first();
  }

  /** Opens a machine's window by double-click, which also starts it. */
  async doubleClick(name: string): Promise<Page> {
    const opened = this.vmPage();
    await this.machine(name).dblclick();
    return opened;
  }

  /** The page of a machine that opens next: a window, a tab, or the library's own page on another route. */
  private async vmPage(): Promise<Page> {
    const isVm = (page: Page): boolean => /#\/vm\//.test(page.url());
    const before = new Set(this.context.pages().filter(isVm));
    let found: Page | undefined;
    await expect
      .poll(
        () =>
          (found = this.context.pages().find((page) => isVm(page) && (!before.has(page) || page === this.library))) !== undefined,
        {
          timeout: 20_000,
          intervals: [25],
          message: 'no window of the machine',
        },
      )
      .toBe(true);
    await found!.bringToFront();
    return found!;
  }
}

class ServedLodge extends Lodge {
  readonly kind = 'served';
  private constructor(
    dataDir: string,
    private readonly server: ChildProcess,
    private readonly browser: Browser,
    readonly context: BrowserContext,
    readonly library: Page,
    readonly url: string,
  ) {
    super(dataDir);
  }

  static async open(dataDir: string): Promise<ServedLodge> {
    const server = spawn(process.execPath, [CLI, 'serve', '--port', '0', '--data', dataDir], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const url = await addressOf(server);
    const browser = await chromium.launch({
      executablePath: CHROMIUM,
      args: [
        ...(process.getuid?.() === 0 ? ['--no-sandbox'] : []),
        ...['--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-first-run'],
      ],
    });
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
    const library = await context.newPage();
    await library.goto(url);
    return new ServedLodge(dataDir, server, browser, context, library, url);
  }

  get serverPid(): number {
    return this.server.pid!;
  }

  /** VM processes are the server's children; the one asked for is the newest when only one can be meant. */
  vmPid(name: string): Promise<number> {
    const pids = childrenOf(this.serverPid).filter((pid) => commandLine(pid).some((arg) => arg.endsWith('vm.cjs')));
    const named = pids.filter((pid) => commandLine(pid).join(' ').includes(name));
    const pid = named[0] ?? (pids.length === 1 ? pids[0] : Math.max(...pids));
    if (pid === undefined) throw new Error(`no process of ${name}`);
    return Promise.resolve(pid);
  }

  async close(): Promise<void> {
    await this.browser.close();
    const gone = new Promise((done) => this.server.once('exit', done));
    if (this.server.exitCode === null) {
      this.server.kill('SIGTERM');
      const forced = setTimeout(() => this.server.kill('SIGKILL'), 15_000);
      await gone;
      clearTimeout(forced);
    }
  }
}

/** What `lodge serve` prints first. */
function addressOf(server: ChildProcess): Promise<string> {
  return new Promise((found, failed) => {
    let text = '';
    const timer = setTimeout(() => failed(new Error(`lodge serve printed no address:\n${text}`)), 30_000);
    const read = (chunk: Buffer): void => {
      text += chunk.toString();
      const url = /https?:\/\/[^\s"']+/.exec(text);
      if (!url || !text.includes('\n', url.index)) return;
      clearTimeout(timer);
      found(url[0]);
    };
    server.stdout!.on('data', read);
    server.stderr!.on('data', read);
    server.once('exit', (code) => failed(new Error(`lodge serve ended with ${code}:\n${text}`)));
  });
}

class ElectronLodge extends Lodge {
  readonly kind = 'electron';
  private constructor(
    dataDir: string,
    readonly app: ElectronApplication,
    readonly library: Page,
  ) {
    super(dataDir);
  }

  static async open(dataDir: string, args: readonly string[] = []): Promise<ElectronLodge> {
    const app = await _electron.launch({
      executablePath: join(ELECTRON!, 'electron'),
      args: ['--no-sandbox', ROOT, '--data', dataDir, ...args],
      env: { ...(process.env as Record<string, string>), LODGE_DATA_DIR: dataDir },
    });
    const library = await app.firstWindow();
    return new ElectronLodge(dataDir, app, library);
  }

  get context(): BrowserContext {
    return this.app.context();
  }

  async vmPid(name: string): Promise<number> {
    const metrics = await this.app.evaluate(({ app }) =>
      app.getAppMetrics().map(({ pid, name, serviceName }) => ({ pid, name, serviceName })),
    );
    const found = metrics.filter((m) => m.name?.includes(name) || m.serviceName?.includes(name));
    if (found.length === 0) throw new Error(`no process of ${name} in ${JSON.stringify(metrics)}`);
    return found.at(-1)!.pid;
  }

  async close(): Promise<void> {
    // Nobody is there to answer the question about machines that still run.
    await this.app.evaluate(({ dialog }) => {
      dialog.showMessageBox = () => Promise.resolve({ response: 1, checkboxChecked: false });
    });
    await this.app.close();
  }
}

export type { ElectronLodge, ServedLodge };

function childrenOf(parent: number): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => {
      try {
        const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
        return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]) === parent;
      } catch {
        return false;
      }
    });
}

function commandLine(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
  } catch {
    return [];
  }
}

/** Where the pictures for people go. */
export function picture(name: string): string {
  const folder = join(ROOT, 'test-results', 'screens');
  mkdirSync(folder, { recursive: true });
  return join(folder, `${name}.png`);
}

/** A Debian kernel and the test initramfs; without them the test is skipped with the reason. */
export function debian(): GuestFixture {
  const all = existsSync(FIXTURES)
    ? (JSON.parse(readFileSync(FIXTURES, 'utf8')) as Record<string, GuestFixture & { problem?: string }>)
    : {};
  const found = all['linux-image-amd64'];
  test.skip(!found || found.problem !== undefined, found?.problem ?? 'no Debian kernel: npm test sets it up');
  return found!;
}

/** Distinct colours on the display: a blank screen has one. */
export const coloursOn = async (page: Page): Promise<number> => (await look(page)).colours;
/** A number that changes when the picture does. */
export const pictureHash = async (page: Page): Promise<number> => (await look(page)).hash;

/** How much of the display is not black, from 0 to 1. */
export const inkOn = async (page: Page): Promise<number> => (await look(page)).ink;

function look(page: Page): Promise<{ colours: number; hash: number; ink: number }> {
  return page.evaluate(() => {
    const canvas = document.querySelector('canvas');
    if (!canvas || canvas.width === 0 || canvas.height === 0) return { colours: 0, hash: 0, ink: 0 };
    // A copy: asking the display's own context for pixels would change how it is drawn.
    const copy = document.createElement('canvas');
    copy.width = Math.min(canvas.width, 800);
    copy.height = Math.min(canvas.height, 600);
    const context = copy.getContext('2d')!;
    context.imageSmoothingEnabled = false;
    context.drawImage(canvas, 0, 0, copy.width, copy.height);
    const pixels = new Uint32Array(context.getImageData(0, 0, copy.width, copy.height).data.buffer);
    const BLACK = 0xff000000;
    return {
      colours: new Set(pixels).size,
      hash: pixels.reduce((hash, pixel) => (Math.imul(hash, 31) + pixel) | 0, 7),
      ink: pixels.filter((pixel) => pixel !== BLACK && pixel !== 0).length / pixels.length,
    };
  });
}

/** Files from the host dropped on a place of the page, as the system's file manager would. */
export async function dropFiles(lodge: Lodge, page: Page, target: Locator, files: string[]): Promise<void> {
  const box = (await target.boundingBox())!;
  const session = await lodge.context.newCDPSession(page);
  const data = { items: [], files, dragOperationsMask: 1 };
  const at = { x: box.x + box.width / 2, y: box.y + box.height / 2, data };
  for (const type of ['dragEnter', 'dragOver', 'drop'] as const) await session.send('Input.dispatchDragEvent', { type, ...at });
  await session.detach();
}

export interface Fixtures {
  lodge: Lodge;
  /** A folder of this test's own for images. */
  scratch: string;
}

/** Why this kind of Lodge cannot be tested here. */
function obstacle(kind: unknown): string | undefined {
  if (!existsSync(CLI)) return 'the application is not built: npm run build';
  if (kind === 'served') return existsSync(CHROMIUM) ? undefined : `there is no ${CHROMIUM}`;
  if (!ELECTRON) return process.env['LODGE_TEST_NO_ELECTRON'] ?? 'there is no Electron: ELECTRON_OVERRIDE_DIST_PATH is not set';
  return process.env['DISPLAY'] ? undefined : 'Electron needs a display: run under xvfb-run';
}

export const test = base.extend<Fixtures>({
  // eslint-disable-next-line no-empty-pattern
  scratch: async ({}, use) => {
    const folder = mkdtempSync(join(tmpdir(), 'lodge-e2e-'));
    await use(folder);
    rmSync(folder, { recursive: true, force: true });
  },
  lodge: async ({ scratch }, use, info) => {
    const { kind } = info.project.metadata;
    const why = obstacle(kind);
    test.skip(why !== undefined, why);
    const dataDir = join(scratch, 'data');
    mkdirSync(dataDir);
    const lodge = kind === 'served' ? await ServedLodge.open(dataDir) : await ElectronLodge.open(dataDir);
    // An error in the page is a failure even where the test does not look.
    const errors: string[] = [];
    const watch = (page: Page): void => void page.on('pageerror', (error) => errors.push(error.stack ?? error.message));
    lodge.context.pages().forEach(watch);
    lodge.context.on('page', watch);
    await use(lodge);
    if (info.status !== info.expectedStatus) {
      for (const [i, page] of lodge.context.pages().entries())
        await page.screenshot({ path: info.outputPath(`page-${i}.png`) }).catch(() => undefined);
    }
    await lodge.close();
    expect(errors, 'errors in the page').toEqual([]);
  },
});
export { expect };

const SHIFTED = '~!@#$%^&*()_+{}|:"<>?';
const UNSHIFTED = "`1234567890-=[]\\;',./";

/** Types as a person on a US keyboard does, with the Shift key: Playwright's own `type` names the key and leaves Shift out. */
export async function typeKeys(page: Page, text: string): Promise<void> {
  for (const character of text) {
    const at = SHIFTED.indexOf(character);
    const shifted = at >= 0 || /[A-Z]/.test(character);
    const key = character === '\n' ? 'Enter' : at >= 0 ? UNSHIFTED[at]! : character.toLowerCase();
    if (shifted) await page.keyboard.down('Shift');
    await page.keyboard.press(key === ' ' ? 'Space' : key);
    if (shifted) await page.keyboard.up('Shift');
  }
}
