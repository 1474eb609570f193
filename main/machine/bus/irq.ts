/**
 * Interrupt wires. A wire is high while any of its owners holds it high (wired OR of shared, level-triggered lines); the interrupt
 * controller hears changes only. An edge-triggered ISA device pulses its own wire.
 */
import type { IrqLine } from './types';

export class IrqWires {
  private readonly holders: Int32Array;

  constructor(
    count: number,
    private readonly drive: (wire: number, level: boolean) => void,
  ) {
    this.holders = new Int32Array(count);
  }

  /** One owner's connection to a wire. */
  connect(wire: number): IrqLine {
    if (!(wire >= 0 && wire < this.holders.length)) throw new Error(`interrupt wire ${wire} does not exist`);
    let held = false;
    return {
      set: (level) => {
        if (level === held) return;
        held = level;
        const before = this.holders[wire]!;
        this.holders[wire] = level ? before + 1 : before - 1;
        if (level ? before === 0 : before === 1) this.drive(wire, level);
      },
    };
  }

  level(wire: number): boolean {
    return (this.holders[wire] ?? 0) > 0;
  }
}
