/**
 * Pointer events of the browser → mouse messages of the viewer channel, at most one a frame while only motion happens; a
 * change of a button or the wheel goes at once, after the motion that led there.
 */
import type { ViewerToVm } from '../../preload/contract';

/** DOM numbers buttons left 1, right 2, middle 4, as the guest does; the rest is cut to the contract's five. */
export const buttonBits = (buttons: number): number => buttons & 31;

/** Pixels of wheel travel that make one detent, for devices that report pixels. */
const PIXELS_PER_DETENT = 100;
const LINES_PER_DETENT = 3;

export class PointerFeed {
  private dx = 0;
  private dy = 0;
  private absolute: { x: number; y: number } | undefined;
  private buttons = 0;
  private wheelRest = 0;
  private pending = false;

  constructor(
    private readonly send: (message: ViewerToVm) => void,
    private readonly schedule: (flush: () => void) => void,
  ) {}

  moveBy(dx: number, dy: number): void {
    this.dx += dx;
    this.dy += dy;
    this.later();
  }

  moveTo(x: number, y: number): void {
    this.absolute = { x, y };
    this.later();
  }

  setButtons(buttons: number, absolute: boolean): void {
    this.flush(absolute);
    const bits = buttonBits(buttons);
    if (bits === this.buttons) return;
    this.buttons = bits;
    this.emit(absolute, 0);
  }

  /** WheelEvent deltas: mode 0 pixels, 1 lines, 2 pages. Fractions add up, so that a touchpad scrolls too. */
  wheel(delta: number, mode: number, absolute: boolean): void {
    // Turning back starts afresh: the rest of the other direction is not owed.
    if (delta * this.wheelRest < 0) this.wheelRest = 0;
    this.wheelRest += mode === 0 ? delta / PIXELS_PER_DETENT : mode === 1 ? delta / LINES_PER_DETENT : Math.sign(delta);
    const detents = Math.trunc(this.wheelRest);
    if (detents === 0) return;
    this.wheelRest -= detents;
    this.flush(absolute);
    this.emit(absolute, detents);
  }

  /** Leaving: no button stays pressed in the guest. */
  release(absolute: boolean): void {
    this.wheelRest = 0;
    this.setButtons(0, absolute);
  }

  private later(): void {
    if (this.pending) return;
    this.pending = true;
    this.schedule(() => {
      if (this.pending) this.flush(this.absolute !== undefined);
    });
  }

  private flush(absolute: boolean): void {
    if (!this.pending) return;
    this.pending = false;
    this.emit(absolute, 0);
  }

  private emit(absolute: boolean, wheel: number): void {
    if (absolute) {
      if (this.absolute !== undefined) this.send({ type: 'pointer', ...this.absolute, buttons: this.buttons, wheel });
    } else {
      // Whole pixels only; what is left counts for the next message.
      const dx = Math.trunc(this.dx);
      const dy = Math.trunc(this.dy);
      this.dx -= dx;
      this.dy -= dy;
      this.send({ type: 'mouse', dx, dy, buttons: this.buttons, wheel });
    }
  }
}
