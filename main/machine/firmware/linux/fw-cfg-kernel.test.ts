import { describe, expect, it } from 'vitest';
import { bytesItem, FwCfgKey } from '../../bus/fw-cfg-items';
import { type FirmwareKernelInput, planFirmwareKernel } from '.';

const MIB = 1 << 20;
const SETUP_BYTES = 28 * 512;
const KERNEL_BYTES = SETUP_BYTES + 8 * MIB;
const INITRD_BYTES = 3 * MIB + 5;

function kernelFile(): Uint8Array {
  const file = new Uint8Array(KERNEL_BYTES).fill(0x90, SETUP_BYTES);
  const view = new DataView(file.buffer);
  view.setUint8(0x1f1, SETUP_BYTES / 512 - 1);
  view.setUint32(0x1f4, (8 * MIB) / 16, true);
  view.setUint16(0x1fe, 0xaa55, true);
  view.setUint32(0x202, 0x53726448, true); // HdrS
  view.setUint16(0x206, 0x020f, true);
  view.setUint8(0x211, 1);
  view.setUint32(0x22c, 0x7fffffff, true);
  view.setUint32(0x230, 2 * MIB, true);
  view.setUint8(0x234, 1);
  view.setUint32(0x238, 2047, true);
  view.setUint32(0x258, 16 * MIB, true);
  view.setUint32(0x260, 40 * MIB, true);
  return file;
}

function plan(change: Partial<FirmwareKernelInput> = {}) {
  const file = kernelFile();
  return planFirmwareKernel({
    kernelHead: file.subarray(0, 65536),
    kernelBytes: KERNEL_BYTES,
    kernelPart: (from, bytes) => bytesItem(file.subarray(from, from + bytes)),
    initrdBytes: INITRD_BYTES,
    initrd: bytesItem(new Uint8Array(INITRD_BYTES).fill(7)),
    commandLine: new TextEncoder().encode('quiet'),
    ram: { low: 256 * MIB, high: 0 },
    ...change,
  });
}

describe('a kernel for external firmware', () => {
  const planned = plan();
  if (!planned.ok) throw new Error(planned.error.kind);
  const { items, optionRom } = planned.value;
  const view = new DataView(optionRom.buffer);
  const sum = (bytes: Uint8Array): number => bytes.reduce((total, byte) => (total + byte) & 0xff, 0);
  const requests = Array.from({ length: 4 }, (_, i) => {
    const at = 0x100 + 16 * i;
    return {
      control: view.getUint32(at),
      bytes: view.getUint32(at + 4),
      high: view.getUint32(at + 8),
      to: view.getUint32(at + 12),
    };
  });

  it('is in the items, with their sizes', () => {
    const size = (sizeKey: number, dataKey: number): void => {
      const bytes = new Uint8Array(4);
      items.get(sizeKey)!.read(0, bytes);
      expect(new DataView(bytes.buffer).getUint32(0, true)).toBe(items.get(dataKey)!.bytes);
    };
    size(FwCfgKey.SETUP_SIZE, FwCfgKey.SETUP_DATA);
    size(FwCfgKey.KERNEL_SIZE, FwCfgKey.KERNEL_DATA);
    size(FwCfgKey.INITRD_SIZE, FwCfgKey.INITRD_DATA);
    size(FwCfgKey.COMMAND_LINE_SIZE, FwCfgKey.COMMAND_LINE_DATA);
    const line = new Uint8Array(6);
    items.get(FwCfgKey.COMMAND_LINE_DATA)!.read(0, line);
    expect(new TextDecoder().decode(line)).toBe('quiet\0');
    const first = new Uint8Array(1);
    items.get(FwCfgKey.KERNEL_DATA)!.read(0, first);
    expect(first[0]).toBe(0x90);
  });

  it('has an option ROM that a BIOS can boot from', () => {
    expect([optionRom[0], optionRom[1], optionRom.length]).toEqual([0x55, 0xaa, optionRom[2]! * 512]);
    const header = view.getUint16(0x1a, true);
    expect(String.fromCharCode(...optionRom.subarray(header, header + 4))).toBe('$PnP');
    expect([sum(optionRom), sum(optionRom.subarray(header, header + 32))]).toEqual([0, 0]);
    const [connection, entry] = [view.getUint16(header + 0x16, true), view.getUint16(header + 0x1a, true)];
    expect([connection, optionRom[entry]]).toEqual([0, 0xfa]);
  });

  it('which moves every part to where the kernel is told it is', () => {
    const setup = new Uint8Array(items.get(FwCfgKey.SETUP_DATA)!.bytes);
    items.get(FwCfgKey.SETUP_DATA)!.read(0, setup);
    const header = new DataView(setup.buffer);
    const [initrdAt, lineAt] = [header.getUint32(0x218, true), header.getUint32(0x228, true)];
    expect(requests).toEqual(
      [
        [FwCfgKey.SETUP_DATA, SETUP_BYTES, 0x10000],
        [FwCfgKey.COMMAND_LINE_DATA, 6, lineAt],
        [FwCfgKey.KERNEL_DATA, 8 * MIB, MIB],
        [FwCfgKey.INITRD_DATA, INITRD_BYTES, initrdAt],
      ].map(([key, bytes, to]) => ({ control: (key! << 16) | 0x0a, bytes, high: 0, to })),
    );
    expect(header.getUint32(0x21c, true)).toBe(INITRD_BYTES);
    // Above what the kernel needs for itself, below what firmware keeps.
    expect(initrdAt).toBeGreaterThanOrEqual(56 * MIB);
    expect(initrdAt + INITRD_BYTES).toBeLessThanOrEqual(252 * MIB);
    expect(header.getUint8(0x211) & 0x80).toBe(0x80);
  });

  it('does without an initrd, and says what does not fit', () => {
    const file = kernelFile();
    const small = planFirmwareKernel({
      ...{ kernelHead: file, kernelBytes: KERNEL_BYTES, kernelPart: () => bytesItem(file), initrdBytes: 0 },
      ...{ commandLine: new Uint8Array(0), ram: { low: 256 * MIB, high: 0 } },
    });
    expect(small.ok && small.value.items.has(FwCfgKey.INITRD_DATA)).toBe(false);
    const fault = (change: Partial<FirmwareKernelInput>): string => {
      const result = plan(change);
      return result.ok ? 'ok' : result.error.kind;
    };
    expect(fault({ ram: { low: 48 * MIB, high: 0 } })).toBe('initrdTooBig');
    expect(fault({ ram: { low: 32 * MIB, high: 0 } })).toBe('kernelTooBig');
    expect(fault({ commandLine: new Uint8Array(3000) })).toBe('commandLineTooLong');
  });
});
