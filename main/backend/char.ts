/** What a serial port or console talks to: a byte pipe with flow control towards the guest. */
import type { Disposable } from '../lib/disposable';

export interface CharBackend {
  /** Guest → host. Never blocks; a slow reader is the backend's problem. */
  write(bytes: Uint8Array): void;
  /**
   * Host → guest. The device answers how many bytes it took; the backend keeps the rest and offers them again when the device
   * calls the function given to onReady.
   */
  onInput(listener: (bytes: Uint8Array) => number): Disposable;
  /** The device has room again. */
  ready(): void;
}
