/**
 * A hard disk behind IDE or AHCI: the ATA command set on a BlockBackend. ATA/ATAPI-7 vol. 1; TRIM and NCQ as of ACS-2.
 * Offers the general feature set, 48-bit addresses, write cache control, FUA, SMART (status and empty data), TRIM where the backend
 * gives space back, NCQ on SATA. Not offered: security, host protected area (it reports and never sets), streaming, power-up in standby.
 */
import { HostIoError, SECTOR_BYTES, type BlockBackend } from '../../../backend/block';
import { decodeAta, type AtaRequest } from './commands';
import {
  DEFAULT_HEADS,
  DEFAULT_SECTORS,
  defaultGeometry,
  identifyDisk,
  LBA28_SECTORS,
  MAX_MULTIPLE,
  TRIM_BLOCKS,
  type DriveIdentity,
  type Geometry,
  type TransferMode,
} from './identify';
import {
  ABORTED,
  AtaError,
  AtaStatus,
  DONE,
  isBadAddress,
  type AtaDrive,
  type DriveCounters,
  type Move,
  type Operation,
  type Taskfile,
} from './registers';

const POWER_ACTIVE = 0xff;
const SMART_KEY = 0xc24f;
const TRIM_BLOCK_BYTES = 512;
const LOG_DIRECTORY = 0x00;
const LOG_QUEUED_ERROR = 0x10;
export const DRIVE_FIRMWARE = '1.0';

export interface AtaDiskDeps {
  readonly backend: BlockBackend;
  /** At most 20 characters. */
  readonly serial: string;
  readonly sata: boolean;
  readonly onHostError: (error: HostIoError) => void;
}

/** The mode SET FEATURES 03h asks for; undefined: there is no such mode. PIO modes are accepted and change nothing. */
export function transferMode(value: number, current: TransferMode): TransferMode | undefined {
  const mode = value & 7;
  switch (value >> 3) {
    case 0:
      return mode <= 1 ? current : undefined;
    case 1:
      return mode <= 4 ? current : undefined;
    case 4:
      return mode <= 2 ? { multiword: 1 << mode, ultra: 0 } : undefined;
    case 8:
      return mode <= 5 ? { multiword: 0, ultra: 1 << mode } : undefined;
    default:
      return undefined;
  }
}

export class AtaDisk implements AtaDrive {
  readonly name = 'ata-disk';
  readonly packet = false;
  readonly counters: DriveCounters = { readBytes: 0, writtenBytes: 0, reads: 0, writes: 0, refused: 0, hostErrors: 0 };
  private readonly sectors: number;
  private readonly identity: DriveIdentity;
  private geometry: Geometry;
  private multiple = MAX_MULTIPLE;
  private mode: TransferMode = { multiword: 4, ultra: 0 };
  private writeCache = true;
  private lookAhead = true;
  private smart = true;
  /** Log 10h: the queued command that failed last; read once. */
  private queuedError: Uint8Array | undefined;

  constructor(private readonly deps: AtaDiskDeps) {
    this.sectors = Math.floor(deps.backend.bytes / SECTOR_BYTES);
    this.geometry = defaultGeometry(this.sectors);
    this.identity = { serial: deps.serial, model: 'Lodge disk', firmware: DRIVE_FIRMWARE };
  }

  reset(hard: boolean): void {
    this.queuedError = undefined;
    if (!hard) return;
    this.geometry = defaultGeometry(this.sectors);
    this.multiple = MAX_MULTIPLE;
    this.mode = { multiword: 4, ultra: 0 };
    this.writeCache = this.lookAhead = this.smart = true;
  }

  execute(task: Taskfile): Operation {
    const request = decodeAta(task, { sectors: this.sectors, geometry: this.geometry, queued: this.deps.sata });
    const operation = this.perform(request);
    if (operation.kind === 'fail') {
      this.counters.refused++;
      if (task.command === 0x60 || task.command === 0x61) this.rememberQueuedError((task.count >>> 3) & 31, operation.error);
    }
    return operation;
  }

  executePacket(): Operation {
    return ABORTED;
  }

  move(operation: Move, ranges: Float64Array): void | Promise<void> {
    const { backend } = this.deps;
    this.count(operation, operation.bytes, true);
    if (operation.kind === 'read') return backend.read(operation.offset, ranges);
    const written = backend.write(operation.offset, ranges);
    return operation.through ? Promise.resolve(written).then(() => backend.flush()) : written;
  }

