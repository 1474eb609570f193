import { describe, expect, it } from 'vitest';
import type { VmDefinition } from '../../preload/contract';
import { ShareKeeper, type Sharing } from './share-keeper';

function machine(cpuShares: number | undefined, used: number, waited: number) {
  const told: unknown[] = [];
  const vm: Sharing = {
    definition: { cpus: 2, ...(cpuShares !== undefined && { cpuShares }) } as VmDefinition,
    state: 'running',
    process: {
      request: (call) => {
        told.push(call);
        return Promise.resolve(undefined);
      },
    },
    load: { used, waited },
    quota: null,
  };
  return { vm, told };
}

describe('keeper of the shares', () => {
  it('holds back who has more than falls to it, once, and lets go when the shares are alike again', () => {
    const [heavy, light] = [machine(300, 1, 1), machine(undefined, 1, 1)];
    const keeper = new ShareKeeper(
      () => [heavy.vm, light.vm],
      () => 0,
    );
    keeper.look();
    expect(light.told).toEqual([{ name: 'cpuQuota', processors: 0.5 }]);
    keeper.look();
    expect(light.told).toHaveLength(1);
    expect(heavy.told).toEqual([]);
    Object.assign(heavy.vm, { definition: light.vm.definition });
    keeper.look();
    expect(light.told[1]).toEqual({ name: 'cpuQuota', processors: 0 });
    expect(light.vm.quota).toBeNull();
  });

  it('leaves alone who is paused, has no process, or whose process does not answer', async () => {
    const [heavy, light] = [machine(300, 1, 1), machine(100, 1, 1)];
    Object.assign(heavy.vm, { state: 'paused' });
    const keeper = new ShareKeeper(
      () => [heavy.vm, light.vm],
      () => 0,
    );
    keeper.look();
    expect(light.told).toEqual([]);
    Object.assign(heavy.vm, { state: 'running' });
    Object.assign(light.vm, { process: { request: () => Promise.reject(new Error('gone')) } });
    keeper.look();
    await new Promise(setImmediate);
    expect(light.vm.quota).toBe(0.5);
    keeper.dispose();
  });
});
