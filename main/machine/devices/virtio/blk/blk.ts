/**
 * virtio-blk. VIRTIO 1.2 §5.2. Offers FLUSH, BLK_SIZE, SEG_MAX, RO, WRITE_ZEROES, and DISCARD where the backend can give space
 * back. Not offered: multiqueue, topology, zoned, secure erase, writeback control.
 * Several requests are in flight at once; data moves between the file and guest memory in native code. Queue input is hostile.
 */
import { HostIoError, SECTOR_BYTES, type BlockBackend } from '../../../../backend/block';
import type { GuestMemory } from '../../../memory/guest-memory';
import type { VirtioDevice, VirtioTransport } from '../device';
import { writeRanges, type Chain } from '../virtqueue';
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
/** Requests served before the event loop gets its turn, so that a guest which never stops asking cannot starve the rest. */
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

  private transport: VirtioTransport | undefined;
  private writeThrough = false;
  /** Grows with each reset: what was begun before is finished without touching the new driver's rings. */
  private generation = 0;
  private pending = 0;
  private drained: (() => void) | undefined;
  private deferred = false;

  constructor(private readonly deps: BlkDeps) {
    const { backend } = deps;
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
    this.transport = transport;
    // §5.2.5.2: a driver that does not know FLUSH gets write-through.
    this.writeThrough = (features & Feature.FLUSH) === 0n;
  }

  onNotify(): void {
    const { transport } = this;
    const queue = transport?.queue(0);
    if (!transport || !queue) return;
    for (let served = 0; served < REQUESTS_A_TURN; served++) {
      const chain = queue.pop();
      if (!chain.ok) {
        transport.fail(chain.error);
        return;
      }
      if (!chain.value) {
        transport.signal(0);
        return;
      }
      const request = parseBlkRequest(chain.value, this.deps.mem, this.deps.backend.bytes);
      if (!request.ok) {
        transport.fail(request.error);
        return;
      }
      this.execute(chain.value, request.value);
    }
    transport.signal(0);
    this.serveLater();
  }

  reset(): Promise<void> | void {
    this.generation++;
    this.transport = undefined;
    if (this.pending === 0) return undefined;
    return new Promise((resolve) => (this.drained = resolve));
  }

  private serveLater(): void {
    if (this.deferred) return;
    this.deferred = true;
    this.deps.defer(() => {
      this.deferred = false;
      this.onNotify();
    });
  }

  private execute(chain: Chain, request: BlkRequest): void {
    let work: void | Promise<void>;
    try {
      work = this.perform(request);
    } catch (e) {
      this.complete(chain, request, this.statusOf(e));
      return;
    }
    if (!work) {
      this.complete(chain, request, request.kind === 'refused' ? request.code : BlkStatus.OK);
      return;
    }
    const { generation } = this;
    this.pending++;
    const settle = (status: number): void => {
      this.pending--;
      if (generation === this.generation) {
        this.complete(chain, request, status);
        this.transport?.signal(0);
      } else if (this.pending === 0) {
        this.drained?.();
        this.drained = undefined;
      }
    };
    work.then(
      () => settle(BlkStatus.OK),
      (e: unknown) => settle(this.statusOf(e)),
    );
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

  private complete(chain: Chain, request: BlkRequest, status: number): void {
    const { transport } = this;
    const queue = transport?.queue(0);
    if (!transport || !queue) return;
    let written = 1;
    if (status === BlkStatus.OK) {
      if (request.kind === 'read') {
        written += request.bytes;
        this.counters.readBytes += request.bytes;
        this.counters.reads++;
      } else if (request.kind === 'write') {
        this.counters.writtenBytes += request.bytes;
        this.counters.writes++;
      } else if (request.kind === 'getId') written += request.bytes;
    }
    const fault = this.deps.mem.write(request.status, Uint8Array.of(status)) ? queue.push(chain.head, written) : 'badRequest';
    if (fault) transport.fail(fault);
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
