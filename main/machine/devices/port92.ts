/** System control port A (92h): fast A20 (a readable bit; see i8042) and fast reset. */
import type { Device, IoHandler } from '../bus/types';

export class Port92 implements Device, IoHandler {
  readonly name = 'port92';
  private value = 2;
  constructor(private readonly systemReset: () => void) {}
  read(): number {
    return this.value;
  }
  write(_offset: number, _width: number, value: number): void {
    const rising = value & ~this.value & 1;
    this.value = value & 0xfe;
    if (rising) this.systemReset();
  }
  reset(): void {
    this.value = 2;
  }
}
