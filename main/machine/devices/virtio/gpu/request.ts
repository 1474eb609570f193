/** Requests of virtio-gpu: the wire format and a pure decoder. VIRTIO 1.2 §5.7.6.7 (control queue), §5.7.6.10 (cursor queue). */
import { err, ok, type Result } from '../../../../lib/result';
import type { Rect } from '../../../../backend/display';
import type { GuestMemory } from '../../../memory/guest-memory';
import { readRanges, type Chain } from '../virtqueue';

export const Command = {
  GET_DISPLAY_INFO: 0x0100,
  RESOURCE_CREATE_2D: 0x0101,
  RESOURCE_UNREF: 0x0102,
  SET_SCANOUT: 0x0103,
  RESOURCE_FLUSH: 0x0104,
  TRANSFER_TO_HOST_2D: 0x0105,
  RESOURCE_ATTACH_BACKING: 0x0106,
  RESOURCE_DETACH_BACKING: 0x0107,
  GET_EDID: 0x010a,
  UPDATE_CURSOR: 0x0300,
  MOVE_CURSOR: 0x0301,
} as const;

export const Response = {
  OK_NODATA: 0x1100,
  OK_DISPLAY_INFO: 0x1101,
  OK_EDID: 0x1104,
  ERR_UNSPEC: 0x1200,
  ERR_OUT_OF_MEMORY: 0x1201,
  ERR_INVALID_SCANOUT_ID: 0x1202,
  ERR_INVALID_RESOURCE_ID: 0x1203,
  ERR_INVALID_PARAMETER: 0x1205,
} as const;
export type ResponseType = (typeof Response)[keyof typeof Response];

const FLAG_FENCE = 1;
export const HEADER_BYTES = 24;
/** Scanouts a GET_DISPLAY_INFO answer has room for. */
const MAX_SCANOUTS = 16;
const EDID_BYTES = 1024;
/** Longest request without a list behind it. */
const FIXED_BYTES = 56;
const ENTRY_BYTES = 16;
/** Pieces of guest memory behind one resource. An 8 MiB screen in single pages has 2048; a 4K one 8100. */
export const MAX_BACKING_ENTRIES = 16384;

/** What an answer repeats of its request (struct virtio_gpu_ctrl_hdr). */
export interface Header {
  readonly type: number;
  readonly flags: number;
  readonly fence: bigint;
  readonly context: number;
}

/** Guest memory as starts and lengths; entry i holds bytes from `ends[i - 1]` to `ends[i]` of the whole. */
export interface Backing {
  readonly addresses: Float64Array;
  readonly ends: Float64Array;
}

export type GpuRequest =
  | { readonly kind: 'displayInfo' }
  | { readonly kind: 'edid'; readonly scanout: number }
  | {
      readonly kind: 'create';
      readonly resource: number;
      readonly format: number;
      readonly width: number;
      readonly height: number;
    }
  | { readonly kind: 'unref' | 'detach'; readonly resource: number }
  | { readonly kind: 'attach'; readonly resource: number; readonly backing: Backing }
  | { readonly kind: 'scanout'; readonly scanout: number; readonly resource: number; readonly rect: Rect }
  | { readonly kind: 'flush'; readonly resource: number; readonly rect: Rect }
  | { readonly kind: 'transfer'; readonly resource: number; readonly rect: Rect; readonly offset: number }
  | CursorRequest
  | { readonly kind: 'unknown' };

export interface CursorRequest {
  readonly kind: 'cursor';
  readonly scanout: number;
  readonly x: number;
  readonly y: number;
  /** Absent: only moved. */
  readonly image?: { readonly resource: number; readonly hotX: number; readonly hotY: number };
}

/** An answer that says what is wrong, and the header it goes with. */
export interface Refused {
  readonly header: Header;
  readonly response: ResponseType;
}

