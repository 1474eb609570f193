import { describe, expect, it } from 'vitest';
import { VM_STATES } from '../../preload/contract';
import { refusal, transition, TRANSITIONS, type LifecycleEvent, type UserAction } from './lifecycle';

describe('lifecycle', () => {
  it.each([
    ['stopped', 'start', 'starting'],
    ['starting', 'started', 'running'],
    ['running', 'pause', 'pausing'],
    ['pausing', 'paused', 'paused'],
    ['paused', 'resume', 'resuming'],
    ['resuming', 'resumed', 'running'],
    ['running', 'powerOff', 'stopping'],
    ['stopping', 'ended', 'stopped'],
    ['stopping', 'started', 'stopping'],
    ['running', 'start', undefined],
    ['stopped', 'powerOff', undefined],
    ['paused', 'shutdown', undefined],
    ['stopped', 'ended', undefined],
  ] as const)('%s + %s → %s', (state, event, next) => {
    expect(transition(state, event)).toBe(next);
  });

  it('reaches every state from stopped and can always come back', () => {
    const events = Object.keys(TRANSITIONS) as LifecycleEvent[];
    const reach = (from: string) => {
      const seen = new Set([from]);
      for (const s of seen)
        for (const e of events) {
          const next = TRANSITIONS[e][s as keyof (typeof TRANSITIONS)[typeof e]];
          if (next) seen.add(next);
        }
      return seen;
    };
    expect(reach('stopped')).toEqual(new Set(VM_STATES));
    for (const state of VM_STATES) expect(reach(state).has('stopped')).toBe(true);
  });

  it('a process that ends ends the VM, whatever its state; power-off is possible whenever there is a process', () => {
    for (const state of VM_STATES.filter((s) => s !== 'stopped')) {
      expect(transition(state, 'ended')).toBe('stopped');
      expect(transition(state, 'powerOff')).toBe('stopping');
    }
  });

  it('says why not', () => {
    for (const action of ['start', 'pause', 'resume', 'shutdown', 'reset', 'powerOff'] as UserAction[]) {
      for (const state of VM_STATES) {
        if (transition(state, action)) continue;
        const error = refusal('Box', state, action);
        expect(error.code).toBe('invalidState');
        expect(error.message).toMatch(/^“Box” cannot be /);
      }
    }
  });
});
