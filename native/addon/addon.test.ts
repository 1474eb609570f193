/** Drives the built addon as the VM process does. Skipped, with the reason printed, where it has not been built. */
import { existsSync, mkdtempSync, openSync, readFileSync, rmSync, closeSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ABI_VERSION, Exit, ExitKind, Posted, Quick, Serve } from './types';
import type { MachineOptions, NativeAddon, NativeEvent, NativeMachine } from './types';

const path = new URL('../build/Release/lodge.node', import.meta.url).pathname;
const built = existsSync(path);
if (!built) console.warn(`addon.test.ts skipped: ${path} has not been built (npm run build:native)`);
const addon = built ? (createRequire(import.meta.url)(path) as NativeAddon) : (undefined as unknown as NativeAddon);

interface ExitRecord {
  kind: number;
  address: number;
  width: number;
  count: number;
  data: DataView;
}

/** A machine and the loop a VM process runs around it. */
class Harness {
  readonly exitBuffer = new ArrayBuffer(Exit.STRIDE * 4);
  readonly events: NativeEvent[] = [];
  readonly machine: NativeMachine;
  onExit: (exit: ExitRecord, vcpu: number) => void = () => {};
  onPosted: (port: number, width: number, value: number) => void = () => {};
  private waiters: (() => void)[] = [];

  constructor(options: Partial<MachineOptions> = {}) {
    this.machine = addon.createMachine({
      accelerator: 'software',
      tier: 'auto',
      cpus: 1,
      exitBuffer: this.exitBuffer,
      onWake: () => this.serve(),
      ...options,
    });
  }

  private serve(): void {
    let completed = -1;
    for (;;) {
      const next = this.machine.serve(completed, 50);
      completed = -1;
      if (next === Serve.IDLE) break;
      if (next === Serve.EVENTS) {
        this.events.push(...this.machine.takeEvents());
        continue;
      }
      if (next === Serve.POSTED) {
        const head = new DataView(this.exitBuffer);
        for (let i = 0; i < head.getUint32(Posted.COUNT, true); i++) {
          const at = Posted.FIRST + i * Posted.BYTES;
          this.onPosted(head.getUint16(at, true), head.getUint16(at + 2, true), head.getUint32(at + 4, true));
        }
        continue;
      }
      const record = new DataView(this.exitBuffer, next * Exit.STRIDE, Exit.STRIDE);
      this.onExit(
        {
          kind: record.getUint32(Exit.KIND, true),
          address: record.getUint32(Exit.ADDRESS_LOW, true) + record.getUint32(Exit.ADDRESS_HIGH, true) * 2 ** 32,
          width: record.getUint32(Exit.WIDTH, true),
          count: record.getUint32(Exit.COUNT, true),
          data: new DataView(this.exitBuffer, next * Exit.STRIDE + Exit.DATA, Exit.DATA_BYTES),
        },
        next,
      );
      completed = next;
    }
    for (const waiter of this.waiters.splice(0)) waiter();
  }

  /** Resolves when `condition` holds after some turn of the exit loop. */
  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => this.waiters.push(resolve));
  }

  async pause(): Promise<void> {
    const seen = this.events.length;
    this.machine.pause();
    await this.until(() => this.events.slice(seen).some((event) => event.type === 'paused'));
  }

  /** 1 MiB of RAM at 0, `code` at 0:7C00, and the processor there in real mode. */
  load(code: number[]): void {
    const ram = this.machine.addRegion('ram', 1 << 20);
    this.machine.mapRegion(ram, 0, 0, 1 << 20);
    this.machine.memWrite(0x7c00, Uint8Array.from(code));
    this.machine.setCpuState(0, realMode(this.machine, 0x7c00));
  }
}

function realMode(machine: NativeMachine, ip: number) {
  const state = machine.getCpuState(0);
  const data = { selector: 0, base: 0n, limit: 0xffff, attributes: 0x93 };
  for (const name of ['es', 'ss', 'ds', 'fs', 'gs'] as const) state.segments[name] = data;
  state.segments.cs = { ...data, attributes: 0x9b };
  state.rip = BigInt(ip);
  state.rflags = 2n;
  return state;
}

