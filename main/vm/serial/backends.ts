/** Where a serial port's bytes go: viewers (terminal), the process's own stdin and stdout, a file, or nowhere. */
import { createWriteStream, openSync, type WriteStream } from 'node:fs';
import type { Readable, Writable } from 'node:stream';
import { LodgeError } from '../../../preload/contract';
import { Emitter } from '../../lib/disposable';
import { CharPipe } from './char-pipe';

/** What a viewer that attaches later still gets to see. */
export const TERMINAL_KEPT_BYTES = 65536;

export class TerminalBackend extends CharPipe {
  private readonly ring = new Uint8Array(TERMINAL_KEPT_BYTES);
  private total = 0;
  private readonly output = new Emitter<Uint8Array>();
  /** Batches of guest output, in order; the bytes must not be changed. */
  readonly onOutput = this.output.event;

  /** The last output, oldest first. Follow with `onOutput` in the same turn: nothing is missed or doubled. */
  history(): Uint8Array {
    this.flush();
    const start = this.total % TERMINAL_KEPT_BYTES;
    if (this.total <= TERMINAL_KEPT_BYTES) return this.ring.slice(0, this.total);
    const all = new Uint8Array(TERMINAL_KEPT_BYTES);
    all.set(this.ring.subarray(start));
    all.set(this.ring.subarray(0, start), TERMINAL_KEPT_BYTES - start);
    return all;
  }

  protected override emit(bytes: Uint8Array): void {
    const kept = bytes.subarray(Math.max(0, bytes.length - TERMINAL_KEPT_BYTES));
    const start = (this.total + bytes.length - kept.length) % TERMINAL_KEPT_BYTES;
    const first = Math.min(kept.length, TERMINAL_KEPT_BYTES - start);
    this.ring.set(kept.subarray(0, first), start);
    this.ring.set(kept.subarray(first), 0);
    this.total += bytes.length;
    this.output.fire(bytes);
  }
}

export class StdioBackend extends CharPipe {
  private broken = false;
  private readonly onData = (chunk: Buffer): void => {
    this.inject(new Uint8Array(chunk));
    // The guest reads slower than the peer writes.
    if (this.inputBytes > 0) this.input.pause();
  };

  constructor(
    private readonly input: Readable,
    private readonly sink: Writable,
  ) {
    super();
    input.on('data', this.onData);
    input.on('error', () => undefined);
    // A reader that went away (a closed pipe) is no reason to end the guest.
    sink.on('error', () => (this.broken = true));
  }

  protected override emit(bytes: Uint8Array): void {
    if (!this.broken) this.sink.write(bytes);
  }

  protected override inputDrained(): void {
    if (this.inputBytes === 0) this.input.resume();
  }

  override async close(): Promise<void> {
    await super.close();
    this.input.off('data', this.onData);
    this.input.pause();
    if (!this.broken) await new Promise<void>((done) => this.sink.write('', () => done()));
  }
}

export class FileBackend extends CharPipe {
  private readonly stream: WriteStream;
  private failed = false;

  constructor(path: string, onError: (message: string) => void) {
    super();
    let fd: number;
    try {
      fd = openSync(path, 'w');
    } catch (cause) {
      throw new LodgeError(
        {
          code: 'permissionDenied',
          message: `The serial port's file ${path} cannot be written.`,
          fix: 'Choose a file in a folder that exists and that you may write to.',
          detail: String(cause),
        },
        { cause },
      );
    }
    this.stream = createWriteStream(path, { fd });
    this.stream.on('error', (e) => {
      if (!this.failed) onError(`The serial port's file ${path} can no longer be written: ${e.message}`);
      this.failed = true;
    });
  }

  protected override emit(bytes: Uint8Array): void {
    if (!this.failed) this.stream.write(bytes);
  }

  override async close(): Promise<void> {
    await super.close();
    if (!this.failed) await new Promise<void>((done) => this.stream.end(() => done()));
  }
}

/** A port with nothing plugged in. */
export class NullBackend extends CharPipe {
  override write(): void {}
  protected override emit(): void {}
}
