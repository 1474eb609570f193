/** VGA registers as the firmware programs them: through the bus, like any other software. */
import type { Bus } from '../../bus/bus';
import { dacPalette, type VideoMode } from './video-modes';

const Port = {
  attribute: 0x3c0,
  misc: 0x3c2,
  sequencer: 0x3c4,
  dacMask: 0x3c6,
  dacRead: 0x3c7,
  dacWrite: 0x3c8,
  dacData: 0x3c9,
  miscRead: 0x3cc,
  graphics: 0x3ce,
} as const;

/** What a mode is in registers: sequencer 1–4, CRT controller 0–18h, graphics controller 0–8, attribute controller 0–14h at most. */
export type VgaState = Pick<VideoMode, 'misc' | 'sequencer' | 'crtc' | 'graphics' | 'attribute'>;
/** How many registers each part of a state has. */
export const VGA_STATE = { misc: 1, sequencer: 4, crtc: 0x19, graphics: 9, attribute: 0x15 } as const;

export class VgaRegisters {
  constructor(private readonly bus: Bus) {}

  get crtcPort(): number {
    return this.bus.readPort(Port.miscRead, 1) & 1 ? 0x3d4 : 0x3b4;
  }
  readCrtc(index: number): number {
    const port = this.crtcPort;
    this.bus.writePort(port, 1, index);
    return this.bus.readPort(port + 1, 1);
  }
  writeCrtc(index: number, value: number): void {
    const port = this.crtcPort;
    this.bus.writePort(port, 1, index);
    this.bus.writePort(port + 1, 1, value & 0xff);
  }
  writeSequencer(index: number, value: number): void {
    this.bus.writePort(Port.sequencer, 1, index);
    this.bus.writePort(Port.sequencer + 1, 1, value);
  }
  readSequencer(index: number): number {
    this.bus.writePort(Port.sequencer, 1, index);
    return this.bus.readPort(Port.sequencer + 1, 1);
  }
  writeGraphics(index: number, value: number): void {
    this.bus.writePort(Port.graphics, 1, index);
    this.bus.writePort(Port.graphics + 1, 1, value);
  }
  readGraphics(index: number): number {
    this.bus.writePort(Port.graphics, 1, index);
    return this.bus.readPort(Port.graphics + 1, 1);
  }
  /** Leaves the palette connected to the screen (index bit 5). */
  writeAttribute(index: number, value: number): void {
    this.bus.readPort(this.crtcPort + 6, 1); // flip-flop to index
    this.bus.writePort(Port.attribute, 1, index);
    this.bus.writePort(Port.attribute, 1, value);
    this.bus.writePort(Port.attribute, 1, 0x20);
  }
  readAttribute(index: number): number {
    this.bus.readPort(this.crtcPort + 6, 1);
    this.bus.writePort(Port.attribute, 1, index);
    const value = this.bus.readPort(Port.attribute + 1, 1);
    this.bus.readPort(this.crtcPort + 6, 1);
    this.bus.writePort(Port.attribute, 1, 0x20);
    return value;
  }
  writeDac(first: number, components: ArrayLike<number>, mask = 0x3f): void {
    this.bus.writePort(Port.dacWrite, 1, first);
    for (let i = 0; i < components.length; i++) this.bus.writePort(Port.dacData, 1, components[i]! & mask);
  }
  readDac(first: number, count: number): Uint8Array {
    this.bus.writePort(Port.dacRead, 1, first);
    return Uint8Array.from({ length: count * 3 }, () => this.bus.readPort(Port.dacData, 1));
  }
  get dacMask(): number {
    return this.bus.readPort(Port.dacMask, 1);
  }
  set dacMask(value: number) {
    this.bus.writePort(Port.dacMask, 1, value);
  }

  get state(): VgaState {
    const all = (count: number, read: (index: number) => number): number[] => Array.from({ length: count }, (_, i) => read(i));
    return {
      misc: this.bus.readPort(Port.miscRead, 1),
      sequencer: all(VGA_STATE.sequencer, (i) => this.readSequencer(i + 1)),
      crtc: all(VGA_STATE.crtc, (i) => this.readCrtc(i)),
      graphics: all(VGA_STATE.graphics, (i) => this.readGraphics(i)),
      attribute: all(VGA_STATE.attribute, (i) => this.readAttribute(i)),
    };
  }
  set state({ misc, sequencer, crtc, graphics, attribute }) {
    this.bus.writePort(Port.misc, 1, misc);
    this.writeSequencer(0, 1);
    sequencer.forEach((value, i) => this.writeSequencer(i + 1, value));
    this.writeSequencer(0, 3);
    this.writeCrtc(0x11, this.readCrtc(0x11) & 0x7f); // unlock 0–7
    crtc.forEach((value, i) => this.writeCrtc(i, value));
    graphics.forEach((value, i) => this.writeGraphics(i, value));
    attribute.forEach((value, i) => this.writeAttribute(i, value));
  }

  program(mode: VideoMode, loadPalette: boolean): void {
    this.state = mode;
    this.writeAttribute(0x14, 0);
    this.dacMask = 0xff;
    if (loadPalette) this.writeDac(0, dacPalette(mode.palette));
  }

  /**
   * Character shapes go to plane 2, 32 bytes a character, eight maps of 256 characters in the order the hardware numbers them.
   * The window at A0000h shows that plane, byte for byte, while `write` runs.
   */
  withFontPlane(write: () => void): void {
    this.writeSequencer(0, 1);
    this.writeSequencer(2, 4);
    this.writeSequencer(4, 7);
    this.writeSequencer(0, 3);
    this.writeGraphics(4, 2);
    this.writeGraphics(5, 0);
    this.writeGraphics(6, 4);
    write();
    this.writeSequencer(0, 1);
    this.writeSequencer(2, 3);
    this.writeSequencer(4, 3);
    this.writeSequencer(0, 3);
    this.writeGraphics(4, 0);
    this.writeGraphics(5, 0x10);
    this.writeGraphics(6, this.crtcPort === 0x3d4 ? 0x0e : 0x0a);
  }
}
