/**
 * The data port of an IDE channel: what programmed I/O moves, block by block, through a buffer. ATA/ATAPI-7 vol. 2 §11: PIO data-in,
 * PIO data-out, and the data phases of packet commands.
 */
import { AtaStatus, type AtaDrive, type Move, type Operation, type Registers } from '../ata';
import { IDLE, Reason, setPacketRegisters, type DriveState } from './drive-state';

const PACKET_BYTES = 12;
/** What is read ahead or gathered before it goes to the backend. */
const CHUNK_BYTES = 64 * 1024;
const { BUSY, DATA_REQUEST } = AtaStatus;

/** A transfer in programmed I/O. */
interface Transfer {
  readonly toHost: boolean;
  /** The block that the guest moves now. */
  readonly block: Uint8Array;
  position: number;
  /** It was moved completely. */
  readonly next: () => void;
}

/** The channel, with the drive whose command is being carried out. */
export interface PioHost {
  readonly drive: AtaDrive | undefined;
  readonly state: DriveState;
  /** That drive is selected and asks for data. */
  readonly dataRequested: boolean;
  setInterrupt(on: boolean): void;
  /** Work on the medium; its end counts only if no reset came between. */
  run(operation: Operation, packet: boolean, work: () => void | Promise<void>, done: () => void): void;
  complete(registers: Registers | undefined, packet: boolean): void;
  carryOut(operation: Operation, packet: boolean): void;
}

export class ProgrammedIo {
  private current: Transfer | undefined;

  constructor(private readonly host: PioHost) {}

  /** Nothing is left to be moved. */
  end(): void {
    this.current = undefined;
  }

  /** Data that the drive has at once. */
  offer(operation: Extract<Operation, { kind: 'dataIn' }>, packet: boolean): void {
    const { data } = operation;
    if (!packet) this.present(true, data.slice(), true, () => this.ended());
    else this.packetIn(data.length, async (at, into) => void into.set(data.subarray(at, at + into.length)), operation);
  }

  load(move: Move, packet: boolean): void {
    const drive = this.host.drive!;
    if (packet) this.packetIn(move.bytes, (at, into) => drive.load(move, at, into), move);
    else this.readFrom(move, 0);
  }

  store(move: Move): void {
    this.writeFrom(move, 0, true);
  }

  /** The last block of a read was taken: no interrupt follows. */
  private ended(): void {
    this.current = undefined;
    this.host.state.status = IDLE;
  }

  private present(toHost: boolean, block: Uint8Array, interrupt: boolean, next: () => void): void {
    this.current = { toHost, block, position: 0, next };
    this.host.state.status = IDLE | DATA_REQUEST;
    if (interrupt) this.host.setInterrupt(true);
  }

  private readFrom(move: Move, from: number): void {
    const drive = this.host.drive!;
    const chunk = new Uint8Array(Math.min(move.bytes - from, chunkOf(move.blockBytes)));
    this.host.state.status = BUSY;
    this.host.run(
      move,
      false,
      () => drive.load(move, from, chunk),
      () => this.presentChunk(move, from, chunk, 0),
    );
  }

  private presentChunk(move: Move, from: number, chunk: Uint8Array, at: number): void {
    const end = Math.min(at + move.blockBytes, chunk.length);
    this.present(true, chunk.subarray(at, end), true, () => {
      if (end < chunk.length) this.presentChunk(move, from, chunk, end);
      else if (from + end < move.bytes) this.readFrom(move, from + end);
      else this.ended();
    });
  }

  private writeFrom(move: Move, from: number, first: boolean): void {
    const chunk = new Uint8Array(Math.min(move.bytes - from, chunkOf(move.blockBytes)));
    this.fillChunk(move, from, chunk, 0, !first);
  }

  private fillChunk(move: Move, from: number, chunk: Uint8Array, at: number, interrupt: boolean): void {
    const drive = this.host.drive!;
    const end = Math.min(at + move.blockBytes, chunk.length);
    this.present(false, chunk.subarray(at, end), interrupt, () => {
      if (end < chunk.length) {
        this.fillChunk(move, from, chunk, end, true);
        return;
      }
      this.current = undefined;
      this.host.state.status = BUSY;
      const last = from + chunk.length === move.bytes;
      const store = async (): Promise<void> => {
        await drive.store(move, from, chunk);
        if (last) await drive.stored(move);
      };
      this.host.run(move, false, store, () =>
        last ? this.host.complete(undefined, false) : this.writeFrom(move, from + chunk.length, false),
      );
    });
  }

