/**
 * An optical drive behind IDE or AHCI: packet commands on an image of 2048-byte blocks. ATA/ATAPI-7 vol. 1 §4.7 and §6.24, MMC-6.
 * The disc comes and goes by the user's hand or the guest's; either way the guest hears of it: unit attention, media events.
 * Not offered: audio, raw sectors, DVD structures and keys, writing.
 */
import { HostIoError, type BlockBackend } from '../../../backend/block';
import { DRIVE_FIRMWARE, transferMode } from './disk';
import {
  BLOCK_BYTES, capacity, configuration, discInformation, eventStatus, inquiry, MEDIA_EVENT_CLASS, mechanismStatus, MediaEvent, modeSense, senseData, toc,
  trackInformation, vitalProductData,
} from './disc-replies'; // prettier-ignore
import { identifyDisc, type TransferMode } from './identify';
import type { MediaSlot } from './media';
import {
  decodePacket, INVALID_FIELD, MEDIUM_CHANGED, NO_MEDIUM, NO_MEDIUM_TRAY_OPEN, NO_SENSE, OUT_OF_RANGE, READ_ERROR, REMOVAL_PREVENTED, SAVING_UNSUPPORTED,
  type PacketRequest, type Sense,
} from './packet'; // prettier-ignore
import {
  ABORTED,
  AtaError,
  DONE,
  isBadAddress,
  type AtaDrive,
  type DriveCounters,
  type Move,
  type Operation,
  type Taskfile,
} from './registers';

const MODEL = 'Lodge disc drive';

export interface AtapiDiscDeps {
  readonly slot: MediaSlot;
  /** At most 20 characters. */
  readonly serial: string;
  readonly sata: boolean;
  readonly onHostError: (error: HostIoError) => void;
}

export class AtapiDisc implements AtaDrive {
  readonly name = 'atapi-disc';
  readonly packet = true;
  readonly counters: DriveCounters = { readBytes: 0, writtenBytes: 0, reads: 0, writes: 0, refused: 0, hostErrors: 0 };
  private mode: TransferMode = { multiword: 4, ultra: 0 };
  private sense: Sense = NO_SENSE;
  /** Told with the next command that does not let it wait. */
  private attention = false;
  private trayOpen = false;
  private event: number = MediaEvent.NONE;

  constructor(private readonly deps: AtapiDiscDeps) {
    const { slot } = deps;
    slot.onInserted = () => {
      this.trayOpen = false;
      this.attention = true;
      this.event = MediaEvent.NEW_MEDIA;
    };
    slot.onRemoved = () => {
      this.trayOpen = true;
      this.attention = false;
      this.event = MediaEvent.MEDIA_REMOVAL;
    };
    slot.onEjectRequest = () => {
      if (this.event === MediaEvent.NONE) this.event = MediaEvent.EJECT_REQUEST;
    };
  }

  /** Only a reset of the power-on kind lets the disc go (MMC-6 §6.16). */
  reset(hard: boolean): void {
    this.sense = NO_SENSE;
    if (!hard) return;
    this.mode = { multiword: 4, ultra: 0 };
    this.deps.slot.locked = false;
    this.attention = false;
    this.event = MediaEvent.NONE;
  }

  execute(task: Taskfile): Operation {
    const operation = this.perform(task);
    if (operation.kind === 'fail') this.counters.refused++;
    return operation;
  }

  executePacket(cdb: Uint8Array, dma: boolean): Operation {
    const request = decodePacket(cdb);
    // SPC-3 §5.6 and MMC-6 §6.6–6.7: these neither report nor clear a unit attention.
    const patient =
      request.kind === 'inquiry' ||
      request.kind === 'requestSense' ||
      request.kind === 'eventStatus' ||
      request.kind === 'getConfiguration';
    if (this.attention && request.kind === 'requestSense' && this.sense.key === 0) {
      this.attention = false;
      this.sense = MEDIUM_CHANGED;
    } else if (this.attention && !patient) {
      this.attention = false;
      return this.fail(MEDIUM_CHANGED);
    }
    if (request.kind !== 'requestSense') this.sense = NO_SENSE;
    const operation = this.performPacket(request, dma);
    if (operation.kind === 'fail') this.counters.refused++;
    return operation;
  }

