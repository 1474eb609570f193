/**
 * What the page finds as `window.lodge` in Electron. In a browser it is absent and the api talks to the server:
 * WebSocket `/api?token=…` for calls and events, WebSocket `/viewer/<vm id>?token=…` for a viewer channel.
 */
export interface LodgeBridge {
  call(name: string, input: unknown): Promise<unknown>;
  /** Events; returns the unsubscribe function. */
  on(listener: (event: unknown) => void): () => void;
  /**
   * Asks for a viewer channel. The port arrives as a window message {type: 'lodge:viewer-port', requestId} with one port,
   * since ports cannot cross contextBridge.
   */
  openViewer(vmId: string, requestId: string): void;
  /** Opens (or focuses) the VM's own window. In a browser the page opens `#/vm/<id>` itself. */
  openVmWindow(vmId: string): void;
  /** Absolute path of a dropped or chosen File (webUtils.getPathForFile). */
  pathForFile(file: unknown): string;
  /** Native open dialog; null when cancelled. */
  chooseFile(options: { title: string; kind: 'disk' | 'disc' | 'kernel' | 'initrd' | 'folder' | 'any' }): Promise<string | null>;
  readonly platform: string;
}
