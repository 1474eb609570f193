/** The Electron application around the control plane: windows, menu, questions, files opened from outside, the end. */
import { Menu, app, dialog, nativeTheme, session, type BrowserWindow } from 'electron';
import { join } from 'node:path';
import { DisposableStore } from '../lib/disposable';
import { IMAGE_EXTENSIONS, newMachineRoute, parseArguments } from './arguments';
import type { ControlPlane } from './control-plane';
import { serveIpc } from './ipc';
import { Machines } from './machines';
import { buildMenu } from './menu';
import type { OpenedFiles } from './opened-files';
import { askCloseAction, askQuit, askStillRunning, type CloseAction } from './questions';
import { pageSource, protectSession } from './security';
import { Windows } from './windows';

/** How long guests may take to shut down before the user is asked again. */
const SHUTDOWN_PATIENCE_MS = 60_000;

export interface ShellOptions {
  readonly control: ControlPlane;
  readonly rendererFolder: string;
  readonly preload: string;
  readonly icon: string | undefined;
  readonly version: string;
  readonly images: readonly string[];
  readonly files: OpenedFiles;
}

export async function runShell(options: ShellOptions): Promise<void> {
  const { control } = options;
  const store = new DisposableStore();
  const source = pageSource(options.rendererFolder, app.isPackaged ? undefined : process.env['ELECTRON_RENDERER_URL']);
  protectSession(session.defaultSession, source);

  const machines = store.add(new Machines(control));
  await machines.load();

  const windows = store.add(
    new Windows({
      source,
      preload: options.preload,
      icon: options.icon,
      boundsFile: join(app.getPath('userData'), 'windows.json'),
      mayClose: (id, window) => mayClose(id, window),
    }),
  );
  store.add(serveIpc({ control, machines, windows, source }));
  store.add(
    machines.onChange((change) => {
      if ('removed' in change) windows.closeVm(change.removed);
    }),
  );
  const applyTheme = (): void => {
    const theme = machines.preferences?.theme ?? 'auto';
    nativeTheme.themeSource = theme === 'auto' ? 'system' : theme;
  };
  applyTheme();
  store.add(control.onEvent((event) => event.type === 'preferences' && applyTheme()));

  Menu.setApplicationMenu(
    buildMenu(
      {
        newMachine: () => windows.openLibrary('/new'),
        preferences: () => windows.openLibrary('/preferences'),
        library: () => windows.openLibrary('/'),
        openImage: () => void openImage(),
        about: () => void about(),
      },
      source.development,
    ),
  );

  const openImages = (images: readonly string[]): void => {
    const first = images[0];
    windows.openLibrary(first === undefined ? undefined : newMachineRoute(first));
  };
  app.on('second-instance', (_event, argv, workingDirectory) =>
    openImages(parseArguments(argv.slice(1), workingDirectory).images),
  );
  app.on('activate', () => windows.openLibrary());

  // Without a library window nobody could come back to a machine that runs on: the last window's end is Lodge's.
  app.on('window-all-closed', () => {
    if (process.platform !== 'darwin') app.quit();
  });
  let end: 'no' | 'asking' | 'yes' = 'no';
  app.on('before-quit', (event) => {
    if (end === 'yes') return;
    event.preventDefault();
    if (end === 'asking') return;
    end = 'asking';
    // A question that could not be asked (its window went away meanwhile) counts as a no: the next try asks again.
    const stopping = stopEverything().catch(() => false);
    void stopping.then(async (stopped) => {
      end = stopped ? 'yes' : 'no';
      if (!stopped) {
        if (windows.all.length === 0) windows.openLibrary();
        return;
      }
      windows.quit();
      await control.shutdown().catch(() => {});
      store.dispose();
      app.quit();
    });
  });

  openImages([...options.images, ...options.files.listen(openImages)]);

  async function mayClose(id: string, window: BrowserWindow): Promise<boolean> {
    const vm = machines.get(id);
    if (!vm || vm.state === 'stopped' || vm.state === 'stopping') return true;
    const preferred = machines.preferences?.closeAction ?? 'ask';
    let action: CloseAction;
    if (preferred === 'ask' || (preferred === 'shutdown' && vm.state !== 'running')) {
      const answer = await askCloseAction(vm, window);
      if (!answer) return false;
      action = answer.action;
      if (answer.remember) await control.call('preferences.set', { closeAction: action });
    } else action = preferred;
    switch (action) {
      case 'keepRunning':
        windows.openLibrary();
        return true;
      case 'powerOff':
        await control.call('vm.powerOff', { id });
        return true;
      case 'shutdown': {
        // The window stays, so that the user sees what the guest says to it, and goes with the guest.
        const result = await control.call('vm.shutdown', { id });
        if (!result.ok)
          await dialog.showMessageBox(window, { type: 'error', message: result.error.message, detail: result.error.fix ?? '' });
        else void machines.stopped(id, SHUTDOWN_PATIENCE_MS).then((stopped) => stopped && windows.closeVm(id));
        return false;
      }
      default:
        return action satisfies never;
    }
  }

  /** Asks, and acts on it; false: Lodge goes on. */
  async function stopEverything(): Promise<boolean> {
    const running = machines.running;
    if (running.length === 0) return true;
    const front = windows.all.find((window) => window.isFocused()) ?? windows.library;
    const answer = await askQuit(running, front);
    if (answer === undefined) return false;
    if (answer === 'shutdown') {
      const asked = machines.running.map(async (vm) => {
        const { id } = vm.definition;
        // A paused guest has to run again before it can shut down.
        if (vm.state === 'paused') await control.call('vm.resume', { id });
        return control.call('vm.shutdown', { id });
      });
      await Promise.all(asked);
      for (;;) {
        await Promise.all(machines.running.map((vm) => machines.stopped(vm.definition.id, SHUTDOWN_PATIENCE_MS)));
        const left = machines.running;
        if (left.length === 0) return true;
        const next = await askStillRunning(left, front);
        if (next === 'cancel') return false;
        if (next === 'powerOff') break;
      }
    }
    await Promise.all(machines.running.map((vm) => control.call('vm.powerOff', { id: vm.definition.id })));
    return true;
  }

  async function openImage(): Promise<void> {
    const { canceled, filePaths } = await dialog.showOpenDialog({
      title: 'New machine from image',
      properties: ['openFile'],
      filters: [
        { name: 'Disk and disc images', extensions: IMAGE_EXTENSIONS },
        { name: 'All files', extensions: ['*'] },
      ],
    });
    if (!canceled) openImages(filePaths);
  }

  async function about(): Promise<void> {
    const host = await control.call('host.get', undefined);
    const engine = host.ok
      ? (host.value as { accelerators: { reason: string }[] }).accelerators.map((a) => a.reason).join('\n')
      : '';
    await dialog.showMessageBox({
      type: 'info',
      title: 'About Lodge',
      message: `Lodge ${options.version}`,
      detail: `A desktop virtualization workstation with its own hypervisor engine.\n\n${engine}\n\nElectron ${process.versions['electron']}, Chromium ${process.versions['chrome']}, Node ${process.versions.node}`,
    });
  }
}
