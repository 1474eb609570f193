/**
 * Images with one table from units of the disk to places in the file, filled by appending: VDI, dynamic VHD, VHDX, sparse VMDK.
 * Safe order: the unit's data, then its entry. Killed in between, the file is longer by what nothing refers to.
 */
import type { DiskCheck, DiskFormat } from '../../../preload/contract';
import { damaged, type Allocation, type BlockMap, type Extent } from './block-map';
import type { HostFile } from './host-file';
import { MetaCache, type Page } from './meta-cache';

export const TABLE_ORDER = 0;
const ERRORS_MAX = 100;
const CHECK_UNITS_MAX = 1 << 26;

/** What a table entry says. */
export type Place = { readonly kind: 'data'; readonly at: number } | { readonly kind: 'zero' | 'parent' | 'bad' };

export abstract class TableMap implements BlockMap {
  abstract readonly format: DiskFormat;
  abstract readonly variant: string;
  readonly discards: boolean = false;
  readonly snapshots = 0;
  readonly files: readonly HostFile[];
  protected readonly cache: MetaCache;
  /** Units that one allocation may take. */
  protected readonly runUnits: number = 1;
  /** Where the next unit goes. */
  protected end: number;
  private missing = 0;

  constructor(
    protected readonly file: HostFile,
    readonly bytes: number,
    readonly clusterBytes: number,
    pageBytes: number,
    protected readonly entryBytes: number,
    end: number,
  ) {
    this.files = [file];
    this.cache = new MetaCache(file, pageBytes);
    this.end = end;
  }

  get dirtyBytes(): number {
    return this.cache.dirtyBytes;
  }

  /** Where the entry of a unit is; null: the table it would be in does not exist; undefined: `miss` was called. */
  protected abstract entryPosition(index: number): number | null | undefined;
  protected abstract decode(page: Page, at: number): Place;
  protected abstract encode(page: Page, at: number, place: number | 'zero'): void;
  /** Can the table say that a unit is zeroes? */
  protected readonly zeroEntries: boolean = false;

  lookup(offset: number, bytes: number): Extent | Promise<Extent> {
    return this.find(offset, bytes) ?? this.loadAndFind(offset, bytes);
  }

  private async loadAndFind(offset: number, bytes: number): Promise<Extent> {
    for (;;) {
      await this.cache.load(this.missing);
      const extent = this.find(offset, bytes);
      if (extent) return extent;
    }
  }

  protected find(offset: number, bytes: number): Extent | undefined {
    const unit = this.clusterBytes;
    const index = Math.floor(offset / unit);
    const within = offset - index * unit;
    const position = this.entryPosition(index);
    if (position === undefined) return undefined;
    const first: Place = position === null ? { kind: 'parent' } : this.placeAt(position)!;
    if (position !== null && first === undefined) return undefined;
    const length = Math.min(bytes, unit - within);
    if (first.kind === 'bad') throw damaged(this.file, 'a block is at an impossible place');
    if (first.kind !== 'data') return { kind: first.kind, bytes: length };
    return this.dataExtent(index, within, length, first.at);
  }

  protected dataExtent(_index: number, within: number, bytes: number, at: number): Extent | undefined {
    return { kind: 'data', bytes, file: this.file, at: at + within, inPlace: !this.file.readOnly };
  }

  protected placeAt(position: number): Place | undefined {
    const page = this.cache.peek(position);
    return page ? this.decode(page, position - page.at) : this.miss(position);
  }

  protected miss(position: number): undefined {
    this.missing = position;
    return undefined;
  }

  protected async page(position: number): Promise<Page> {
    return this.cache.peek(position) ?? (await this.cache.load(position));
  }

  protected positionOf(index: number): Promise<number | null> {
    return this.loaded(() => this.entryPosition(index));
  }

  /** Of something that called `miss` while a page was not there. */
  protected async loaded<T>(look: () => T | undefined): Promise<T> {
    for (;;) {
      const found = look();
      if (found !== undefined) return found;
      await this.cache.load(this.missing);
    }
  }

