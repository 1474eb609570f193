import { beforeEach, describe, expect, it, vi } from 'vitest';
import { Bus } from '../../bus/bus';
import { BDA, Bda } from './bda';
import { parseBootCatalogue } from './boot';
import { diskGeometry, floppyGeometry } from './drives';
import { ROM_SEGMENT, Rom, TRAP_POST, TRAP_SCANCODE, TrapStatus } from './rom';
import { Rig } from './testing/rig';

const bootable = (bytes: number): Uint8Array => {
  const disk = Uint8Array.from({ length: bytes }, (_, i) => (i >> 9) & 0xff);
  disk[0] = 0xfa;
  disk[510] = 0x55;
  disk[511] = 0xaa;
  return disk;
};

/** 256 shapes that differ, the first of them blank. */
const shapes = (height: number): Uint8Array =>
  Uint8Array.from({ length: 256 * height }, (_, i) => (i % height === 0 ? Math.floor(i / height) : 0));

/** A disc whose catalogue, in sector 20, names a boot image from sector 30 on. */
function elTorito(mediaType: number, sectorCount: number): Uint8Array {
  const disc = new Uint8Array(64 * 2048);
  const text = (at: number, s: string): void => disc.set(Buffer.from(s, 'latin1'), at);
  text(17 * 2048 + 1, 'CD001');
  disc[17 * 2048 + 6] = 1;
  text(17 * 2048 + 7, 'EL TORITO SPECIFICATION');
  disc[17 * 2048 + 71] = 20;
  const catalogue = new DataView(disc.buffer, 20 * 2048, 2048);
  catalogue.setUint8(0, 1);
  catalogue.setUint16(30, 0xaa55, true);
  catalogue.setUint16(28, 0x10000 - 0xaa55 - 1, true);
  catalogue.setUint8(32, 0x88);
  catalogue.setUint8(33, mediaType);
  catalogue.setUint16(38, sectorCount, true);
  catalogue.setUint32(40, 30, true);
  return disc;
}

let rig: Rig;
beforeEach(() => (rig = new Rig()));

describe('power-on', () => {
  it('starts at the reset vector and fills the vectors and the data area', async () => {
    rig.build();
    expect([...rig.bios.rom.subarray(0xfff0, 0xfff5)]).toEqual([0xea, Rom.post & 0xff, Rom.post >> 8, 0x00, 0xf0]);
    await rig.call(TRAP_POST);
    expect(rig.view.getUint16(0x10 * 4, true)).toBe(Rom.int10);
    expect(rig.view.getUint16(0x10 * 4 + 2, true)).toBe(ROM_SEGMENT);
    expect(rig.view.getUint16(Bda.memoryKiB, true)).toBe(639);
    expect(rig.view.getUint8(Bda.videoMode)).toBe(3);
    expect((await rig.call(0x12)).eax).toBe(639);
  });
});

