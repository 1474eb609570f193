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
  it('leaves what runs only some guests to those who name it', () => {
    const limited: AcceleratorProbe = {
      kind: 'kvm',
      available: false,
      onlyByName: true,
      reason: 'It interprets 64-bit guests.',
      tiers: [],
    };
    expect(chooseEngine([limited, software], auto).accelerator).toBe('software');
    expect(chooseEngine([limited, software], auto).info.reason).toContain('interprets');
    const { accelerator, info } = chooseEngine([limited, software], { accelerator: 'kvm', tier: 'auto' });
    expect([accelerator, info.tier]).toEqual(['kvm', undefined]);
    expect(info.reason).toContain('interprets');
    expect(() => chooseEngine([limited], auto)).toThrow(/Nothing/);
  });
  it('refuses what is not there', () => {
    expect(() => chooseEngine([kvm(false), software], { accelerator: 'kvm', tier: 'auto' })).toThrow(/KVM/);
    expect(() => chooseEngine([kvm(false), software], { accelerator: 'software', tier: 'translator' })).toThrow(/translator/);
    expect(() => loadAddon('/nonexistent/lodge.node')).toThrow(/missing/);
  });
});