  move(operation: Move, ranges: Float64Array): void | Promise<void> {
    return this.deps.slot.use(() => {
      const read = this.medium().read(operation.offset, ranges);
      this.counters.readBytes += operation.bytes;
      this.counters.reads++;
      return read;
    });
  }

  load(operation: Move, at: number, into: Uint8Array): Promise<void> {
    this.counters.readBytes += into.length;
    this.counters.reads += Number(at === 0);
    return Promise.resolve(this.deps.slot.use(() => this.medium().readBytes(operation.offset + at, into)));
  }

  store(): Promise<void> {
    return Promise.reject(new HostIoError('A disc cannot be written', 'readOnly'));
  }

  stored(): void {}

  failure(error: unknown): Extract<Operation, { kind: 'fail' }> {
    const kind = error instanceof HostIoError ? error.kind : 'io';
    if (isBadAddress(error) || kind === 'outOfRange' || kind === 'readOnly') {
      this.counters.refused++;
      return this.fail(kind === 'outOfRange' ? OUT_OF_RANGE : INVALID_FIELD);
    }
    this.counters.hostErrors++;
    this.deps.onHostError(
      error instanceof HostIoError ? error : new HostIoError(String((error as Error)?.message ?? error), 'io'),
    );
    return this.fail(READ_ERROR);
  }

  private medium(): BlockBackend {
    const { backend } = this.deps.slot;
    if (!backend) throw new HostIoError('The disc was taken out', 'outOfRange');
    return backend;
  }

  private get blocks(): number | undefined {
    const bytes = this.deps.slot.backend?.bytes;
    return bytes === undefined ? undefined : Math.floor(bytes / BLOCK_BYTES);
  }

  private fail(sense: Sense): Extract<Operation, { kind: 'fail' }> {
    this.sense = sense;
    return { kind: 'fail', error: (sense.key << 4) | AtaError.ABORT };
  }

  private perform(task: Taskfile): Operation {
    switch (task.command) {
      case 0x08:
      case 0x90:
        return { kind: 'signature' };
      case 0xa0:
        // Overlapped execution (bit 1) is not offered.
        return task.features & 2 ? ABORTED : { kind: 'packet', dma: (task.features & 1) !== 0 };
      case 0xa1: {
        const { serial, sata } = this.deps;
        return {
          kind: 'dataIn',
          data: identifyDisc({ serial, model: MODEL, firmware: DRIVE_FIRMWARE }, this.mode, sata),
          dma: false,
        };
      }
      case 0xe0:
      case 0xe1:
      case 0xe6:
        return DONE;
      case 0xe5:
        return { kind: 'done', registers: { count: 0xff } };
      case 0xef: {
        const mode = (task.features & 0xff) === 3 ? transferMode(task.count & 0xff, this.mode) : undefined;
        if (!mode) return ABORTED;
        this.mode = mode;
        return DONE;
      }
      default:
        return ABORTED;
    }
  }