describe('INT 13h', () => {
  it('reads by CHS and by packet what the image holds', async () => {
    rig.disk(bootable(4 << 20)).build();
    await rig.call(TRAP_POST);
    const chs = await rig.call(0x13, { eax: 0x0202, ecx: 0x0003, edx: 0x0080, es: 0x3000, ebx: 0x10 });
    expect([chs.carry, chs.ah, chs.al]).toEqual([false, 0, 2]);
    expect(rig.ram[0x30010]).toBe(2);
    expect(rig.ram[0x30010 + 512]).toBe(3);
    rig.ram.set([16, 0, 1, 0, 0, 0, 0, 0x40, 100, 0, 0, 0, 0, 0, 0, 0], 0x50000);
    const packet = await rig.call(0x13, { eax: 0x4200, edx: 0x80, ds: 0x5000 });
    expect([packet.carry, rig.ram[0x40000]]).toEqual([false, 100]);
  });

  it('waits for a host that is slow', async () => {
    rig.disk(bootable(1 << 20), { delayed: true }).build();
    await rig.call(TRAP_POST);
    const r = await rig.call(0x13, { eax: 0x0201, ecx: 0x0005, edx: 0x0080, es: 0x3000 });
    expect([r.carry, rig.ram[0x30000]]).toEqual([false, 4]);
  });

  it('turns a host failure into a controller error and tells the user', async () => {
    rig.disk(bootable(1 << 20), { fails: true }).build();
    await rig.call(TRAP_POST);
    const r = await rig.call(0x13, { eax: 0x0201, ecx: 0x0001, edx: 0x0080 });
    expect([r.carry, r.ah]).toEqual([true, 0x20]);
    expect(rig.errors).toEqual(['disk a.img: the host disk is broken']);
  });

  it.each([
    ['a sector past the end', { eax: 0x4200, edx: 0x80, ds: 0x5000 }, 0x04],
    ['sector 0', { eax: 0x0201, ecx: 0x0000, edx: 0x0080 }, 0x01],
    ['no sectors', { eax: 0x0200, ecx: 0x0001, edx: 0x0080 }, 0x01],
    ['a head that is not there', { eax: 0x0201, ecx: 0x0001, edx: 0xfe80 }, 0x04],
    ['a drive that is not there', { eax: 0x0201, ecx: 0x0001, edx: 0x0081 }, 0x01],
  ])('refuses %s', async (_name, registers, status) => {
    rig.disk(bootable(1 << 20)).build();
    rig.ram.set([16, 0, 1, 0, 0, 0, 0, 0x40, 0, 0, 1, 0, 0, 0, 0, 0], 0x50000);
    await rig.call(TRAP_POST);
    const r = await rig.call(0x13, registers);
    expect([r.carry, r.ah]).toEqual([true, status]);
    expect((await rig.call(0x13, { eax: 0x0100, edx: 0x80 })).ah).toBe(status);
  });

  it('has the geometry that a partition table was made with, else LBA-assisted translation', () => {
    expect(diskGeometry(8 << 20)).toEqual({ cylinders: 16, heads: 16, sectors: 63 });
    expect(diskGeometry(20e9)).toEqual({ cylinders: 1024, heads: 255, sectors: 63 });
    const table = new Uint8Array(512);
    table.set([0x80, 1, 1, 0, 6, 3, 32, 100], 446);
    table.set([0x55, 0xaa], 510);
    expect(diskGeometry(16 << 20, table)).toMatchObject({ heads: 4, sectors: 32 });
    expect(floppyGeometry(1474560)).toEqual({ geometry: { cylinders: 80, heads: 2, sectors: 18 }, type: 4 });
  });
});

describe('INT 15h', () => {
  it('lists the memory map with E820 and ends it', async () => {
    rig.build();
    await rig.call(TRAP_POST);
    const types: number[] = [];
    let ebx = 0;
    do {
      const r = await rig.call(0x15, { eax: 0xe820, edx: 0x534d4150, ecx: 24, ebx, es: 0x5000 });
      expect([r.carry, r.eax, r.ecx]).toEqual([false, 0x534d4150, 20]);
      types.push(rig.view.getUint32(0x50010, true));
      ebx = r.ebx;
    } while (ebx !== 0);
    expect(types).toEqual([1, 2, 1]);
    expect((await rig.call(0x15, { eax: 0xe820, edx: 0, ecx: 24, es: 0x5000 })).carry).toBe(true);
    expect((await rig.call(0x15, { eax: 0x8800 })).eax).toBe(3 * 1024);
  });

  it('moves blocks above 1 MiB', async () => {
    rig.build();
    await rig.call(TRAP_POST);
    rig.ram.set([1, 2, 3, 4], 0x60000);
    rig.ram.set([0xff, 0xff, 0x00, 0x00, 0x06, 0x93, 0, 0, 0xff, 0xff, 0x00, 0x00, 0x20, 0x93, 0, 0], 0x50010);
    const r = await rig.call(0x15, { eax: 0x8700, ecx: 2, es: 0x5000 });
    expect([r.carry, ...rig.ram.subarray(0x200000, 0x200004)]).toEqual([false, 1, 2, 3, 4]);
  });
});

