import { expect, it } from 'vitest';
import { codeCacheSizes } from './code-cache';
import { CODE_CACHE_MIB } from './types';

it('offers the default and what the machine has', () => {
  expect(codeCacheSizes()).toContain(CODE_CACHE_MIB);
  expect(codeCacheSizes(24).slice(0, 3)).toEqual([16, 24, 32]);
  expect(codeCacheSizes(64)).toEqual(codeCacheSizes());
});
