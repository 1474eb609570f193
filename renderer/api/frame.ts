/** Binary viewer messages (preload/contract/viewer.ts). The VM process is hostile: nothing here trusts a length. */
import { FRAME_HEADER_BYTES, RECT_HEADER_BYTES, SERIAL_HEADER_BYTES, VIEWER_FRAME, VIEWER_SERIAL } from '../../preload/contract';

export interface FrameRect {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
  /** RGBA, a view into the message. */
  readonly pixels: Uint8ClampedArray<ArrayBuffer>;
}

export type BinaryMessage =
  | { readonly kind: 'frame'; readonly frame: number; readonly rects: readonly FrameRect[] }
  | { readonly kind: 'serial'; readonly port: number; readonly bytes: Uint8Array }
  | { readonly kind: 'malformed' };

const MALFORMED: BinaryMessage = { kind: 'malformed' };
const SERIAL_PORTS = 4;

export function decodeBinary(buffer: ArrayBuffer): BinaryMessage {
  if (buffer.byteLength < SERIAL_HEADER_BYTES) return MALFORMED;
  const view = new DataView(buffer);
  switch (view.getUint8(0)) {
    case VIEWER_SERIAL: {
      const port = view.getUint8(1);
      return port < SERIAL_PORTS ? { kind: 'serial', port, bytes: new Uint8Array(buffer, SERIAL_HEADER_BYTES) } : MALFORMED;
    }
    case VIEWER_FRAME:
      return decodeFrame(buffer, view);
    default:
      return MALFORMED;
  }
}

function decodeFrame(buffer: ArrayBuffer, view: DataView): BinaryMessage {
  if (buffer.byteLength < FRAME_HEADER_BYTES) return MALFORMED;
  const count = view.getUint16(2, true);
  const rects: FrameRect[] = [];
  let at = FRAME_HEADER_BYTES;
  for (let i = 0; i < count; i++) {
    if (at + RECT_HEADER_BYTES > buffer.byteLength) return MALFORMED;
    const x = view.getUint16(at, true);
    const y = view.getUint16(at + 2, true);
    const width = view.getUint16(at + 4, true);
    const height = view.getUint16(at + 6, true);
    at += RECT_HEADER_BYTES;
    const bytes = width * height * 4;
    if (bytes === 0 || at + bytes > buffer.byteLength) return MALFORMED;
    rects.push({ x, y, width, height, pixels: new Uint8ClampedArray(buffer, at, bytes) });
    at += bytes;
  }
  return at === buffer.byteLength ? { kind: 'frame', frame: view.getUint32(4, true), rects } : MALFORMED;
}
