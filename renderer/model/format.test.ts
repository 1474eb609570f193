import { describe, expect, it } from 'vitest';
import { baseName, formatBytes, formatDuration, formatMiB, plural, shortPath } from './format';

describe('format', () => {
  it.each([
    [0, '0 B'],
    [1023, '1023 B'],
    [1024, '1 KiB'],
    [1536, '1.5 KiB'],
    [1024 ** 2 - 1, '1 MiB'],
    [640 * 1024 * 1024, '640 MiB'],
    [1024 ** 3 * 100, '100 GiB'],
    [1024 ** 4 * 2.25, '2.25 TiB'],
  ])('formatBytes(%d) is %s', (bytes, text) => expect(formatBytes(bytes)).toBe(text));

  it('formats memory', () => {
    expect(formatMiB(512)).toBe('512 MiB');
    expect(formatMiB(2048)).toBe('2 GiB');
    expect(formatMiB(1536)).toBe('1.5 GiB');
  });

  it.each([
    [0.4, '0 s'],
    [75, '1 min 15 s'],
    [3660, '1 h 1 min'],
    [90_000, '1 d 1 h'],
  ])('formatDuration(%d) is %s', (seconds, text) => expect(formatDuration(seconds)).toBe(text));

  it('takes the name off paths of both kinds', () => {
    expect(baseName('/home/a/debian.iso')).toBe('debian.iso');
    expect(baseName('C:\\images\\disk.img')).toBe('disk.img');
    expect(baseName('/vms/')).toBe('vms');
  });

  it('keeps the file name when a path is shortened', () => {
    const short = shortPath(`/home/someone/${'deep/'.repeat(20)}debian-12.iso`, 40);
    expect(short.length).toBeLessThanOrEqual(40);
    expect(short.endsWith('/debian-12.iso')).toBe(true);
    expect(short.startsWith('/home/')).toBe(true);
    expect(shortPath('x'.repeat(80), 20)).toHaveLength(20);
  });

  it('counts', () => expect([plural(1, 'processor'), plural(2, 'processor')]).toEqual(['1 processor', '2 processors']));
});
