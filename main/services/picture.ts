/** A machine's picture in the library: its screen, small, taken again while it changes. */
import type { Supervisor } from '../process/supervisor';
import { THUMBNAIL_WIDTH } from './machine-spec';
import { THUMBNAIL_INTERVAL_MS } from './thumbnails';

export class Picture {
  png: Buffer | undefined;
  /** Of `png`; 0: none. */
  version = 0;
  /** The screen changed while nobody looked, or less than an interval ago. */
  due = false;
  private timer: NodeJS.Timeout | undefined;
  private takenAt = 0;

  set(png: Buffer): void {
    this.png = png;
    this.version++;
  }

  /** Has one taken, at most one an interval; `process` is asked then, `onTaken` called when there is a new one. */
  schedule(process: () => Pick<Supervisor, 'request'> | undefined, onTaken: () => void): void {
    if (this.timer !== undefined || !process()) return;
    const wait = Math.max(0, this.takenAt + THUMBNAIL_INTERVAL_MS - Date.now());
    this.timer = setTimeout(() => void this.take(process, onTaken), wait);
  }

  stop(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.due = false;
  }

  private async take(process: () => Pick<Supervisor, 'request'> | undefined, onTaken: () => void): Promise<void> {
    this.due = false;
    this.takenAt = Date.now();
    try {
      const asked = process();
      const png = (await asked?.request({ name: 'screenshot', maxWidth: THUMBNAIL_WIDTH })) as string | null | undefined;
      if (typeof png === 'string' && process() === asked) {
        this.set(Buffer.from(png, 'base64'));
        onTaken();
      }
    } catch {
      // It is starting, stopping or stuck; the next change of the screen asks again.
    } finally {
      this.timer = undefined;
      if (this.due) this.schedule(process, onTaken);
    }
  }
}
