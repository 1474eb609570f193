import { expect, it } from 'vitest';
import { changedFields, configOf, validateSettings } from './settings';
import type { Host, VmDefinition } from './types';

const definition: VmDefinition = {
  schema: 2,
  id: '7d0c8a8e-3b1f-4d1c-9a53-0f8f6b9c1a01',
  createdAt: '2026-01-01T00:00:00Z',
  name: 'Box',
  os: 'other',
  notes: '',
  cpus: 1,
  memoryMiB: 256,
  boot: { kind: 'linux', kernel: '/k', commandLine: '' },
  disks: [],
  serialPorts: 1,
  accelerator: 'auto',
  tier: 'auto',
};
const host: Host = {
  cpuModel: 'x',
  logicalCpus: 4,
  memoryMiB: 4096,
  availableMiB: 2048,
  accelerators: [],
  mode: 'server',
  version: '0',
};

it('sends only what changed', () => {
  const config = configOf(definition);
  expect(Object.keys(config)).not.toContain('id');
  expect(changedFields(config, { ...config })).toEqual({});
  expect(changedFields(config, { ...config, notes: 'n', boot: { kind: 'linux', kernel: '/k2', commandLine: '' } })).toEqual({
    notes: 'n',
    boot: { kind: 'linux', kernel: '/k2', commandLine: '' },
  });
});

it('names what is wrong', () => {
  const config = configOf(definition);
  expect(validateSettings(config, host, ['Other'])).toEqual({});
  const bad = validateSettings(
    { ...config, name: 'OTHER', cpus: 0, memoryMiB: 9999, boot: { kind: 'linux', kernel: ' ', commandLine: '' } },
    host,
    ['Other'],
  );
  expect(validateSettings({ ...config, boot: { kind: 'firmware', image: '' } }, host, [])).toHaveProperty('firmware');
  expect(validateSettings({ ...config, boot: { kind: 'firmware' } }, host, [])).toEqual({});
  const kernel = { kind: 'linux', kernel: '/k', commandLine: '', firmware: { image: ' ' } } as const;
  expect(validateSettings({ ...config, boot: kernel }, host, [])).toHaveProperty('firmware');
  expect(Object.keys(bad).sort()).toEqual(['cpus', 'kernel', 'memoryMiB', 'name']);
});
