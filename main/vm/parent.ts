/** The way to the process that started this one: Node's fork channel, or Electron's parentPort. */
import type { MessagePortLike } from './viewer-channel';
import type { FromVm } from '../process/protocol';

/** What may come with a message: a viewer's socket handle (Node) or ports (Electron). */
export interface Transfer {
  readonly handle: unknown;
  readonly ports: readonly MessagePortLike[];
}

export interface Parent {
  /** Resolves when the message is on its way, so that the process may end. */
  send(message: FromVm): Promise<void>;
  onMessage(listener: (message: unknown, transfer: Transfer) => void): void;
  /** The parent is gone. */
  onGone(listener: () => void): void;
}

interface ElectronParentPort {
  postMessage(message: unknown): void;
  on(event: 'message', listener: (event: { data: unknown; ports: MessagePortLike[] }) => void): void;
}

/** Electron gives no sign that a message has left; its pipe is emptied within this time. */
const ELECTRON_DRAIN_MS = 50;

export function connectParent(): Parent | undefined {
  const port = (process as unknown as { parentPort?: ElectronParentPort }).parentPort;
  if (port) {
    return {
      send: (message) => {
        port.postMessage(message);
        return message.type === 'stopped' ? new Promise((done) => setTimeout(done, ELECTRON_DRAIN_MS)) : Promise.resolve();
      },
      onMessage: (listener) => port.on('message', ({ data, ports }) => listener(data, { handle: undefined, ports })),
      // Electron ends utility processes with their parent.
      onGone: () => undefined,
    };
  }
  if (!process.send) return undefined;
  return {
    send: (message) =>
      new Promise((done) => {
        if (process.connected) process.send!(message, undefined, undefined, () => done());
        else done();
      }),
    onMessage: (listener) => process.on('message', (message, handle) => listener(message, { handle, ports: [] })),
    onGone: (listener) => process.on('disconnect', listener),
  };
}
