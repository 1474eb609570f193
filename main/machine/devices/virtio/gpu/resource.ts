/** Pictures the driver made, as the host keeps them: pixels in the guest's own format, and where in guest memory they come from. */
import type { Rect } from '../../../../backend/display';
import { gpa, type GuestMemory } from '../../../memory/guest-memory';
import { Response, type Backing, type ResponseType } from './request';

/** Bits by which red, green, blue (and alpha) of a little-endian pixel are shifted, by virtio_gpu_formats (§5.7.6.7). */
interface PixelLayout {
  readonly red: number;
  readonly green: number;
  readonly blue: number;
  readonly alpha: number;
}

const BGRA: PixelLayout = { blue: 0, green: 8, red: 16, alpha: 24 };
const ARGB: PixelLayout = { alpha: 0, red: 8, green: 16, blue: 24 };
const RGBA: PixelLayout = { red: 0, green: 8, blue: 16, alpha: 24 };
const ABGR: PixelLayout = { alpha: 0, blue: 8, green: 16, red: 24 };
const FORMATS: ReadonlyMap<number, PixelLayout> = new Map([
  [1, BGRA],
  [2, BGRA],
  [3, ARGB],
  [4, ARGB],
  [67, RGBA],
  [68, ABGR],
  [121, ABGR],
  [134, RGBA],
]);

/** All pictures of one guest together: three screens of 7680×2160. */
export const MAX_TOTAL_BYTES = 256 << 20;
/** Viewers count in 16 bits. */
export const MAX_EDGE = 16384;
const MAX_RESOURCES = 4096;
/** What one costs apart from its pixels, roughly. */
const OVERHEAD_BYTES = 4096;

export class Resource {
  readonly pixels: Uint32Array<ArrayBuffer>;
  backing: Backing | undefined;
  private readonly bytes: Uint8Array;

  constructor(
    readonly width: number,
    readonly height: number,
    readonly layout: PixelLayout,
  ) {
    this.bytes = new Uint8Array(width * height * 4);
    this.pixels = new Uint32Array(this.bytes.buffer as ArrayBuffer);
  }

  contains({ x, y, width, height }: Rect): boolean {
    return width > 0 && height > 0 && x + width <= this.width && y + height <= this.height;
  }

  /** Guest memory → host picture. Line `rect.y + n` comes from `offset` + n lines of this picture's own length. */
  transfer(mem: GuestMemory, rect: Rect, offset: number): boolean {
    const stride = this.width * 4;
    const to = rect.y * stride + rect.x * 4;
    if (rect.width === this.width) return this.copy(mem, offset, to, rect.height * stride);
    for (let line = 0; line < rect.height; line++)
      if (!this.copy(mem, offset + line * stride, to + line * stride, rect.width * 4)) return false;
    return true;
  }

  private copy(mem: GuestMemory, from: number, to: number, count: number): boolean {
    const { backing } = this;
    if (!backing || !(from + count <= backing.ends[backing.ends.length - 1]!)) return false;
    let low = 0;
    for (let high = backing.ends.length - 1; low < high;) {
      const middle = (low + high) >> 1;
      if (backing.ends[middle]! > from) high = middle;
      else low = middle + 1;
    }
    for (let done = 0; done < count; low++) {
      const start = low === 0 ? 0 : backing.ends[low - 1]!;
      const skip = from + done - start;
      const piece = Math.min(backing.ends[low]! - start - skip, count - done);
      if (piece <= 0) continue;
      if (!mem.readInto(gpa(backing.addresses[low]! + skip), this.bytes.subarray(to + done, to + done + piece))) return false;
      done += piece;
    }
    return true;
  }
}

export class Resources {
  private readonly all = new Map<number, Resource>();
  private totalBytes = 0;

  get(id: number): Resource | undefined {
    return this.all.get(id);
  }

  create(id: number, format: number, width: number, height: number): ResponseType {
    if (id === 0 || this.all.has(id)) return Response.ERR_INVALID_RESOURCE_ID;
    const layout = FORMATS.get(format);
    if (!layout || width < 1 || height < 1 || width > MAX_EDGE || height > MAX_EDGE) return Response.ERR_INVALID_PARAMETER;
    const bytes = costOf(width, height);
    if (this.all.size >= MAX_RESOURCES || this.totalBytes + bytes > MAX_TOTAL_BYTES) return Response.ERR_OUT_OF_MEMORY;
    try {
      this.all.set(id, new Resource(width, height, layout));
    } catch {
      return Response.ERR_OUT_OF_MEMORY; // the host has none left
    }
    this.totalBytes += bytes;
    return Response.OK_NODATA;
  }

  delete(id: number): boolean {
    const resource = this.all.get(id);
    if (!resource) return false;
    this.all.delete(id);
    this.totalBytes -= costOf(resource.width, resource.height);
    return true;
  }

  clear(): void {
    this.all.clear();
    this.totalBytes = 0;
  }
}

const costOf = (width: number, height: number): number => width * height * 4 + OVERHEAD_BYTES;