  load(operation: Move, at: number, into: Uint8Array): Promise<void> {
    this.count(operation, into.length, at === 0);
    return this.deps.backend.readBytes(operation.offset + at, into);
  }

  store(operation: Move, at: number, from: Uint8Array): Promise<void> {
    this.count(operation, from.length, at === 0);
    return this.deps.backend.writeBytes(operation.offset + at, from);
  }

  stored(operation: Move): void | Promise<void> {
    return operation.through ? this.deps.backend.flush() : undefined;
  }

  failure(error: unknown, operation: Operation): Extract<Operation, { kind: 'fail' }> {
    const result = this.describe(error, operation);
    if ('tag' in operation && operation.tag !== undefined) this.rememberQueuedError(operation.tag, result.error);
    return result;
  }

  private describe(error: unknown, operation: Operation): Extract<Operation, { kind: 'fail' }> {
    const kind = error instanceof HostIoError ? error.kind : 'io';
    if (isBadAddress(error) || kind === 'readOnly' || kind === 'outOfRange') {
      this.counters.refused++;
      return { kind: 'fail', error: AtaError.ABORT };
    }
    this.counters.hostErrors++;
    this.deps.onHostError(
      error instanceof HostIoError ? error : new HostIoError(String((error as Error)?.message ?? error), 'io'),
    );
    return operation.kind === 'read'
      ? { kind: 'fail', error: AtaError.UNCORRECTABLE }
      : { kind: 'fail', error: AtaError.ABORT, fault: true };
  }

  /** `first`: part of a request, however many there are. */
  private count(operation: Move, bytes: number, first: boolean): void {
    const { counters } = this;
    if (operation.kind === 'read') {
      counters.readBytes += bytes;
      counters.reads += Number(first);
    } else {
      counters.writtenBytes += bytes;
      counters.writes += Number(first);
    }
  }

  private perform(request: AtaRequest): Operation {
    const { backend } = this.deps;
    switch (request.kind) {
      case 'transfer': {
        if (request.write && backend.readOnly) return ABORTED;
        if (request.multiple && this.multiple === 0) return ABORTED;
        return {
          kind: request.write ? 'write' : 'read',
          offset: request.sector * SECTOR_BYTES,
          bytes: request.sectors * SECTOR_BYTES,
          blockBytes: request.multiple ? this.multiple * SECTOR_BYTES : SECTOR_BYTES,
          dma: request.dma,
          through: request.write && (request.through || !this.writeCache),
          ...(request.tag !== undefined && { tag: request.tag }),
        };
      }
      case 'flush':
        return { kind: 'wait', work: backend.flush() };
      case 'identify':
        return { kind: 'dataIn', data: this.identify(), dma: false };
      case 'setFeatures':
        return this.setFeatures(request.feature, request.value);
      case 'setMultiple': {
        const { sectors } = request;
        // §6.49: powers of two up to what IDENTIFY word 47 says; 0 turns the commands off.
        if (sectors > MAX_MULTIPLE || (sectors & (sectors - 1)) !== 0) return ABORTED;
        this.multiple = sectors;
        return DONE;
      }
      case 'initializeParameters': {
        if (request.sectors === 0) return ABORTED;
        const cylinders = Math.floor(
          Math.min(this.sectors, 16383 * DEFAULT_HEADS * DEFAULT_SECTORS) / (request.heads * request.sectors),
        );
        this.geometry = { cylinders: Math.min(65535, Math.max(1, cylinders)), heads: request.heads, sectors: request.sectors };
        return DONE;
      }
      case 'nativeMax': {
        const last = (request.wide ? this.sectors : Math.min(this.sectors, LBA28_SECTORS)) - 1;
        return { kind: 'done', registers: { low: last % 2 ** 24, high: Math.floor(last / 2 ** 24) } };
      }
      case 'checkPower':
        return { kind: 'done', registers: { count: POWER_ACTIVE } };
      case 'smart':
        return this.runSmart(request.feature, request.key);
      case 'trim': {
        const { blocks } = request;
        if (!backend.discards || backend.readOnly || blocks === 0 || blocks > TRIM_BLOCKS) return ABORTED;
        return { kind: 'dataOut', bytes: blocks * TRIM_BLOCK_BYTES, dma: true, accept: (data) => this.trim(data) };
      }
      case 'readLog':
        return this.readLog(request.log, request.page, request.blocks);
      case 'diagnose':
        return { kind: 'signature' };
      case 'nothing':
        return DONE;
      case 'refused':
        return { kind: 'fail', error: request.error };
    }
  }

