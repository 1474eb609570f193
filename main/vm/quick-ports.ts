import { Quick, type NativeMachine } from '../../native/addon/types';
import type { Disposable } from '../lib/disposable';
import type { QuickPort, QuickPorts } from '../machine/bus/quick-ports';

type QuickCalls = Pick<NativeMachine, 'addQuickPort' | 'removeQuickPort'>;

/** The words of the engine’s quick ports, handed out. */
export class EngineQuickPorts implements QuickPorts {
  private readonly free = Array.from({ length: Quick.PORTS }, (_, i) => Quick.PORTS - 1 - i);

  /** `exitBuffer`: the engine's. */
  constructor(
    private readonly native: QuickCalls,
    private readonly exitBuffer: ArrayBuffer,
  ) {}

  connect(quick: QuickPort, port: number): Disposable {
    const number = this.free.pop();
    if (number === undefined) return { dispose: () => undefined };
    try {
      this.native.addQuickPort(port, quick.width, number);
    } catch {
      // Another device's register is there already.
      this.free.push(number);
      return { dispose: () => undefined };
    }
    quick.place(new Uint32Array(this.exitBuffer, Quick.WORDS + 4 * number, 1));
    let placed = true;
    return {
      dispose: () => {
        if (!placed) return;
        placed = false;
        quick.place(undefined);
        this.native.removeQuickPort(number);
        this.free.push(number);
      },
    };
  }
}
