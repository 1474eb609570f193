/** For tests: video memory and windows without an engine. */
import type { Disposable } from '../../../../lib/disposable';
import { Vga, VRAM_BYTES } from '../vga';

export function createTestVga() {
  const vram = new Uint8Array(VRAM_BYTES);
  const dirty = new Set<number>();
  const clock = { time: 0, now: () => clock.time };
  const windows: { regionOffset: number; at: number; bytes: number }[] = [];
  const touch = (offset: number, bytes: number): void => {
    for (let page = offset >> 12; page <= (offset + bytes - 1) >> 12; page++) dirty.add(page);
  };
  const vga = new Vga({
    native: {
      addRegion: () => 1,
      regionRead: (_r, offset, into) => (into.set(vram.subarray(offset, offset + into.length)), true),
      regionWrite: (_r, offset, from) => (vram.set(from, offset), touch(offset, from.length), true),
      takeDirty: (_r, bitmap) => {
        bitmap.fill(0);
        for (const page of dirty) bitmap[page >> 3]! |= 1 << (page & 7);
        const any = dirty.size > 0;
        dirty.clear();
        return any;
      },
      convertPixels: ({ offset, stride, format, x, y, width, height, palette }, out) => {
        for (let row = 0; row < height; row++) {
          for (let column = 0; column < width; column++) {
            const to = (row * width + column) * 4;
            let rgb: number;
            if (format === 'pal8') rgb = palette![vram[offset + (y + row) * stride + x + column]!]!;
            else if (format === 'xrgb8888')
              rgb = new DataView(vram.buffer).getUint32(offset + (y + row) * stride + (x + column) * 4, true);
            else throw new Error(`${format} is the engine's to test`);
            out.set([(rgb >> 16) & 0xff, (rgb >> 8) & 0xff, rgb & 0xff, 255], to);
          }
        }
      },
    },
    windows: {
      map: (_region, regionOffset, at, bytes): Disposable => {
        const window = { regionOffset, at, bytes };
        windows.push(window);
        return { dispose: () => void windows.splice(windows.indexOf(window), 1) };
      },
    },
    clock,
  });
  /** A guest access to physical memory: through the window that is mapped there, else as a trap. */
  const mapped = (address: number): number | undefined => {
    const w = windows.find(({ at, bytes }) => address >= at && address < at + bytes);
    return w && address - w.at + w.regionOffset;
  };
  return {
    vga,
    vram,
    windows,
    clock,
    out: (port: number, value: number, width = 1) =>
      port === 0x1ce || port === 0x1cf
        ? vga.dispiPorts.write(port - 0x1ce, width, value)
        : vga.legacyPorts.write(port - 0x3b0, width, value),
    in: (port: number, width = 1) =>
      port === 0x1ce || port === 0x1cf ? vga.dispiPorts.read(port - 0x1ce, width) : vga.legacyPorts.read(port - 0x3b0, width),
    poke: (address: number, value: number) => {
      const at = mapped(address);
      if (at === undefined) vga.legacyMemory.write(address - 0xa0000, 1, value);
      else {
        vram[at] = value;
        touch(at, 1);
      }
    },
    peek: (address: number) => {
      const at = mapped(address);
      return at === undefined ? vga.legacyMemory.read(address - 0xa0000, 1) : vram[at]!;
    },
    /** Writes straight into VRAM, as through BAR 0. */
    paint: (offset: number, bytes: Uint8Array) => {
      vram.set(bytes, offset);
      touch(offset, bytes.length);
    },
  };
}

export type TestVga = ReturnType<typeof createTestVga>;

export function print(t: TestVga, row: number, column: number, text: string, attribute = 7, columns = 80): void {
  [...text].forEach((c, i) => {
    t.poke(0xb8000 + (row * columns + column + i) * 2, c.charCodeAt(0));
    t.poke(0xb8000 + (row * columns + column + i) * 2 + 1, attribute);
  });
}