  private performPacket(request: PacketRequest, dma: boolean): Operation {
    const { slot, serial } = this.deps;
    const reply = (data: Uint8Array | undefined, allocation: number): Operation => {
      if (!data) return this.fail(INVALID_FIELD);
      return allocation === 0 ? DONE : { kind: 'dataIn', data: data.subarray(0, allocation), dma };
    };
    switch (request.kind) {
      case 'requestSense': {
        const data = senseData(this.sense);
        this.sense = NO_SENSE;
        return reply(data, request.allocation);
      }
      case 'inquiry':
        if (request.vital) return reply(vitalProductData(request.page, serial), request.allocation);
        return request.page !== 0 ? this.fail(INVALID_FIELD) : reply(inquiry(MODEL, DRIVE_FIRMWARE), request.allocation);
      case 'getConfiguration':
        return reply(configuration(request.selection, request.from, this.blocks), request.allocation);
      case 'eventStatus': {
        if (!request.polled) return this.fail(INVALID_FIELD);
        if (!(request.classes & MEDIA_EVENT_CLASS))
          return reply(eventStatus(undefined, this.trayOpen, slot.medium !== undefined), request.allocation);
        const { event } = this;
        // Too small for the event: it waits.
        if (request.allocation >= 8) this.event = MediaEvent.NONE;
        return reply(eventStatus(event, this.trayOpen, slot.medium !== undefined), request.allocation);
      }
      case 'mechanismStatus':
        return reply(mechanismStatus(this.trayOpen), request.allocation);
      case 'modeSense':
        if (request.control === 3) return this.fail(SAVING_UNSUPPORTED);
        return reply(modeSense(request.long, request.page, request.control === 1, slot.locked), request.allocation);
      case 'modeSelect':
        // Taken and of no effect: nothing here is adjustable.
        return request.bytes === 0 ? DONE : { kind: 'dataOut', bytes: request.bytes, dma, accept: () => DONE };
      case 'startStop':
        return this.startStop(request.start, request.loadEject);
      case 'prevent':
        if (!request.prevent) slot.locked = false;
        else if (slot.medium) slot.locked = true;
        else return this.fail(this.noMedium());
        return DONE;
      case 'refused':
        return this.fail(request.sense);
      case 'testUnitReady':
      case 'readCapacity':
      case 'nothing':
      case 'seek':
      case 'read':
      case 'readToc':
      case 'discInformation':
      case 'trackInformation':
        return this.onMedium(request, dma, reply);
    }
  }

  private onMedium(
    request: Extract<
      PacketRequest,
      {
        kind: 'testUnitReady' | 'readCapacity' | 'nothing' | 'seek' | 'read' | 'readToc' | 'discInformation' | 'trackInformation';
      }
    >,
    dma: boolean,
    reply: (data: Uint8Array | undefined, allocation: number) => Operation,
  ): Operation {
    const { blocks } = this;
    if (blocks === undefined || blocks === 0) return this.fail(this.noMedium());
    switch (request.kind) {
      case 'testUnitReady':
      case 'nothing':
        return DONE;
      case 'readCapacity':
        return { kind: 'dataIn', data: capacity(blocks), dma };
      case 'seek':
        return request.block < blocks ? DONE : this.fail(OUT_OF_RANGE);
      case 'read': {
        const { block } = request;
        if (!(block >= 0 && request.blocks >= 0 && block + request.blocks <= blocks)) return this.fail(OUT_OF_RANGE);
        if (request.blocks === 0) return DONE;
        return {
          kind: 'read',
          offset: block * BLOCK_BYTES,
          bytes: request.blocks * BLOCK_BYTES,
          blockBytes: BLOCK_BYTES,
          dma,
          through: false,
        };
      }
      case 'readToc':
        return reply(toc(request.format, request.msf, request.track, blocks), request.allocation);
      case 'discInformation':
        return reply(discInformation(), request.allocation);
      case 'trackInformation': {
        const there = request.by === 0 ? request.address < blocks : request.address === 1;
        return there ? reply(trackInformation(blocks), request.allocation) : this.fail(INVALID_FIELD);
      }
    }
  }

  private noMedium(): Sense {
    return this.trayOpen ? NO_MEDIUM_TRAY_OPEN : NO_MEDIUM;
  }

  private startStop(start: boolean, loadEject: boolean): Operation {
    if (!loadEject) return DONE;
    if (start) {
      this.trayOpen = false;
      return DONE;
    }
    if (this.deps.slot.locked) return this.fail(REMOVAL_PREVENTED);
    this.eject();
    return DONE;
  }

  /** By the guest's wish, which asked before whether it is locked. */
  eject(): void {
    const { slot } = this.deps;
    if (slot.medium) this.event = MediaEvent.MEDIA_REMOVAL;
    this.trayOpen = true;
    slot.eject();
  }
}
