/**
 * The only code that sees both the page and Electron. It exposes LodgeBridge, two functions and a port hand-over, and
 * interprets nothing: the other side validates.
 */
import { contextBridge, ipcRenderer, webUtils } from 'electron';
import type { LodgeBridge } from './contract/bridge';

const listeners = new Set<(event: unknown) => void>();
ipcRenderer.on('lodge:event', (_event, message: unknown) => {
  for (const listener of listeners) listener(message);
});

// A port cannot cross contextBridge, but it can be posted to the page's own window.
ipcRenderer.on('lodge:viewer-port', (event, message: { requestId: string }) => {
  window.postMessage({ type: 'lodge:viewer-port', requestId: message.requestId }, '*', event.ports);
});

const bridge: LodgeBridge = {
  call: (name, input) => ipcRenderer.invoke('lodge:call', name, input),
  on: (listener) => {
    listeners.add(listener);
    return () => void listeners.delete(listener);
  },
  openViewer: (vmId, requestId) => ipcRenderer.send('lodge:open-viewer', { vmId, requestId }),
  openVmWindow: (vmId) => ipcRenderer.send('lodge:open-vm-window', vmId),
  // webUtils came with Electron 29; before, a File carried its path itself.
  pathForFile: (file) => (webUtils ? webUtils.getPathForFile(file as File) : ((file as { path?: string }).path ?? '')),
  chooseFile: (options) => ipcRenderer.invoke('lodge:choose-file', options) as Promise<string | null>,
  platform: process.platform,
};

contextBridge.exposeInMainWorld('lodge', bridge);
