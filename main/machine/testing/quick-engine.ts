/** The engine's part in quick ports, for tests of devices: accesses as the guest makes them, answered or kept as an engine would. */
import { Quick } from '../../../native/addon/types';
import type { Bus } from '../bus/bus';
import { QuickPorts } from '../bus/quick-ports';

interface Posted {
  readonly port: number;
  readonly width: number;
  readonly value: number;
}

export class QuickEngine {
  /** Accesses that waited for a device, and that did not. */
  waited = 0;
  quick = 0;
  private readonly words = new Uint32Array(Quick.PORTS);
  private readonly numbers = new Map<string, number>();
  private readonly posted: Posted[] = [];
  private bus: Bus | undefined;

  /** Before the bus has ports. */
  connect(bus: Bus): void {
    this.bus = bus;
    bus.quickPorts = new QuickPorts(
      {
        addQuickPort: (port, width, number) => {
          const key = `${port}/${width}`;
          if (this.numbers.has(key)) throw new Error('there is one');
          this.numbers.set(key, number);
        },
        removeQuickPort: (number) => {
          for (const [key, one] of this.numbers) if (one === number) this.numbers.delete(key);
        },
      },
      this.words,
    );
  }

  read(port: number, width: number): number {
    const word = this.word(port, width);
    if (word & Quick.READ && width === 1 && !this.posted.some((write) => write.port === port)) {
      this.quick++;
      return (word >>> Quick.VALUE_SHIFT) & 0xff;
    }
    this.deliver();
    return this.bus!.readPort(port, width);
  }

  write(port: number, width: number, value: number): void {
    const word = this.word(port, width);
    if (
      word & Quick.WRITE &&
      (value & (word >>> Quick.MASK_SHIFT) & 0xff) === word >>> Quick.MATCH_SHIFT &&
      this.posted.length < 64
    ) {
      this.quick++;
      this.posted.push({ port, width, value });
      return;
    }
    this.deliver();
    this.bus!.writePort(port, width, value);
  }

  private word(port: number, width: number): number {
    const number = this.numbers.get(`${port}/${width}`);
    return number === undefined ? 0 : this.words[number]!;
  }

  /** Something waits: what was posted goes first. */
  deliver(): void {
    this.waited++;
    for (const { port, width, value } of this.posted.splice(0)) this.bus!.writePort(port, width, value);
  }
}
