/**
 * Draws frames. Rectangles go unscaled onto a backing canvas of the guest's size; the visible canvas, whose pixels are device
 * pixels, is composed from it at most once an animation frame. Where a guest pixel is a device pixel they go onto the visible
 * canvas at once, which saves a full-motion picture three copies; the backing canvas catches up before the window changes.
 */
import { placeScreen, type Placement, type ScaleMode } from '../model/scale';
import type { FrameRect } from '../stores';

export interface PainterMode {
  readonly scale: ScaleMode;
  readonly crisp: boolean;
  readonly pixelRatio: number;
}

export class Painter {
  private readonly backing = document.createElement('canvas');
  private readonly backingContext = this.backing.getContext('2d', { alpha: false, willReadFrequently: false })!;
  private enlarged: HTMLCanvasElement | undefined;
  private readonly context: CanvasRenderingContext2D;
  private mode: PainterMode = { scale: 'auto', crisp: true, pixelRatio: 1 };
  private place: Placement | null = null;
  private pending: number | undefined;
  private waiting: (() => void)[] = [];
  private visible = true;
  private hasScreen = false;
  /** The visible canvas holds the picture, unscaled, and the backing canvas may be behind. */
  private direct = false;

  constructor(private readonly canvas: HTMLCanvasElement) {
    this.context = canvas.getContext('2d', { alpha: false })!;
  }

  get placement(): Placement | null {
    return this.place;
  }

  setScreen(width: number, height: number): void {
    if (this.hasScreen && this.backing.width === width && this.backing.height === height) return;
    this.direct = false;
    this.backing.width = width;
    this.backing.height = height;
    this.hasScreen = true;
    this.layout();
  }

  setMode(mode: PainterMode): void {
    this.mode = mode;
    this.layout();
  }

  /** Size of the visible canvas in device pixels. */
  setArea(width: number, height: number): void {
    if (width < 1 || height < 1) return;
    this.keepPicture();
    if (this.canvas.width !== width || this.canvas.height !== height) {
      this.canvas.width = width;
      this.canvas.height = height;
    }
    this.layout();
  }

  /** While nobody can see it nothing is composed and no frame is acknowledged: the VM pauses after two. */
  setVisible(visible: boolean): void {
    this.visible = visible;
    if (visible) this.invalidate();
  }

  frame(rects: readonly FrameRect[], done: () => void): void {
    for (const r of rects) {
      if (r.x + r.width > this.backing.width || r.y + r.height > this.backing.height) continue;
      const image = new ImageData(r.pixels, r.width, r.height);
      if (this.direct) this.context.putImageData(image, this.place!.x + r.x, this.place!.y + r.y);
      else this.backingContext.putImageData(image, r.x, r.y);
    }
    this.waiting.push(done);
    this.invalidate();
  }

  dispose(): void {
    if (this.pending !== undefined) cancelAnimationFrame(this.pending);
    for (const done of this.waiting.splice(0)) done();
  }

  /** Before the visible canvas changes: the backing canvas takes over. */
  private keepPicture(): void {
    if (!this.direct) return;
    this.direct = false;
    const { x, y, width, height } = this.place!;
    this.backingContext.drawImage(this.canvas, x, y, width, height, 0, 0, width, height);
  }

  private layout(): void {
    this.keepPicture();
    this.place = this.hasScreen
      ? placeScreen(
          this.backing,
          { width: this.canvas.width, height: this.canvas.height },
          this.mode.scale,
          this.mode.crisp,
          this.mode.pixelRatio,
        )
      : null;
    this.invalidate();
  }

  private invalidate(): void {
    if (!this.visible || this.pending !== undefined) return;
    this.pending = requestAnimationFrame(() => {
      this.pending = undefined;
      this.compose();
      for (const done of this.waiting.splice(0)) done();
    });
  }

  private compose(): void {
    if (this.direct) return;
    const { context, canvas, backing } = this;
    const p = this.place;
    context.fillStyle = getComputedStyle(canvas).getPropertyValue('--lodge-stage') || '#000';
    if (p === null) {
      context.fillRect(0, 0, canvas.width, canvas.height);
      return;
    }
    context.fillRect(0, 0, canvas.width, p.y);
    context.fillRect(0, p.y + p.height, canvas.width, canvas.height - p.y - p.height);
    context.fillRect(0, p.y, p.x, p.height);
    context.fillRect(p.x + p.width, p.y, canvas.width - p.x - p.width, p.height);
    let source = backing;
    if (p.prescale > 1) {
      source = this.enlarged ??= document.createElement('canvas');
      const width = backing.width * p.prescale;
      const height = backing.height * p.prescale;
      if (source.width !== width || source.height !== height) {
        source.width = width;
        source.height = height;
      }
      const large = source.getContext('2d', { alpha: false })!;
      large.imageSmoothingEnabled = false;
      large.drawImage(backing, 0, 0, width, height);
    }
    context.imageSmoothingEnabled = p.smooth;
    // Down to half the size four neighbours are all there is to mix; finer filters take twice as long for the same picture.
    context.imageSmoothingQuality = p.width * 2 >= source.width ? 'low' : 'high';
    context.drawImage(source, p.x, p.y, p.width, p.height);
    this.direct =
      p.width === backing.width &&
      p.height === backing.height &&
      p.x + p.width <= canvas.width &&
      p.y + p.height <= canvas.height;
  }
}
