/**
 * The register file of an IBM VGA: miscellaneous output, sequencer, CRT controller, graphics controller, attribute
 * controller with its flip-flop, and the DAC. (IBM PS/2 Hardware Interface Technical Reference, Video Subsystem; FreeVGA.)
 * State and port decode only: what the registers mean for the picture is decided in mode.ts, what they mean for memory
 * in planes.ts. Ports are those of 3B0h–3DFh; every value a guest can write is legal here.
 */

export interface VgaRegisters {
  misc: number;
  featureControl: number;
  sequencerIndex: number;
  readonly sequencer: Uint8Array;
  crtcIndex: number;
  readonly crtc: Uint8Array;
  graphicsIndex: number;
  readonly graphics: Uint8Array;
  /** Bits 0–4 index, bit 5 palette address source (0: the screen shows the overscan colour only). */
  attributeIndex: number;
  /** The next write to 3C0h is: false the index, true the data. */
  attributeData: boolean;
  readonly attribute: Uint8Array;
  dacMask: number;
  dacReadIndex: number;
  dacWriteIndex: number;
  /** Next component, 0 red, 1 green, 2 blue. */
  dacComponent: number;
  /** What 3C7h reads: 3 after a read index was written, 0 after a write index. */
  dacState: number;
  /** Components written for the entry being written; an entry changes as a whole. */
  readonly dacLatch: Uint8Array;
  /** 256 × RGB, 6 bits a component, or 8 when the DISPI 8-bit DAC is on. */
  readonly dac: Uint8Array;
}

export const SEQUENCER_COUNT = 5;
export const CRTC_COUNT = 25;
export const GRAPHICS_COUNT = 9;
export const ATTRIBUTE_COUNT = 21;

/** Bits that exist; the others read as zero. */
const SEQUENCER_MASK = [0x03, 0x3d, 0x0f, 0x3f, 0x0e];
const GRAPHICS_MASK = [0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff];
const ATTRIBUTE_MASK = [...Array<number>(16).fill(0x3f), 0xef, 0xff, 0x3f, 0x0f, 0x0f];

/** Register values of BIOS mode 3 (80×25, 9×16 cells, 720×400, 70 Hz). */
const MODE_3 = {
  misc: 0x67,
  sequencer: [0x03, 0x00, 0x03, 0x00, 0x02],
  crtc: [
    0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0x00, 0x4f, 0x0d, 0x0e, 0x00, 0x00, 0x00, 0x00, 0x9c, 0x8e, 0x8f, 0x28, 0x1f,
    0x96, 0xb9, 0xa3, 0xff,
  ],
  graphics: [0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x0e, 0x00, 0xff],
  attribute: [
    0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x14, 0x07, 0x38, 0x39, 0x3a, 0x3b, 0x3c, 0x3d, 0x3e, 0x3f, 0x0c, 0x00, 0x0f, 0x08, 0x00,
  ],
};

export function createRegisters(): VgaRegisters {
  return {
    misc: 0,
    featureControl: 0,
    sequencerIndex: 0,
    sequencer: new Uint8Array(SEQUENCER_COUNT),
    crtcIndex: 0,
    crtc: new Uint8Array(CRTC_COUNT),
    graphicsIndex: 0,
    graphics: new Uint8Array(GRAPHICS_COUNT),
    attributeIndex: 0,
    attributeData: false,
    attribute: new Uint8Array(ATTRIBUTE_COUNT),
    dacMask: 0xff,
    dacReadIndex: 0,
    dacWriteIndex: 0,
    dacComponent: 0,
    dacState: 0,
    dacLatch: new Uint8Array(3),
    dac: new Uint8Array(768),
  };
}

/** Registers and palette as the BIOS leaves them after INT 10h AX=0003h. */
export function loadTextMode(regs: VgaRegisters): void {
  regs.misc = MODE_3.misc;
  regs.featureControl = 0;
  regs.sequencerIndex = 0;
  regs.sequencer.set(MODE_3.sequencer);
  regs.crtcIndex = 0;
  regs.crtc.set(MODE_3.crtc);
  regs.graphicsIndex = 0;
  regs.graphics.set(MODE_3.graphics);
  regs.attributeIndex = 0x20;
  regs.attributeData = false;
  regs.attribute.set(MODE_3.attribute);
  regs.dacMask = 0xff;
  regs.dacReadIndex = 0;
  regs.dacWriteIndex = 0;
  regs.dacComponent = 0;
  regs.dacState = 0;
  regs.dacLatch.fill(0);
  regs.dac.fill(0);
  // The EGA's 64 colours: bits 2–0 are the two-thirds red, green and blue, bits 5–3 the one-third ones.
  for (let i = 0; i < 64; i++) {
    for (let c = 0; c < 3; c++) regs.dac[i * 3 + c] = ((i >> (2 - c)) & 1) * 0x2a + ((i >> (5 - c)) & 1) * 0x15;
  }
}

/** What a write changed, so that the adapter recomputes no more than needed. */
export type RegisterEffect = 'none' | 'mode' | 'palette' | 'cursor';

/** The CRTC and input status 1 answer at 3D4h/3D5h/3DAh (colour) or 3B4h/3B5h/3BAh (mono), by misc bit 0. */
function isDecoded(regs: VgaRegisters, port: number): boolean {
  if (port >= 0x3b0 && port <= 0x3bf) return (regs.misc & 1) === 0;
  if (port >= 0x3d0 && port <= 0x3df) return (regs.misc & 1) === 1;
  return true;
}

