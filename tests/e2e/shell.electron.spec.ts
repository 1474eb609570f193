/** The Electron shell around the page. */
import { coloursOn, patience, expect, test, type ElectronLodge } from './lodge';

const app = (lodge: unknown): ElectronLodge['app'] => (lodge as ElectronLodge).app;

test('the page cannot leave, and opens no windows of its own', async ({ lodge }) => {
  const before = lodge.library.url();
  await app(lodge).evaluate(({ shell }) => {
    shell.openExternal = (url) => {
      (globalThis as { opened?: string[] }).opened = [...((globalThis as { opened?: string[] }).opened ?? []), url];
      return Promise.resolve();
    };
  });
  // The page itself waits for a navigation that never comes, so the main process is asked what became of it.
  await lodge.library.evaluate(() => {
    window.open('https://example.org/allowed-in-the-browser');
    window.open('file:///etc/passwd');
    location.href = 'https://example.org/';
  });
  const state = (): Promise<{ urls: string[]; opened: string[] | undefined }> =>
    app(lodge).evaluate(({ BrowserWindow }) => ({
      urls: BrowserWindow.getAllWindows().map((window) => window.webContents.getURL()),
      opened: (globalThis as { opened?: string[] }).opened,
    }));
  await expect.poll(async () => (await state()).opened).toEqual(['https://example.org/allowed-in-the-browser']);
  expect((await state()).urls).toEqual([before]);
});

test('windows are isolated and sandboxed', async ({ lodge }) => {
  const preferences = await app(lodge).evaluate(({ BrowserWindow }) =>
    BrowserWindow.getAllWindows().map((window) => {
      // Not in the types, but the only way to ask what a window really got.
      const contents = window.webContents as unknown as { getLastWebPreferences(): Record<string, unknown> };
      const { contextIsolation, sandbox, nodeIntegration, webSecurity } = contents.getLastWebPreferences();
      return { contextIsolation, sandbox, nodeIntegration, webSecurity };
    }),
  );
  expect(preferences).toEqual([{ contextIsolation: true, sandbox: true, nodeIntegration: false, webSecurity: true }]);
});

test('closing the window of a running machine asks, and the machine can go on', async ({ lodge }) => {
  const page = await lodge.doubleClick('Lodge Demo');
  await expect.poll(() => coloursOn(page), { timeout: 30_000 * patience() }).toBeGreaterThan(2);
  const answer = (response: number): Promise<void> =>
    app(lodge).evaluate(({ dialog }, choice) => {
      dialog.showMessageBox = (...args: unknown[]) => {
        const asked = args.at(-1) as { message: string };
        (globalThis as { asked?: string }).asked = asked.message;
        return Promise.resolve({ response: choice, checkboxChecked: false });
      };
    }, response);
  const close = (): Promise<void> =>
    app(lodge).evaluate(({ BrowserWindow }) =>
      BrowserWindow.getAllWindows()
        .find((window) => window.webContents.getURL().includes('#/vm/'))!
        .close(),
    );
  const windows = (): Promise<number> => app(lodge).evaluate(({ BrowserWindow }) => BrowserWindow.getAllWindows().length);
  const running = (): boolean => lodge.command('list', '--json').stdout.includes('"running"');

  await answer(3); // Cancel
  await close();
  await expect.poll(() => app(lodge).evaluate(() => (globalThis as { asked?: string }).asked)).toContain('still running');
  expect(await windows()).toBe(2);

  await answer(0); // Keep Running
  await close();
  await expect.poll(windows).toBe(1);
  expect(running()).toBe(true);

  const again = await lodge.doubleClick('Lodge Demo');
  await expect.poll(() => coloursOn(again), { timeout: 30_000 * patience() }).toBeGreaterThan(2);
  await answer(2); // Power Off
  await close();
  await expect.poll(windows).toBe(1);
  await expect.poll(running).toBe(false);
});
