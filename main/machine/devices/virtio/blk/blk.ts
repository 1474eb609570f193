/**
 * virtio-blk. VIRTIO 1.2 §5.2. Offers FLUSH, BLK_SIZE, SEG_MAX, RO, WRITE_ZEROES, and DISCARD where the backend can give space
 * back. Not offered: multiqueue, topology, zoned, secure erase, writeback control.
 * Several requests are in flight at once; data moves between the file and guest memory in native code. Queue input is hostile.
 */
import { HostIoError, SECTOR_BYTES, type BlockBackend } from '../../../../backend/block';
import type { GuestMemory } from '../../../memory/guest-memory';
import type { VirtioDevice, VirtioTransport } from '../device';
import { InFlight } from '../../in-flight';
import { RequestQueue } from '../request-queue';
import { writeRanges, type Chain, type QueueFault } from '../virtqueue';
import { BlkStatus, ID_BYTES, MAX_SEGMENTS, MAX_SEGMENT_SECTORS, parseBlkRequest, type BlkRequest } from './request';

const Feature = {
  SEG_MAX: 1n << 2n,
  RO: 1n << 5n,
  BLK_SIZE: 1n << 6n,
  FLUSH: 1n << 9n,
  DISCARD: 1n << 13n,
  WRITE_ZEROES: 1n << 14n,
} as const;

const QUEUE_SIZE = 256;
const REQUESTS_A_TURN = 256;

/** struct virtio_blk_config, §5.2.4. */
const Config = {
  CAPACITY: 0,
  SEG_MAX: 12,
  BLK_SIZE: 20,
  MAX_DISCARD: 36,
  MAX_DISCARD_SEGMENTS: 40,
  DISCARD_ALIGNMENT: 44,
  MAX_ZEROES: 48,
  MAX_ZEROES_SEGMENTS: 52,
  MAY_UNMAP: 56,
  BYTES: 60,
} as const;

export interface BlkCounters {
  readBytes: number;
  writtenBytes: number;
  /** Requests of each kind. */
  reads: number;
  writes: number;
  /** Requests the guest got wrong, and those the host failed. */
  refused: number;
  hostErrors: number;
}

export interface BlkDeps {
  readonly backend: BlockBackend;
  readonly mem: GuestMemory;
  /** At most 20 ASCII bytes; what the guest shows as the disk's serial number. */
  readonly serial: string;
  /** Runs a callback in a later turn of the event loop. */
  readonly defer: (callback: () => void) => void;
  /** A host-side failure, for the user. */
  readonly onHostError: (error: HostIoError) => void;
}

export class VirtioBlk implements VirtioDevice {
  readonly name = 'virtio-blk';
  readonly deviceId = 2;
  readonly classCode = 0x010000;
  readonly queueSizes = [QUEUE_SIZE];
  readonly features: bigint;
  readonly counters: BlkCounters = { readBytes: 0, writtenBytes: 0, reads: 0, writes: 0, refused: 0, hostErrors: 0 };

  private readonly queue: RequestQueue;
  private readonly inFlight = new InFlight();
  private writeThrough = false;
  /** Grows with each reset: what was begun before is finished without touching the new driver's rings. */
  private generation = 0;

  constructor(private readonly deps: BlkDeps) {
    const { backend, defer } = deps;
    this.queue = new RequestQueue({ index: 0, requestsATurn: REQUESTS_A_TURN, defer, serve: (chain) => this.serve(chain) });
    this.features =
      Feature.SEG_MAX |
      Feature.BLK_SIZE |
      Feature.FLUSH |
      (backend.readOnly ? Feature.RO : Feature.WRITE_ZEROES | (backend.discards ? Feature.DISCARD : 0n));
  }

  readConfig(): Uint8Array {
    const { backend } = this.deps;
    const config = new Uint8Array(Config.BYTES);
    const view = new DataView(config.buffer);
    view.setBigUint64(Config.CAPACITY, BigInt(Math.floor(backend.bytes / SECTOR_BYTES)), true);
    // Header and status take two of the queue's descriptors.
    view.setUint32(Config.SEG_MAX, QUEUE_SIZE - 2, true);
    view.setUint32(Config.BLK_SIZE, SECTOR_BYTES, true);
    if (!backend.readOnly) {
      view.setUint32(Config.MAX_ZEROES, MAX_SEGMENT_SECTORS, true);
      view.setUint32(Config.MAX_ZEROES_SEGMENTS, MAX_SEGMENTS, true);
      if (backend.discards) {
        view.setUint32(Config.MAX_DISCARD, MAX_SEGMENT_SECTORS, true);
        view.setUint32(Config.MAX_DISCARD_SEGMENTS, MAX_SEGMENTS, true);
        view.setUint32(Config.DISCARD_ALIGNMENT, backend.blockBytes / SECTOR_BYTES, true);
        config[Config.MAY_UNMAP] = 1;
      }
    }
    return config;
  }

