/** One window for the library and one for each machine that is looked at. */
import { BrowserWindow, app, nativeTheme, screen, type BrowserWindowConstructorOptions, type Rectangle } from 'electron';
import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import type { Disposable } from '../lib/disposable';
import { protectContents, type PageSource } from './security';

export interface WindowOptions {
  readonly source: PageSource;
  readonly preload: string;
  readonly icon: string | undefined;
  /** Sizes and places of windows are kept here. */
  readonly boundsFile: string;
  /** Asked before a machine's window closes; false keeps it open. */
  readonly mayClose: (vmId: string, window: BrowserWindow) => Promise<boolean>;
}

const LIBRARY = 'library';

export class Windows implements Disposable {
  private readonly byKey = new Map<string, BrowserWindow>();
  /** Windows that have been allowed to close, or are closed because Lodge quits. */
  private readonly closing = new WeakSet<BrowserWindow>();
  /** Windows whose user is being asked. */
  private readonly asking = new WeakSet<BrowserWindow>();
  private readonly bounds: Record<string, Rectangle>;
  private saving: NodeJS.Timeout | undefined;
  private quitting = false;

  constructor(private readonly options: WindowOptions) {
    this.bounds = readBounds(options.boundsFile);
  }

  get all(): BrowserWindow[] {
    return [...this.byKey.values()];
  }

  get library(): BrowserWindow | undefined {
    return this.byKey.get(LIBRARY);
  }

  /** `route`: what follows the # of the address; an open library goes there. */
  openLibrary(route?: string): BrowserWindow {
    return this.open(
      LIBRARY,
      route ?? '/',
      { width: 1180, height: 780, minWidth: 760, minHeight: 520, title: 'Lodge' },
      route !== undefined,
    );
  }

  openVm(id: string, name: string): BrowserWindow {
    return this.open(
      id,
      `/vm/${encodeURIComponent(id)}`,
      { width: 1024, height: 860, minWidth: 480, minHeight: 360, title: name },
      false,
    );
  }

  /** The machine whose window this is. */
  vmOf(window: BrowserWindow): string | undefined {
    for (const [key, candidate] of this.byKey) if (candidate === window && key !== LIBRARY) return key;
    return undefined;
  }

  closeVm(id: string): void {
    const window = this.byKey.get(id);
    if (!window) return;
    this.closing.add(window);
    window.close();
  }

  broadcast(channel: string, message: unknown): void {
    for (const window of this.byKey.values()) if (!window.isDestroyed()) window.webContents.send(channel, message);
  }

  /** From now on windows close without questions. */
  quit(): void {
    this.quitting = true;
  }

  dispose(): void {
    this.quit();
    clearTimeout(this.saving);
    for (const window of this.all) window.destroy();
  }

  private open(key: string, route: string, look: BrowserWindowConstructorOptions, go: boolean): BrowserWindow {
    const existing = this.byKey.get(key);
    if (existing && !existing.isDestroyed()) {
      if (go) void existing.loadURL(this.address(route)).catch(() => {});
      if (existing.isMinimized()) existing.restore();
      existing.show();
      existing.focus();
      return existing;
    }
    const isVm = key !== LIBRARY;
    const window = new BrowserWindow({
      ...look,
      ...onScreen(this.bounds[key]),
      show: false,
      backgroundColor: nativeTheme.shouldUseDarkColors ? '#141517' : '#f8f9fa',
      ...(this.options.icon !== undefined && { icon: this.options.icon }),
      webPreferences: {
        preload: this.options.preload,
        contextIsolation: true,
        sandbox: true,
        nodeIntegration: false,
        webviewTag: false,
        spellcheck: false,
        // A machine is drawn and heard while its window is covered, too.
        backgroundThrottling: !isVm,
      },
    });
    this.byKey.set(key, window);
    protectContents(window.webContents, this.options.source);
    // Every key belongs to the guest; a menu bar would take Alt and its shortcuts away from it.
    if (isVm && process.platform !== 'darwin') window.removeMenu();
    // The page titles itself; the file name of the page is no title.
    window.once('ready-to-show', () => window.show());
    for (const event of ['resize', 'move'] as const) window.on(event as 'resize', () => this.remember(key, window));
    window.on('close', (event) => {
      if (!isVm || this.quitting || this.closing.has(window)) return;
      event.preventDefault();
      // One question at a time, however often the button is pressed.
      if (this.asking.has(window)) return;
      this.asking.add(window);
      void this.options
        .mayClose(key, window)
        .catch(() => false)
        .then((may) => {
          this.asking.delete(window);
          if (!may || window.isDestroyed()) return;
          this.closing.add(window);
          window.close();
        });
    });
    window.on('closed', () => {
      if (this.byKey.get(key) === window) this.byKey.delete(key);
    });
    // A page whose process died is loaded again; the machine's own process never noticed.
    window.webContents.on('render-process-gone', (_event, details) => {
      if (details.reason !== 'clean-exit' && !window.isDestroyed())
        setTimeout(() => !window.isDestroyed() && window.webContents.reload(), 500);
    });
    void window.loadURL(this.address(route)).catch(() => {});
    return window;
  }

  private address(route: string): string {
    return `${this.options.source.page}#${route}`;
  }

  private remember(key: string, window: BrowserWindow): void {
    if (window.isMinimized() || window.isFullScreen() || window.isMaximized()) return;
    this.bounds[key] = window.getBounds();
    clearTimeout(this.saving);
    this.saving = setTimeout(() => void writeFile(this.options.boundsFile, JSON.stringify(this.bounds)).catch(() => {}), 1000);
  }
}

function readBounds(file: string): Record<string, Rectangle> {
  try {
    const value = JSON.parse(readFileSync(file, 'utf8')) as Record<string, Rectangle>;
    return Object.fromEntries(
      Object.entries(value).filter(([, r]) => [r?.x, r?.y, r?.width, r?.height].every((n) => Number.isSafeInteger(n))),
    );
  } catch {
    // None yet, or not ours: windows open where the system puts them.
    return {};
  }
}

/** Nothing, if the remembered place is on no screen any more. */
function onScreen(bounds: Rectangle | undefined): Partial<Rectangle> {
  if (!bounds || !app.isReady()) return {};
  const visible = screen.getAllDisplays().some(({ workArea: area }) => {
    const width = Math.min(bounds.x + bounds.width, area.x + area.width) - Math.max(bounds.x, area.x);
    const height = Math.min(bounds.y + bounds.height, area.y + area.height) - Math.max(bounds.y, area.y);
    return width >= 120 && height >= 80;
  });
  return visible ? bounds : {};
}