describe('keyboard', () => {
  const press = (...codes: number[]): Promise<unknown[]> => Promise.all(codes.map((code) => rig.call(0x109, { eax: code })));

  it('turns scancodes into key codes with modifiers', async () => {
    rig.build();
    await rig.call(TRAP_POST);
    await press(0x1e, 0x9e, 0x2a, 0x1e, 0x9e, 0xaa, 0x1d, 0x2e, 0xae, 0x9d, 0x58, 0xe0, 0x48, 0xe0, 0xc8);
    const keys: number[] = [];
    for (let i = 0; i < 5; i++) keys.push((await rig.call(0x16, { eax: 0x1000 })).eax);
    expect(keys).toEqual([0x1e61, 0x1e41, 0x2e03, 0x8600, 0x48e0]);
    expect((await rig.call(0x16, { eax: 0x1100 })).zero).toBe(true);
  });

  it('tells left from right, takes a character by its number, and keeps locks from repeating', async () => {
    rig.build();
    await rig.call(TRAP_POST);
    const flags = async (): Promise<number> => (await rig.call(0x16, { eax: 0x1200 })).eax;
    await press(0x1d, 0xe0, 0x38);
    expect(await flags()).toBe(0x090c);
    await press(0xe0, 0x1d, 0x9d);
    expect(await flags(), 'the right Ctrl is still down').toBe(0x0c0c);
    await press(0xe0, 0x9d, 0x48, 0xc8, 0x4c, 0xcc, 0xe0, 0xb8);
    expect((await rig.call(0x16, { eax: 0x1000 })).eax).toBe(85);
    await press(0x3a, 0x3a, 0x3a);
    expect(await flags(), 'Caps Lock on, and down').toBe(0x4040);
    await press(0xba, 0xe0, 0x52);
    expect(await flags(), 'Ins changes the mode').toBe(0x00c0);
  });

  it('calls INT 1Bh for Ctrl+Break and INT 05h for Print Screen', async () => {
    rig.build();
    await rig.call(TRAP_POST);
    await press(0x1e, 0x1d, 0xe0);
    expect((await rig.call(TRAP_SCANCODE, { eax: 0x46 })).carry).toBe(true);
    expect(rig.ram[Bda.breakFlag]).toBe(0x80);
    expect((await rig.call(0x16, { eax: 0x1000 })).eax, 'what was typed is gone').toBe(0);
    expect((await rig.call(0x16, { eax: 0x1100 })).zero).toBe(true);
    await press(0xe0, 0xc6, 0x9d, 0xe0, 0x2a, 0xe0);
    const printed = await rig.call(TRAP_SCANCODE, { eax: 0x37 });
    expect([printed.carry, printed.zero]).toEqual([false, true]);
    const other = await rig.call(TRAP_SCANCODE, { eax: 0x1e });
    expect([other.carry, other.zero]).toEqual([false, false]);
  });

  it('keeps 15 keys, and restarts on Ctrl+Alt+Del', async () => {
    rig.build();
    await rig.call(TRAP_POST);
    for (let i = 0; i < 20; i++) await press(0x10);
    let count = 0;
    while (!(await rig.call(0x16, { eax: 0x0100 })).zero) {
      await rig.call(0x16, { eax: 0 });
      count++;
    }
    expect(count).toBe(15);
    await press(0x1d, 0x38, 0x53);
    expect(rig.restarts).toBe(1);
  });

  it('survives a data area that a program has scribbled over', async () => {
    rig.build();
    await rig.call(TRAP_POST);
    rig.ram.fill(0xff, BDA, BDA + 256);
    await press(0x10, 0x11);
    await rig.call(0x16, { eax: 0x0100 });
    await rig.call(0x10, { eax: 0x0e41 });
    await rig.call(0x10, { eax: 0x0600, ecx: 0, edx: 0xffff });
  });
});

describe('text screen', () => {
  it('writes, wraps and scrolls', async () => {
    rig.build();
    await rig.call(TRAP_POST);
    for (let line = 0; line < 30; line++) {
      for (const c of `line ${line}\r\n`) await rig.call(0x10, { eax: 0x0e00 | c.charCodeAt(0) });
    }
    const screen = rig.screen();
    expect(screen[0]).toBe('line 6');
    expect(screen[23]).toBe('line 29');
    expect(screen[24]).toBe('');
    expect((await rig.call(0x10, { eax: 0x0300 })).edx).toBe(24 << 8);
  });
});

describe('power management', () => {
  it('idles for one interrupt, tells the power there is, and has no events', async () => {
    const powerOff = vi.fn();
    rig.build({ powerOff });
    await rig.call(TRAP_POST);
    const apm = (function_: number, ebx = 0, ecx = 0) => rig.call(0x15, { eax: 0x5300 | function_, ebx, ecx });
    expect((await apm(0x00)).ebx & 0xffff).toBe(0x504d);
    expect((await apm(0x05)).carry).toBe(false);
    expect(rig.waits, 'it halts once').toBe(1);
    expect((await apm(0x0a, 1)).ebx & 0xffff, 'on the mains').toBe(0x01ff);
    expect(await apm(0x0b)).toMatchObject({ carry: true, ah: 0x80 });
    expect(await apm(0x03), 'no 32-bit interface').toMatchObject({ carry: true, ah: 0x08 });
    await apm(0x07, 1, 3);
    expect(powerOff).toHaveBeenCalledOnce();
  });
});

