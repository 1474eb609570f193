/**
 * What every serial backend of the VM process shares. Output is collected and handed on once per turn of the event loop (a guest
 * writes byte by byte; nobody wants a message or a system call for each). Input waits here until the device has room.
 */
import type { CharBackend } from '../../backend/char';
import type { Disposable } from '../../lib/disposable';

/** Handed on at once when so much has gathered within one turn. */
const BATCH_BYTES = 16384;
/** Input beyond this is dropped: the guest does not read, and its peer is hostile or a very long paste. */
const INPUT_LIMIT_BYTES = 1 << 20;

export abstract class CharPipe implements CharBackend {
  private batch = new Uint8Array(BATCH_BYTES);
  private batched = 0;
  private scheduled = false;
  private pending: Uint8Array[] = [];
  private pendingBytes = 0;
  private listener: ((bytes: Uint8Array) => number) | undefined;

  /** A batch of output; the bytes are the callee's to keep. */
  protected abstract emit(bytes: Uint8Array): void;

  write(bytes: Uint8Array): void {
    for (let from = 0; from < bytes.length;) {
      const part = Math.min(bytes.length - from, BATCH_BYTES - this.batched);
      this.batch.set(from === 0 && part === bytes.length ? bytes : bytes.subarray(from, from + part), this.batched);
      this.batched += part;
      from += part;
      if (this.batched === BATCH_BYTES) this.flush();
    }
    if (this.batched > 0 && !this.scheduled) {
      this.scheduled = true;
      setImmediate(() => {
        this.scheduled = false;
        this.flush();
      });
    }
  }

  flush(): void {
    if (this.batched === 0) return;
    const bytes = this.batch.slice(0, this.batched);
    this.batched = 0;
    this.emit(bytes);
  }

  onInput(listener: (bytes: Uint8Array) => number): Disposable {
    this.listener = listener;
    this.ready();
    return {
      dispose: () => {
        if (this.listener === listener) this.listener = undefined;
      },
    };
  }

  /** Host → guest. */
  inject(bytes: Uint8Array): void {
    if (bytes.length === 0 || this.pendingBytes + bytes.length > INPUT_LIMIT_BYTES) return;
    this.pending.push(bytes);
    this.pendingBytes += bytes.length;
    if (this.pending.length === 1) this.ready();
  }

  ready(): void {
    while (this.listener && this.pending.length > 0) {
      const bytes = this.pending[0]!;
      const taken = this.listener(bytes);
      this.pendingBytes -= taken;
      if (taken < bytes.length) {
        this.pending[0] = bytes.subarray(taken);
        return;
      }
      this.pending.shift();
      this.inputDrained();
    }
  }

  get inputBytes(): number {
    return this.pendingBytes;
  }

  protected inputDrained(): void {}

  /** Everything written is out; no more output follows. */
  async close(): Promise<void> {
    this.flush();
  }
}
