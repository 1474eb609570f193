/** The contract over Electron's IPC. Only Lodge's own page is listened to, and everything it sends is checked. */
import { BrowserWindow, MessageChannelMain, app, dialog, ipcMain, type IpcMainEvent, type IpcMainInvokeEvent } from 'electron';
import { z } from 'zod';
import { LodgeError, vmIdSchema, type CallResult } from '../../preload/contract';
import { DisposableStore, type Disposable } from '../lib/disposable';
import type { ControlPlane } from './control-plane';
import type { Machines } from './machines';
import { isOwnPage, type PageSource } from './security';
import type { Windows } from './windows';

const chooseFileSchema = z.object({
  title: z.string().max(200),
  kind: z.enum(['disk', 'disc', 'kernel', 'initrd', 'folder', 'any']),
});
const viewerSchema = z.object({ vmId: vmIdSchema, requestId: z.string().min(1).max(64) });

const ALL_FILES = { name: 'All files', extensions: ['*'] };
const FILTERS: Record<z.infer<typeof chooseFileSchema>['kind'], Electron.FileFilter[]> = {
  disk: [{ name: 'Disk images', extensions: ['img', 'raw', 'bin', 'qcow2', 'vdi', 'vmdk', 'vhd', 'vhdx'] }, ALL_FILES],
  disc: [{ name: 'Disc images', extensions: ['iso'] }, ALL_FILES],
  kernel: [ALL_FILES],
  initrd: [ALL_FILES],
  folder: [],
  any: [ALL_FILES],
};

export interface IpcParts {
  readonly control: ControlPlane;
  readonly machines: Machines;
  readonly windows: Windows;
  readonly source: PageSource;
}

export function serveIpc({ control, machines, windows, source }: IpcParts): Disposable {
  const store = new DisposableStore();
  const trusted = (event: IpcMainEvent | IpcMainInvokeEvent): boolean =>
    event.senderFrame !== null && event.senderFrame.parent === null && isOwnPage(source, event.senderFrame.url);

  const handle = (channel: string, handler: (event: IpcMainInvokeEvent, ...args: unknown[]) => unknown): void => {
    ipcMain.handle(channel, (event, ...args: unknown[]) => {
      if (!trusted(event)) throw new Error('Refused: this page is not part of Lodge');
      return handler(event, ...args);
    });
    store.addCallback(() => ipcMain.removeHandler(channel));
  };
  const on = (channel: string, listener: (event: IpcMainEvent, ...args: unknown[]) => void): void => {
    const checked = (event: IpcMainEvent, ...args: unknown[]): void => {
      if (trusted(event)) listener(event, ...args);
    };
    ipcMain.on(channel, checked);
    store.addCallback(() => ipcMain.off(channel, checked));
  };

  handle('lodge:call', async (_event, name, input): Promise<CallResult<unknown>> => {
    if (typeof name === 'string') return control.call(name, input);
    return { ok: false, error: new LodgeError({ code: 'invalidInput', message: 'A call needs a name' }).toData() };
  });

  on('lodge:open-viewer', (event, input) => {
    const request = viewerSchema.safeParse(input);
    if (!request.success) return;
    const { vmId, requestId } = request.data;
    const { port1, port2 } = new MessageChannelMain();
    if (!control.openViewer(vmId, port1)) {
      // The page sees a channel that closes at once, as it would if the machine stopped right after.
      port1.close();
    }
    event.sender.postMessage('lodge:viewer-port', { requestId }, [port2]);
  });

  on('lodge:open-vm-window', (_event, input) => {
    const id = vmIdSchema.safeParse(input);
    const vm = id.success ? machines.get(id.data) : undefined;
    if (vm) windows.openVm(vm.definition.id, vm.definition.name);
  });

  handle('lodge:choose-file', async (event, input): Promise<string | null> => {
    const { title, kind } = chooseFileSchema.parse(input);
    const options: Electron.OpenDialogOptions = {
      title,
      filters: FILTERS[kind],
      properties: kind === 'folder' ? ['openDirectory', 'createDirectory'] : ['openFile'],
      defaultPath: app.getPath('home'),
    };
    const window = BrowserWindow.fromWebContents(event.sender);
    const result = window ? await dialog.showOpenDialog(window, options) : await dialog.showOpenDialog(options);
    return result.canceled ? null : (result.filePaths[0] ?? null);
  });

  store.add(control.onEvent((event) => windows.broadcast('lodge:event', event)));
  return store;
}
