/** Reset control register (CF9h; PIIX3 data sheet §3.2.13): a reset happens when RCPU rises. */
import type { Device } from '../../bus/types';

const SYSTEM_RESET = 2;
const RESET_CPU = 4;

export class ResetControl implements Device {
  readonly name = 'reset-control';
  private value = 0;
  constructor(private readonly systemReset: () => void) {}
  read(): number {
    return this.value;
  }
  write(value: number): void {
    const rising = value & ~this.value & RESET_CPU;
    this.value = value & (SYSTEM_RESET | RESET_CPU);
    if (rising) this.systemReset();
  }
  reset(): void {
    this.value = 0;
  }
}
