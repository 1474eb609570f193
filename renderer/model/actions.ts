import type { Vm, VmState } from './types';

/** Everything a button, menu or shortcut can ask of one machine. */
export const VM_ACTIONS = [
  'start',
  'pause',
  'resume',
  'shutdown',
  'reset',
  'powerOff',
  'sendKeys',
  'screenshot',
  'attach',
  'editHardware',
  'rename',
  'remove',
] as const;
export type VmAction = (typeof VM_ACTIONS)[number];

/** What is true of a machine besides its state. */
export interface VmCapabilities {
  /** Not in the inventory: it cannot be edited or removed, it goes away when it stops. */
  readonly ephemeral: boolean;
}
export type AllowedActions = Readonly<Record<VmAction, boolean>>;

/**
 * Which actions make sense in which state. Transitional states allow only what can end them: a start or a shutdown that
 * hangs can always be cut short by pulling the plug.
 */
const BY_STATE: Readonly<Record<VmState, readonly VmAction[]>> = {
  stopped: ['start', 'attach', 'editHardware', 'rename', 'remove'],
  starting: ['powerOff', 'rename'],
  running: ['pause', 'shutdown', 'reset', 'powerOff', 'sendKeys', 'screenshot', 'attach', 'rename'],
  pausing: ['powerOff', 'rename'],
  paused: ['resume', 'reset', 'powerOff', 'screenshot', 'rename'],
  resuming: ['powerOff', 'rename'],
  stopping: ['powerOff', 'screenshot', 'rename'],
};
const NEEDS_INVENTORY: readonly VmAction[] = ['start', 'editHardware', 'rename', 'remove'];

export function allowedActions(state: VmState, capabilities: VmCapabilities): AllowedActions {
  const inState = BY_STATE[state];
  const allowed = {} as Record<VmAction, boolean>;
  for (const action of VM_ACTIONS) {
    allowed[action] = inState.includes(action) && !(capabilities.ephemeral && NEEDS_INVENTORY.includes(action));
  }
  return allowed;
}

export const actionsOf = (vm: Vm): AllowedActions => allowedActions(vm.state, { ephemeral: vm.ephemeral });

/** A process exists for it: there is something to look at in its window. */
export const isLive = (state: VmState): boolean => state !== 'stopped';

export const STATE_LABEL: Readonly<Record<VmState, string>> = {
  stopped: 'Stopped',
  starting: 'Starting',
  running: 'Running',
  pausing: 'Pausing',
  paused: 'Paused',
  resuming: 'Resuming',
  stopping: 'Stopping',
};
