/**
 * The four planes and the data path between them and the CPU: latches, write modes 0–3, read modes 0–1, set/reset,
 * rotate, logic, bit mask, map mask, odd/even and chain-4 addressing. Used while the legacy window is trapped; that is how
 * fonts reach plane 2. In plain text mode the window is ordinary memory instead, and `fromText`/`toText` carry the cells over.
 * A VGA's planes have 64 KiB; these are longer, for DISPI's modes of four planes, whose bank says which part the CPU reaches.
 */
import type { VgaRegisters } from './registers';

/** Enough for 1280×1024. */
export const PLANE_BYTES = 0x40000;
/** What a VGA's own addresses reach. */
export const PLANE_BANK_BYTES = 0x10000;
export const TEXT_WINDOW_BYTES = 0x8000;

export class Planes {
  readonly data: readonly [Uint8Array, Uint8Array, Uint8Array, Uint8Array] = [
    new Uint8Array(PLANE_BYTES),
    new Uint8Array(PLANE_BYTES),
    new Uint8Array(PLANE_BYTES),
    new Uint8Array(PLANE_BYTES),
  ];
  private readonly latch = new Uint8Array(4);

  reset(): void {
    for (const plane of this.data) plane.fill(0);
    this.latch.fill(0);
  }

  /** Text cells, characters at even and attributes at odd addresses → planes 0 and 1, where odd/even puts them. */
  fromText(window: Uint8Array): void {
    const [characters, attributes] = this.data;
    for (let at = 0; at < TEXT_WINDOW_BYTES; at += 2) {
      characters[at] = window[at]!;
      attributes[at] = window[at + 1]!;
    }
  }

  toText(window: Uint8Array): void {
    const [characters, attributes] = this.data;
    for (let at = 0; at < TEXT_WINDOW_BYTES; at += 2) {
      window[at] = characters[at]!;
      window[at + 1] = attributes[at]!;
    }
  }

  /** `bank`: byte of the planes where the window begins. */
  read(regs: VgaRegisters, address: number, bank = 0): number {
    const { graphics, sequencer } = regs;
    const { data, latch } = this;
    const oddEven = (graphics[5]! & 0x10) !== 0;
    const chain4 = (sequencer[4]! & 0x08) !== 0;
    const at = bank + ((chain4 ? address & ~3 : oddEven ? address & ~1 : address) & (PLANE_BANK_BYTES - 1));
    for (let p = 0; p < 4; p++) latch[p] = data[p]![at]!;
    if (chain4) return latch[address & 3]!;
    if (graphics[5]! & 0x08) {
      // Read mode 1: a bit is set where all planes that matter equal the compare colour.
      let differs = 0;
      for (let p = 0; p < 4; p++) {
        if (!((graphics[7]! >> p) & 1)) continue;
        differs |= latch[p]! ^ ((graphics[2]! >> p) & 1 ? 0xff : 0);
      }
      return ~differs & 0xff;
    }
    const map = graphics[4]! & 3;
    return latch[oddEven ? (map & 2) | (address & 1) : map]!;
  }

  /** The planes that were written, as a mask. */
  write(regs: VgaRegisters, address: number, value: number, bank = 0): number {
    const { graphics, sequencer } = regs;
    const { data, latch } = this;
    let planes = sequencer[2]! & 0x0f;
    let at = bank + (address & (PLANE_BANK_BYTES - 1));
    if (sequencer[4]! & 0x08) {
      planes &= 1 << (address & 3);
      at &= ~3;
    } else if (!(sequencer[4]! & 0x04)) {
      planes &= address & 1 ? 0x0a : 0x05;
      at &= ~1;
    }
    const mode = graphics[5]! & 3;
    const rotate = graphics[3]! & 7;
    const rotated = ((value >> rotate) | (value << (8 - rotate))) & 0xff;
    // Write mode 3 ANDs the rotated byte into the bit mask and draws set/reset in every plane.
    const mask = mode === 3 ? graphics[8]! & rotated : graphics[8]!;
    for (let p = 0; p < 4; p++) {
      if (!((planes >> p) & 1)) continue;
      const old = latch[p]!;
      if (mode === 1) {
        data[p]![at] = old;
        continue;
      }
      let source: number;
      if (mode === 2) source = (value >> p) & 1 ? 0xff : 0;
      else if (mode === 3 || (graphics[1]! >> p) & 1) source = (graphics[0]! >> p) & 1 ? 0xff : 0;
      else source = rotated;
      data[p]![at] = (combine(graphics[3]! >> 3, source, old) & mask) | (old & ~mask);
    }
    return planes;
  }
}

function combine(logic: number, source: number, latch: number): number {
  switch (logic & 3) {
    case 1:
      return source & latch;
    case 2:
      return source | latch;
    case 3:
      return source ^ latch;
    default:
      return source;
  }
}