  /** Like positionOf, but makes the table. */
  protected async tablePosition(index: number): Promise<number> {
    const position = await this.positionOf(index);
    if (position === null) throw damaged(this.file, 'a table is missing');
    return position;
  }

  async allocate(offset: number, bytes: number): Promise<Allocation> {
    const unit = this.clusterBytes;
    const index = Math.floor(offset / unit);
    let count = 1;
    const last = Math.min(index + this.runUnits, Math.ceil((offset + bytes) / unit));
    await this.tablePosition(index);
    for (; index + count < last; count++) {
      const position = await this.tablePosition(index + count);
      const page = await this.page(position);
      if (this.decode(page, position - page.at).kind === 'data') break;
    }
    const size = this.file.size;
    const at = await this.append(count * unit);
    return { start: index * unit, bytes: count * unit, file: this.file, at, fresh: at >= size };
  }

  protected async append(bytes: number): Promise<number> {
    const at = this.end;
    this.end += bytes;
    return at;
  }

  async commit({ start, bytes, at }: Allocation): Promise<void> {
    const unit = this.clusterBytes;
    for (let done = 0; done < bytes; done += unit) {
      await this.setEntry((start + done) / unit, at + done);
    }
  }

  protected async setEntry(index: number, place: number | 'zero'): Promise<void> {
    const position = await this.tablePosition(index);
    const page = await this.page(position);
    this.encode(page, position - page.at, place);
    this.cache.dirty(page, TABLE_ORDER);
  }

  abandon({ at, bytes }: Allocation): void {
    if (this.end === at + bytes) this.end = at;
  }

  /** What has no place becomes zeroes in the table; what has one is left to be overwritten. */
  async zero(offset: number, bytes: number): Promise<number> {
    const unit = this.clusterBytes;
    const whole = offset % unit === 0 && (bytes >= unit || offset + bytes === this.bytes);
    if (!this.zeroEntries || !whole) return 0;
    const extent = await this.lookup(offset, Math.min(bytes, unit));
    if (extent.kind === 'parent') await this.setEntry(offset / unit, 'zero');
    return extent.kind === 'data' ? 0 : Math.min(bytes, unit);
  }

  async writeBack(): Promise<void> {
    if (this.cache.dirtyBytes === 0) return;
    await this.file.sync();
    await this.cache.write(TABLE_ORDER);
  }

  async check(): Promise<Omit<DiskCheck, 'path' | 'format'>> {
    const { places, errors } = await this.survey();
    errors.push(...this.checkMore(places));
    return {
      ok: errors.length === 0,
      errors: errors.slice(0, ERRORS_MAX),
      leakedBytes: 0,
      allocatedBytes: places.size * this.clusterBytes,
    };
  }

  /** Where all units are, and what is impossible about it: the first of many. */
  async survey(): Promise<{ places: Set<number>; errors: string[] }> {
    const unit = this.clusterBytes;
    const units = Math.ceil(this.bytes / unit);
    if (units > CHECK_UNITS_MAX) throw damaged(this.file, 'it has too many blocks to be checked');
    const errors: string[] = [];
    const bad = (message: string): void => {
      if (errors.length < ERRORS_MAX) errors.push(message);
    };
    const places = new Set<number>();
    for (let index = 0; index < units; index++) {
      const position = await this.positionOf(index);
      if (position === null) continue;
      const page = await this.page(position);
      const place = this.decode(page, position - page.at);
      if (place.kind === 'bad') bad(`block ${index} is at an impossible place`);
      if (place.kind !== 'data') continue;
      if (place.at >= this.file.size) bad(`block ${index} is outside the file`);
      else if (places.has(place.at)) bad(`block ${index} is at the place of another`);
      places.add(place.at);
    }
    return { places, errors };
  }

  /** `places`: of all units that have one. */
  protected checkMore(_places: ReadonlySet<number>): string[] {
    return [];
  }
}
