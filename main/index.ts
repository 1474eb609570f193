/** Lodge as an Electron application: the services in this process, a utility process for each machine. Wiring only. */
import { app, dialog } from 'electron';
import { existsSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { LodgeError } from '../preload/contract';
import { parseArguments } from './app/arguments';
import { prepareDataFolder } from './app/data-folder';
import { OpenedFiles } from './app/opened-files';
import { runShell } from './app/shell';
import { utilitySpawner } from './app/vm-spawner';
import { createLogger } from './lib/log';
import { appLayout, dataPaths } from './lib/paths';
import { bind } from './rpc/bind';
import { lodgeHandlers } from './rpc/handlers';
import { listenLocal } from './rpc/local-socket';
import { Lodge } from './services/lodge';
import { inspectImage } from './storage';

declare const __LODGE_VERSION__: string;

const layout = appLayout(__dirname, __LODGE_VERSION__);
const { dataDir, images } = parseArguments(process.argv.slice(1), process.cwd());
const paths = dataPaths({ dataDir });

app.setName('Lodge');
const files = new OpenedFiles();
app.on('open-file', (event, path) => {
  event.preventDefault();
  files.open(path);
});

const unusable = prepareDataFolder(paths.dataDir);
if (unusable) void app.whenReady().then(() => fail(unusable));
else {
  // One Lodge for each data folder: Electron's lock follows its own folder.
  app.setPath('userData', join(paths.dataDir, 'electron'));
  if (app.requestSingleInstanceLock()) app.whenReady().then(start).catch(fail);
  else app.quit();
}

function fail(reason: unknown): void {
  const error = LodgeError.from(reason);
  const text = [error.message, error.fix, error.detail].filter(Boolean).join('\n\n');
  // At once: the box holds everything up until somebody has read it, also where there is no screen to read it on.
  writeSync(2, `lodge: ${text}\n`);
  dialog.showErrorBox('Lodge cannot start', text);
  app.exit(1);
}

async function start(): Promise<void> {
  const log = await createLogger({ file: paths.logFile });
  // The socket first: it is what keeps two Lodges, of whatever kind, off one data folder.
  let opened!: (call: ReturnType<typeof bind>) => void;
  const whenOpen = new Promise<ReturnType<typeof bind>>((resolve) => (opened = resolve));
  const local = await listenLocal(paths.instanceDir, { kind: 'server' }, async (name, input) => (await whenOpen)(name, input));

  const lodge = await Lodge.open({ paths, layout, mode: 'electron', spawn: utilitySpawner(layout.vmEntry), inspectImage, log });
  const call = bind(lodgeHandlers(lodge), log);
  opened(call);

  const icon = join(__dirname, '..', '..', 'resources', 'icons', 'lodge.png');
  await runShell({
    control: {
      call,
      onEvent: (listener) => lodge.hub.subscribe(listener),
      openViewer: (vmId, port) => lodge.machines.openViewer(vmId, undefined, port),
      shutdown: async () => {
        await lodge.close();
        await local.close();
        log.info({}, 'closed');
      },
    },
    rendererFolder: layout.renderer,
    preload: join(__dirname, '..', 'preload', 'index.cjs'),
    icon: existsSync(icon) ? icon : undefined,
    version: layout.version,
    images,
    files,
  });
}
