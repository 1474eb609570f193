/**
 * The PC's two 8237A DMA controllers and their page registers (Intel 8237A data sheet; IBM PC/AT Technical Reference §1). Channels
 * 0–3 move bytes, 5–7 words; channel 4 is the cascade. A device asks for its transfer in one call; there is no bus to wait for.
 * Not offered: memory to memory, software requests, compressed timing. Addresses wrap in their 64 or 128 KiB page, as on hardware.
 */
import type { Bus } from '../../bus/bus';
import type { Device, IoHandler } from '../../bus/types';
import { gpa, type GuestMemory } from '../../memory/guest-memory';

const Reg = {
  COMMAND: 8,
  REQUEST: 9,
  MASK: 10,
  MODE: 11,
  CLEAR_FLIP_FLOP: 12,
  MASTER_CLEAR: 13,
  CLEAR_MASKS: 14,
  ALL_MASKS: 15,
} as const;
const COMMAND_DISABLE = 0x04;
const Mode = { TRANSFER: 0x0c, VERIFY: 0x00, TO_MEMORY: 0x04, FROM_MEMORY: 0x08, AUTO: 0x10, DECREMENT: 0x20 } as const;
/** Page registers of channels 0–7; the other ports of the block are scratch. */
const PAGE_PORTS = [0x7, 0x3, 0x1, 0x2, 0xf, 0xb, 0x9, 0xa] as const;

class Channel {
  baseAddress = 0;
  baseCount = 0;
  address = 0;
  count = 0;
  mode = 0;
  masked = true;
  terminal = false;
}

/** A device's side of a channel. */
export interface DmaChannel {
  /** Bytes the channel would move now; 0: masked or off. */
  readonly remaining: number;
  /** Device to memory. Moves at most `remaining`; `terminal`: that was the last byte. Undefined: not RAM, or the wrong direction. */
  toMemory(data: Uint8Array): { moved: number; terminal: boolean } | undefined;
  fromMemory(into: Uint8Array): { moved: number; terminal: boolean } | undefined;
}

class Controller {
  readonly channels = [new Channel(), new Channel(), new Channel(), new Channel()] as const;
  private command = 0;
  private high = false;

  get enabled(): boolean {
    return (this.command & COMMAND_DISABLE) === 0;
  }

  reset(): void {
    this.command = 0;
    this.high = false;
    for (const channel of this.channels) {
      channel.masked = true;
      channel.terminal = false;
    }
  }

  read(register: number): number {
    if (register < 8) {
      const channel = this.channels[register >> 1]!;
      const value = register & 1 ? channel.count : channel.address;
      const byte = this.high ? value >>> 8 : value & 0xff;
      this.high = !this.high;
      return byte;
    }
    if (register === Reg.COMMAND) {
      let status = 0;
      this.channels.forEach((channel, i) => {
        if (channel.terminal) status |= 1 << i;
        channel.terminal = false;
      });
      return status;
    }
    if (register === Reg.ALL_MASKS) return this.channels.reduce((bits, channel, i) => bits | (channel.masked ? 1 << i : 0), 0xf0);
    return 0;
  }

  write(register: number, value: number): void {
    if (register < 8) {
      const channel = this.channels[register >> 1]!;
      const join = (old: number): number => (this.high ? (old & 0x00ff) | (value << 8) : (old & 0xff00) | value);
      if (register & 1) channel.count = channel.baseCount = join(channel.baseCount);
      else channel.address = channel.baseAddress = join(channel.baseAddress);
      this.high = !this.high;
      return;
    }
    switch (register) {
      case Reg.COMMAND:
        this.command = value;
        return;
      case Reg.MASK:
        this.channels[value & 3]!.masked = (value & 4) !== 0;
        return;
      case Reg.MODE:
        this.channels[value & 3]!.mode = value & 0xfc;
        return;
      case Reg.CLEAR_FLIP_FLOP:
        this.high = false;
        return;
      case Reg.MASTER_CLEAR:
        this.reset();
        return;
      case Reg.CLEAR_MASKS:
        for (const channel of this.channels) channel.masked = false;
        return;
      case Reg.ALL_MASKS:
        this.channels.forEach((channel, i) => (channel.masked = (value & (1 << i)) !== 0));
        return;
    }
  }
}