  start(transport: VirtioTransport, features: bigint): void {
    this.queue.start(transport);
    // §5.2.5.2: a driver that does not know FLUSH gets write-through.
    this.writeThrough = (features & Feature.FLUSH) === 0n;
  }

  onNotify(): void {
    this.queue.notify();
  }

  reset(): Promise<void> | void {
    this.generation++;
    this.queue.stop();
    return this.inFlight.idle();
  }

  private serve(chain: Chain): QueueFault | 'badRequest' | undefined {
    const parsed = parseBlkRequest(chain, this.deps.mem, this.deps.backend.bytes);
    if (!parsed.ok) return parsed.error;
    const request = parsed.value;
    const { generation } = this;
    let fault: QueueFault | 'badRequest' | undefined;
    let waited = false;
    const answer = (status: number): void => {
      if (generation !== this.generation) return;
      const written = this.complete(request, status);
      if (!waited) fault = written === undefined ? 'badRequest' : this.queue.push(chain, written);
      else if (written === undefined) this.queue.fail('badRequest');
      else this.queue.pushLater(chain, written);
    };
    this.inFlight.run(
      () => this.perform(request),
      () => answer(request.kind === 'refused' ? request.code : BlkStatus.OK),
      (error) => answer(this.statusOf(error)),
    );
    waited = true;
    return fault;
  }

  private perform(request: BlkRequest): void | Promise<void> {
    const { backend, mem } = this.deps;
    switch (request.kind) {
      case 'read':
        return backend.read(request.offset, request.data);
      case 'write': {
        this.requireWritable();
        const written = backend.write(request.offset, request.data);
        return this.writeThrough ? Promise.resolve(written).then(() => backend.flush()) : written;
      }
      case 'flush':
        return backend.flush();
      case 'getId': {
        const id = new Uint8Array(ID_BYTES);
        for (let i = 0; i < Math.min(ID_BYTES, this.deps.serial.length); i++) id[i] = this.deps.serial.charCodeAt(i) & 0x7f;
        if (writeRanges(mem, request.data, id.subarray(0, request.bytes)) < 0) throw new GuestMemoryError();
        return undefined;
      }
      case 'discard':
      case 'writeZeroes':
        this.requireWritable();
        return this.overSegments(request);
      case 'refused':
        this.counters.refused++;
        return undefined;
    }
  }

  private async overSegments(request: Extract<BlkRequest, { segments: unknown }>): Promise<void> {
    const { backend } = this.deps;
    for (const { offset, bytes, unmap } of request.segments) {
      if (bytes === 0) continue;
      await (request.kind === 'discard' ? backend.discard(offset, bytes) : backend.writeZeroes(offset, bytes, unmap));
    }
    if (this.writeThrough) await backend.flush();
  }

  private requireWritable(): void {
    if (this.deps.backend.readOnly) throw new HostIoError('The disk is read-only', 'readOnly');
  }

  /** Writes the status; how many bytes the device wrote into the chain, or undefined when the status has no place in RAM. */
  private complete(request: BlkRequest, status: number): number | undefined {
    if (!this.deps.mem.write(request.status, Uint8Array.of(status))) return undefined;
    if (status !== BlkStatus.OK) return 1;
    switch (request.kind) {
      case 'read':
        this.counters.readBytes += request.bytes;
        this.counters.reads++;
        return 1 + request.bytes;
      case 'write':
        this.counters.writtenBytes += request.bytes;
        this.counters.writes++;
        return 1;
      case 'getId':
        return 1 + request.bytes;
      default:
        return 1;
    }
  }

  /** A range that is not RAM is the guest's own fault; the rest is told to the user. */
  private statusOf(error: unknown): number {
    if (error instanceof GuestMemoryError || (error as { code?: unknown } | null)?.code === 'EFAULT') {
      this.counters.refused++;
      return BlkStatus.IO_ERROR;
    }
    const failure = error instanceof HostIoError ? error : new HostIoError(String((error as Error)?.message ?? error), 'io');
    if (failure.kind === 'readOnly' || failure.kind === 'outOfRange') {
      this.counters.refused++;
      return BlkStatus.IO_ERROR;
    }
    this.counters.hostErrors++;
    this.deps.onHostError(failure);
    return BlkStatus.IO_ERROR;
  }
}

class GuestMemoryError extends Error {}
