import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { CpuState } from '../../../../native/addon/types';
import { entryState, HEADER_PROBE_BYTES, type LinuxBootInput, planLinuxBoot } from '.';

const MIB = 1 << 20;

function kernelHead(change: (view: DataView) => void = () => undefined): Uint8Array {
  const view = new DataView(new ArrayBuffer(4096));
  view.setUint8(0x1f1, 27);
  view.setUint32(0x1f4, (8 * MIB) / 16, true);
  view.setUint16(0x1fe, 0xaa55, true);
  view.setUint8(0x201, 0x66);
  view.setUint32(0x202, 0x53726448, true);
  view.setUint16(0x206, 0x020f, true);
  view.setUint8(0x211, 1);
  view.setUint32(0x22c, 0x7fffffff, true);
  view.setUint32(0x230, 2 * MIB, true);
  view.setUint8(0x234, 1);
  view.setUint16(0x236, 1, true);
  view.setUint32(0x238, 2047, true);
  view.setUint32(0x258, 16 * MIB, true);
  view.setUint32(0x260, 40 * MIB, true);
  change(view);
  return new Uint8Array(view.buffer);
}

const input = (change: Partial<LinuxBootInput> = {}): LinuxBootInput => ({
  kernelHead: kernelHead(),
  kernelBytes: 28 * 512 + 8 * MIB,
  initrdBytes: 5 * MIB + 123,
  commandLine: new TextEncoder().encode('console=ttyS0'),
  ram: { low: 256 * MIB, high: 0 },
  rsdp: 0xe0000,
  ...change,
});
const fault = (change: Partial<LinuxBootInput>) => {
  const result = planLinuxBoot(input(change));
  return result.ok ? 'ok' : result.error.kind;
};

describe('direct boot of Linux', () => {
  it('places kernel, initrd, parameters', () => {
    const result = planLinuxBoot(input());
    if (!result.ok) throw new Error(result.error.kind);
    const { kernelAt, initrdAt, entry, writes } = result.value;
    expect([kernelAt, entry.rip, entry.longMode]).toEqual([16 * MIB, 16 * MIB + 0x200, true]);
    expect([initrdAt % 4096, initrdAt + 5 * MIB + 123 <= 256 * MIB, initrdAt >= 250 * MIB]).toEqual([0, true, true]);
    const params = new DataView(writes.find((w) => w.at === entry.bootParams)!.bytes.buffer);
    expect(params.getUint32(0x202, true)).toBe(0x53726448);
    expect([params.getUint32(0x218, true), params.getUint32(0x21c, true)]).toEqual([initrdAt, 5 * MIB + 123]);
    expect(params.getUint8(0x210)).toBe(0xff);
    const line = writes.find((w) => w.at === params.getUint32(0x228, true))!.bytes;
    expect(new TextDecoder().decode(line)).toBe('console=ttyS0\0');
    const map = Array.from({ length: params.getUint8(0x1e8) }, (_, i) => {
      const at = 0x2d0 + 20 * i;
      return [Number(params.getBigUint64(at, true)), Number(params.getBigUint64(at + 8, true)), params.getUint32(at + 16, true)];
    });
    expect(map).toEqual([
      [0, 0x9fc00, 1],
      [0x9fc00, 0x400, 2],
      [0xc0000, 0x40000, 2],
      [MIB, 255 * MIB, 1],
    ]);
  });

  it('maps 4 GiB one to one for the 64-bit entry', () => {
    const result = planLinuxBoot(input({ ram: { low: 3072 * MIB, high: 1024 * MIB } }));
    if (!result.ok) throw new Error(result.error.kind);
    const { entry, writes } = result.value;
    const tables = writes.find((w) => w.at === entry.cr3)!;
    const view = new DataView(tables.bytes.buffer);
    const next = (table: number, index: number) => Number(view.getBigUint64(table - tables.at + index * 8, true));
    for (const address of [0, 0x1234567, 0xc0000000, 0xffffffff]) {
      const pdpt = next(entry.cr3, 0) & ~0xfff;
      const pd = next(pdpt, Math.floor(address / 2 ** 30)) & ~0xfff;
      const pde = next(pd, Math.floor(address / 2 ** 21) % 512);
      expect([pde & 0x83, Math.floor(pde / 2 ** 21)]).toEqual([0x83, Math.floor(address / 2 ** 21)]);
    }
    const params = new DataView(writes.find((w) => w.at === entry.bootParams)!.bytes.buffer);
    expect(params.getUint8(0x1e8)).toBe(5);
  });

  it('uses the 32-bit entry and an address of its own choice where it must', () => {
    const old = kernelHead((v) => v.setUint16(0x236, 0, true));
    const result = planLinuxBoot(input({ kernelHead: old, ram: { low: 48 * MIB, high: 0 }, initrdBytes: 0 }));
    if (!result.ok) throw new Error(result.error.kind);
    expect([result.value.entry.rip, result.value.entry.longMode, result.value.initrdAt]).toEqual([2 * MIB, false, 0]);
    const state = entryState({ segments: {} } as CpuState, result.value.entry);
    expect([state.cr0, state.efer, state.gpr[6]]).toEqual([0x31n, 0n, 0x10000n]);
  });

  it('says what is wrong', () => {
    expect(fault({ kernelHead: new Uint8Array(0), kernelBytes: 0 })).toBe('tooShort');
    expect(fault({ kernelHead: new Uint8Array(4096) })).toBe('notKernel');
    expect(fault({ kernelHead: kernelHead((v) => v.setUint16(0x206, 0x204, true)) })).toBe('tooOld');
    expect(fault({ kernelHead: kernelHead((v) => v.setUint8(0x211, 0)) })).toBe('zImage');
    expect(fault({ kernelBytes: 2 * MIB })).toBe('truncated');
    expect(fault({ ram: { low: 32 * MIB, high: 0 } })).toBe('kernelTooBig');
    expect(fault({ initrdBytes: 230 * MIB })).toBe('initrdTooBig');
    expect(fault({ commandLine: new Uint8Array(2048).fill(120) })).toBe('commandLineTooLong');
    expect(fault({})).toBe('ok');
  });

  it('takes any header without throwing, and never places anything outside RAM', () => {
    const low = 128 * MIB;
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.integer({ min: 0x1f1, max: HEADER_PROBE_BYTES - 1 }), fc.nat(255)), { maxLength: 12 }),
        (bytes) => {
          const head = kernelHead((v) => bytes.forEach(([at, value]) => v.setUint8(at, value)));
          const result = planLinuxBoot(input({ kernelHead: head, ram: { low, high: 0 } }));
          if (!result.ok) return;
          const { kernelAt, initrdAt, header } = result.value;
          expect(kernelAt).toBeGreaterThanOrEqual(MIB);
          expect(kernelAt + 28 * 512 + 8 * MIB - header.setupBytes).toBeLessThanOrEqual(low);
          expect(initrdAt + 5 * MIB + 123).toBeLessThanOrEqual(low);
        },
      ),
    );
  });
});
