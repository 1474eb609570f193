/**
 * The life of a VM as data: which event is legal in which state, and where it leads. Everything else is refused with a
 * sentence. Users' actions and the VM process's answers go through the same table.
 */
import { LodgeError, type VmState } from '../../preload/contract';

export type UserAction = 'start' | 'pause' | 'resume' | 'shutdown' | 'reset' | 'powerOff';
/** What the VM process brings about. */
export type ProcessEvent = 'started' | 'paused' | 'resumed' | 'pauseFailed' | 'resumeFailed' | 'ended';
export type LifecycleEvent = UserAction | ProcessEvent;

export const TRANSITIONS: Readonly<Record<LifecycleEvent, Partial<Readonly<Record<VmState, VmState>>>>> = {
  start: { stopped: 'starting' },
  pause: { running: 'pausing' },
  resume: { paused: 'resuming' },
  // The power button only asks; the guest may take its time or refuse, so it goes on running.
  shutdown: { running: 'running' },
  reset: { running: 'running', paused: 'paused' },
  // Also while it is stopping already: then it is killed.
  powerOff: {
    starting: 'stopping',
    running: 'stopping',
    pausing: 'stopping',
    paused: 'stopping',
    resuming: 'stopping',
    stopping: 'stopping',
  },

  // A power-off may overtake any of these; they change nothing then.
  started: { starting: 'running', stopping: 'stopping' },
  paused: { pausing: 'paused', stopping: 'stopping' },
  resumed: { resuming: 'running', stopping: 'stopping' },
  pauseFailed: { pausing: 'running', stopping: 'stopping' },
  resumeFailed: { resuming: 'paused', stopping: 'stopping' },
  ended: {
    starting: 'stopped',
    running: 'stopped',
    pausing: 'stopped',
    paused: 'stopped',
    resuming: 'stopped',
    stopping: 'stopped',
  },
};

export function transition(state: VmState, event: LifecycleEvent): VmState | undefined {
  return TRANSITIONS[event][state];
}

const ACTION_WORDS: Readonly<Record<UserAction, string>> = {
  start: 'started',
  pause: 'paused',
  resume: 'resumed',
  shutdown: 'shut down',
  reset: 'reset',
  powerOff: 'powered off',
};
const STATE_WORDS: Readonly<Record<VmState, string>> = {
  stopped: 'it is not running',
  starting: 'it is still starting',
  running: 'it is running',
  pausing: 'it is just being paused',
  paused: 'it is paused',
  resuming: 'it is just being resumed',
  stopping: 'it is stopping',
};

export function refusal(name: string, state: VmState, action: UserAction): LodgeError {
  const fix =
    state === 'paused' && action === 'shutdown'
      ? 'Resume it first.'
      : state === 'stopped'
        ? 'Start it first.'
        : state === 'starting' || state === 'pausing' || state === 'resuming' || state === 'stopping'
          ? 'Wait a moment and try again.'
          : undefined;
  return new LodgeError({
    code: 'invalidState',
    message: `“${name}” cannot be ${ACTION_WORDS[action]}: ${STATE_WORDS[state]}.`,
    ...(fix !== undefined && { fix }),
  });
}
