/**
 * virtio-rng, the entropy device. VIRTIO 1.2 §5.4: one queue of device-writable buffers, filled with random bytes.
 * The bytes come from a capability (the host's CSPRNG); their rate is limited by the turn, not by the guest.
 */
import type { GuestMemory } from '../../../memory/guest-memory';
import type { VirtioDevice, VirtioTransport } from '../device';
import { RequestQueue } from '../request-queue';
import { writeRanges, type Chain, type QueueFault } from '../virtqueue';

const QUEUE_SIZE = 8;
/** A buffer gets at most this much; the used length tells the driver (Linux asks for 64 bytes at a time). */
const MAX_BYTES_A_BUFFER = 4096;
const BUFFERS_A_TURN = 64;

export interface RngDeps {
  readonly mem: GuestMemory;
  readonly fillRandom: (into: Uint8Array) => void;
  readonly defer: (callback: () => void) => void;
}

export class VirtioRng implements VirtioDevice {
  readonly name = 'virtio-rng';
  readonly deviceId = 4;
  readonly classCode = 0x00ff00;
  readonly features = 0n;
  readonly queueSizes = [QUEUE_SIZE];

  private readonly queue: RequestQueue;
  private readonly buffer = new Uint8Array(MAX_BYTES_A_BUFFER);

  constructor(private readonly deps: RngDeps) {
    const { defer } = deps;
    this.queue = new RequestQueue({ index: 0, requestsATurn: BUFFERS_A_TURN, defer, serve: (chain) => this.fill(chain) });
  }

  readConfig(): Uint8Array {
    return new Uint8Array(0);
  }

  start(transport: VirtioTransport): void {
    this.queue.start(transport);
  }

  onNotify(): void {
    this.queue.notify();
  }

  reset(): void {
    this.queue.stop();
  }

  private fill(chain: Chain): QueueFault | 'badRequest' | undefined {
    const bytes = this.buffer.subarray(0, Math.min(chain.writableBytes, MAX_BYTES_A_BUFFER));
    this.deps.fillRandom(bytes);
    const written = writeRanges(this.deps.mem, chain.writable, bytes);
    return written < 0 ? 'badRequest' : this.queue.push(chain, written);
  }
}
