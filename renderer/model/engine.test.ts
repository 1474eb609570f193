import { expect, it } from 'vitest';
import { predictEngine } from './engine';
import type { Host } from './types';

const host = (kvm: boolean, tiers: ('interpreter' | 'translator')[] = ['interpreter']): Host => ({
  cpuModel: 'x',
  logicalCpus: 4,
  memoryMiB: 8192,
  availableMiB: 4096,
  mode: 'server',
  version: '0',
  accelerators: [
    { kind: 'kvm', available: kvm, reason: kvm ? 'The host offers KVM.' : '/dev/kvm is not there.', tiers: [] },
    { kind: 'software', available: true, reason: 'Always there.', tiers },
  ],
});

it('prefers hardware, and gives its absence as the reason for software', () => {
  expect(predictEngine({ accelerator: 'auto', tier: 'auto' }, host(true))).toEqual({
    label: 'KVM',
    reason: 'The host offers KVM.',
    usable: true,
  });
  expect(predictEngine({ accelerator: 'auto', tier: 'auto' }, host(false))).toEqual({
    label: 'Software · interpreter',
    reason: '/dev/kvm is not there.',
    usable: true,
  });
});

it('takes the best tier there is and says when the wanted one is missing', () => {
  expect(predictEngine({ accelerator: 'software', tier: 'auto' }, host(false, ['interpreter', 'translator'])).label).toBe(
    'Software · translator',
  );
  expect(predictEngine({ accelerator: 'software', tier: 'translator' }, host(false)).usable).toBe(false);
  expect(predictEngine({ accelerator: 'kvm', tier: 'auto' }, host(false)).usable).toBe(false);
});
