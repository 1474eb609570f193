/**
 * Where the guest's picture goes on the canvas, in device pixels. Whole multiples are drawn with nearest neighbour: every
 * guest pixel is the same square. In between, text and small modes are first enlarged to the next whole multiple and then
 * reduced smoothly, which keeps the edges of glyphs crisp at any window size; everything else is scaled smoothly.
 */
export const SCALE_MODES = ['auto', 'fit', 'actual', 'integer'] as const;
export type ScaleMode = (typeof SCALE_MODES)[number];

export const SCALE_LABEL: Readonly<Record<ScaleMode, string>> = {
  auto: 'Automatic',
  fit: 'Fit the window',
  actual: '100 %',
  integer: 'Whole multiples only',
};

export const SCALE_HINT: Readonly<Record<ScaleMode, string>> = {
  auto: 'Whole multiples for text and small screens, smooth for the rest',
  fit: 'As large as the window allows',
  actual: 'One pixel of the guest is one of the monitor',
  integer: 'Always sharp; there may be a border',
};

export interface Size {
  readonly width: number;
  readonly height: number;
}

export interface Placement extends Size {
  readonly x: number;
  readonly y: number;
  /** Whole multiple to enlarge by, nearest neighbour, before the final draw; 1: none. */
  readonly prescale: number;
  /** The final draw interpolates. */
  readonly smooth: boolean;
}

/** Modes whose pixels a person is meant to see: text, and anything up to VGA and SVGA sizes. */
export const isCrisp = (screen: Size & { mode: 'text' | 'graphics' | 'off' }): boolean =>
  screen.mode === 'text' || screen.width * screen.height <= 800 * 600;

/** Automatic keeps whole multiples while they use at least this share of the window's width. */
const AUTO_INTEGER_SHARE = 0.8;
/** Enlarging further buys nothing: the reduction is already finer than a device pixel. */
const PRESCALE_MAX = 4;

export function placeScreen(guest: Size, area: Size, mode: ScaleMode, crisp: boolean, pixelRatio: number): Placement {
  const fit = Math.min(area.width / guest.width, area.height / guest.height);
  const whole = Math.floor(fit);
  let scale: number;
  switch (mode) {
    case 'actual':
      scale = Math.max(1, Math.round(pixelRatio));
      break;
    case 'integer':
      // Smaller than 1:1 there is no whole multiple; showing everything matters more.
      scale = whole >= 1 ? whole : fit;
      break;
    case 'fit':
      scale = fit;
      break;
    case 'auto':
      scale = whole >= 1 && whole / fit >= AUTO_INTEGER_SHARE ? whole : fit;
      break;
  }
  const width = Math.max(1, Math.round(guest.width * scale));
  const height = Math.max(1, Math.round(guest.height * scale));
  const isWhole = width === guest.width * Math.round(scale) && height === guest.height * Math.round(scale);
  return {
    x: Math.max(0, Math.floor((area.width - width) / 2)),
    y: Math.max(0, Math.floor((area.height - height) / 2)),
    width,
    height,
    prescale: !isWhole && crisp && scale > 1 ? Math.min(PRESCALE_MAX, Math.ceil(scale)) : 1,
    smooth: !isWhole,
  };
}

/** Smaller windows are being opened or folded away: no screen for anybody. */
const ROOM_MIN = 200;

/**
 * The guest screen that would fill the canvas. On dense monitors a guest pixel is a whole number of theirs, so that text is readable. At 100 %
 * the canvas follows the guest, so the guest must not follow the canvas.
 */
export function roomFor(area: Size, mode: ScaleMode, pixelRatio: number): Size | undefined {
  const k = Math.max(1, Math.floor(pixelRatio));
  const width = Math.floor(area.width / k);
  const height = Math.floor(area.height / k);
  if (mode === 'actual' || width < ROOM_MIN || height < ROOM_MIN || width > 16384 || height > 16384) return undefined;
  return { width, height };
}

/** A point on the canvas (device pixels) → 0–65535 across the guest's screen, clamped to it. */
export function toAbsolute(placement: Placement, x: number, y: number): { x: number; y: number } {
  const axis = (v: number, origin: number, length: number): number =>
    Math.min(65535, Math.max(0, Math.round(((v - origin) / Math.max(1, length - 1)) * 65535)));
  return { x: axis(x, placement.x, placement.width), y: axis(y, placement.y, placement.height) };
}
