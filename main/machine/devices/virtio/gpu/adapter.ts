/**
 * A VGA that is also a virtio-gpu ("virtio-vga"): PCI 1af4:1050 of class VGA. Firmware, boot loaders and text consoles use the VGA half (BAR 0
 * its memory, BAR 2 its registers, as on the plain adapter; BAR 1 and 4 are virtio's); from the driver's first picture until its reset the
 * monitor shows the other half.
 */
import type { DisplaySource, Rect, ScreenInfo } from '../../../../backend/display';
import { Emitter, type Disposable } from '../../../../lib/disposable';
import type { GuestMemory } from '../../../memory/guest-memory';
import { MMIO_BYTES, VRAM_BYTES, type Vga } from '../../vga';
import { VirtioPci } from '../pci';
import type { VirtioGpu } from './gpu';

export class VirtioVga extends VirtioPci implements DisplaySource {
  private readonly screenChange = new Emitter<ScreenInfo>();
  /** The whole picture is another one since the last look. */
  private switched = false;
  private fromGpu = false;

  constructor(
    private readonly vga: Vga,
    private readonly gpu: VirtioGpu,
    mem: GuestMemory,
  ) {
    super(gpu, mem);
    this.addBar({ index: 0, kind: 'region', bytes: VRAM_BYTES, region: vga.region, prefetchable: true });
    this.addBar({ index: 2, kind: 'memory', bytes: MMIO_BYTES, handler: vga.mmio });
    vga.onScreenChange((screen) => {
      if (!this.fromGpu) this.screenChange.fire(screen);
    });
    gpu.onScreenChange(() => {
      if (this.fromGpu !== gpu.active) {
        this.fromGpu = gpu.active;
        this.switched = true;
      }
      this.screenChange.fire(this.screen);
    });
  }

  override reset(): void {
    super.reset();
    this.vga.reset();
  }

  override dispose(): void {
    super.dispose();
    this.vga.dispose();
    this.screenChange.dispose();
  }

  // ---- DisplaySource --------------------------------------------------------------------------------------------

  get screen(): ScreenInfo {
    return this.source.screen;
  }

  onScreenChange(listener: (screen: ScreenInfo) => void): Disposable {
    return this.screenChange.event(listener);
  }

  takeDirty(): Rect[] {
    const rects = this.source.takeDirty();
    if (!this.switched) return rects;
    this.switched = false;
    const { width, height } = this.screen;
    return [{ x: 0, y: 0, width, height }];
  }

  render(rect: Rect, out: Uint8Array): void {
    this.source.render(rect, out);
  }

  text(): string[] | null {
    return this.source.text();
  }

  resize(width: number, height: number): void {
    this.gpu.resize(width, height);
  }

  private get source(): DisplaySource {
    return this.fromGpu ? this.gpu : this.vga;
  }
}