  private identify(): Uint8Array {
    const { backend, sata } = this.deps;
    const { sectors, geometry, multiple, mode, writeCache, lookAhead, smart } = this;
    const trims = backend.discards && !backend.readOnly;
    return identifyDisk({ ...this.identity, sectors, geometry, multiple, mode, writeCache, lookAhead, smart, trims, sata });
  }

  /** §6.47. What would only tune a real drive is accepted. */
  private setFeatures(feature: number, value: number): Operation {
    switch (feature) {
      case 0x02:
        this.writeCache = true;
        return DONE;
      case 0x82: {
        this.writeCache = false;
        return { kind: 'wait', work: this.deps.backend.flush() };
      }
      case 0x03: {
        const mode = transferMode(value, this.mode);
        if (!mode) return ABORTED;
        this.mode = mode;
        return DONE;
      }
      case 0xaa:
      case 0x55:
        this.lookAhead = feature === 0xaa;
        return DONE;
      case 0x66: // keep settings over a soft reset: always so
      case 0xcc:
        return DONE;
      default:
        return ABORTED;
    }
  }

  /** §6.51. Off, only ENABLE works. No attributes: nothing wears here. */
  private runSmart(feature: number, key: number): Operation {
    if (key !== SMART_KEY || (!this.smart && feature !== 0xd8)) return ABORTED;
    switch (feature) {
      case 0xd0:
      case 0xd1: {
        const data = new Uint8Array(512);
        data[0] = 0x10; // revision of the structure
        let sum = 0;
        for (let i = 0; i < 511; i++) sum += data[i]!;
        data[511] = -sum & 0xff;
        return { kind: 'dataIn', data, dma: false };
      }
      case 0xd2:
      case 0xd4:
        return DONE;
      case 0xd8:
      case 0xd9:
        this.smart = feature === 0xd8;
        return DONE;
      case 0xda: // no threshold exceeded: the key comes back unchanged
        return { kind: 'done', registers: { low: SMART_KEY << 8 } };
      default:
        return ABORTED;
    }
  }

  private trim(data: Uint8Array): Operation {
    const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    const segments: [offset: number, bytes: number][] = [];
    for (let at = 0; at + 8 <= data.length; at += 8) {
      const sector = view.getUint32(at, true) + view.getUint16(at + 4, true) * 2 ** 32;
      const sectors = view.getUint16(at + 6, true);
      if (sectors === 0) continue;
      if (sector + sectors > this.sectors) return { kind: 'fail', error: AtaError.NOT_FOUND };
      segments.push([sector * SECTOR_BYTES, sectors * SECTOR_BYTES]);
    }
    const work = async (): Promise<void> => {
      for (const [offset, bytes] of segments) await this.deps.backend.discard(offset, bytes);
    };
    return { kind: 'wait', work: work() };
  }

  private readLog(log: number, page: number, blocks: number): Operation {
    if (blocks !== 1 || page !== 0 || !this.deps.sata) return ABORTED;
    if (log === LOG_DIRECTORY) {
      const data = new Uint8Array(512);
      data[0] = 1;
      data[LOG_QUEUED_ERROR * 2] = 1;
      return { kind: 'dataIn', data, dma: false };
    }
    if (log !== LOG_QUEUED_ERROR) return ABORTED;
    const data = this.queuedError ?? queuedErrorLog(0x80, 0);
    this.queuedError = undefined;
    return { kind: 'dataIn', data, dma: false };
  }

  private rememberQueuedError(tag: number, error: number): void {
    this.queuedError ??= queuedErrorLog(tag, error);
  }
}

/** ACS-2 §A.14. Tag 80h: the last command was not queued. */
function queuedErrorLog(tag: number, error: number): Uint8Array {
  const data = new Uint8Array(512);
  data[0] = tag;
  data[2] = AtaStatus.READY | (error ? AtaStatus.ERROR : 0);
  data[3] = error;
  let sum = 0;
  for (const byte of data) sum += byte;
  data[511] = -sum & 0xff;
  return data;
}
