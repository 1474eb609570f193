import { describe, expect, it } from 'vitest';
import { pirqOf } from '../bus/pc';
import { MP_END, MP_START } from './layout';
import { buildMpTables, buildPirTable } from './mp';

const sum = (bytes: Uint8Array): number => bytes.reduce((total, byte) => (total + byte) & 0xff, 0);
const text = (bytes: Uint8Array, at: number, length: number): string => String.fromCharCode(...bytes.subarray(at, at + length));

describe('MP tables', () => {
  const read = (cpus: number): { table: Uint8Array; entries: Uint8Array[] } => {
    const bytes = buildMpTables(cpus, MP_START);
    expect([text(bytes, 0, 4), bytes[8], bytes[9], sum(bytes.subarray(0, 16))]).toEqual(['_MP_', 1, 4, 0]);
    expect(new DataView(bytes.buffer).getUint32(4, true)).toBe(MP_START + 16);
    const table = bytes.subarray(16);
    const view = new DataView(table.buffer, table.byteOffset);
    expect([text(table, 0, 4), view.getUint16(4, true), sum(table)]).toEqual(['PCMP', table.length, 0]);
    const entries: Uint8Array[] = [];
    for (let at = 44; at < table.length; at += entries.at(-1)!.length)
      entries.push(table.subarray(at, at + (table[at] === 0 ? 20 : 8)));
    expect(entries.length).toBe(view.getUint16(34, true));
    return { table, entries };
  };

  it('list every processor, the first of which starts the others', () => {
    const processors = read(3).entries.filter((e) => e[0] === 0);
    expect(processors.map((e) => [e[1], e[3]])).toEqual([[0, 3], [1, 1], [2, 1]]); // prettier-ignore
    expect(buildMpTables(64, MP_START).length).toBeLessThan(MP_END - MP_START);
  });

  it('name the wire of every pin of every slot, and every ISA interrupt once', () => {
    const inputs = read(1).entries.filter((e) => e[0] === 3);
    const pins = inputs.filter((e) => e[4] === 0);
    expect(pins.length).toBe(31 * 4);
    for (const e of pins) {
      const pirq = pirqOf(e[5]! >> 2, (e[5]! & 3) + 1);
      expect([e[2], e[7]]).toEqual([0x0d, pirq < 2 ? 10 : 11]);
    }
    const isa = inputs.filter((e) => e[4] === 1);
    expect(isa.map((e) => e[5])).toEqual([0, 1, 3, 4, 5, 6, 7, 8, 9, 12, 13, 14, 15]);
    expect(isa[0]![7]).toBe(2);
  });
});

it('$PIR names the same wires by the registers that route them', () => {
  const bytes = buildPirTable();
  const view = new DataView(bytes.buffer);
  expect([text(bytes, 0, 4), view.getUint16(4, true), view.getUint16(6, true), sum(bytes)]).toEqual([
    '$PIR',
    0x100,
    bytes.length,
    0,
  ]);
  for (let at = 32; at < bytes.length; at += 16) {
    const slot = bytes[at + 1]! >> 3;
    expect([0, 1, 2, 3].map((pin) => bytes[at + 2 + 3 * pin])).toEqual([1, 2, 3, 4].map((pin) => 0x60 + pirqOf(slot, pin)));
    expect(view.getUint16(at + 3, true)).toBe(0x0c20);
  }
});
