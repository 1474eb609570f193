import { describe, expect, it } from 'vitest';
import { SampleWhat } from '../../native/addon/types';
import { PROFILE_PLACES_MAX, profileSchema } from '../../preload/contract/performance';
import { Profiler, SampleSum } from './profiler';
import { FakeNative } from './testing/fake-native';
import { fakeTimers } from './testing/timers';

const sample = (ticks: number, bits = 0, vcpu = 0): number =>
  ((ticks << SampleWhat.TICKS_SHIFT) | (vcpu << SampleWhat.VCPU_SHIFT) | bits) >>> 0;
const batch = (samples: readonly (readonly [bigint, number])[], halted: number[] = [], lost = 0) => ({
  addresses: BigUint64Array.from(samples, ([address]) => address),
  what: Uint32Array.from(samples, ([, what]) => what),
  halted,
  lost,
});

describe('SampleSum', () => {
  it('adds up by place, privilege, device and tier, and by processor', () => {
    const sum = new SampleSum('interpreter');
    sum.add(batch([[0xffffffff81000000n, sample(3)], [0x401000n, sample(1, SampleWhat.USER)]], [5, 0])); // prettier-ignore
    sum.add(batch([[0xffffffff81000000n, sample(0xffff, 0, 1)], [0xffffffff81000000n, sample(2, SampleWhat.DEVICE)]], [1, 2], 4)); // prettier-ignore
    sum.add(batch([[0x401000n, sample(7, SampleWhat.USER | SampleWhat.TRANSLATED, 1)]]));
    const result = sum.result();
    expect(result.places).toEqual([
      { address: '0xffffffff81000000', user: false, device: false, tier: 'interpreter', ticks: 0xffff + 3 },
      { address: '0x401000', user: true, device: false, tier: 'translator', ticks: 7 },
      { address: '0xffffffff81000000', user: false, device: true, tier: 'interpreter', ticks: 2 },
      { address: '0x401000', user: true, device: false, tier: 'interpreter', ticks: 1 },
    ]);
    expect(result.vcpus).toEqual([
      { ran: 6, halted: 6 },
      { ran: 0xffff + 7, halted: 2 },
    ]);
    expect(result.otherTicks).toBe(4);
  });

  it('counts places beyond the limit together', () => {
    const sum = new SampleSum('hardware');
    const many = Array.from({ length: PROFILE_PLACES_MAX + 10 }, (_, i) => [BigInt(i), sample(1)] as const);
    sum.add(batch(many, [0]));
    sum.add(batch([[0n, sample(1)], [BigInt(PROFILE_PLACES_MAX + 3), sample(2)]], [0])); // prettier-ignore
    const { places, otherTicks, vcpus } = sum.result();
    expect(places.length).toBe(PROFILE_PLACES_MAX);
    expect(otherTicks).toBe(12);
    expect(vcpus).toEqual([{ ran: PROFILE_PLACES_MAX + 13, halted: 0 }]);
    expect(profileSchema.safeParse({ hertz: 1, seconds: 1, places, otherTicks, vcpus }).success).toBe(true);
  });
});

describe('Profiler', () => {
  const setup = () => {
    const native = new FakeNative(new ArrayBuffer(8192), () => undefined);
    const timers = fakeTimers();
    return { native, timers, profiler: new Profiler({ native, timers, now: () => timers.now(), baseTier: 'interpreter' }) };
  };

  it('samples for as long as it was told, one profile at a time', async () => {
    const { native, timers, profiler } = setup();
    const running = profiler.run(1, 997);
    await expect(profiler.run(1, 997)).rejects.toThrow(/already/);
    native.samples = batch([[0x1000n, sample(10)]], [3]);
    timers.advance(300);
    native.samples = batch([[0x1000n, sample(1)]], [0]);
    timers.advance(600);
    expect(native.calls).toEqual(['startSampling 997']);
    timers.advance(100);
    const profile = await running;
    expect(profile).toMatchObject({ hertz: 997, seconds: 1, vcpus: [{ ran: 11, halted: 3 }], places: [{ ticks: 11 }] });
    expect(native.calls).toEqual(['startSampling 997', 'stopSampling']);
    void profiler.run(1, 50);
    expect(native.calls.at(-1)).toBe('startSampling 50');
    profiler.end();
  });

  it('ends early with what there is', async () => {
    const { native, timers, profiler } = setup();
    const running = profiler.run(100, 997);
    timers.advance(400);
    native.samples = batch([[0x1000n, sample(10)]], [3]);
    profiler.end();
    expect(await running).toMatchObject({ seconds: 0.4, places: [{ ticks: 10 }] });
    expect(native.calls.at(-1)).toBe('stopSampling');
  });
});
