import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createGuestMemory } from '../../memory/guest-memory';
import { ascii, bytesItem, FwCfgKey, numberItem } from '../../bus/fw-cfg-items';
import { FwCfg } from './fw-cfg';

const RAM_BYTES = 64 << 10;

function build() {
  const ram = new Uint8Array(RAM_BYTES);
  const fits = (at: number, bytes: number): boolean => at >= 0 && at + bytes <= RAM_BYTES;
  const memory = createGuestMemory({
    memRead: (at, into) => fits(at, into.length) && (into.set(ram.subarray(at, at + into.length)), true),
    memWrite: (at, from) => fits(at, from.length) && (ram.set(from, at), true),
    memReadU16: () => undefined, memReadU32: () => undefined, memReadU64: () => undefined, memWriteU16: () => false, memWriteU32: () => false,
    memFill: (at, bytes, value) => fits(at, bytes) && (ram.fill(value, at, at + bytes), true),
  }); // prettier-ignore
  const device = new FwCfg(memory, {
    items: new Map([[FwCfgKey.CPUS, numberItem(3, 2)]]),
    files: [
      { name: 'etc/b', item: bytesItem(ascii('second file')) },
      { name: 'etc/a', item: bytesItem(Uint8Array.of(1, 2, 3, 4, 5)) },
    ],
  });
  const view = new DataView(ram.buffer);
  /** Returns the control word that is left. */
  const dma = (control: number, length: number, address: number, at = 0x100): number => {
    view.setUint32(at, control);
    view.setUint32(at + 4, length);
    view.setUint32(at + 8, 0);
    view.setUint32(at + 12, address);
    const bytes = new DataView(new ArrayBuffer(4));
    bytes.setUint32(0, at);
    device.write(4, 4, 0);
    device.write(8, 4, bytes.getUint32(0, true));
    return view.getUint32(at);
  };
  const bytes = (key: number, count: number): number[] => {
    device.write(0, 2, key);
    return Array.from({ length: count }, () => device.read(1, 1));
  };
  return { device, ram, dma, bytes };
}

describe('fw_cfg', () => {
  it('answers its signature, both ways to read it, and numbers', () => {
    const { device, bytes } = build();
    expect(String.fromCharCode(...bytes(FwCfgKey.SIGNATURE, 4))).toBe('QEMU');
    expect(bytes(FwCfgKey.ID, 5)).toEqual([3, 0, 0, 0, 0]);
    expect(bytes(FwCfgKey.CPUS, 3)).toEqual([3, 0, 0]);
    expect([device.read(4, 4), device.read(8, 4)]).toEqual([0x554d4551, 0x47464320]); // big-endian "QEMU CFG"
  });

  it('lists its files by name', () => {
    const { bytes } = build();
    const all = bytes(FwCfgKey.FILE_DIRECTORY, 4 + 2 * 64);
    expect(all.slice(0, 4)).toEqual([0, 0, 0, 2]);
    expect(all.slice(4, 12)).toEqual([0, 0, 0, 5, 0, 0x20, 0, 0]);
    expect(String.fromCharCode(...all.slice(12, 18))).toBe('etc/a\0');
    expect(String.fromCharCode(...all.slice(76, 82))).toBe('etc/b\0');
    expect(bytes(0x20, 6)).toEqual([1, 2, 3, 4, 5, 0]);
  });

  it('moves items to memory, skips in them, and pads with zeroes', () => {
    const { ram, dma } = build();
    ram.fill(0xee, 0x1000, 0x1020);
    expect(dma((0x21 << 16) | 8 | 2, 6, 0x1000)).toBe(0);
    expect(String.fromCharCode(...ram.subarray(0x1000, 0x1006))).toBe('second');
    expect(dma(4, 1, 0)).toBe(0);
    expect(dma(2, 8, 0x1010)).toBe(0);
    expect([...ram.subarray(0x1010, 0x1019)]).toEqual([...ascii('file'), 0, 0, 0, 0, 0xee]);
  });

  it('refuses writes, and addresses that are no memory', () => {
    const { dma, device } = build();
    expect(dma((0x20 << 16) | 8 | 16, 4, 0x1000)).toBe(1);
    expect(dma((0x20 << 16) | 8 | 2, 4, RAM_BYTES - 2)).toBe(1);
    device.write(8, 4, 0xffffffff); // the request itself lies outside
    expect(device.read(1, 1)).toBe(1); // what was selected last goes on
  });

  it('takes any sequence of accesses without throwing', () => {
    const access = fc.tuple(fc.boolean(), fc.nat(11), fc.constantFrom(1, 2, 4), fc.nat(0xffffffff));
    fc.assert(
      fc.property(fc.array(access, { maxLength: 60 }), (accesses) => {
        const { device } = build();
        for (const [write, offset, width, value] of accesses) {
          if (write) device.write(offset, width, value);
          else expect(device.read(offset, width)).toBeLessThan(2 ** (8 * width));
        }
      }),
    );
  });
});
