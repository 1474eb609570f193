/**
 * The command set's vocabulary: what a host controller gives a drive and what a drive asks of it. ATA/ATAPI-7 (T13 1532D) volume 1 §5–6.
 * A drive knows no transport: IDE moves data through its data port or by bus-master DMA, AHCI by scatter lists.
 */

export const AtaStatus = {
  ERROR: 0x01,
  DATA_REQUEST: 0x08,
  SEEK_COMPLETE: 0x10,
  DEVICE_FAULT: 0x20,
  READY: 0x40,
  BUSY: 0x80,
} as const;
export const AtaError = { ABORT: 0x04, NOT_FOUND: 0x10, UNCORRECTABLE: 0x40 } as const;
export const DEVICE_LBA = 0x40;

/** The registers of a command as it was issued. */
export interface Taskfile {
  readonly command: number;
  /** 16 bits: what was written before the last write lies in the upper half (the "previous content" of 48-bit commands). */
  readonly features: number;
  readonly count: number;
  /** LBA bits 0–23, or cylinder and sector. */
  readonly low: number;
  /** LBA bits 24–47 of 48-bit commands. */
  readonly high: number;
  readonly device: number;
}

/** What a command leaves in the registers; absent: unchanged. */
export interface Registers {
  readonly count?: number;
  readonly low?: number;
  readonly high?: number;
}

/** A transfer between the drive's medium and the guest. */
export interface Move {
  readonly kind: 'read' | 'write';
  readonly offset: number;
  readonly bytes: number;
  /** What one data request of programmed I/O moves. */
  readonly blockBytes: number;
  readonly dma: boolean;
  /** Durable before it counts as done. */
  readonly through: boolean;
  /** Native command queuing: the tag. */
  readonly tag?: number;
}

/** Everything a command can come to. */
export type Operation =
  | { readonly kind: 'done'; readonly registers?: Registers }
  | { readonly kind: 'fail'; readonly error: number; readonly fault?: boolean }
  | { readonly kind: 'wait'; readonly work: Promise<void>; readonly bytes?: undefined }
  | { readonly kind: 'dataIn'; readonly data: Uint8Array; readonly dma: boolean }
  | { readonly kind: 'dataOut'; readonly bytes: number; readonly dma: boolean; readonly accept: (data: Uint8Array) => Operation }
  | Move
  /** The drive takes a command packet next. */
  | { readonly kind: 'packet'; readonly dma: boolean }
  /** The registers are to show the drive's signature (DEVICE RESET, EXECUTE DEVICE DIAGNOSTIC). */
  | { readonly kind: 'signature' };

export const DONE: Operation = { kind: 'done' };
export const ABORTED: Operation = { kind: 'fail', error: AtaError.ABORT };

/** Count, LBA low, mid, high after a reset (ATA/ATAPI-7 vol. 1 §5.14). */
export const SIGNATURES = {
  disk: { count: 1, low: 0x000001 },
  packet: { count: 1, low: 0xeb1401 },
} as const;

export interface DriveCounters {
  readBytes: number;
  writtenBytes: number;
  /** Requests of each kind. */
  reads: number;
  writes: number;
  /** Commands the guest got wrong, and those the host failed. */
  refused: number;
  hostErrors: number;
}

export interface AtaDrive {
  readonly name: string;
  /** Takes PACKET commands. */
  readonly packet: boolean;
  readonly counters: DriveCounters;
  execute(task: Taskfile): Operation;
  /** The twelve bytes of a command packet. */
  executePacket(cdb: Uint8Array, dma: boolean): Operation;
  /** Data straight between the medium and guest memory; `ranges` hold exactly what the operation moves. Throws or rejects. */
  move(operation: Move, ranges: Float64Array): void | Promise<void>;
  /** Part of a move, through the controller's buffer. */
  load(operation: Move, at: number, into: Uint8Array): Promise<void>;
  store(operation: Move, at: number, from: Uint8Array): Promise<void>;
  /** After the last `store` of a move. */
  stored(operation: Move): void | Promise<void>;
  /** What `move`, `load`, `store` or `wait` failed with, as the guest sees it. */
  failure(error: unknown, operation: Operation): Extract<Operation, { kind: 'fail' }>;
  /** A reset by the controller; `hard`: of the power-on kind, settings are lost. */
  reset(hard: boolean): void;
}

/** A guest's bad DMA address, as the engine reports it. */
export const isBadAddress = (error: unknown): boolean => (error as { code?: unknown } | null)?.code === 'EFAULT';
