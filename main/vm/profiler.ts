/**
 * A statistical profile of the guest: the engine notes where the vCPUs are, this adds the samples up by place. One at a time; nothing
 * runs, here or in the engine, while there is none.
 */
import { type NativeMachine, type SampleBatch, SampleWhat } from '../../native/addon/types';
import { LodgeError } from '../../preload/contract/errors';
import { PROFILE_PLACES_MAX, type Profile } from '../../preload/contract/performance';
import type { Timers } from './display-hub';

/** The engine keeps samples for less than a second at the highest rate. */
const TAKE_PERIOD_MS = 250;

type Engine = Pick<NativeMachine, 'startSampling' | 'stopSampling' | 'takeSamples'>;
type Place = Profile['places'][number];

export interface ProfilerDeps {
  readonly native: Engine;
  readonly timers: Timers;
  readonly now: () => number;
  /** What runs code that is not translated. */
  readonly baseTier: 'interpreter' | 'hardware';
}

export class Profiler {
  private finish: (() => void) | undefined;

  constructor(private readonly deps: ProfilerDeps) {}

  /** Ends early, with what there is, when the machine does. */
  async run(seconds: number, hertz: number): Promise<Omit<Profile, 'syscallEntry'>> {
    const { native, timers, now, baseTier } = this.deps;
    if (this.finish) {
      throw new LodgeError({
        code: 'invalidState',
        message: 'The machine is being profiled already.',
        fix: 'Wait until that profile is done.',
      });
    }
    const sum = new SampleSum(baseTier);
    const began = now();
    native.startSampling(hertz);
    await new Promise<void>((resolve) => {
      const next = (): void => {
        const left = began + seconds * 1000 - now();
        if (left <= 0) {
          resolve();
          return;
        }
        timer = timers.set(
          () => {
            sum.add(native.takeSamples());
            next();
          },
          Math.min(TAKE_PERIOD_MS, left),
        );
      };
      let timer = timers.set(() => undefined, 0);
      timer.dispose();
      this.finish = () => {
        timer.dispose();
        resolve();
      };
      next();
    });
    native.stopSampling();
    sum.add(native.takeSamples());
    this.finish = undefined;
    return { hertz, seconds: (now() - began) / 1000, ...sum.result() };
  }

  /** The machine ends, and the engine with it. */
  end(): void {
    this.finish?.();
  }
}

/** Samples by place and kind. */
export class SampleSum {
  private readonly places = new Map<bigint, number[]>();
  private distinct = 0;
  private other = 0;
  private readonly ran: number[] = [];
  private readonly halted: number[] = [];

  constructor(private readonly baseTier: ProfilerDeps['baseTier']) {}

  add({ addresses, what, halted, lost }: SampleBatch): void {
    this.other += lost;
    halted.forEach((n, vcpu) => {
      this.halted[vcpu] = (this.halted[vcpu] ?? 0) + n;
      this.ran[vcpu] ??= 0;
    });
    for (let i = 0; i < addresses.length; i++) {
      const bits = what[i]!;
      const ticks = bits >>> SampleWhat.TICKS_SHIFT;
      const vcpu = (bits >>> SampleWhat.VCPU_SHIFT) & SampleWhat.VCPU_MASK;
      this.ran[vcpu] = (this.ran[vcpu] ?? 0) + ticks;
      const kind = bits & (SampleWhat.USER | SampleWhat.DEVICE | SampleWhat.TRANSLATED);
      let counts = this.places.get(addresses[i]!);
      if (!counts?.[kind]) {
        if (this.distinct === PROFILE_PLACES_MAX) {
          this.other += ticks;
          continue;
        }
        this.distinct++;
        if (!counts) this.places.set(addresses[i]!, (counts = new Array<number>(8).fill(0)));
      }
      counts[kind]! += ticks;
    }
  }

  result(): Pick<Profile, 'vcpus' | 'places' | 'otherTicks'> {
    const places: Place[] = [];
    for (const [address, counts] of this.places) {
      counts.forEach((ticks, kind) => {
        if (ticks === 0) return;
        places.push({
          address: `0x${address.toString(16)}`,
          user: (kind & SampleWhat.USER) !== 0,
          device: (kind & SampleWhat.DEVICE) !== 0,
          tier: kind & SampleWhat.TRANSLATED ? 'translator' : this.baseTier,
          ticks,
        });
      });
    }
    places.sort((a, b) => b.ticks - a.ticks);
    return { places, otherTicks: this.other, vcpus: this.ran.map((ran, i) => ({ ran, halted: this.halted[i] ?? 0 })) };
  }
}
