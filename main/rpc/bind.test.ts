import { describe, expect, it, vi } from 'vitest';
import { contract, LodgeError, type Handlers } from '../../preload/contract';
import { bind } from './bind';

const id = '6f1c6dd0-5a07-4b5e-9d2f-1b6f3a1c2d3e';
const handlers = (some: Partial<Handlers>): Handlers =>
  ({
    ...Object.fromEntries(Object.keys(contract).map((n) => [n, () => Promise.reject(new Error('not in this test'))])),
    ...some,
  }) as Handlers;

describe('bind', () => {
  it('passes validated input and output', async () => {
    const text = vi.fn(async () => ({ lines: ['a'], extra: 1 }));
    const call = bind(handlers({ 'vm.text': text }));
    expect(await call('vm.text', { id, more: 'dropped' })).toEqual({ ok: true, value: { lines: ['a'] } });
    expect(text).toHaveBeenCalledWith({ id });
  });

  it('takes nothing in each of its forms for calls without input', async () => {
    const call = bind(handlers({ 'vm.list': async () => [] }));
    for (const nothing of [undefined, null]) expect(await call('vm.list', nothing)).toEqual({ ok: true, value: [] });
  });

  it.each([['nope'], ['constructor'], ['__proto__'], [1], [undefined], [{ toString: () => 'vm.list' }]])(
    'refuses the call %j',
    async (name) => {
      expect(await bind(handlers({}))(name, {})).toMatchObject({ ok: false, error: { code: 'invalidInput' } });
    },
  );

  it('says which field is wrong', async () => {
    expect(await bind(handlers({}))('vm.keys', { id, keys: '' })).toMatchObject({
      ok: false,
      error: { code: 'invalidInput', message: expect.stringMatching(/^keys: /) as string },
    });
  });

  it('passes errors on, and keeps the stack of a bug in the detail alone', async () => {
    const known = new LodgeError({ code: 'fileInUse', message: 'In use.', fix: 'Stop it.' });
    expect(await bind(handlers({ 'vm.start': () => Promise.reject(known) }))('vm.start', { id })).toEqual({
      ok: false,
      error: known.toData(),
    });
    const error = vi.fn();
    const log = { debug: vi.fn(), info: vi.fn(), warn: vi.fn(), error };
    const bug = await bind(handlers({ 'vm.start': () => Promise.reject(new TypeError('x is undefined')) }), log)('vm.start', {
      id,
    });
    expect(bug).toMatchObject({ ok: false, error: { code: 'internal', message: 'x is undefined' } });
    expect(error).toHaveBeenCalledOnce();
  });

  it('does not hand out an answer that breaks the contract', async () => {
    const call = bind(handlers({ 'vm.text': async () => ({ lines: 5 }) as never }));
    expect(await call('vm.text', { id })).toMatchObject({ ok: false, error: { code: 'internal' } });
  });
});
