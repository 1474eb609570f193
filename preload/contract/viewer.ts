/**
 * The viewer channel: one per open VM window, straight to the VM process (MessagePort in Electron, WebSocket in a browser).
 * Text messages are JSON (schemas below); binary messages start with a type byte. Both ends treat the other as hostile.
 */
import { z } from 'zod';

/** Binary, VM → viewer, little-endian. FRAME: u8 1, u8 0, u16 rectangles, u32 frame number, then each rectangle: u16 x, y,
 *  width, height and width*height*4 bytes RGBA. SERIAL: u8 2, u8 port, bytes. */
export const VIEWER_FRAME = 1;
export const VIEWER_SERIAL = 2;
export const FRAME_HEADER_BYTES = 8;
export const RECT_HEADER_BYTES = 8;
export const SERIAL_HEADER_BYTES = 2;

/** Relative motion in guest pixels; buttons: bit 0 left, 1 right, 2 middle; wheel in detents, positive is towards the user. */
const mouseSchema = z.object({
  type: z.literal('mouse'),
  dx: z.number(),
  dy: z.number(),
  buttons: z.int().min(0).max(31),
  wheel: z.number(),
});
/** Absolute position, 0–65535 across the screen; only when 'pointer' said absolute. */
const pointerSchema = z.object({
  type: z.literal('pointer'),
  x: z.int().min(0).max(65535),
  y: z.int().min(0).max(65535),
  buttons: z.int().min(0).max(31),
  wheel: z.number(),
});
export const pointerInputSchema = z.discriminatedUnion('type', [mouseSchema, pointerSchema]);
export type PointerInput = z.infer<typeof pointerInputSchema>;

export const viewerToVmSchema = z.discriminatedUnion('type', [
  /** First message; may be repeated to change what is wanted. The VM answers with 'screen' and a full frame. */
  z.object({ type: z.literal('attach'), display: z.boolean(), serial: z.array(z.int().min(0).max(3)).max(4) }),
  /** The viewer has drawn this frame; at most two are in flight. */
  z.object({ type: z.literal('frameDrawn'), frame: z.int() }),
  /** KeyboardEvent.code of a physical key. */
  z.object({ type: z.literal('key'), code: z.string().max(32), down: z.boolean() }),
  mouseSchema,
  pointerSchema,
  /** Guest pixels there is room for; a guest whose display driver can follow gets a screen of this size. */
  z.object({ type: z.literal('resize'), width: z.int().min(1).max(16384), height: z.int().min(1).max(16384) }),
  /** Release everything that is held (the window lost focus). */
  z.object({ type: z.literal('releaseKeys') }),
  z.object({ type: z.literal('serial'), port: z.int().min(0).max(3), data: z.string().max(65536) }),
]);
export type ViewerToVm = z.infer<typeof viewerToVmSchema>;

export const vmToViewerSchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('screen'), width: z.int(), height: z.int(), mode: z.enum(['text', 'graphics', 'off']) }),
  z.object({ type: z.literal('pointer'), absolute: z.boolean() }),
  z.object({ type: z.literal('leds'), capsLock: z.boolean(), numLock: z.boolean(), scrollLock: z.boolean() }),
  /** Ten times a second at most, only when something changed: activity since the last one. */
  z.object({
    type: z.literal('activity'),
    diskRead: z.boolean(),
    diskWrite: z.boolean(),
    net: z.boolean(),
    cpuPercent: z.number(),
  }),
]);
export type VmToViewer = z.infer<typeof vmToViewerSchema>;
