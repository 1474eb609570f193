import { describe, expect, it } from 'vitest';
import type { AcceleratorProbe } from '../../native/addon/types';
import { chooseEngine, loadAddon } from './engine';

const kvm = (available: boolean): AcceleratorProbe => ({ kind: 'kvm', available, reason: 'There is no /dev/kvm.', tiers: [] });
const software: AcceleratorProbe = { kind: 'software', available: true, reason: '', tiers: ['interpreter'] };
const auto = { accelerator: 'auto', tier: 'auto' } as const;

describe('choice of the engine', () => {
  it('takes the best, and says why', () => {
    expect(chooseEngine([kvm(true), software], auto).accelerator).toBe('kvm');
    const { accelerator, tier, info } = chooseEngine([kvm(false), software], auto);
    expect([accelerator, tier, info.tier]).toEqual(['software', 'interpreter', 'interpreter']);
    expect(info.reason).toContain('There is no /dev/kvm.');
    expect(chooseEngine([kvm(true), software], { accelerator: 'auto', tier: 'interpreter' }).accelerator).toBe('software');
  });
  it('refuses what is not there', () => {
    expect(() => chooseEngine([kvm(false), software], { accelerator: 'kvm', tier: 'auto' })).toThrow(/KVM/);
    expect(() => chooseEngine([kvm(false), software], { accelerator: 'software', tier: 'translator' })).toThrow(/translator/);
    expect(() => loadAddon('/nonexistent/lodge.node')).toThrow(/missing/);
  });
});
