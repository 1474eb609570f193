/** What a disk device talks to. Offsets and lengths are bytes; devices deal in sectors and convert at their edge. */

export const SECTOR_BYTES = 512;

/** Guest memory to move data to or from, in order: gpa, length pairs as the engine's bulk I/O takes them. */
export type GuestRanges = Float64Array;

/** A host-side failure; becomes an I/O error in the guest and an event for the user. */
export class HostIoError extends Error {
  override readonly name = 'HostIoError';
  constructor(
    message: string,
    readonly kind: 'noSpace' | 'io' | 'readOnly' | 'outOfRange',
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

export interface BlockBackend {
  readonly bytes: number;
  readonly readOnly: boolean;
  /** Preferred alignment of requests, a power of two ≥ 512. */
  readonly blockBytes: number;
  /** `discard` gives space back to the host; devices offer it to the guest only then. */
  readonly discards: boolean;
  /** Returns void when done at once, else a promise; rejects or throws HostIoError. Ranges must lie inside the disk. */
  read(offset: number, ranges: GuestRanges): void | Promise<void>;
  write(offset: number, ranges: GuestRanges): void | Promise<void>;
  /** Everything written before is durable when this is done. */
  flush(): Promise<void>;
  /** The range's contents may be dropped, and its space goes back to the host as far as possible. */
  discard(offset: number, bytes: number): Promise<void>;
  /** The range reads as zeroes. `giveBack`: its space may go back to the host; else it stays, as far as the format knows how. */
  writeZeroes(offset: number, bytes: number, giveBack: boolean): Promise<void>;
  /** For firmware, inspection and programmed I/O: copies into host memory. */
  readBytes(offset: number, into: Uint8Array): Promise<void>;
  /** For programmed I/O, whose data passes through a device's own buffer. `from` is the backend's until this is done. */
  writeBytes(offset: number, from: Uint8Array): Promise<void>;
  close(): Promise<void>;
}