describe.skipIf(!built)('lodge.node', () => {
  let harness: Harness;
  let folder: string;
  beforeEach(() => {
    harness = new Harness();
    folder = mkdtempSync(join(tmpdir(), 'lodge-addon-'));
  });
  afterEach(() => {
    harness.machine.destroy();
    rmSync(folder, { recursive: true });
  });

  it('names its interface and the host', () => {
    expect(addon.abiVersion).toBe(ABI_VERSION);
    const host = addon.hostInfo();
    expect(host.logicalCpus).toBeGreaterThan(0);
    expect(host.memoryBytes).toBeGreaterThan(host.availableBytes);
    expect(host.cpuVendor).toHaveLength(12);
    expect(host.cpuModel).not.toBe('');
  });

  it('disassembles code of each size', () => {
    const code = Uint8Array.from([0x48, 0x89, 0xd8, 0x75, 0xfe]);
    expect(addon.disassemble(code, 64, 0x1000n)).toEqual([
      { length: 3, text: 'mov rax, rbx' },
      { length: 2, text: 'jne 0x1003' },
    ]);
    expect(addon.disassemble(code, 32, 0n).map((line) => line.text)).toEqual(['dec eax', 'mov eax, ebx', 'jne 0x3']);
    expect(addon.disassemble(code, 16, 0xfffen).map((line) => line.text)).toEqual(['dec ax', 'mov ax, bx', 'jne 0x1']);
    expect(addon.disassemble(code.subarray(0, 2), 64, 0n)).toEqual([]);
    expect(() => addon.disassemble(code, 8 as never, 0n)).toThrow(/16, 32 or 64/);
  });

  it('says which accelerators there are, and refuses the others with the same reason', () => {
    const probes = addon.probeAccelerators();
    expect(probes.map((probe) => probe.kind)).toEqual(['kvm', 'software']);
    const [kvm, software] = probes;
    expect(software).toMatchObject({ available: true, tiers: expect.arrayContaining(['interpreter']) });
    expect(kvm!.reason).not.toBe('');
    if (!kvm!.available && !kvm!.onlyByName) expect(() => new Harness({ accelerator: 'kvm' })).toThrow(kvm!.reason);
    expect(() => new Harness({ accelerator: 'kvm', tier: 'interpreter' })).toThrow(/interpreter/);
    expect(() => new Harness({ tier: 'jit' as never })).toThrow(/jit/);
    expect(() => new Harness({ cpuModel: 'z80' })).toThrow(/z80/);
  });

  it('refuses wrong arguments with a sentence', () => {
    const { machine } = harness;
    expect(() => new Harness({ cpus: 5 })).toThrow(/exitBuffer/);
    expect(() => new Harness({ cpus: 0 })).toThrow();
    expect(() => new Harness({ cpus: 1.5 })).toThrow(/whole number/);
    expect(() => new Harness({ onWake: undefined as never })).toThrow(/onWake/);
    expect(() => addon.createMachine(undefined as never)).toThrow(/options/);
    expect(() => machine.addRegion('disk' as never, 4096)).toThrow(/kind/);
    expect(() => machine.addRegion('ram', 100)).toThrow(/4096/);
    expect(() => machine.mapRegion(9, 0, 0, 4096)).toThrow(/region/);
    expect(() => machine.setIrq(24, true)).toThrow(/gsi/);
    expect(() => machine.setIrq(1, 1 as never)).toThrow(/level/);
    expect(() => machine.memRead('0' as never, new Uint8Array(1))).toThrow(/number/);
    expect(() => machine.memRead(0, new Uint16Array(1) as never)).toThrow(/Uint8Array/);
    expect(() => machine.getCpuState(1)).toThrow(/processor/);
    expect(() => machine.addDoorbell('mmio', 0, 3 as never, 1)).toThrow(/width/);
    expect(() => machine.serve(99, 0)).toThrow(/processor/);
  });

  it('writes the last instructions of a guest that crashed when it is destroyed, whatever tier was asked for', async () => {
    const file = join(folder, 'trace');
    const traced = new Harness({ tier: 'translator', trace: { path: file, last: 2 } });
    traced.load([0x90, 0x0f, 0x01, 0x1e, 0x07, 0x7c, 0xcc, 0, 0, 0, 0, 0, 0]); // nop; lidt [7c07h] (limit 0); int3
    traced.machine.start();
    traced.machine.resume();
    await traced.until(() => traced.events.length > 0);
    expect(traced.events[0]).toMatchObject({ type: 'stopped', reason: 'tripleFault' });
    traced.machine.destroy();
    const lines = readFileSync(file, 'utf8').split('\n');
    expect(lines.slice(0, 3)).toEqual([
      '0 1 16.0 0000000000007c01 0f 01 1e 07 7c lidt [0x7c07]',
      '0 2 16.0 0000000000007c06 cc int3',
      '# 3 instructions',
    ]);
    expect(() => new Harness({ trace: { path: '', last: 1 } })).toThrow(/path/);
    expect(() => new Harness({ trace: { path: file, last: 0 } })).toThrow(/one instruction/);
    expect(() => new Harness({ trace: { path: file, last: 1_000_001 } })).toThrow(/1000000/);
  });

  it('reads and writes guest memory, all or nothing', () => {
    const { machine } = harness;
    const ram = machine.addRegion('ram', 0x4000);
    machine.mapRegion(ram, 0, 0x1000, 0x4000);
    expect(machine.memWrite(0x1ffe, Uint8Array.of(1, 2, 3, 4))).toBe(true);
    const into = new Uint8Array(4);
    expect(machine.memRead(0x1ffe, into)).toBe(true);
    expect([...into]).toEqual([1, 2, 3, 4]);
    expect(machine.memReadU16(0x1fff)).toBe(0x0302);
    expect(machine.memReadU32(0x1ffe)).toBe(0x04030201);
    expect(machine.memWriteU32(0x2ffe, 0xfffefdfc)).toBe(true);
    expect(machine.memReadU64(0x2ffe)).toBe(0xfffefdfc);
    expect(machine.memWriteU32(0x3004, 0xffffffff)).toBe(true);
    expect(machine.memReadU64(0x3000)).toBe(Infinity);
    expect(machine.memFill(0x1000, 0x4000, 7)).toBe(true);
    expect(machine.memReadU16(0x4ffe)).toBe(0x0707);
    expect(machine.memReadU16(0x4fff)).toBeUndefined();
    for (const address of [0, 0x5000, -1, 0.5, NaN, Infinity, 2 ** 52]) {
      expect(machine.memRead(address, into)).toBe(false);
      expect(machine.memWriteU16(address, 1)).toBe(false);
      expect(machine.memReadU64(address)).toBeUndefined();
      expect(machine.memFill(address, 1, 0)).toBe(false);
    }
    expect(machine.regionWrite(ram, 0x3ffc, Uint8Array.of(9, 9, 9, 9))).toBe(true);
    expect(machine.regionWrite(ram, 0x3ffd, Uint8Array.of(8, 8, 8, 8))).toBe(false);
    expect(machine.memReadU32(0x4ffc)).toBe(0x09090909);
    machine.unmap(0x2000, 0x1000);
    expect(machine.memReadU16(0x2000)).toBeUndefined();
    expect(machine.regionRead(ram, 0x1000, into)).toBe(true);
  });

  it('tracks dirty pages of video memory and converts its pixels', () => {
    const { machine } = harness;
    const vram = machine.addRegion('vram', 16 * 4096);
    machine.mapRegion(vram, 0, 0xe0000000, 16 * 4096);
    const bitmap = new Uint8Array(2);
    expect(machine.takeDirty(vram, bitmap)).toBe(false);
    machine.memWriteU32(0xe0000000 + 9 * 4096, 0x00112233);
    expect(machine.takeDirty(vram, bitmap)).toBe(true);
    expect([...bitmap]).toEqual([0, 2]);
    expect(machine.takeDirty(vram, bitmap)).toBe(false);
    expect(() => machine.takeDirty(vram, new Uint8Array(1))).toThrow(/bitmap/);
    const out = new Uint8Array(8);
    const rect = { region: vram, offset: 8 * 4096, stride: 4096, format: 'xrgb8888', x: 0, y: 1, width: 2, height: 1 } as const;
    machine.convertPixels(rect, out);
    expect([...out]).toEqual([0x11, 0x22, 0x33, 255, 0, 0, 0, 255]);
    expect(() => machine.convertPixels({ ...rect, y: 8 }, out)).toThrow(/past/);
    expect(() => machine.convertPixels({ ...rect, width: 3 }, out)).toThrow(/out/);
    expect(() => machine.convertPixels({ ...rect, format: 'pal8' }, out)).toThrow(/palette/);
  });

  it('moves files to and from guest memory', async () => {
    const { machine } = harness;
    machine.mapRegion(machine.addRegion('ram', 0x10000), 0, 0, 0x10000);
    const file = join(folder, 'disk');
    writeFileSync(
      file,
      Uint8Array.from({ length: 20000 }, (_, i) => i * 7),
    );
    const fd = openSync(file, 'r+');
    try {
      expect(await machine.fileRead(fd, 100, Float64Array.of(0x100, 3, 0x2000, 9000))).toBe(9003);
      expect(machine.memReadU16(0x100)).toBe(((100 * 7) & 255) | (((101 * 7) & 255) << 8));
      expect(machine.memReadU16(0x2000 + 8998)).toBe(((9101 * 7) & 255) | (((9102 * 7) & 255) << 8));
      expect(await machine.fileRead(fd, 19990, Float64Array.of(0, 512))).toBe(10);
      expect(await machine.fileWrite(fd, 30000, Float64Array.of(0x100, 3))).toBe(3);
      expect(readFileSync(file).subarray(30000)).toEqual(Buffer.from([188, 195, 202]));
      const notRam = expect.objectContaining({ code: 'EFAULT' });
      expect(() => machine.fileRead(fd, 0, Float64Array.of(0xfff0, 32))).toThrow(notRam);
      expect(() => machine.fileRead(fd, 0, Float64Array.of(NaN, 32))).toThrow(notRam);
      expect(() => machine.fileRead(fd, 0, Float64Array.of(1))).toThrow(/pairs/);
      expect(await machine.fileZero(fd, 100, 10000, true)).toBe(true);
      expect(readFileSync(file).subarray(99, 101)).toEqual(Buffer.from([(99 * 7) & 255, 0]));
      expect(readFileSync(file)[10100]).toBe((10100 * 7) & 255);
      expect(() => machine.fileZero(fd, -1, 1, true)).toThrow(/fileOffset/);
    } finally {
      closeSync(fd);
    }
    const full = openSync('/dev/full', 'w');
    const refused = await (async () => machine.fileWrite(full, 0, Float64Array.of(0, 512)))().catch((e: unknown) => e);
    closeSync(full);
    expect(refused).toMatchObject({ code: 'ENOSPC', errno: -28 });
    const error = await Promise.resolve(machine.fileRead(fd, 0, Float64Array.of(0, 32))).catch((e: unknown) => e);
    expect(error).toMatchObject({ code: 'EBADF', errno: -9 });
    await expect(machine.fileZero(fd, 0, 4096, true)).rejects.toMatchObject({ code: 'EBADF', errno: -9 });
  });

  it('serves the port exits of a real-mode guest', async () => {
    harness.load([
      0xb9,
      0xe8,
      0x03, //       mov cx, 1000
      0xe4,
      0x99, //       again: in al, 99h
      0xe6,
      0x98, //             out 98h, al
      0xe2,
      0xfa, //             loop again
      0xbe,
      0x00,
      0x7c, //       mov si, 7c00h
      0xba,
      0x34,
      0x12, //       mov dx, 1234h
      0xb9,
      0x08,
      0x00, //       mov cx, 8
      0xf3,
      0x6f, //             rep outsw
      0xf4, //                   hlt
    ]);
    let last = 0;
    let wrong = 0;
    let total = 0;
    const words: number[] = [];
    harness.onExit = ({ kind, address, width, count, data }) => {
      if (kind === ExitKind.PORT_IN) data.setUint8(0, (last = (last * 5 + 3) & 255));
      else if (address === 0x98) wrong += Number(data.getUint8(0) !== last);
      else for (let i = 0; i < count; i++) words.push(data.getUint16(i * width, true));
      total += count;
    };
    harness.machine.start();
    harness.machine.resume();
    await harness.until(() => words.length === 8);
    expect(wrong).toBe(0);
    expect(total).toBe(2008);
    expect(words.slice(0, 2)).toEqual([0xe8b9, 0xe403]);
    await harness.pause();
    const state = harness.machine.getCpuState(0);
    expect(state).toMatchObject({ rip: 0x7c15n, activity: 'halted' });
    const [stats] = harness.machine.stats().vcpus;
    expect(stats!.exits).toEqual({ portIn: 1000, portOut: 1001, mmioRead: 0, mmioWrite: 0 });
    // A second tier counts none of those that it runs.
    if (stats!.translator === undefined) expect(stats!.instructions).toBeGreaterThan(3000);
  });

  it('turns doorbell writes into events and other MMIO into exits', async () => {
    harness.load([
      0xb8,
      0x00,
      0xf0, //             mov ax, f000h
      0x8e,
      0xd8, //                   mov ds, ax
      0xc7,
      0x06,
      0x10,
      0x00,
      5,
      0, // mov word [10h], 5
      0xa1,
      0x20,
      0x00, //             mov ax, [20h]
      0xe7,
      0x80, //                   out 80h, ax
      0xf4,
    ]);
    harness.machine.unmap(0xf0000, 0x1000);
    harness.machine.addDoorbell('mmio', 0xf0010, 2, 42);
    const exits: number[][] = [];
    harness.onExit = ({ kind, address, width, data }) => {
      if (kind === ExitKind.MMIO_READ) data.setUint16(0, 0xbeef, true);
      exits.push([kind, address, width, data.getUint16(0, true)]);
    };
    harness.machine.start();
    harness.machine.resume();
    await harness.until(() => exits.length === 2 && harness.events.length === 1);
    expect(exits).toEqual([
      [ExitKind.MMIO_READ, 0xf0020, 2, 0xbeef],
      [ExitKind.PORT_OUT, 0x80, 2, 0xbeef],
    ]);
    expect(harness.events).toEqual([{ type: 'doorbell', id: 42, value: 5 }]);
  });

  it('answers quick ports by itself and hands posted writes over before the next exit', async () => {
    // prettier-ignore
    harness.load([
      0xe4, 0x90, //            in al, 90h
      0xe6, 0x91, 0xe6, 0x91, // out 91h, al, twice
      0xe4, 0x91, //            in al, 91h
      0xe6, 0x80, 0xf4, //      out 80h, al; hlt
    ]);
    const words = new Uint32Array(harness.exitBuffer, Quick.WORDS, Quick.PORTS);
    words[0] = Quick.READ | (0x42 << Quick.VALUE_SHIFT);
    words[1] = Quick.READ | Quick.WRITE;
    harness.machine.addQuickPort(0x90, 1, 0);
    harness.machine.addQuickPort(0x91, 1, 1);
    expect(() => harness.machine.addQuickPort(0x91, 1, 2)).toThrow(/quick port/);
    expect(() => harness.machine.addQuickPort(0x92, 1, Quick.PORTS)).toThrow(/number/);
    expect(() => harness.machine.addQuickPort(0x92, 3 as never, 2)).toThrow(/width/);
    const seen: string[] = [];
    harness.onPosted = (port, width, value) => void seen.push(`posted ${port} ${width} ${value}`);
    harness.onExit = ({ kind, address, data }) => {
      if (kind === ExitKind.PORT_IN) data.setUint8(0, 7);
      seen.push(`${kind === ExitKind.PORT_IN ? 'in' : 'out'} ${address} ${data.getUint8(0)}`);
    };
    harness.machine.start();
    harness.machine.resume();
    await harness.until(() => seen.length >= 4);
    expect(seen).toEqual(['posted 145 1 66', 'posted 145 1 66', 'in 145 7', 'out 128 7']);
    expect(harness.machine.stats().vcpus[0]!.quick).toBe(3);
    harness.machine.removeQuickPort(1);
  });

  it('delivers interrupts to a halted guest', async () => {
    harness.load([
      0xb0,
      0x11,
      0xe6,
      0x20,
      0xb0,
      0x20,
      0xe6,
      0x21,
      0xb0,
      4,
      0xe6,
      0x21,
      0xb0,
      1,
      0xe6,
      0x21,
      0xb0,
      0xef,
      0xe6,
      0x21, // 8259
      0xc7,
      0x06,
      0x90,
      0x00,
      0x30,
      0x7c, //       mov word [24h * 4], handler
      0xc7,
      0x06,
      0x92,
      0x00,
      0x00,
      0x00, //       mov word [24h * 4 + 2], 0
      0xbc,
      0x00,
      0x70, //                         mov sp, 7000h
      0xe6,
      0x81, //                               out 81h, al
      0xfb,
      0xf4,
      0xeb,
      0xfd, //                   sti; again: hlt; jmp again
      0x90,
      0x90,
      0x90,
      0x90,
      0x90,
      0x90,
      0x90,
      0xe6,
      0x80,
      0xb0,
      0x20,
      0xe6,
      0x20,
      0xcf, // handler: out 80h, al; EOI; iret
    ]);
    let ready = false;
    let interrupts = 0;
    harness.onExit = ({ address }) => {
      if (address === 0x81) ready = true;
      else interrupts++;
    };
    harness.machine.start();
    harness.machine.resume();
    await harness.until(() => ready); // an edge before the 8259 is initialised would be forgotten
    for (let i = 1; i <= 5; i++) {
      harness.machine.setIrq(4, true);
      harness.machine.setIrq(4, false);
      await harness.until(() => interrupts === i);
    }
  });

  it('reports a triple fault with the state, and starts over after reset', async () => {
    harness.load([0x0f, 0x01, 0x1e, 0x06, 0x7c, 0xcc, 0, 0, 0, 0, 0, 0]); // lidt [7c06h] (limit 0); int3
    harness.machine.start();
    harness.machine.resume();
    await harness.until(() => harness.events.length > 0);
    expect(harness.events[0]).toMatchObject({ type: 'stopped', vcpu: 0, reason: 'tripleFault', state: { rip: 0x7c05n } });
    harness.machine.reset();
    expect(harness.machine.getCpuState(0).rip).toBe(0xfff0n);
    harness.machine.memWrite(0x7c00, Uint8Array.of(0xe6, 0x80, 0xf4));
    harness.machine.setCpuState(0, realMode(harness.machine, 0x7c00));
    let exits = 0;
    harness.onExit = () => exits++;
    harness.machine.resume();
    await harness.until(() => exits === 1);
  });

  it('gives back the state it was given, and refuses impossible ones', () => {
    const { machine } = harness;
    const state = machine.getCpuState(0);
    expect(state.gpr).toHaveLength(16);
    expect(state.fxsave).toHaveLength(512);
    expect(state.ymmHigh).toHaveLength(256);
    expect(state.xcr0).toBe(1n);
    state.ymmHigh[255] = 0x99;
    state.xcr0 = 7n;
    state.gpr[3] = 0xfedcba9876543210n;
    state.dr[4] = 0xffff0ff0n;
    state.fxsave[160] = 0x77;
    state.cr8 = 5n;
    state.msrs[0xc0000102] = 0x1234n;
    machine.setCpuState(0, state);
    const tsc = state.msrs['16']!;
    expect({ ...machine.getCpuState(0), msrs: null }).toEqual({ ...state, msrs: null });
    expect(machine.getCpuState(0).msrs).toMatchObject({ '16': tsc, [0xc0000102]: 0x1234n });
    const wrong: [object, RegExp][] = [
      [{ cr0: 0x80000000n }, /paging/],
      [{ gpr: [] }, /gpr/],
      [{ rip: 5 }, /bigint/],
      [{ rip: 1n << 64n }, /bigint/],
      [{ activity: 'asleep' }, /activity/],
      [{ msrs: { '305419896': 1n } }, /MSR/],
      [{ msrs: { x: 1n } }, /MSR/],
      [{ fxsave: new Uint8Array(3) }, /512/],
      [{ ymmHigh: new Uint8Array(3) }, /256/],
      [{ xcr0: 5n }, /XCR0/],
    ];
    for (const [change, message] of wrong)
      expect(() => machine.setCpuState(0, { ...state, ...change } as never)).toThrow(message);
    expect(machine.getCpuState(0).gpr[3]).toBe(0xfedcba9876543210n);
  });

  it('can be destroyed while a guest runs, and is quiet afterwards', async () => {
    harness.load([0xe6, 0x80, 0xeb, 0xfc]); // again: out 80h, al; jmp again
    let exits = 0;
    harness.onExit = () => exits++;
    harness.machine.start();
    expect(() => harness.machine.start()).toThrow(/started/);
    harness.machine.resume();
    harness.onExit = () => {
      if (++exits === 10) harness.machine.destroy();
    };
    await harness.until(() => exits === 10);
    expect(harness.machine.serve(-1, 0)).toBe(Serve.IDLE);
    expect(harness.machine.takeEvents()).toEqual([]);
    expect(harness.machine.stats()).toEqual({ vcpus: [] });
    expect(() => harness.machine.pause()).toThrow(/destroyed/);
    harness.machine.destroy();
  });
});

