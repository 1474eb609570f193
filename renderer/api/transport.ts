/**
 * What the page needs from the outside: calls, events, viewer channels and files. Electron's bridge, the server's WebSocket
 * and the tests' fake implement it; nothing above knows which one it is.
 */
import type { LodgeBridge, ViewerToVm } from '../../preload/contract';

/**
 * connecting: not reached yet or trying again. open: calls go through. refused: the other side is there and says no, which
 * for the served app means a missing or old token.
 */
export type LinkState = 'connecting' | 'open' | 'lost' | 'refused';

export interface ViewerSocket {
  send(message: ViewerToVm): void;
  close(): void;
}

export interface ViewerHandlers {
  onOpen(): void;
  /** Text messages are JSON; binary ones start with a type byte. */
  onText(text: string): void;
  onBinary(bytes: ArrayBuffer): void;
  onClose(): void;
}

export interface UploadOptions {
  readonly onProgress?: (sent: number, total: number) => void;
  readonly signal?: AbortSignal;
}

export interface Transport {
  readonly kind: 'electron' | 'server';
  readonly platform: string;
  /** Resolves to a CallResult; rejects only when the link is gone. */
  call(name: string, input: unknown): Promise<unknown>;
  onEvent(listener: (event: unknown) => void): () => void;
  /** Called at once with the present state. */
  onLink(listener: (state: LinkState) => void): () => void;
  openViewer(vmId: string, handlers: ViewerHandlers): ViewerSocket;
  /** Shows the VM's own window; false when there are none and the page shows it itself. */
  openVmWindow(vmId: string): boolean;
  /** Path on the host of a dropped or chosen File, uploading it when the host is another machine. */
  pathForFile(file: File, options?: UploadOptions): Promise<string>;
  /** Native dialog; undefined where there is none. */
  readonly chooseFile?: LodgeBridge['chooseFile'];
  dispose(): void;
}
