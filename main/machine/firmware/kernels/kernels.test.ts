import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { planKernel, type KernelInput } from '.';

const MIB = 1 << 20;
const input = (file: Uint8Array, change: Partial<KernelInput> = {}): KernelInput => ({
  file,
  commandLine: 'root=none',
  modules: [{ bytes: 5000, commandLine: 'first' }, { bytes: 3, commandLine: '' }],
  ram: { low: 64 * MIB, high: 0 },
  rsdp: new Uint8Array(36),
  rsdpAt: 0xe0000,
  ...change,
}); // prettier-ignore

function words(bytes: number, ...at: [offset: number, values: number[]][]): Uint8Array {
  const view = new DataView(new ArrayBuffer(bytes));
  for (const [offset, values] of at) values.forEach((value, i) => view.setUint32(offset + 4 * i, value >>> 0, true));
  return new Uint8Array(view.buffer);
}

/** A 32-bit ELF: 4 KiB of file at 1 MiB, 8 KiB of memory, and a PVH note. */
function elf(...more: [offset: number, values: number[]][]): Uint8Array {
  return words(
    8192,
    [0, [0x464c457f, 0x00010101, 0, 0, 0x00030002, 1, 0x100010, 52, 0, 0, 0x00200034, 2]],
    [52, [1, 4096, 0x100000, 0x100000, 4096, 8192, 7, 4096]],
    [84, [4, 256, 0, 0, 20, 20, 4, 4]],
    [256, [4, 4, 18, 0x006e6558, 0x100020]],
    ...more,
  );
}
const multiboot = (flags: number, ...rest: number[]): number[] => [0x1badb002, flags, -(0x1badb002 + flags), ...rest];

function planned(file: Uint8Array, change: Partial<KernelInput> = {}) {
  const plan = planKernel(input(file, change));
  if (!plan?.ok) throw new Error(plan ? plan.error.kind : 'no kernel');
  return plan.value;
}
const fault = (file: Uint8Array, change: Partial<KernelInput> = {}) => {
  const plan = planKernel(input(file, change));
  return plan === undefined ? 'none' : plan.ok ? 'ok' : plan.error.kind;
};
function reader(plan: ReturnType<typeof planned>) {
  const at = (address: number) => {
    const part = plan.writes.find((w) => address >= w.at && address < w.at + w.bytes.length)!;
    return new DataView(part.bytes.buffer, part.bytes.byteOffset + address - part.at);
  };
  const text = (address: number): string => {
    let value = '';
    for (let i = address; at(i).getUint8(0) !== 0; i++) value += String.fromCharCode(at(i).getUint8(0));
    return value;
  };
  return { u32: (address: number) => at(address).getUint32(0, true), text };
}

describe('kernels by protocol', () => {
  it('multiboot: an ELF, its modules, the memory map', () => {
    const plan = planned(elf([512, multiboot(3)]));
    expect([plan.protocol, plan.entry.eip, plan.entry.eax]).toEqual(['multiboot', 0x100010, 0x2badb002]);
    expect(plan.segments).toEqual([{ fileOffset: 4096, fileBytes: 4096, at: MIB, memoryBytes: 8192 }]);
    expect(plan.modulesAt).toEqual([MIB + 8192, MIB + 8192 + 8192]);
    const { u32, text } = reader(plan);
    const info = plan.entry.ebx;
    expect([u32(info + 4), u32(info + 8)]).toEqual([639, 63 * 1024]);
    expect(text(u32(info + 16))).toBe('root=none');
    const modules = u32(info + 24);
    expect([u32(info + 20), u32(modules), u32(modules + 4), text(u32(modules + 8))]).toEqual([
      2,
      MIB + 8192,
      MIB + 8192 + 5000,
      'first',
    ]);
    expect([u32(info + 44) % 24, u32(u32(info + 48)), u32(u32(info + 48) + 20)]).toEqual([0, 20, 1]);
  });

  it('multiboot: a flat file with the header’s own addresses', () => {
    const plan = planned(words(4096, [64, multiboot(0x10000, 0x200040, 0x200000, 0x200800, 0x201000, 0x200100)]));
    expect(plan.segments).toEqual([{ fileOffset: 0, fileBytes: 0x800, at: 0x200000, memoryBytes: 0x1000 }]);
    expect(plan.entry.eip).toBe(0x200100);
  });

  it('multiboot2 goes before multiboot, multiboot before PVH', () => {
    const header = [0xe85250d6, 0, 24, -(0xe85250d6 + 24), 0, 8];
    const both = planned(elf([512, multiboot(3)], [1024, header]));
    expect([both.protocol, both.entry.eax]).toEqual(['multiboot2', 0x36d76289]);
    const { u32 } = reader(both);
    expect([u32(both.entry.ebx) % 8, u32(both.entry.ebx + 8)]).toEqual([0, 1]);
    const pvh = planned(elf());
    expect([pvh.protocol, pvh.entry.eip, reader(pvh).u32(pvh.entry.ebx)]).toEqual(['pvh', 0x100020, 0x336ec578]);
  });

  it('says what is wrong', () => {
    expect(fault(new Uint8Array(4096))).toBe('none');
    expect(fault(elf([512, multiboot(0x83)]))).toBe('unsupported');
    expect(fault(words(4096, [0, multiboot(3)]))).toBe('damaged');
    expect(fault(elf(), { ram: { low: MIB, high: 0 } })).toBe('kernelOutsideMemory');
    expect(fault(elf(), { modules: [{ bytes: 63 * MIB, commandLine: '' }] })).toBe('modulesTooBig');
    expect(fault(elf(), { commandLine: 'x'.repeat(1 << 20) })).toBe('informationTooBig');
    // Over the boot information, and over the interrupt vectors.
    expect(fault(elf([64, [0x12000]]))).toBe('kernelOutsideMemory');
    expect(fault(elf([64, [0]]))).toBe('kernelOutsideMemory');
  });

  it('takes any header without throwing, and plans nothing outside RAM or the file', () => {
    const change = fc.tuple(fc.nat(300), fc.nat(255));
    const base = fc.constantFrom(
      elf([128, multiboot(3)]),
      elf([128, [0xe85250d6, 0, 24, -(0xe85250d6 + 24), 0, 8]]),
      elf(),
      words(4096, [64, multiboot(0x10000, 0x200040, 0x200000, 0x200800, 0x201000, 0x200100)]),
    );
    fc.assert(
      fc.property(base, fc.array(change, { maxLength: 8 }), (original, changes) => {
        const file = original.slice();
        for (const [at, value] of changes) file[at] = value;
        const plan = planKernel(input(file));
        if (!plan?.ok) return;
        for (const s of plan.value.segments) {
          expect(s.fileOffset + s.fileBytes).toBeLessThanOrEqual(file.length);
          expect(s.at).toBeGreaterThanOrEqual(0x2000);
          expect(s.at + s.memoryBytes).toBeLessThanOrEqual(64 * MIB);
        }
        plan.value.modulesAt.forEach((at, i) => expect(at + [5000, 3][i]!).toBeLessThanOrEqual(64 * MIB));
      }),
      { numRuns: 500 },
    );
  });
});
