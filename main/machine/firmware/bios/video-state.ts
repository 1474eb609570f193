/** What a program saves of the display before another takes it over, and restores (INT 10h/1Ch, VBE 4F04h). */
import { Bda } from './bda';
import type { RegisterFrame } from './frame';
import type { RealModeMemory } from './real-memory';
import { VGA_STATE, type VgaRegisters, type VgaState } from './vga-registers';

/** Bits of CX; blocks are the unit of size. */
export const Part = { hardware: 1, data: 2, dac: 4, vesa: 8 } as const;
const BLOCK_BYTES = 64;
/** Of the data area, what belongs to the display; and the vectors of the shapes that graphics modes draw. */
const DATA: readonly (readonly [at: number, bytes: number])[] = [
  [Bda.videoMode, Bda.crtPalette + 1 - Bda.videoMode],
  [Bda.rows, Bda.displayCombination + 1 - Bda.rows],
  [Bda.videoSavePointer, 4],
  [0x1f * 4, 4],
  [0x43 * 4, 4],
];
const DAC_COLOURS = 256;
const VESA_WORDS = 10;
const sum = (numbers: readonly number[]): number => numbers.reduce((total, n) => total + n, 0);

const BYTES: readonly (readonly [part: number, bytes: number])[] = [
  [Part.vesa, 2 * VESA_WORDS],
  [Part.data, sum(DATA.map(([, bytes]) => bytes))],
  [Part.hardware, sum(Object.values(VGA_STATE))],
  [Part.dac, 1 + 3 * DAC_COLOURS],
];

/** The part of a VESA mode: as many words as it needs, VESA_WORDS at most. */
export interface VesaState {
  readonly present: boolean;
  words: readonly number[];
}

export class VideoState {
  constructor(
    private readonly memory: RealModeMemory,
    private readonly vga: VgaRegisters,
    private readonly vesa: VesaState,
    /** The data area says another mode. */
    private readonly modeChanged: () => void,
  ) {}

  /** `function_` 0 asks for the size, 1 saves, 2 restores; at ES:BX. False: there is no such thing. */
  serve(r: RegisterFrame, function_: number, known: number): boolean {
    const parts = r.cx & known;
    if (parts === 0 || parts !== r.cx || function_ > 2 || (parts & Part.vesa && !this.vesa.present)) return false;
    if (function_ === 0) {
      r.bx = Math.ceil(sum(BYTES.filter(([part]) => parts & part).map(([, bytes]) => bytes)) / BLOCK_BYTES);
      return true;
    }
    let at = r.es * 16 + r.bx;
    // In this order, as leaving or entering a VESA mode changes what the others hold.
    for (const [part, bytes] of BYTES) {
      if (!(parts & part)) continue;
      if (function_ === 1) this.memory.write(at, this.saved(part));
      else this.restore(part, this.memory.read(at, bytes));
      at += bytes;
    }
    return true;
  }

  private saved(part: number): Uint8Array {
    switch (part) {
      case Part.vesa: {
        const words = new Uint16Array(VESA_WORDS);
        words.set(this.vesa.words);
        return new Uint8Array(words.buffer);
      }
      case Part.data:
        return Uint8Array.from(DATA.flatMap(([at, bytes]) => [...this.memory.read(at, bytes)]));
      case Part.hardware: {
        const state = this.vga.state;
        return Uint8Array.of(state.misc, ...state.sequencer, ...state.crtc, ...state.graphics, ...state.attribute);
      }
      default:
        return Uint8Array.of(this.vga.dacMask, ...this.vga.readDac(0, DAC_COLOURS));
    }
  }

  private restore(part: number, bytes: Uint8Array): void {
    let at = 0;
    const next = (count: number): Uint8Array => bytes.subarray(at, (at += count));
    switch (part) {
      case Part.vesa:
        this.vesa.words = Array.from({ length: VESA_WORDS }, (_, i) => bytes[2 * i]! | (bytes[2 * i + 1]! << 8));
        return;
      case Part.data:
        for (const [to, count] of DATA) this.memory.write(to, next(count));
        return this.modeChanged();
      case Part.hardware: {
        const lists = Object.entries(VGA_STATE).map(([name, count]) => [name, [...next(count)]]);
        const { misc, ...state } = Object.fromEntries(lists) as Record<keyof VgaState, number[]>;
        this.vga.state = { ...state, misc: misc[0]! };
        return;
      }
      default:
        this.vga.dacMask = bytes[0]!;
        this.vga.writeDac(0, bytes.subarray(1), 0xff);
    }
  }
}
