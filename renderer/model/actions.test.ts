import { describe, expect, it } from 'vitest';
import { VM_STATES } from '../../preload/contract';
import { allowedActions, isLive, VM_ACTIONS } from './actions';

const inventoried = { ephemeral: false };

describe('allowedActions', () => {
  it('lets a stopped machine start and nothing that needs a running guest', () => {
    const a = allowedActions('stopped', inventoried);
    expect(a.start && a.editHardware && a.remove && a.attach).toBe(true);
    expect(a.pause || a.resume || a.shutdown || a.reset || a.powerOff || a.sendKeys).toBe(false);
  });

  it('offers exactly one of start, pause and resume in a settled state', () => {
    for (const state of ['stopped', 'running', 'paused'] as const) {
      const a = allowedActions(state, inventoried);
      expect([a.start, a.pause, a.resume].filter(Boolean)).toHaveLength(1);
    }
  });

  it('can always pull the plug of whatever is not stopped, so that no state is a trap', () => {
    for (const state of VM_STATES) expect(allowedActions(state, inventoried).powerOff).toBe(isLive(state));
  });

  it('never edits or removes hardware under a live machine', () => {
    for (const state of VM_STATES.filter(isLive)) {
      const a = allowedActions(state, inventoried);
      expect(a.editHardware || a.remove || a.start).toBe(false);
    }
  });

  it('does not offer inventory actions for an ephemeral machine in any state', () => {
    for (const state of VM_STATES) {
      const a = allowedActions(state, { ephemeral: true });
      expect(a.start || a.editHardware || a.remove || a.rename).toBe(false);
    }
    expect(allowedActions('running', { ephemeral: true }).pause).toBe(true);
  });

  it('says something about every action', () => {
    for (const state of VM_STATES) expect(Object.keys(allowedActions(state, inventoried)).sort()).toEqual([...VM_ACTIONS].sort());
  });
});