describe('PCI BIOS', () => {
  it('tells the routing options and sets a route', async () => {
    const bus = new Bus();
    const written: [number, number][] = [];
    let address = 0;
    bus.claimPorts(0xcf8, 4, { read: () => address, write: (_o, _w, value) => (address = value) }, 'address');
    bus.claimPorts(0xcfc, 4, { read: () => 0xffff_ffff, write: (o, _w, value) => written.push([address + o, value]) }, 'data');
    rig.build({ bus });
    await rig.call(TRAP_POST);
    const ask = () => rig.call(0x1a, { eax: 0xb10e, es: 0x3000, di: 0 });
    rig.view.setUint16(0x30000, 1, true);
    expect(await ask()).toMatchObject({ carry: true, ah: 0x89 });
    const bytes = rig.view.getUint16(0x30000, true);
    expect(bytes % 16).toBe(0);
    rig.view.setUint32(0x30002, 0x3100_0000, true);
    expect(await ask()).toMatchObject({ carry: false, ah: 0 });
    expect([...rig.ram.subarray(0x31000, 0x31005)], 'slot 1, INTA# by register 60h to 5, 10 or 11').toEqual([
      0, 8, 0x60, 0x20, 0x0c,
    ]);
    written.length = 0;
    const route = (ecx: number) => rig.call(0x1a, { eax: 0xb10f, ebx: 0x0010, ecx });
    expect(await route(0x0b0b)).toMatchObject({ carry: false, ah: 0 });
    expect(written).toEqual([[0x8000_0862, 0x0b]]);
    expect(await route(0x030a), 'no wire can be interrupt 3').toMatchObject({ carry: true, ah: 0x88 });
    expect(await route(0x0b0e)).toMatchObject({ carry: true, ah: 0x88 });
  });
});

describe('CGA graphics', () => {
  it('reads characters back from their pixels', async () => {
    rig.build({ fonts: { font8x8: shapes(8), font8x14: shapes(14), font8x16: shapes(16) } });
    await rig.call(TRAP_POST);
    for (const mode of [0x04, 0x06]) {
      await rig.call(0x10, { eax: mode });
      for (const character of [0x41, 0xe1]) {
        await rig.call(0x10, { eax: 0x0200, edx: 0x0503 });
        await rig.call(0x10, { eax: 0x0900 | character, ebx: 0x03, ecx: 1 });
        expect((await rig.call(0x10, { eax: 0x0800 })).al, `mode ${mode}`).toBe(character);
      }
    }
  });

  it('chooses background and colours as a CGA did', async () => {
    const bus = new Bus();
    const written: number[] = [];
    bus.claimPorts(0x3c0, 1, { read: () => 0, write: (_offset, _width, value) => written.push(value) }, 'attributes');
    rig.build({ bus });
    await rig.call(TRAP_POST);
    const attributes = async (eax: number, ebx: number): Promise<[number, number][]> => {
      written.length = 0;
      await rig.call(0x10, { eax, ebx });
      return Array.from({ length: written.length / 3 }, (_, i) => [written[3 * i]!, written[3 * i + 1]!]);
    };
    await rig.call(0x10, { eax: 0x04 });
    expect(await attributes(0x0b00, 0x0009), 'bright blue behind dark cyan, magenta, white').toEqual([
      [0x11, 0x11],
      [0, 0x11],
      [1, 0x03],
      [2, 0x05],
      [3, 0x07],
    ]);
    expect((await attributes(0x0b00, 0x0100)).slice(1), 'green, red, brown').toEqual([
      [1, 0x02],
      [2, 0x04],
      [3, 0x06],
    ]);
    await rig.call(0x10, { eax: 0x03 });
    expect(await attributes(0x0b00, 0x0004), 'text has a border only').toEqual([[0x11, 0x04]]);
  });
});

