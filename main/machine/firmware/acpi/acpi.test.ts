import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { buildSmbios } from '../smbios';
import * as aml from './aml';
import { buildAcpi } from './tables';

const sum = (bytes: Uint8Array) => bytes.reduce((a, b) => (a + b) & 0xff, 0);
const hasIasl = spawnSync('iasl', ['-v']).status === 0;
if (!hasIasl) console.warn('skipped: iasl (Debian package acpica-tools) is not installed, the ACPI tables are not disassembled');

describe('AML', () => {
  it('encodes names and integers', () => {
    expect(
      aml
        .name('\\_SB.PCI0')
        .map((n) => n.toString(16))
        .join(' '),
    ).toBe('5c 2e 5f 53 42 5f 50 43 49 30');
    expect(aml.name('A.B.C').slice(0, 2)).toEqual([0x2f, 3]);
    expect(() => aml.name('toolong')).toThrow();
    expect(aml.integer(0x12345)).toEqual([0x0c, 0x45, 0x23, 1, 0]);
    expect(aml.integer(2 ** 32)).toEqual([0x0e, 0, 0, 0, 0, 1, 0, 0, 0]);
    expect(aml.eisaId('PNP0A03')).toEqual([0x0c, 0x41, 0xd0, 0x0a, 0x03]);
  });
  it('encodes package lengths at their borders', () => {
    // A buffer of n zeros: opcode, length, size, data. The length counts itself, the size and the data.
    for (const n of [10, 60, 61, 62, 63, 200, 4090, 4091, 4092, 4100]) {
      const bytes = aml.buffer(new Array<number>(n).fill(0));
      const extra = bytes[1]! >> 6;
      let length = bytes[1]! & (extra === 0 ? 0x3f : 0x0f);
      for (let i = 0; i < extra; i++) length |= bytes[2 + i]! << (4 + 8 * i);
      expect([n, length]).toEqual([n, bytes.length - 1]);
    }
  });
});

describe('ACPI tables', () => {
  const at = 0xe0000;
  const image = buildAcpi({ cpus: 4, serialPorts: 2 }, at);

  it('link to each other with right checksums', () => {
    const view = new DataView(image.bytes.buffer);
    const u32 = (address: number) => view.getUint32(address - at, true);
    const text = (address: number) => String.fromCharCode(...image.bytes.subarray(address - at, address - at + 4));
    const table = (address: number) => image.bytes.subarray(address - at, address - at + u32(address + 4));
    expect(image.rsdp % 16).toBe(0);
    expect(sum(image.bytes.subarray(image.rsdp - at, image.rsdp - at + 20))).toBe(0);
    expect(sum(image.bytes.subarray(image.rsdp - at, image.rsdp - at + 36))).toBe(0);
    const xsdt = u32(image.rsdp + 24);
    const rsdt = u32(image.rsdp + 16);
    expect([text(xsdt), text(rsdt)]).toEqual(['XSDT', 'RSDT']);
    const listed = [u32(xsdt + 36), u32(xsdt + 44)];
    expect(listed).toEqual([u32(rsdt + 36), u32(rsdt + 40)]);
    expect(listed.map(text)).toEqual(['FACP', 'APIC']);
    const [fadt] = listed as [number];
    const [facs, dsdt] = [u32(fadt + 36), u32(fadt + 40)];
    expect([text(facs), text(dsdt), facs % 64]).toEqual(['FACS', 'DSDT', 0]);
    for (const t of [xsdt, rsdt, ...listed, dsdt]) expect([text(t), sum(table(t))]).toEqual([text(t), 0]);
  });

  it.skipIf(!hasIasl)('disassemble and compile again without warnings', () => {
    const folder = mkdtempSync(join(tmpdir(), 'lodge-acpi-'));
    try {
      for (const [name, bytes] of image.tables) {
        if (name === 'RSDT' || name === 'XSDT') continue;
        writeFileSync(join(folder, `${name}.dat`), bytes);
        const output = execFileSync('iasl', ['-d', `${name}.dat`], {
          cwd: folder,
          encoding: 'utf8',
          stdio: ['ignore', 'pipe', 'pipe'],
        });
        expect(output).not.toMatch(/error|warning|invalid/i);
        const text = readFileSync(join(folder, `${name}.dsl`), 'utf8');
        expect(text).not.toMatch(/error|warning|invalid|unknown/i);
        if (name === 'FACP') expect(text).toMatch(/Revision : 03/);
      }
      const compiled = spawnSync('iasl', ['-ve', '-p', 'again', 'DSDT.dsl'], { cwd: folder, encoding: 'utf8' });
      expect(compiled.stdout + compiled.stderr).toMatch(/0 Errors, 0 Warnings/);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('fit below the SMBIOS area with many processors', () => {
    expect(buildAcpi({ cpus: 64, serialPorts: 2 }, at).bytes.length).toBeLessThan(0x10000);
  });
});

describe('SMBIOS', () => {
  it('has valid checksums and a walkable structure table', () => {
    for (const ramBytes of [64 << 20, 2 ** 41, 2 ** 43]) {
      const at = 0xf0000;
      const bytes = buildSmbios({ ramBytes, cpus: 2, cpuMegahertz: 2450.4, version: '0.1.0' }, at);
      const view = new DataView(bytes.buffer);
      expect([sum(bytes.subarray(0, 31)), sum(bytes.subarray(16, 31))]).toEqual([0, 0]);
      const types: number[] = [];
      let mapped = 0;
      let p = view.getUint32(0x18, true) - at;
      for (let i = 0; i < view.getUint16(0x1c, true); i++) {
        types.push(bytes[p]!);
        if (bytes[p] === 4) expect([view.getUint16(p + 0x14, true), view.getUint16(p + 0x16, true)]).toEqual([2450, 2450]);
        if (bytes[p] === 19) {
          const [first, last] = [view.getUint32(p + 4, true), view.getUint32(p + 8, true)];
          mapped +=
            last < 0xffff_ffff
              ? (last + 1 - first) * 1024
              : Number(view.getBigUint64(p + 0x17, true) + 1n - view.getBigUint64(p + 0x0f, true));
        }
        p += bytes[p + 1]!;
        while (bytes[p] !== 0 || bytes[p + 1] !== 0) p++;
        p += 2;
      }
      const ranges = ramBytes > 2 ** 32 ? [19, 19] : [19];
      expect(types).toEqual([0, 1, 3, 4, 4, 16, 17, ...ranges, 32, 127]);
      expect(mapped).toBe(ramBytes);
      expect(p).toBe(bytes.length);
    }
  });
});
