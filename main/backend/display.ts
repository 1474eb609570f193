/** What a display adapter offers to whoever shows the screen (viewers, screenshots, thumbnails, text capture). */
import type { Disposable } from '../lib/disposable';

export interface Rect {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

export interface ScreenInfo {
  readonly width: number;
  readonly height: number;
  readonly mode: 'text' | 'graphics' | 'off';
}

export interface DisplaySource {
  readonly screen: ScreenInfo;
  onScreenChange(listener: (screen: ScreenInfo) => void): Disposable;
  /** Rectangles whose pixels changed since the last call; empty when nothing did. One caller: the display hub. */
  takeDirty(): Rect[];
  /** RGBA, rows packed, alpha 255, into `out` (width*height*4 bytes). The rectangle lies inside the screen. */
  render(rect: Rect, out: Uint8Array): void;
  /** The text screen, one string a row without trailing spaces trimmed; null in graphics modes. */
  text(): string[] | null;
}
