import { beforeEach, describe, expect, it } from 'vitest';
import { Bus } from '../../bus/bus';
import { createTestVga, type TestVga } from '../../devices/vga/testing/test-vga';
import { claimLegacyVga } from '../../devices/vga/pci';
import { TRAP_POST } from './rom';
import { Rig } from './testing/rig';

const BUFFER = { es: 0x3000, ebx: 0x10 };

describe('a saved display', () => {
  let rig: Rig;
  let t: TestVga;
  beforeEach(async () => {
    const bus = new Bus();
    t = createTestVga();
    claimLegacyVga(bus, t.vga);
    rig = new Rig().build({ bus });
    await rig.call(TRAP_POST);
  });
  const int10 = (eax: number, more: object = {}) => rig.call(0x10, { eax, ...more });
  const colour = (index: number): number[] => {
    t.out(0x3c7, index);
    return [0, 0, 0].map(() => t.in(0x3c9));
  };

  it('comes back after another standard mode, with its colours and cursor', async () => {
    await int10(0x0003);
    await int10(0x0200, { edx: 0x0a05 });
    await int10(0x1010, { ebx: 7, edx: 0x1100, ecx: 0x2233 });
    expect((await int10(0x1c00, { ecx: 7 })).ebx & 0xffff).toBe(14);
    expect((await int10(0x1c01, { ecx: 7, ...BUFFER })).al).toBe(0x1c);
    await int10(0x0013);
    await int10(0x1010, { ebx: 7, edx: 0, ecx: 0 });
    expect(t.vga.screen, 'each pixel twice').toMatchObject({ width: 640, height: 400 });
    await int10(0x1c02, { ecx: 7, ...BUFFER });
    expect(t.vga.screen).toEqual({ width: 720, height: 400, mode: 'text' });
    expect((await int10(0x0f00)).al).toBe(3);
    expect((await int10(0x0300)).edx & 0xffff).toBe(0x0a05);
    expect(colour(7)).toEqual([0x11, 0x22, 0x33]);
  });

  it('comes back as the VESA mode it was', async () => {
    await int10(0x4f02, { ebx: 0x4112 });
    await int10(0x4f07, { ebx: 0, ecx: 0, edx: 8 });
    expect((await int10(0x4f04, { edx: 0, ecx: 15 })).ebx & 0xffff).toBe(15);
    await int10(0x4f04, { edx: 1, ecx: 15, ...BUFFER });
    await int10(0x0003);
    expect(t.vga.screen).toMatchObject({ width: 720, height: 400 });
    expect((await int10(0x4f04, { edx: 2, ecx: 15, ...BUFFER })).eax & 0xffff).toBe(0x004f);
    expect(t.vga.screen).toMatchObject({ width: 640, height: 480 });
    expect((await int10(0x4f03)).ebx & 0xffff).toBe(0x4112);
    expect((await int10(0x4f07, { ebx: 1 })).edx & 0xffff).toBe(8);
  });

  it('refuses what it does not know, and survives a buffer of nonsense', async () => {
    expect((await int10(0x4f04, { edx: 0, ecx: 0x10 })).eax & 0xffff).toBe(0x014f);
    expect((await int10(0x4f04, { edx: 3, ecx: 1 })).eax & 0xffff).toBe(0x014f);
    expect((await int10(0x1c00, { ecx: 8 })).al, 'VESA is not of this call').not.toBe(0x1c);
    rig.ram.fill(0xff, 0x30000, 0x31000);
    expect((await int10(0x4f04, { edx: 2, ecx: 15, ...BUFFER })).eax & 0xffff).toBe(0x004f);
    await int10(0x0003);
    expect(t.vga.screen).toEqual({ width: 720, height: 400, mode: 'text' });
  });
});
