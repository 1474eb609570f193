/** Images whose bytes lie one after the other in one or more files: raw, fixed VHD, VMDK extents. No tables, no allocation. */
import type { DiskFormat } from '../../../preload/contract';
import { cannotAllocate, type BlockMap, type Extent } from './block-map';
import type { HostFile } from './host-file';

export class FlatMap implements BlockMap {
  readonly clusterBytes = undefined;
  readonly discards = false;
  readonly snapshots = 0;
  readonly dirtyBytes = 0;
  readonly files: readonly HostFile[];

  constructor(
    readonly format: DiskFormat,
    readonly variant: string,
    private readonly file: HostFile,
    private readonly at: number,
    readonly bytes: number,
  ) {
    this.files = [file];
  }

  lookup(offset: number, bytes: number): Extent {
    return { kind: 'data', bytes, file: this.file, at: this.at + offset, inPlace: !this.file.readOnly };
  }

  readonly allocate = cannotAllocate;
  readonly commit = cannotAllocate;
  abandon(): void {}
  zero(): Promise<number> {
    return Promise.resolve(0);
  }
  async writeBack(): Promise<void> {}

  async check() {
    const there = Math.max(0, Math.min(this.bytes, this.file.size - this.at));
    // The last sector of a raw image may be incomplete.
    const short = this.bytes - there >= 512;
    return { ok: !short, errors: short ? ['The file is shorter than its disk.'] : [], leakedBytes: 0, allocatedBytes: there };
  }
}

/** A part of the disk that is zeroes and cannot be written. */
export class ZeroMap implements BlockMap {
  readonly clusterBytes = undefined;
  readonly discards = false;
  readonly snapshots = 0;
  readonly dirtyBytes = 0;
  readonly files = [];

  constructor(
    readonly format: DiskFormat,
    readonly variant: string,
    readonly bytes: number,
  ) {}

  lookup(_offset: number, bytes: number): Extent {
    return { kind: 'zero', bytes };
  }
  readonly allocate = cannotAllocate;
  readonly commit = cannotAllocate;
  abandon(): void {}
  zero(_offset: number, bytes: number): Promise<number> {
    return Promise.resolve(bytes);
  }
  async writeBack(): Promise<void> {}
  async check() {
    return { ok: true, errors: [], leakedBytes: 0, allocatedBytes: 0 };
  }
}
