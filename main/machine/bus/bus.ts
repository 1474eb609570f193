/**
 * Port and MMIO routing. The hot path (one claimed access no wider than the device takes) allocates nothing.
 *
 * An access wider than its device, or across the end of its range, is split into bytes that are routed one by one, as a chipset does
 * towards an 8-bit bus. Reads nobody claims give all ones; writes nobody claims are dropped. Both are counted, and traced when a
 * tracer is set. All values are unsigned: width 4 is 0 … 2^32-1.
 */
import type { Disposable } from '../../lib/disposable';
import type { QuickPorts } from './quick-ports';
import { RangeMap, type Slot } from './range-map';
import type { IoHandler, MmioHandler } from './types';

export type Width = 1 | 2 | 4;

export interface ClaimOptions {
  /** Widest access the device decodes; wider ones are split. */
  maxWidth?: Width;
}

interface Owner {
  readonly handler: IoHandler;
  readonly maxWidth: number;
  readonly name: string;
}

export interface UnclaimedAccess {
  readonly space: 'port' | 'mmio';
  readonly direction: 'read' | 'write';
  readonly address: number;
  readonly width: number;
  readonly value: number;
}

/** Guest-physical addresses of x86-64 have at most 52 bits. */
const MMIO_LIMIT = 2 ** 52;
const PORT_LIMIT = 0x10000;

export class Bus {
  readonly ports = new RangeMap<Owner>(PORT_LIMIT);
  readonly mmio = new RangeMap<Owner>(MMIO_LIMIT);
  unclaimedReads = 0;
  unclaimedWrites = 0;
  /** Set for LODGE_TRACE=bus. */
  trace: ((access: UnclaimedAccess) => void) | undefined;
  /** Set before ports are claimed, where there is an engine behind. */
  quickPorts: QuickPorts | undefined;

  /** Fixed ports of a legacy device; throws on overlap. */
  claimPorts(start: number, count: number, handler: IoHandler, name: string, options: ClaimOptions = {}): Disposable {
    const claim = this.ports.claim(start, count, { handler, maxWidth: options.maxWidth ?? 4, name }, name);
    return this.withQuickPorts(start, handler, claim);
  }

  claimMmio(start: number, bytes: number, handler: MmioHandler, name: string, options: ClaimOptions = {}): Disposable {
    return this.mmio.claim(start, bytes, { handler, maxWidth: options.maxWidth ?? 4, name }, name);
  }

  /** Ports the guest can move (PCI BARs); never throws. */
  overlayPorts(start: number, count: number, handler: IoHandler, name: string, options: ClaimOptions = {}): Disposable {
    const overlay = this.ports.overlay(start, count, { handler, maxWidth: options.maxWidth ?? 4, name }, name);
    return this.withQuickPorts(start, handler, overlay);
  }

  overlayMmio(start: number, bytes: number, handler: MmioHandler, name: string, options: ClaimOptions = {}): Disposable {
    return this.mmio.overlay(start, bytes, { handler, maxWidth: options.maxWidth ?? 4, name }, name);
  }

  private withQuickPorts(start: number, handler: IoHandler, mapping: Disposable): Disposable {
    // What another claim hides is not this device's.
    const visible = handler.quick?.filter(({ offset }) => this.ports.find(start + offset)?.owner.handler === handler) ?? [];
    const connected = visible.map((quick) => this.quickPorts?.connect(quick, start + quick.offset));
    return {
      dispose: () => {
        for (const one of connected) one?.dispose();
        mapping.dispose();
      },
    };
  }

  readPort(port: number, width: number): number {
    const slot = this.ports.find(port);
    if (slot && width <= slot.owner.maxWidth && port + width <= slot.to)
      return slot.owner.handler.read(port - slot.base, width) >>> 0;
    return this.slowRead('port', port, width, slot);
  }

  writePort(port: number, width: number, value: number): void {
    const slot = this.ports.find(port);
    if (slot && width <= slot.owner.maxWidth && port + width <= slot.to) slot.owner.handler.write(port - slot.base, width, value);
    else this.slowWrite('port', port, width, value, slot);
  }

  readMmio(address: number, width: number): number {
    const slot = this.mmio.find(address);
    if (slot && width <= slot.owner.maxWidth && address + width <= slot.to) {
      return slot.owner.handler.read(address - slot.base, width) >>> 0;
    }
    return this.slowRead('mmio', address, width, slot);
  }

  writeMmio(address: number, width: number, value: number): void {
    const slot = this.mmio.find(address);
    if (slot && width <= slot.owner.maxWidth && address + width <= slot.to) {
      slot.owner.handler.write(address - slot.base, width, value);
    } else this.slowWrite('mmio', address, width, value, slot);
  }

  /** INS: `count` elements from one port into `into`, packed. */
  readPortString(port: number, width: number, count: number, into: Uint8Array): void {
    const slot = this.ports.find(port);
    if (slot?.owner.handler.readString && width <= slot.owner.maxWidth && port + width <= slot.to) {
      slot.owner.handler.readString(port - slot.base, width, count, into);
      return;
    }
    for (let i = 0, at = 0; i < count; i++) {
      const value = this.readPort(port, width);
      for (let shift = 0; shift < width * 8; shift += 8) into[at++] = value >>> shift;
    }
  }

  /** OUTS: `count` elements to one port. */
  writePortString(port: number, width: number, count: number, from: Uint8Array): void {
    const slot = this.ports.find(port);
    if (slot?.owner.handler.writeString && width <= slot.owner.maxWidth && port + width <= slot.to) {
      slot.owner.handler.writeString(port - slot.base, width, count, from);
      return;
    }
    for (let i = 0, at = 0; i < count; i++) {
      let value = 0;
      for (let shift = 0; shift < width * 8; shift += 8) value |= from[at++]! << shift;
      this.writePort(port, width, value >>> 0);
    }
  }

  private slowRead(space: 'port' | 'mmio', address: number, width: number, slot: Slot<Owner> | undefined): number {
    if (width === 1 && slot) return slot.owner.handler.read(address - slot.base, 1) & 0xff;
    if (width > 1 && this.touchesOwner(space, address, width, slot)) {
      let value = 0;
      for (let i = 0; i < width; i++) {
        const byte = space === 'port' ? this.readPort((address + i) & 0xffff, 1) : this.readMmio(address + i, 1);
        value |= (byte & 0xff) << (8 * i);
      }
      return value >>> 0;
    }
    this.unclaimedReads++;
    const value = width >= 4 ? 0xffffffff : 2 ** (8 * width) - 1;
    this.trace?.({ space, direction: 'read', address, width, value });
    return value;
  }

  private slowWrite(space: 'port' | 'mmio', address: number, width: number, value: number, slot: Slot<Owner> | undefined): void {
    if (width === 1 && slot) {
      slot.owner.handler.write(address - slot.base, 1, value & 0xff);
      return;
    }
    if (width > 1 && this.touchesOwner(space, address, width, slot)) {
      for (let i = 0; i < width; i++) {
        const byte = (value >>> (8 * i)) & 0xff;
        if (space === 'port') this.writePort((address + i) & 0xffff, 1, byte);
        else this.writeMmio(address + i, 1, byte);
      }
      return;
    }
    this.unclaimedWrites++;
    this.trace?.({ space, direction: 'write', address, width, value });
  }

  private touchesOwner(space: 'port' | 'mmio', address: number, width: number, slot: Slot<Owner> | undefined): boolean {
    if (slot) return true;
    const map = space === 'port' ? this.ports : this.mmio;
    for (let i = 1; i < width; i++) if (map.find(address + i)) return true;
    return false;
  }
}