  /** Data from the host that the drive itself takes. */
  collect(operation: Extract<Operation, { kind: 'dataOut' }>, packet: boolean): void {
    const data = new Uint8Array(operation.bytes);
    if (packet) setPacketRegisters(this.host.state, 0, Math.min(data.length, 0xfffe));
    this.present(false, data, packet, () => {
      this.current = undefined;
      this.host.state.status = BUSY;
      this.host.carryOut(operation.accept(data), packet);
    });
  }

  takePacket(dma: boolean): void {
    const cdb = new Uint8Array(PACKET_BYTES);
    const limit = this.packetLimit();
    this.host.state.count = Reason.COMMAND;
    this.present(false, cdb, false, () => {
      this.current = undefined;
      this.host.state.status = BUSY;
      setPacketRegisters(this.host.state, 0, limit);
      this.host.carryOut(this.host.drive!.executePacket(cdb, dma), true);
    });
  }

  /** Byte count limit: even, and never nothing (ATA/ATAPI-7 vol. 1 §6.24.4). */
  private packetLimit(): number {
    const limit = (this.host.state.mid & 0xff) | ((this.host.state.high & 0xff) << 8);
    return Math.min(limit || 0xfffe, 0xfffe);
  }

  private packetIn(bytes: number, load: (at: number, into: Uint8Array) => Promise<void>, operation: Operation): void {
    const limit = this.packetLimit();
    // An odd limit holds for a whole transfer only; blocks before the last are even.
    const most = limit >= bytes ? bytes : Math.max(2, limit & ~1);
    const fetch = (from: number): void => {
      const chunk = new Uint8Array(Math.min(bytes - from, Math.max(most, CHUNK_BYTES - (CHUNK_BYTES % most))));
      this.host.state.status = BUSY;
      this.host.run(
        operation,
        true,
        () => load(from, chunk),
        () => show(from, chunk, 0),
      );
    };
    const show = (from: number, chunk: Uint8Array, at: number): void => {
      const end = Math.min(at + most, chunk.length);
      setPacketRegisters(this.host.state, Reason.TO_HOST, end - at);
      this.present(true, chunk.subarray(at, end), true, () => {
        if (end < chunk.length) show(from, chunk, end);
        else if (from + end < bytes) fetch(from + end);
        else this.host.complete(undefined, true);
      });
    };
    fetch(0);
  }

  readRegister(width: number): number {
    const bytes = new Uint8Array(4);
    this.read(bytes.subarray(0, width));
    return (bytes[0]! | (bytes[1]! << 8) | (bytes[2]! << 16) | (bytes[3]! << 24)) >>> 0;
  }

  writeRegister(width: number, value: number): void {
    this.write(Uint8Array.of(value, value >>> 8, value >>> 16, value >>> 24).subarray(0, width));
  }

  /** One string read may span several blocks; without a data request the port gives nothing. */
  read(into: Uint8Array): void {
    let at = 0;
    while (at < into.length) {
      const pio = this.current;
      if (!pio?.toHost || !this.host.dataRequested) {
        into.fill(0, at);
        return;
      }
      const take = Math.min(into.length - at, pio.block.length - pio.position);
      into.set(pio.block.subarray(pio.position, pio.position + take), at);
      at += take;
      pio.position += take;
      if (pio.position < pio.block.length) return;
      pio.next();
      // An odd block ends within a word: its rest is padding.
      if (pio.block.length & 1 && at < into.length) into[at++] = 0;
    }
  }

  write(from: Uint8Array): void {
    let at = 0;
    while (at < from.length) {
      const pio = this.current;
      if (!pio || pio.toHost || !this.host.dataRequested) return;
      const take = Math.min(from.length - at, pio.block.length - pio.position);
      pio.block.set(from.subarray(at, at + take), pio.position);
      at += take;
      pio.position += take;
      if (pio.position < pio.block.length) return;
      if (pio.block.length & 1) at++;
      pio.next();
    }
  }
}

/** A whole number of blocks. */
const chunkOf = (block: number): number => Math.max(block, CHUNK_BYTES - (CHUNK_BYTES % block));
