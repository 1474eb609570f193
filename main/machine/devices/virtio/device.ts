/** What a virtio device is to its transport, and the other way round. VIRTIO 1.2 §2. */
import type { QueueFault, Virtqueue } from './virtqueue';

export const VirtioFeature = {
  INDIRECT_DESC: 1n << 28n,
  EVENT_IDX: 1n << 29n,
  VERSION_1: 1n << 32n,
} as const;

/** Device status (§2.1). */
export const Status = {
  ACKNOWLEDGE: 1,
  DRIVER: 2,
  DRIVER_OK: 4,
  FEATURES_OK: 8,
  NEEDS_RESET: 0x40,
  FAILED: 0x80,
} as const;

/** A driver may add the second once it has set all of the first (§3.1.1); FAILED at any time. Anything else is ignored. */
export const STATUS_EDGES: readonly (readonly [number, number])[] = [
  [0, Status.ACKNOWLEDGE],
  [Status.ACKNOWLEDGE, Status.DRIVER],
  [Status.ACKNOWLEDGE | Status.DRIVER, Status.FEATURES_OK],
  [Status.ACKNOWLEDGE | Status.DRIVER | Status.FEATURES_OK, Status.DRIVER_OK],
  [0, Status.FAILED],
];

/** The status after the driver wrote `value`; undefined when that is no legal transition. */
export function nextStatus(current: number, value: number): number | undefined {
  const kept = current & ~Status.NEEDS_RESET;
  if ((value & kept) !== kept) return undefined; // bits are cleared by reset only
  let status = current;
  let added = value & ~current;
  for (const [needed, bit] of STATUS_EDGES) {
    if (!(added & bit)) continue;
    if ((status & needed) !== needed) return undefined;
    status |= bit;
    added &= ~bit;
  }
  return added === 0 ? status : undefined;
}

export interface VirtioDevice {
  readonly name: string;
  /** Device type, §5. */
  readonly deviceId: number;
  /** PCI class: 0xCCSSPP. */
  readonly classCode: number;
  /** Device-specific feature bits; the transport adds the ring's. */
  readonly features: bigint;
  /** Largest size of each queue. */
  readonly queueSizes: readonly number[];
  /** Device configuration space, as bytes; the transport cuts accesses to its length. */
  readConfig(): Uint8Array;
  /** One byte at a time; absent where nothing is writable. */
  writeConfig?(offset: number, value: number): void;
  /** DRIVER_OK was set: queues exist. `features` is what was negotiated. */
  start(transport: VirtioTransport, features: bigint): void;
  onNotify(queue: number): void;
  /**
   * The driver reset the device. Nothing may touch guest memory once the returned promise is done (at once: nothing is pending);
   * until then the driver sees the status unchanged.
   */
  reset(): Promise<void> | void;
  dispose?(): void;
}

export interface VirtioTransport {
  /** undefined: the driver did not enable it. */
  queue(index: number): Virtqueue | undefined;
  /** Interrupts the driver if it wants to hear of what was pushed. */
  signal(index: number): void;
  /** The device's configuration changed. */
  configChanged(): void;
  /** A guest fault: the device needs reset. */
  fail(fault: QueueFault | 'badRequest'): void;
}
