/** isa-debug-exit: a guest that writes `value` ends the machine with code (value << 1) | 1. Test kernels use it; off unless asked for. */
import type { Device, IoHandler } from '../../bus/types';

export const DEBUG_EXIT_PORT = 0xf4;

export class DebugExit implements Device, IoHandler {
  readonly name = 'debug-exit';
  constructor(private readonly onExit: (code: number) => void) {}
  read(): number {
    return 0;
  }
  write(_offset: number, _width: number, value: number): void {
    // Process exit codes have eight bits.
    this.onExit(((value << 1) | 1) & 0xff);
  }
  reset(): void {}
}
