import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { admit, OVERHEAD_MIB, reserveMiB } from './admission';

const host = { totalMiB: 16384, availableMiB: 8192 };

describe('admission', () => {
  it('takes what fits and offers what would fit', () => {
    expect(admit(4096, host, [])).toEqual({ ok: true, value: undefined });
    const refused = admit(65536, host, []);
    expect(refused).toMatchObject({ ok: false, error: { fitsMiB: 8192 - 512 - OVERHEAD_MIB, promisedMiB: 0 } });
  });

  it('counts what running machines have not touched yet', () => {
    const running = [{ memoryMiB: 4096, residentMiB: 1024 }];
    expect(admit(4400, host, running).ok).toBe(false);
    expect(admit(4400, host, [{ memoryMiB: 4096, residentMiB: 4096 + OVERHEAD_MIB }]).ok).toBe(true);
  });

  it('always lets in what it says would fit, and nothing above', () => {
    const machine = fc.record({ memoryMiB: fc.nat(10_000), residentMiB: fc.nat(20_000) });
    fc.assert(
      fc.property(fc.nat(100_000), fc.nat(50_000), fc.array(machine, { maxLength: 5 }), (wanted, available, running) => {
        const h = { totalMiB: 65536, availableMiB: available };
        const result = admit(wanted, h, running);
        if (result.ok) return;
        expect(admit(result.error.fitsMiB, h, running).ok || result.error.fitsMiB === 0).toBe(true);
        expect(admit(result.error.fitsMiB + 1, h, running).ok).toBe(false);
      }),
    );
  });

  it('reserves something on small and not everything on large hosts', () => {
    expect(reserveMiB(1024)).toBe(128);
    expect(reserveMiB(1 << 20)).toBe(1024);
  });
});
