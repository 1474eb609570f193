/**
 * A random but repeatable life of a disk, and what may be read from it at any point: each sector holds the number of the request
 * that wrote it, so that a sector's content names its origin. Shared by the process that is killed and the one that checks.
 */
import { fstatSync, readSync, writeSync } from 'node:fs';
import type { BulkIo, ImageDisk } from '../../../main/storage';

export const SECTOR = 512;

export interface Op {
  readonly kind: 'write' | 'writeZeroes' | 'discard';
  readonly sector: number;
  readonly sectors: number;
  readonly id: number;
}
export type Step = { readonly kind: 'batch'; readonly ops: readonly Op[] } | { readonly kind: 'flush' };

export function random(seed: number): () => number {
  let s = seed >>> 0;
  return () => {
    s = (s + 0x6d2b79f5) >>> 0;
    let t = Math.imul(s ^ (s >>> 15), s | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** `firstId`: numbers below belong to what was there before. */
export function life(seed: number, sectors: number, steps: number, firstId = 1): Step[] {
  const next = random(seed);
  const pick = (n: number): number => Math.floor(next() * n);
  let id = firstId;
  return Array.from({ length: steps }, (): Step => {
    if (next() < 0.15) return { kind: 'flush' };
    // Requests of one batch run at the same time, each in its own part of the disk.
    const count = 1 + pick(4);
    const part = Math.floor(sectors / count);
    const ops = Array.from({ length: count }, (_, i): Op => {
      const length = Math.min(part, next() < 0.7 ? 1 + pick(64) : 1 + pick(1024));
      // Often near the start, so that requests meet.
      const sector = i * part + pick(next() < 0.5 ? Math.max(1, Math.min(part - length, 256)) : part - length + 1);
      const kind = next() < 0.75 ? 'write' : next() < 0.5 ? 'writeZeroes' : 'discard';
      return { kind, sector, sectors: length, id: id++ };
    });
    return { kind: 'batch', ops };
  });
}

export function sectorBytes(id: number, sector: number, count: number): Uint8Array {
  const words = new Uint32Array((count * SECTOR) / 4);
  for (let s = 0; s < count; s++) {
    words.fill(id, s * 128, s * 128 + 128);
    words[s * 128 + 1] = sector + s;
  }
  return new Uint8Array(words.buffer);
}

/** The id of a sector as read; undefined: torn or foreign. */
export function idOf(words: Uint32Array, sector: number, index: number): number | undefined {
  const id = words[index * 128]!;
  for (let i = 2; i < 128; i++) if (words[index * 128 + i] !== id) return undefined;
  if (words[index * 128 + 1] !== (id === 0 ? 0 : sector)) return undefined;
  return id;
}

type Ids = readonly number[];

/** What each sector may hold. Lists are shared and never changed. */
export class Model {
  private readonly possible: Ids[];
  private durable: Ids[];
  /** Sectors that a killed process was writing, and nobody since. */
  private readonly unfinished = new Set<number>();

  constructor(
    readonly sectors: number,
    initial: (sector: number) => Ids = () => [0],
  ) {
    this.possible = Array.from({ length: sectors }, (_, s) => initial(s));
    this.durable = [...this.possible];
  }

  done(step: Step): void {
    if (step.kind === 'flush') {
      this.durable = [...this.possible];
      return;
    }
    this.begun(step);
    for (const op of step.ops) {
      const only = [op.kind === 'write' ? op.id : 0];
      for (let s = op.sector; s < op.sector + op.sectors; s++) {
        this.possible[s] = op.kind === 'discard' ? [...this.possible[s]!, 0] : only;
        if (op.kind !== 'discard') this.unfinished.delete(s);
      }
    }
  }

  /** It had begun when the process was killed. */
  begun(step: Step): void {
    if (step.kind === 'flush') return;
    for (const op of step.ops) {
      const id = op.kind === 'write' ? op.id : 0;
      for (let s = op.sector; s < op.sector + op.sectors; s++) this.durable[s] = [...this.durable[s]!, id];
    }
  }

  /**
   * The process was killed while the host performed it. The kernel stops a write wherever it has got to in the caller's memory, which
   * may be inside a sector: those of the step may be torn, between what they may hold.
   */
  killedIn(step: Step): void {
    this.begun(step);
    if (step.kind === 'flush') return;
    for (const op of step.ops) for (let s = op.sector; s < op.sector + op.sectors; s++) this.unfinished.add(s);
  }

  /** What a model of the same disk has to know when it begins with what is there. */
  follow(killed: Model): this {
    for (const s of killed.unfinished) this.unfinished.add(s);
    return this;
  }

  /** After a kill, or with `strict` after an orderly end. The first thing that must not be, if any. */
  problem(disk: Uint8Array, strict: boolean): string | undefined {
    const words = new Uint32Array(disk.buffer, disk.byteOffset, disk.length / 4);
    for (let s = 0; s < this.sectors; s++) {
      const id = idOf(words, s, s);
      const allowed = (strict ? this.possible : this.durable)[s]!;
      if (id === undefined) {
        if (this.unfinished.has(s)) continue;
        return `sector ${s} is torn`;
      }
      if (!allowed.includes(id)) return `sector ${s} holds ${id}, not one of ${allowed.join(', ')}`;
    }
    return undefined;
  }
}

export async function perform(disk: ImageDisk, memory: FakeMemory, step: Step): Promise<void> {
  if (step.kind === 'flush') return disk.flush();
  let gpa = 0;
  await Promise.all(
    step.ops.map((op) => {
      const offset = op.sector * SECTOR;
      const bytes = op.sectors * SECTOR;
      if (op.kind === 'discard') return disk.discard(offset, bytes);
      if (op.kind === 'writeZeroes') return disk.writeZeroes(offset, bytes, op.id % 2 === 0);
      const data = sectorBytes(op.id, op.sector, op.sectors);
      if (op.id % 3 === 0) return disk.writeBytes(offset, data);
      // Scattered over guest memory in uneven pieces.
      const cut = Math.floor(bytes / 3);
      memory.bytes.set(data, gpa);
      const ranges = Float64Array.of(gpa, cut, gpa + cut, bytes - cut);
      gpa += bytes;
      return disk.write(offset, ranges);
    }),
  );
}

export async function wholeDisk(disk: ImageDisk): Promise<Uint8Array> {
  const all = new Uint8Array(disk.bytes);
  await disk.readBytes(0, all);
  return all;
}

/** Guest memory, and the engine's part in moving it; at once or later, by turns. */
export class FakeMemory implements BulkIo {
  readonly bytes: Uint8Array;
  private turn = 0;
  constructor(bytes: number) {
    this.bytes = new Uint8Array(bytes);
  }
  fileRead(fd: number, at: number, ranges: Float64Array): number | Promise<number> {
    return this.move(ranges, (part, done) => readSync(fd, part, 0, part.length, at + done));
  }
  fileWrite(fd: number, at: number, ranges: Float64Array): number | Promise<number> {
    return this.move(ranges, (part, done) => writeSync(fd, part, 0, part.length, at + done));
  }
  async fileZero(fd: number, at: number, bytes: number): Promise<boolean> {
    // The file keeps its length.
    const there = Math.min(bytes, fstatSync(fd).size - at);
    if (there > 0) writeSync(fd, new Uint8Array(there), 0, there, at);
    return true;
  }
  memFill(gpa: number, bytes: number, value: number): boolean {
    this.bytes.fill(value, gpa, gpa + bytes);
    return true;
  }
  memWrite(gpa: number, from: Uint8Array): boolean {
    this.bytes.set(from, gpa);
    return true;
  }
  private move(ranges: Float64Array, one: (part: Uint8Array, done: number) => number): number | Promise<number> {
    const all = (): number => {
      let done = 0;
      for (let i = 0; i < ranges.length; i += 2) {
        const got = one(this.bytes.subarray(ranges[i]!, ranges[i]! + ranges[i + 1]!), done);
        done += got;
        if (got < ranges[i + 1]!) break;
      }
      return done;
    };
    return this.turn++ % 2 === 0 ? all() : new Promise<void>((resolve) => setImmediate(resolve)).then(all);
  }
}
