/** Several maps one after the other as one disk: VMDK in several files. */
import type { DiskCheck, DiskFormat } from '../../../preload/contract';
import type { Allocation, BlockMap, Extent } from './block-map';

export class JoinedMap implements BlockMap {
  readonly bytes: number;
  readonly clusterBytes: number | undefined;
  readonly discards = false;
  readonly snapshots = 0;
  private readonly starts: number[] = [];

  constructor(
    readonly format: DiskFormat,
    readonly variant: string,
    private readonly parts: readonly BlockMap[],
  ) {
    let bytes = 0;
    for (const part of parts) {
      this.starts.push(bytes);
      bytes += part.bytes;
    }
    this.bytes = bytes;
    this.clusterBytes = parts.find((part) => part.clusterBytes !== undefined)?.clusterBytes;
  }

  get files() {
    return this.parts.flatMap((part) => part.files);
  }
  get dirtyBytes(): number {
    return this.parts.reduce((sum, part) => sum + part.dirtyBytes, 0);
  }

  private partOf(offset: number): { part: BlockMap; start: number } {
    let low = 0;
    let high = this.parts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.starts[middle]! <= offset) low = middle;
      else high = middle - 1;
    }
    return { part: this.parts[low]!, start: this.starts[low]! };
  }

  lookup(offset: number, bytes: number): Extent | Promise<Extent> {
    const { part, start } = this.partOf(offset);
    return part.lookup(offset - start, Math.min(bytes, start + part.bytes - offset));
  }

  async allocate(offset: number, bytes: number): Promise<Allocation> {
    const { part, start } = this.partOf(offset);
    const room = await part.allocate(offset - start, Math.min(bytes, start + part.bytes - offset));
    // A part's last unit may be longer than the part; the next one begins there.
    return { ...room, start: room.start + start, bytes: Math.min(room.bytes, part.bytes - room.start) };
  }

  async commit(room: Allocation): Promise<void> {
    const { part, start } = this.partOf(room.start);
    await part.commit({ ...room, start: room.start - start });
  }

  abandon(room: Allocation): void {
    const { part, start } = this.partOf(room.start);
    part.abandon({ ...room, start: room.start - start });
  }

  zero(offset: number, bytes: number): Promise<number> {
    const { part, start } = this.partOf(offset);
    return part.zero(offset - start, Math.min(bytes, start + part.bytes - offset));
  }

  async writeBack(): Promise<void> {
    for (const part of this.parts) await part.writeBack();
  }

  async check(): Promise<Omit<DiskCheck, 'path' | 'format'>> {
    const sum = { ok: true, errors: [] as string[], leakedBytes: 0, allocatedBytes: 0 };
    for (const [i, part] of this.parts.entries()) {
      const one = await part.check();
      sum.ok &&= one.ok;
      sum.errors.push(...one.errors.map((message) => `part ${i + 1}: ${message}`));
      sum.leakedBytes += one.leakedBytes;
      sum.allocatedBytes += one.allocatedBytes;
    }
    sum.errors.splice(100);
    return sum;
  }
}
