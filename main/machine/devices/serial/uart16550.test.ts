import { beforeEach, describe, expect, it } from 'vitest';
import { Bus } from '../../bus/bus';
import { QuickEngine } from '../../testing/quick-engine';
import { Uart16550, UART_PORTS } from './uart16550';

class Peer {
  sent: number[] = [];
  readyCalls = 0;
  listener: (bytes: Uint8Array) => number = () => 0;
  write(bytes: Uint8Array): void {
    this.sent.push(...bytes);
  }
  onInput(listener: (bytes: Uint8Array) => number) {
    this.listener = listener;
    return { dispose: () => undefined };
  }
  ready(): void {
    this.readyCalls++;
  }
}

describe('16550A', () => {
  let peer: Peer;
  let level: boolean;
  let uart: Uart16550;
  const r = (offset: number) => uart.read(offset);
  const w = (offset: number, value: number) => uart.write(offset, 1, value);
  beforeEach(() => {
    peer = new Peer();
    level = false;
    uart = new Uart16550('COM1', { irq: { set: (l) => void (level = l) }, backend: peer });
  });

  it('sends bytes and always has room for the next', () => {
    for (const c of [0x48, 0x69]) {
      expect(r(5) & 0x60).toBe(0x60);
      w(0, c);
    }
    expect(peer.sent).toEqual([0x48, 0x69]);
  });

  it('raises THRE when enabled, drops it when IIR was read, raises it again after a write', () => {
    w(4, 8);
    w(1, 2);
    expect([level, r(2)]).toEqual([true, 0x02]);
    expect([level, r(2)]).toEqual([false, 0x01]);
    w(1, 2); // already enabled: not an edge
    expect(level).toBe(false);
    w(0, 0x41);
    expect([level, r(2) & 0x0f]).toEqual([true, 2]);
    w(1, 0);
    w(1, 2); // Linux's THRE test
    expect([level, r(2) & 0x0f]).toEqual([true, 2]);
  });

  it('gates its interrupt with OUT2', () => {
    w(1, 1);
    peer.listener(Uint8Array.of(1));
    expect([level, r(2)]).toEqual([false, 4]);
    w(4, 8);
    expect(level).toBe(true);
    w(4, 0x18);
    expect(level).toBe(false);
  });

  it('takes a FIFO full of input, keeps the rest with the backend, asks for it when drained', () => {
    w(2, 0xc1);
    w(1, 1);
    w(4, 8);
    expect(peer.listener(new Uint8Array(40).map((_, i) => i))).toBe(16);
    expect(r(2)).toBe(0xc4);
    expect([r(0), r(0), r(0)]).toEqual([0, 1, 2]);
    expect(r(2)).toBe(0xcc); // below the trigger level: character timeout
    for (let i = 3; i < 16; i++) expect(r(0)).toBe(i);
    expect([r(5) & 1, level, peer.readyCalls]).toEqual([0, false, 1]);
    expect(peer.listener(Uint8Array.of(99))).toBe(1);
    w(2, 0xc3); // clear
    expect(r(5) & 1).toBe(0);
  });

  it('without FIFO holds one byte', () => {
    expect(peer.listener(Uint8Array.of(1, 2))).toBe(1);
    expect(r(0)).toBe(1);
    expect(peer.readyCalls).toBe(1);
  });

  it('loops back data and modem lines, with deltas and overrun', () => {
    w(4, 0x10 | 0x0a);
    expect(r(6) & 0xf0).toBe(0x90); // what Linux probes for
    expect(r(6) & 0x0f).toBe(0);
    w(0, 0x55);
    w(0, 0x66);
    expect([r(5) & 3, r(5) & 3, r(0)]).toEqual([3, 1, 0x66]);
    expect(peer.sent).toEqual([]);
    expect(peer.listener(Uint8Array.of(1))).toBe(0);
    w(4, 0);
    expect(peer.readyCalls).toBe(1);
    expect(r(6) & 0xf0).toBe(0xb0);
  });

  it('orders interrupts by priority', () => {
    w(4, 0x18); // loopback: everything can be provoked
    w(1, 0x0f);
    w(0, 1);
    w(0, 2);
    expect(r(2)).toBe(6);
    r(5);
    expect(r(2)).toBe(4);
    r(0);
    expect(r(2)).toBe(2);
    expect(r(2)).toBe(0);
    r(6);
    expect(r(2)).toBe(1);
  });

  it('has divisor latches, scratch, and a clean reset', () => {
    w(3, 0x83);
    w(0, 1);
    w(1, 2);
    expect([r(0), r(1), r(3)]).toEqual([1, 2, 0x83]);
    w(3, 3);
    w(7, 0xa5);
    expect([r(7), r(1)]).toEqual([0xa5, 0]);
    uart.reset();
    expect([r(7), r(3), r(2)]).toEqual([0, 0, 1]);
  });

  it('does not let the guest wait for its line status, nor for a byte to be sent', () => {
    const engine = new QuickEngine();
    const bus = new Bus();
    engine.connect(bus);
    bus.claimPorts(0x3f8, UART_PORTS, uart, 'COM1', { maxWidth: 1 });
    const read = (offset: number) => engine.read(0x3f8 + offset, 1);
    const write = (offset: number, value: number) => engine.write(0x3f8 + offset, 1, value);
    for (const c of [0x48, 0x69]) {
      expect(read(5)).toBe(0x60);
      write(0, c);
    }
    expect([engine.waited, peer.sent]).toEqual([0, []]);
    engine.deliver();
    expect(peer.sent).toEqual([0x48, 0x69]);

    peer.listener(Uint8Array.of(7, 8)); // there is room for one
    expect(read(5)).toBe(0x61);
    expect(read(0)).toBe(7);
    expect(read(5)).toBe(0x60);

    // The divisor, and what comes back, are there at once.
    write(3, 0x83);
    write(0, 3);
    expect(read(0)).toBe(3);
    write(3, 3);
    write(4, 0x10);
    write(0, 0x55);
    write(0, 0x66);
    expect([read(5) & 3, read(5) & 3, read(0)]).toEqual([3, 1, 0x66]);
    expect(peer.sent).toEqual([0x48, 0x69]);
  });
});
