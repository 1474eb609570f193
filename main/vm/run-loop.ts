/**
 * The JS thread's side of guest exits. A turn serves what the vCPUs ask for, spinning briefly for the next request so that bursts
 * cost about a microsecond each, and gives the event loop back after a few milliseconds at most, so that sockets, disks and timers
 * are not starved by a busy guest. When nothing is asked for, nothing runs here: the engine calls `wake`.
 */
import { type NativeEvent, type NativeMachine, Serve } from '../../native/addon/types';

const TURN_MS = 2;
/** Looking at the time costs as much as a cheap exit. */
const EXITS_BETWEEN_LOOKS = 16;
/**
 * The spin adapts, in microseconds: it grows while what comes next comes so soon after the loop went idle that a longer one would have
 * caught it, and shrinks while it comes late. To be woken takes the event loop tens of microseconds, which a little more allows for.
 */
const SPIN_MIN = 2;
const SPIN_MAX = 150;
const SOON_MS = 0.25;

export interface RunLoopDeps {
  readonly native: Pick<NativeMachine, 'serve' | 'takeEvents'>;
  /** Answers the exit of this vCPU in its record. */
  readonly dispatch: (vcpu: number) => void;
  /** Performs the writes that were posted. */
  readonly deliverPosted: () => void;
  readonly onEvents: (events: NativeEvent[]) => void;
  /** A device or the loop itself threw: nothing more will be served. */
  readonly onBug: (error: unknown) => void;
}

export class RunLoop {
  private spin = SPIN_MIN;
  /** An exit that was taken off the engine and waits for the next turn. */
  private carried = -1;
  private inTurn = false;
  private scheduled = false;
  private ended = false;
  private idleSince = 0;

  constructor(private readonly deps: RunLoopDeps) {}

  /** From the engine: something waits, and no turn is running or due. */
  readonly wake = (): void => {
    if (this.inTurn || this.scheduled) return;
    const soon = performance.now() - this.idleSince < SOON_MS;
    this.spin = soon ? Math.min(SPIN_MAX, this.spin * 2) : Math.max(SPIN_MIN, this.spin >> 1);
    this.turn();
  };

  /** Nothing is served from now on; may be called from within an exit. */
  end(): void {
    this.ended = true;
  }

  private turn(): void {
    if (this.ended) return;
    this.inTurn = true;
    try {
      if (this.serveUntil(performance.now() + TURN_MS)) this.schedule();
    } catch (error) {
      this.ended = true;
      this.deps.onBug(error);
    } finally {
      this.inTurn = false;
    }
  }

  private schedule(): void {
    this.scheduled = true;
    setImmediate(() => {
      this.scheduled = false;
      this.turn();
    });
  }

  /** True when there is more to do after the event loop had its turn. */
  private serveUntil(deadline: number): boolean {
    const { native, dispatch } = this.deps;
    let completed = -1;
    if (this.carried >= 0) {
      completed = this.carried;
      this.carried = -1;
      dispatch(completed);
    }
    for (let n = 1; !this.ended; n++) {
      const late = n % EXITS_BETWEEN_LOOKS === 0 && performance.now() >= deadline;
      // The last call of a turn only hands over the answer: its vCPU must not wait for the event loop.
      const result = native.serve(completed, late ? 0 : this.spin);
      completed = -1;
      if (result >= 0) {
        if (late) {
          this.carried = result;
          return true;
        }
        dispatch(result);
        completed = result;
      } else if (result === Serve.POSTED) {
        this.deps.deliverPosted();
      } else if (result === Serve.EVENTS) {
        this.deps.onEvents(native.takeEvents());
        if (late) return true;
      } else {
        this.idleSince = performance.now();
        return false;
      }
    }
    return false;
  }
}
