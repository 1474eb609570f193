/**
 * Doorbells: guest writes that the engine turns into events, so that the vCPU need not wait for the device. Where the engine refuses
 * one (it has a limited number), the same write arrives at the device's ordinary handler: a device must accept it there as well.
 */
import type { NativeMachine } from '../../../native/addon/types';
import type { Disposable } from '../../lib/disposable';

type DoorbellCalls = Pick<NativeMachine, 'addDoorbell' | 'removeDoorbell'>;

export class Doorbells {
  private readonly rings = new Map<number, (value: number) => void>();
  private nextId = 1;

  constructor(private readonly native: DoorbellCalls) {}

  add(kind: 'mmio' | 'port', address: number, width: 1 | 2 | 4, ring: (value: number) => void): Disposable {
    const id = this.nextId++;
    try {
      this.native.addDoorbell(kind, address, width, id);
    } catch {
      return { dispose: () => undefined };
    }
    this.rings.set(id, ring);
    return {
      dispose: () => {
        if (this.rings.delete(id)) this.native.removeDoorbell(id);
      },
    };
  }

  /** An event for a doorbell that was removed meanwhile is dropped. */
  ring(id: number, value: number): void {
    this.rings.get(id)?.(value);
  }
}
