import { expect, it } from 'vitest';
import { findOs, parseCatalogue } from './catalogue';

const debian = {
  id: 'debian12',
  name: 'Debian 12',
  family: 'linux',
  recommended: { memoryMiB: 2048, cpus: 2, diskGiB: 20 },
  minimum: { memoryMiB: 512, cpus: 1, diskGiB: 4 },
};

it('keeps good entries, drops bad and double ones, always has "other"', () => {
  const list = parseCatalogue({ schema: 1, systems: [debian, { id: 'broken' }, debian, 7] });
  expect(list.map((e) => e.id)).toEqual(['debian12', 'other']);
});

it.each([undefined, null, 'text', [], {}])('makes something usable of %j', (data) => {
  const list = parseCatalogue(data);
  expect(list.map((e) => e.id)).toEqual(['linux', 'other']);
  expect(findOs(list, 'never-heard-of').id).toBe('other');
});
