/**
 * virtio-rng, the entropy device. VIRTIO 1.2 §5.4: one queue of device-writable buffers, filled with random bytes.
 * The bytes come from a capability (the host's CSPRNG); their rate is limited by the turn, not by the guest.
 */
import type { GuestMemory } from '../../../memory/guest-memory';
import type { VirtioDevice, VirtioTransport } from '../device';
import { writeRanges } from '../virtqueue';

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

  private transport: VirtioTransport | undefined;
  private readonly buffer = new Uint8Array(MAX_BYTES_A_BUFFER);

  constructor(private readonly deps: RngDeps) {}

  readConfig(): Uint8Array {
    return new Uint8Array(0);
  }

  start(transport: VirtioTransport): void {
    this.transport = transport;
  }

  onNotify(): void {
    const { transport } = this;
    const queue = transport?.queue(0);
    if (!transport || !queue) return;
    for (let served = 0; served < BUFFERS_A_TURN; served++) {
      const chain = queue.pop();
      if (!chain.ok) {
        transport.fail(chain.error);
        return;
      }
      if (!chain.value) {
        transport.signal(0);
        return;
      }
      const { head, writable, writableBytes } = chain.value;
      const bytes = this.buffer.subarray(0, Math.min(writableBytes, MAX_BYTES_A_BUFFER));
      this.deps.fillRandom(bytes);
      const written = writeRanges(this.deps.mem, writable, bytes);
      const fault = written < 0 ? 'badRequest' : queue.push(head, written);
      if (fault) {
        transport.fail(fault);
        return;
      }
    }
    transport.signal(0);
    this.deps.defer(() => this.onNotify());
  }

  reset(): void {
    this.transport = undefined;
  }
}