/** `status1` is input status 1 as the beam position gives it. Reading has the side effects of the real thing. */
export function readRegister(regs: VgaRegisters, port: number, status1: () => number): number {
  if (!isDecoded(regs, port)) return 0xff;
  switch (port) {
    case 0x3c0:
      return regs.attributeData ? 0 : regs.attributeIndex;
    case 0x3c1:
      return regs.attribute[regs.attributeIndex & 0x1f] ?? 0;
    case 0x3c2:
      // Input status 0: bit 4 is the monitor sense comparator; set for a colour monitor on the DAC's load.
      return 0x10;
    case 0x3c4:
      return regs.sequencerIndex;
    case 0x3c5:
      return regs.sequencer[regs.sequencerIndex] ?? 0xff;
    case 0x3c6:
      return regs.dacMask;
    case 0x3c7:
      return regs.dacState;
    case 0x3c8:
      return regs.dacWriteIndex;
    case 0x3c9: {
      const value = regs.dac[regs.dacReadIndex * 3 + regs.dacComponent] ?? 0;
      if (++regs.dacComponent === 3) {
        regs.dacComponent = 0;
        regs.dacReadIndex = (regs.dacReadIndex + 1) & 0xff;
      }
      return value;
    }
    case 0x3ca:
      return regs.featureControl;
    case 0x3cc:
      return regs.misc;
    case 0x3ce:
      return regs.graphicsIndex;
    case 0x3cf:
      return regs.graphics[regs.graphicsIndex] ?? 0xff;
    case 0x3b4:
    case 0x3d4:
      return regs.crtcIndex;
    case 0x3b5:
    case 0x3d5:
      return regs.crtc[regs.crtcIndex] ?? 0xff;
    case 0x3ba:
    case 0x3da:
      regs.attributeData = false;
      return status1();
    default:
      return 0xff;
  }
}

export function writeRegister(regs: VgaRegisters, port: number, value: number, dac8Bit: boolean): RegisterEffect {
  if (!isDecoded(regs, port)) return 'none';
  switch (port) {
    case 0x3c0: {
      regs.attributeData = !regs.attributeData;
      if (regs.attributeData) {
        const blanked = (regs.attributeIndex ^ value) & 0x20;
        regs.attributeIndex = value & 0x3f;
        return blanked ? 'mode' : 'none';
      }
      return store(regs.attribute, regs.attributeIndex & 0x1f, value, ATTRIBUTE_MASK) ? 'palette' : 'none';
    }
    case 0x3c2: {
      const changed = regs.misc !== value;
      regs.misc = value;
      return changed ? 'mode' : 'none';
    }
    case 0x3c4:
      regs.sequencerIndex = value & 0x07;
      return 'none';
    case 0x3c5:
      return store(regs.sequencer, regs.sequencerIndex, value, SEQUENCER_MASK) ? 'mode' : 'none';
    case 0x3c6: {
      const changed = regs.dacMask !== value;
      regs.dacMask = value;
      return changed ? 'palette' : 'none';
    }
    case 0x3c7:
      regs.dacReadIndex = value;
      regs.dacComponent = 0;
      regs.dacState = 3;
      return 'none';
    case 0x3c8:
      regs.dacWriteIndex = value;
      regs.dacComponent = 0;
      regs.dacState = 0;
      return 'none';
    case 0x3c9: {
      regs.dacLatch[regs.dacComponent] = dac8Bit ? value : value & 0x3f;
      if (++regs.dacComponent < 3) return 'none';
      regs.dac.set(regs.dacLatch, regs.dacWriteIndex * 3);
      regs.dacComponent = 0;
      regs.dacWriteIndex = (regs.dacWriteIndex + 1) & 0xff;
      return 'palette';
    }
    case 0x3ce:
      regs.graphicsIndex = value & 0x0f;
      return 'none';
    case 0x3cf:
      return store(regs.graphics, regs.graphicsIndex, value, GRAPHICS_MASK) ? 'mode' : 'none';
    case 0x3b4:
    case 0x3d4:
      regs.crtcIndex = value & 0x3f;
      return 'none';
    case 0x3b5:
    case 0x3d5:
      return writeCrtc(regs, value);
    case 0x3ba:
    case 0x3da:
      regs.featureControl = value;
      return 'none';
    default:
      return 'none';
  }
}

/** CR11 bit 7 protects CR0–CR7, all but the line-compare bit in CR7. */
function writeCrtc(regs: VgaRegisters, value: number): RegisterEffect {
  const index = regs.crtcIndex;
  const { crtc } = regs;
  const old = crtc[index];
  if (old === undefined) return 'none';
  let next = value;
  if (index <= 7 && crtc[0x11]! & 0x80) {
    if (index !== 7) return 'none';
    next = (old & ~0x10) | (value & 0x10);
  }
  if (next === old) return 'none';
  crtc[index] = next;
  // Start address, cursor shape and position move what is shown; the geometry stays.
  return index >= 0x0a && index <= 0x0f ? 'cursor' : 'mode';
}

function store(file: Uint8Array, index: number, value: number, masks: readonly number[]): boolean {
  const mask = masks[index];
  if (mask === undefined) return false;
  const changed = file[index] !== (value & mask);
  file[index] = value & mask;
  return changed;
}
