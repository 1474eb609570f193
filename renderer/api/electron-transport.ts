/** Electron: `window.lodge`, put there by the preload script. The link is the process itself, so it is always open. */
import { LodgeError, type LodgeBridge } from '../../preload/contract';
import type { Transport, ViewerHandlers, ViewerSocket } from './transport';

declare global {
  interface Window {
    readonly lodge?: LodgeBridge;
  }
}

/** A VM process that does not hand over its port in this time will not do so at all. */
const PORT_DEADLINE_MS = 10_000;

export function electronTransport(bridge: LodgeBridge): Transport {
  return {
    kind: 'electron',
    platform: bridge.platform,
    call: (name, input) => bridge.call(name, input),
    onEvent: (listener) => bridge.on(listener),
    onLink: (listener) => {
      listener('open');
      return () => {};
    },
    openViewer: (vmId, handlers) => openPort(bridge, vmId, handlers),
    openVmWindow: (vmId) => {
      bridge.openVmWindow(vmId);
      return true;
    },
    pathForFile: (file) => {
      const path = bridge.pathForFile(file);
      return path !== ''
        ? Promise.resolve(path)
        : Promise.reject(
            new LodgeError({
              code: 'fileMissing',
              message: `“${file.name}” is not a file on this computer.`,
              fix: 'Save it to a folder first, then drop it from there.',
            }),
          );
    },
    chooseFile: (options) => bridge.chooseFile(options),
    dispose: () => {},
  };
}

/** Ports cannot cross contextBridge, so the port comes as a window message that names our request. */
function openPort(bridge: LodgeBridge, vmId: string, handlers: ViewerHandlers): ViewerSocket {
  const requestId = crypto.randomUUID();
  let port: MessagePort | undefined;
  let closed = false;
  const close = (notify: boolean): void => {
    if (closed) return;
    closed = true;
    clearTimeout(deadline);
    window.removeEventListener('message', onMessage);
    port?.close();
    if (notify) handlers.onClose();
  };
  const onMessage = (e: MessageEvent<unknown>): void => {
    const data = e.data as { type?: unknown; requestId?: unknown } | null;
    if (e.source !== window || typeof data !== 'object' || data?.type !== 'lodge:viewer-port' || data.requestId !== requestId)
      return;
    window.removeEventListener('message', onMessage);
    clearTimeout(deadline);
    port = e.ports[0];
    if (port === undefined) {
      close(true);
      return;
    }
    port.onmessage = (m: MessageEvent<unknown>) => {
      if (typeof m.data === 'string') handlers.onText(m.data);
      else if (m.data instanceof ArrayBuffer) handlers.onBinary(m.data);
      else if (ArrayBuffer.isView(m.data)) {
        const { buffer, byteOffset, byteLength } = m.data;
        // A copy of a whole screen takes milliseconds; what was sent alone arrives alone.
        const whole = byteOffset === 0 && byteLength === buffer.byteLength;
        handlers.onBinary((whole ? buffer : buffer.slice(byteOffset, byteOffset + byteLength)) as ArrayBuffer);
      } else if (m.data === null) close(true);
    };
    // Chromium fires it from 122 on; before, the VM's state event ends the session.
    port.addEventListener('close', () => close(true));
    handlers.onOpen();
  };
  const deadline = setTimeout(() => close(true), PORT_DEADLINE_MS);
  window.addEventListener('message', onMessage);
  bridge.openViewer(vmId, requestId);
  return {
    send: (message) => port?.postMessage(JSON.stringify(message)),
    close: () => close(false),
  };
}