describe('boot', () => {
  it('loads the first sector and jumps to it with the drive number', async () => {
    rig.disk(bootable(1 << 20)).build();
    await rig.call(TRAP_POST);
    const r = await rig.call(0x19);
    expect([r.cs, r.ip, r.edx & 0xff]).toEqual([0, 0x7c00, 0x80]);
    expect([rig.ram[0x7c00 + 510], rig.ram[0x7c00 + 511]]).toEqual([0x55, 0xaa]);
  });

  it('says why a medium does not boot, and goes on', async () => {
    rig
      .disk(new Uint8Array(1 << 20))
      .disc(new Uint8Array(1 << 20))
      .disk(bootable(1 << 20))
      .build();
    await rig.call(TRAP_POST);
    const r = await rig.call(0x19);
    expect([r.ip, r.edx & 0xff]).toEqual([0x7c00, 0x81]);
    expect(rig.screen().join('\n')).toContain('its first sector has no boot signature');
  });

  it('waits for a key when nothing boots', async () => {
    rig.build();
    await rig.call(TRAP_POST);
    await expect(rig.call(0x19)).rejects.toThrow('never finishes');
    expect(rig.screen().join('\n')).toContain('no disk or disc to boot from');
  });

  it('offers a menu with F12', async () => {
    rig
      .disk(bootable(1 << 20))
      .disk(bootable(1 << 20))
      .build({ menuSeconds: 2 });
    await rig.call(TRAP_POST);
    rig.view.setUint16(rig.at(38), 0x19, true);
    expect(rig.trap()).toBe(TrapStatus.waitForInterrupt);
    await rig.call(0x109, { eax: 0x58 });
    rig.view.setUint16(rig.at(38), 0x19, true);
    expect(rig.trap()).toBe(TrapStatus.waitForInterrupt);
    expect(rig.screen().join('\n')).toContain('  2  disk a.img');
    await rig.call(0x109, { eax: 0x03 });
    expect((await rig.call(0x19)).edx & 0xff).toBe(0x81);
  });

  it('is walked through with the arrow keys, also past the numbers', async () => {
    for (let i = 0; i < 20; i++) rig.disk(bootable(1 << 16));
    rig.build({ openMenu: () => true });
    await rig.call(TRAP_POST);
    const step = (): number => {
      rig.view.setUint16(rig.at(38), 0x19, true);
      return rig.trap();
    };
    const press = async (scanCode: number): Promise<void> => {
      await rig.call(0x109, { eax: scanCode });
      expect(step()).toBe(TrapStatus.waitForInterrupt);
    };
    expect(step()).toBe(TrapStatus.waitForInterrupt);
    expect(rig.screen().join('\n')).toContain('of 20');
    for (let i = 0; i < 12; i++) await press(0x50);
    await press(0x48);
    await rig.call(0x109, { eax: 0x1c });
    expect((await rig.call(0x19)).edx & 0xff).toBe(0x80 + 11);
  });

  it('opens the menu by itself when told to; Esc is the usual order', async () => {
    rig
      .disk(bootable(1 << 20))
      .disk(bootable(1 << 20))
      .build({ openMenu: () => true });
    await rig.call(TRAP_POST);
    rig.view.setUint16(rig.at(38), 0x19, true);
    expect(rig.trap()).toBe(TrapStatus.waitForInterrupt);
    expect(rig.screen().join('\n')).toContain('  2  disk a.img');
    await rig.call(0x109, { eax: 0x01 });
    expect((await rig.call(0x19)).edx & 0xff).toBe(0x80);
  });

  it('boots a disc without emulation and reads it in 2048-byte sectors', async () => {
    const disc = elTorito(0x00, 4);
    disc.fill(0xeb, 30 * 2048, 31 * 2048);
    disc.fill(0x77, 40 * 2048, 41 * 2048);
    rig.disc(disc).build();
    await rig.call(TRAP_POST);
    const r = await rig.call(0x19);
    expect([r.cs, r.ip, r.edx & 0xff, rig.ram[0x7c00 + 2047]]).toEqual([0, 0x7c00, 0xe0, 0xeb]);
    rig.ram.set([16, 0, 1, 0, 0, 0, 0, 0x40, 40, 0, 0, 0, 0, 0, 0, 0], 0x50000);
    const read = await rig.call(0x13, { eax: 0x4200, edx: 0xe0, ds: 0x5000 });
    expect([read.carry, rig.ram[0x40000], rig.ram[0x407ff]]).toEqual([false, 0x77, 0x77]);
    const told = await rig.call(0x13, { eax: 0x4b01, edx: 0xe0, ds: 0x5000, si: 0x100 });
    expect([told.carry, rig.ram[0x50100], rig.view.getUint32(0x50104, true)]).toEqual([false, 0x13, 30]);
  });

  it.each([
    ['a diskette', 0x02, 0x00, { heads: 2, sectors: 18 }],
    ['a hard disk', 0x04, 0x80, { heads: 16, sectors: 63 }],
  ])('a disc emulates %s, until it is told to stop', async (_what, mediaType, number, { heads, sectors }) => {
    const disc = elTorito(mediaType, 1);
    disc.fill(0xeb, 30 * 2048, 30 * 2048 + 512);
    disc.fill(0x77, 30 * 2048 + 2 * 512, 30 * 2048 + 3 * 512);
    rig
      .disk(bootable(1 << 20))
      .disc(disc)
      .build({ bootOrder: () => rig.discs });
    await rig.call(TRAP_POST);
    const r = await rig.call(0x19);
    expect([r.ip, r.edx & 0xff, rig.ram[0x7c00]]).toEqual([0x7c00, number, 0xeb]);
    const told = await rig.call(0x13, { eax: 0x0800, edx: number });
    expect([((told.edx >> 8) & 0xff) + 1, told.ecx & 63]).toEqual([heads, sectors]);
    const third = { eax: 0x0201, ebx: 0x100, ecx: 3, edx: number, es: 0x4000 };
    expect((await rig.call(0x13, third)).carry).toBe(false);
    expect([rig.ram[0x40100], rig.ram[0x402ff]]).toEqual([0x77, 0x77]);
    expect((await rig.call(0x13, { ...third, eax: 0x0301 })).ah, 'a disc cannot be written').toBe(0x03);
    const ended = await rig.call(0x13, { eax: 0x4b00, edx: number, ds: 0x5000 });
    expect([ended.carry, rig.ram[0x50001], rig.ram[0x50002]]).toEqual([false, mediaType, number]);
    expect((await rig.call(0x13, { eax: 0x4b01, edx: number, ds: 0x5000 })).carry, 'no emulation any more').toBe(true);
    rig.ram.fill(0xff, 0x40100, 0x40300);
    await rig.call(0x13, { ...third, edx: 0x80 });
    expect(rig.ram[0x40100], 'the real disk has its number again').toBe(2);
  });

  it('a program locks its disc in, asks, and sends it out', async () => {
    const ejected = vi.fn();
    const tray = { locked: false, eject: ejected };
    rig.disk(bootable(1 << 20)).disc(new Uint8Array(1 << 20));
    rig.discs[0] = { ...rig.discs[0]!, tray };
    rig.build();
    await rig.call(TRAP_POST);
    const call = async (eax: number, edx = 0xe0): Promise<[number, number]> => {
      const { ah, al } = await rig.call(0x13, { eax, edx });
      return [ah, al];
    };
    expect(await call(0x4500)).toEqual([0, 1]);
    expect(tray.locked).toBe(true);
    expect(await call(0x4502)).toEqual([0, 1]);
    expect((await call(0x4600))[0]).toBe(0xb1);
    expect(ejected).not.toHaveBeenCalled();
    expect(await call(0x4501)).toEqual([0, 0]);
    expect(await call(0x4501), 'it was not locked').toEqual([0xb0, 0]);
    expect((await call(0x4600))[0]).toBe(0);
    expect(ejected).toHaveBeenCalledOnce();
    expect((await call(0x4600, 0x80))[0], 'a disk stays').toBe(0xb2);
  });

  it('refuses a catalogue that is damaged, or for another firmware', () => {
    expect(parseBootCatalogue(new Uint8Array(2048))).toBe('its boot catalogue is damaged');
    const efi = new Uint8Array(2048);
    efi.set([1, 0xef], 0);
    efi.set([0xaa, 0x66, 0x55, 0xaa], 28); // the words' sum is zero
    expect(parseBootCatalogue(efi)).toMatch(/UEFI only/);
  });

  it('says that a disk starts by UEFI only', async () => {
    const gpt = new Uint8Array(1 << 20);
    gpt.set([0x55, 0xaa], 510);
    rig.disk(gpt.slice());
    gpt[450] = 0xee;
    rig.disk(gpt).build();
    await rig.call(TRAP_POST);
    await expect(rig.call(0x19)).rejects.toThrow('never finishes');
    const screen = rig.screen().join('\n');
    expect(screen).toContain('its first sector holds no program');
    expect(screen).toContain('it boots by UEFI only');
  });
});
