import { expect, it } from 'vitest';
import { OTHER_OS } from './catalogue';
import { moveSelection, searchVms } from './library';
import type { Vm } from './types';

const vm = (name: string, state: Vm['state'], notes = ''): Vm =>
  ({ definition: { name, os: 'other', notes }, state }) as unknown as Vm;
const list = [vm('VM 10', 'stopped'), vm('vm 9', 'running', 'mail server'), vm('Build', 'running')];

it('searches all words in name, system, state and notes', () => {
  const names = (search: string) => searchVms(list, search, [OTHER_OS]).map((v) => v.definition.name);
  expect(names('')).toEqual(['Build', 'vm 9', 'VM 10']);
  expect(names('RUNNING')).toEqual(['Build', 'vm 9']);
  expect(names('running mail')).toEqual(['vm 9']);
  expect(names('nothing')).toEqual([]);
});

it('moves in a list and in a grid without leaving it', () => {
  expect(moveSelection(5, 0, 1, 'ArrowDown')).toBe(1);
  expect(moveSelection(5, 4, 1, 'ArrowDown')).toBe(4);
  expect(moveSelection(5, 1, 3, 'ArrowDown')).toBe(4);
  expect(moveSelection(5, 2, 3, 'ArrowDown')).toBe(2);
  expect(moveSelection(5, 0, 3, 'ArrowLeft')).toBe(0);
  expect(moveSelection(5, 0, 1, 'ArrowLeft')).toBeNull();
  expect(moveSelection(5, -1, 1, 'ArrowDown')).toBe(0);
  expect(moveSelection(0, -1, 1, 'ArrowDown')).toBeNull();
  expect(moveSelection(5, 2, 1, 'a')).toBeNull();
});
