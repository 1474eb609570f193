/**
 * What a format knows: where each byte of the disk is. The rest (requests, copy on write, order of concurrent work, timing of
 * write-back) is ImageDisk's and the same for all.
 */
import type { DiskCheck, DiskFormat } from '../../../preload/contract';
import { HostIoError } from '../../backend/block';
import type { HostFile } from './host-file';

export type Extent =
  /** `inPlace`: may be overwritten where it is. */
  | { readonly kind: 'data'; readonly bytes: number; readonly file: HostFile; readonly at: number; readonly inPlace: boolean }
  | { readonly kind: 'zero'; readonly bytes: number }
  /** As the parent has it; zeroes without one. */
  | { readonly kind: 'parent'; readonly bytes: number }
  /** Part of a compressed unit, from `skip` on. */
  | { readonly kind: 'packed'; readonly bytes: number; readonly skip: number; readonly unpack: () => Promise<Uint8Array> };

/** Room in a file for [start, start + bytes) of the disk, not yet part of it. */
export interface Allocation {
  readonly start: number;
  readonly bytes: number;
  readonly file: HostFile;
  readonly at: number;
  /** The room reads as zeroes already. */
  readonly fresh: boolean;
  /** It belonged to this part of the disk before. */
  readonly reused?: boolean;
}

/** What a map may ask of the disk it serves. */
export interface MapHost {
  /** Until all reads and in-place writes that have begun are done. Only from inside an exclusive operation. */
  drain(): Promise<void>;
}

export interface BlockMap {
  readonly format: DiskFormat;
  /** The format's own name of its kind. */
  readonly variant: string;
  readonly bytes: number;
  /** Unit of allocation; undefined: all is there from the start. */
  readonly clusterBytes: number | undefined;
  /** `zero` gives space back. */
  readonly discards: boolean;
  readonly snapshots: number;
  readonly files: readonly HostFile[];
  /** Tables changed in memory. 0: none. */
  readonly dirtyBytes: number;

  /** What is at `offset`; at most `bytes` of it, at least 1. */
  lookup(offset: number, bytes: number): Extent | Promise<Extent>;

  // The following run one at a time.
  /** Room for what is at `offset` and is not data in place; covers at least the first byte, in whole units. */
  allocate(offset: number, bytes: number): Promise<Allocation>;
  /** The room is filled: it is the disk's content from now on. */
  commit(allocation: Allocation): Promise<void>;
  /** The room was not filled. */
  abandon(allocation: Allocation): void;
  /** Makes whole units from `offset` on read as zeroes; how many bytes it did, 0 if none can be done this way. */
  zero(offset: number, bytes: number): Promise<number>;
  /** Tables to the files, in an order that keeps them right at every moment. A sync of the files follows. */
  writeBack(): Promise<void>;

  check(): Promise<Omit<DiskCheck, 'path' | 'format'>>;
}

export const damaged = (file: HostFile, what: string): HostIoError => new HostIoError(`${file.path} is damaged: ${what}`, 'io');

/** Of maps that never allocate. */
export const cannotAllocate = (): Promise<never> => Promise.reject(new Error('there is nothing to allocate in this image'));