const kvm = built ? addon.probeAccelerators().find((probe) => probe.kind === 'kvm')! : undefined;
const kvmRuns = kvm !== undefined && (kvm.available || kvm.onlyByName === true);
if (built && !kvmRuns) console.warn(`addon.test.ts: KVM skipped: ${kvm!.reason}`);

describe.skipIf(!kvmRuns)('lodge.node with KVM', () => {
  let harness: Harness;
  beforeEach(() => {
    harness = new Harness({ accelerator: 'kvm' });
  });
  afterEach(() => harness.machine.destroy());

  it('runs a real-mode guest: exits, memory, dirty pages, state', async () => {
    const vram = harness.machine.addRegion('vram', 4 * 4096);
    const code = [0xb8, 0x00, 0xa0, 0x8e, 0xd8, 0xc6, 0x06, 0x00, 0x10, 0x55, 0xe4, 0x99, 0xe6, 0x98, 0xeb, 0xfa];
    harness.load(code); // mov ds, a000h; mov byte [1000h], 55h; again: in al, 99h; out 98h, al; jmp again
    harness.machine.mapRegion(vram, 0, 0xa0000, 4 * 4096);
    const seen: number[] = [];
    harness.onExit = ({ kind, data }) => {
      if (kind === ExitKind.PORT_IN) data.setUint8(0, seen.length + 1);
      else seen.push(data.getUint8(0));
    };
    harness.machine.start();
    harness.machine.resume();
    await harness.until(() => seen.length >= 20);
    await harness.pause();
    expect(seen.slice(0, 20)).toEqual(Array.from({ length: 20 }, (_, i) => i + 1));
    const bitmap = new Uint8Array(1);
    expect(harness.machine.takeDirty(vram, bitmap)).toBe(true);
    expect([...bitmap]).toEqual([2]);
    expect(harness.machine.memReadU16(0xa1000)).toBe(0x55);
    expect([0x7c0an, 0x7c0cn, 0x7c0en]).toContain(harness.machine.getCpuState(0).rip);
    const { exits } = harness.machine.stats().vcpus[0]!;
    expect(exits.portIn + exits.portOut + exits.mmioRead + exits.mmioWrite).toBeGreaterThanOrEqual(40);
    harness.machine.reset();
    expect(harness.machine.getCpuState(0)).toMatchObject({ rip: 0xfff0n, activity: 'runnable' });
  });

  it('gives back the state it was given, and refuses impossible ones', () => {
    const { machine } = harness;
    const state = machine.getCpuState(0);
    state.gpr[3] = 0xfedcba9876543210n;
    state.fxsave[160] = 0x77;
    state.cr8 = 5n;
    state.msrs[0xc0000102] = 0x1234n;
    machine.setCpuState(0, state);
    expect(machine.getCpuState(0)).toEqual(state);
    expect(() => machine.setCpuState(0, { ...state, cr0: 0x80000000n })).toThrow(/paging/);
    expect(() => machine.setCpuState(0, { ...state, msrs: { '305419896': 1n } })).toThrow(/MSR/);
  });

  it('can be destroyed while a guest runs', async () => {
    harness.load([0xe6, 0x80, 0xeb, 0xfc]);
    let exits = 0;
    harness.onExit = () => {
      if (++exits === 10) harness.machine.destroy();
    };
    harness.machine.start();
    harness.machine.resume();
    await harness.until(() => exits === 10);
    expect(harness.machine.serve(-1, 0)).toBe(Serve.IDLE);
  });
});
