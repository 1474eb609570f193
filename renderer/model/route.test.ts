import { expect, it } from 'vitest';
import { formatRoute, parseRoute, type Route } from './route';

it.each<Route>([
  { view: 'library' },
  { view: 'new' },
  { view: 'new', image: '/images/a & b?#%.iso' },
  { view: 'vm', id: '0b8e…/x' },
  { view: 'preferences' },
])('round-trips %j', (route) => expect(parseRoute(formatRoute(route))).toEqual(route));

it('falls back to the library on anything else', () => {
  for (const hash of ['', '#', '#/', '#/vm', '#/nowhere/1']) expect(parseRoute(hash)).toEqual({ view: 'library' });
  expect(parseRoute('#/vm/%E0%A4%A')).toEqual({ view: 'vm', id: '%E0%A4%A' });
});