export class Dma8237 implements Device {
  readonly name = 'dma8237';
  private readonly controllers = [new Controller(), new Controller()] as const;
  private readonly pages = new Uint8Array(16);

  constructor(private readonly mem: GuestMemory) {}

  reset(): void {
    for (const controller of this.controllers) controller.reset();
    this.pages.fill(0);
  }

  claimPorts(bus: Bus): void {
    const registers = (controller: Controller, shift: number): IoHandler => ({
      read: (offset) => controller.read(offset >> shift),
      write: (offset, _width, value) => controller.write(offset >> shift, value & 0xff),
    });
    bus.claimPorts(0x00, 16, registers(this.controllers[0], 0), 'dma 0–3', { maxWidth: 1 });
    bus.claimPorts(0xc0, 32, registers(this.controllers[1], 1), 'dma 4–7', { maxWidth: 1 });
    const pages: IoHandler = {
      read: (offset) => this.pages[offset]!,
      write: (offset, _width, value) => void (this.pages[offset] = value),
    };
    bus.claimPorts(0x80, 16, pages, 'dma pages', { maxWidth: 1 });
  }

  channel(index: number): DmaChannel {
    const controller = this.controllers[index >> 2]!;
    const channel = controller.channels[index & 3]!;
    const words = index >= 4;
    const remaining = (): number => (channel.masked || !controller.enabled ? 0 : (channel.count + 1) * (words ? 2 : 1));
    const move = (
      bytes: number,
      direction: number,
      copy: (at: number, from: number, to: number) => boolean,
    ): { moved: number; terminal: boolean } | undefined => {
      const transfer = channel.mode & Mode.TRANSFER;
      if (transfer !== direction && transfer !== Mode.VERIFY) return undefined;
      const unit = words ? 2 : 1;
      const units = Math.min(Math.floor(bytes / unit), remaining() / unit);
      if (transfer !== Mode.VERIFY && !this.copyUnits(channel, index, units, unit, copy)) return undefined;
      const down = (channel.mode & Mode.DECREMENT) !== 0;
      channel.address = (channel.address + (down ? -units : units)) & 0xffff;
      const terminal = units > channel.count;
      channel.count = (channel.count - units) & 0xffff;
      if (terminal) {
        channel.terminal = true;
        if (channel.mode & Mode.AUTO) {
          channel.address = channel.baseAddress;
          channel.count = channel.baseCount;
        } else channel.masked = true;
      }
      return { moved: units * unit, terminal };
    };
    return {
      get remaining() {
        return remaining();
      },
      toMemory: (data) => move(data.length, Mode.TO_MEMORY, (at, from, to) => this.mem.write(gpa(at), data.subarray(from, to))),
      fromMemory: (into) =>
        move(into.length, Mode.FROM_MEMORY, (at, from, to) => this.mem.readInto(gpa(at), into.subarray(from, to))),
    };
  }

  /** In runs that end where the address wraps; downwards, unit by unit. */
  private copyUnits(
    channel: Channel,
    index: number,
    units: number,
    unit: number,
    copy: (at: number, from: number, to: number) => boolean,
  ): boolean {
    const page = this.pages[PAGE_PORTS[index]!]! & (unit === 2 ? 0xfe : 0xff);
    const down = (channel.mode & Mode.DECREMENT) !== 0;
    let address = channel.address;
    for (let done = 0; done < units;) {
      const run = down ? 1 : Math.min(units - done, 0x10000 - address);
      if (!copy(page * 0x10000 + address * unit, done * unit, (done + run) * unit)) return false;
      address = (address + (down ? -1 : run)) & 0xffff;
      done += run;
    }
    return true;
  }
}