/** 'badRequest': too short to hold a header, or not in memory. Nothing could be answered then. */
export function parseGpuRequest(
  chain: Chain,
  mem: GuestMemory,
): Result<{ header: Header; request: GpuRequest }, Refused | 'badRequest'> {
  const bytes = new Uint8Array(FIXED_BYTES);
  const length = Math.min(chain.readableBytes, FIXED_BYTES);
  if (length < HEADER_BYTES || !readRanges(mem, chain.readable, bytes.subarray(0, length))) return err('badRequest');
  const view = new DataView(bytes.buffer);
  const u32 = (at: number): number => view.getUint32(at, true);
  const header: Header = { type: u32(0), flags: u32(4), fence: view.getBigUint64(8, true), context: u32(16) };
  const rect = (): Rect => ({ x: u32(24), y: u32(28), width: u32(32), height: u32(36) });
  // What a short request leaves out reads as 0; the missing fields are refused by their values.
  const is = (request: GpuRequest): Result<{ header: Header; request: GpuRequest }, never> => ok({ header, request });
  switch (header.type) {
    case Command.GET_DISPLAY_INFO:
      return is({ kind: 'displayInfo' });
    case Command.GET_EDID:
      return is({ kind: 'edid', scanout: u32(24) });
    case Command.RESOURCE_CREATE_2D:
      return is({ kind: 'create', resource: u32(24), format: u32(28), width: u32(32), height: u32(36) });
    case Command.RESOURCE_UNREF:
      return is({ kind: 'unref', resource: u32(24) });
    case Command.RESOURCE_DETACH_BACKING:
      return is({ kind: 'detach', resource: u32(24) });
    case Command.SET_SCANOUT:
      return is({ kind: 'scanout', rect: rect(), scanout: u32(40), resource: u32(44) });
    case Command.RESOURCE_FLUSH:
      return is({ kind: 'flush', rect: rect(), resource: u32(40) });
    case Command.TRANSFER_TO_HOST_2D:
      return is({ kind: 'transfer', rect: rect(), offset: u32(40) + u32(44) * 2 ** 32, resource: u32(48) });
    case Command.UPDATE_CURSOR: {
      const image = { resource: u32(40), hotX: u32(44), hotY: u32(48) };
      return is({ kind: 'cursor', scanout: u32(24), x: u32(28) | 0, y: u32(32) | 0, image });
    }
    case Command.MOVE_CURSOR:
      return is({ kind: 'cursor', scanout: u32(24), x: u32(28) | 0, y: u32(32) | 0 });
    case Command.RESOURCE_ATTACH_BACKING: {
      const backing = parseBacking(chain, mem, u32(28));
      if (!backing) return err({ header, response: Response.ERR_INVALID_PARAMETER });
      return is({ kind: 'attach', resource: u32(24), backing });
    }
    default:
      return is({ kind: 'unknown' });
  }
}

/** struct virtio_gpu_mem_entry: address, length, padding. */
function parseBacking(chain: Chain, mem: GuestMemory, count: number): Backing | undefined {
  if (count === 0 || count > MAX_BACKING_ENTRIES) return undefined;
  const bytes = new Uint8Array(count * ENTRY_BYTES);
  if (!readRanges(mem, chain.readable, bytes, 32)) return undefined;
  const view = new DataView(bytes.buffer);
  const addresses = new Float64Array(count);
  const ends = new Float64Array(count);
  let end = 0;
  for (let i = 0; i < count; i++) {
    const at = i * ENTRY_BYTES;
    addresses[i] = view.getUint32(at, true) + view.getUint32(at + 4, true) * 2 ** 32;
    ends[i] = end += view.getUint32(at + 8, true);
  }
  return { addresses, ends };
}

/** §5.7.6.7: an answer carries its request's fence, so that the driver knows what is done. */
export function encodeResponse(request: Header, type: ResponseType, payload?: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES + (payload?.length ?? 0));
  const view = new DataView(bytes.buffer);
  view.setUint32(0, type, true);
  if (request.flags & FLAG_FENCE) {
    view.setUint32(4, FLAG_FENCE, true);
    view.setBigUint64(8, request.fence, true);
    view.setUint32(16, request.context, true);
  }
  if (payload) bytes.set(payload, HEADER_BYTES);
  return bytes;
}

/** struct virtio_gpu_resp_display_info behind its header: one scanout that is connected. */
export function displayInfo(width: number, height: number): Uint8Array {
  const bytes = new Uint8Array(MAX_SCANOUTS * 24);
  const view = new DataView(bytes.buffer);
  view.setUint32(8, width, true);
  view.setUint32(12, height, true);
  view.setUint32(16, 1, true);
  return bytes;
}

/** struct virtio_gpu_resp_edid behind its header. */
export function edidReply(edid: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(8 + EDID_BYTES);
  new DataView(bytes.buffer).setUint32(0, edid.length, true);
  bytes.set(edid, 8);
  return bytes;
}
