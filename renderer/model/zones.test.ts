import { describe, expect, it } from 'vitest';
import { cpuZones, defaultCpus, defaultMemoryMiB, memoryStops, memoryZones, positionOf, valueAt, zoneOf } from './zones';

describe('memory zones', () => {
  it('ends green before, amber at what is free now', () => {
    const z = memoryZones({ memoryMiB: 16384, availableMiB: 9000 });
    expect(z).toEqual({ greenTo: 9000 - 1638.4 - 0.6, amberTo: 9000, max: 16384 });
    expect([zoneOf(z, 1024), zoneOf(z, 8000), zoneOf(z, 9000), zoneOf(z, 9001)]).toEqual(['green', 'amber', 'amber', 'red']);
  });

  it('has no green zone on a full host and stays ordered', () => {
    for (const availableMiB of [0, 100, 511, 4000]) {
      const z = memoryZones({ memoryMiB: 4096, availableMiB });
      expect(z.greenTo).toBeGreaterThanOrEqual(0);
      expect(z.greenTo).toBeLessThanOrEqual(z.amberTo);
      expect(z.amberTo).toBeLessThanOrEqual(z.max);
    }
    expect(zoneOf(memoryZones({ memoryMiB: 4096, availableMiB: 300 }), 64)).toBe('amber');
  });

  it('never trusts a report of more free memory than there is', () => {
    expect(memoryZones({ memoryMiB: 2048, availableMiB: 9999 }).amberTo).toBe(2048);
  });
});

describe('slider stops', () => {
  it('grow and end at the host size', () => {
    expect(memoryStops(6000)).toEqual([64, 128, 256, 512, 1024, 1536, 2048, 3072, 4096, 6000]);
    expect(memoryStops(32)).toEqual([32]);
  });

  it('positions and values are each other’s inverse', () => {
    const stops = memoryStops(15_800);
    for (const v of [64, 100, 512, 1000, 1536, 5000, 15_800]) expect(valueAt(stops, positionOf(stops, v))).toBe(v);
    expect(positionOf(stops, 1)).toBe(0);
    expect(positionOf(stops, 1e9)).toBe(stops.length - 1);
  });
});

describe('defaults', () => {
  it('take the recommendation when it fits, else what fits, else the minimum', () => {
    const roomy = memoryZones({ memoryMiB: 16384, availableMiB: 12000 });
    const tight = memoryZones({ memoryMiB: 4096, availableMiB: 1700 });
    const full = memoryZones({ memoryMiB: 4096, availableMiB: 200 });
    expect(defaultMemoryMiB(2048, 512, roomy)).toBe(2048);
    expect(defaultMemoryMiB(2048, 512, tight)).toBe(1152);
    expect(defaultMemoryMiB(2048, 512, full)).toBe(512);
  });

  it('processors: half of the host, four at most, never under what the OS needs', () => {
    expect([1, 2, 4, 8, 32].map((n) => defaultCpus(1, n))).toEqual([1, 1, 2, 4, 4]);
    expect(defaultCpus(2, 2)).toBe(2);
    expect(cpuZones({ logicalCpus: 8 })).toEqual({ greenTo: 4, amberTo: 8, max: 8 });
  });
});
