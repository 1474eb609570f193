import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LineSplitter, LineTail } from './lines';

describe('LineSplitter', () => {
  it('gives the same lines however the stream is cut', () => {
    fc.assert(
      fc.property(fc.array(fc.stringMatching(/^[a-z ]{0,12}$/)), fc.array(fc.nat(8)), (lines, cuts) => {
        const text = lines.map((l) => l + '\n').join('');
        const got: string[] = [];
        const splitter = new LineSplitter((l) => got.push(l), 100);
        let at = 0;
        for (const cut of cuts) {
          splitter.push(text.slice(at, at + cut));
          at += cut;
        }
        splitter.push(text.slice(at));
        splitter.end();
        expect(got).toEqual(lines);
      }),
    );
  });

  it('reports a line that is too long once, and goes on with the next', () => {
    const got: string[] = [];
    let overflows = 0;
    const splitter = new LineSplitter(
      (l) => got.push(l),
      4,
      () => overflows++,
    );
    splitter.push('abcdefgh');
    splitter.push('ijkl\nok\r\n');
    expect(got).toEqual(['ok']);
    expect(overflows).toBe(1);
  });
});

it('LineTail keeps the last lines and the unfinished one', () => {
  const tail = new LineTail(2, 10);
  tail.push('one\ntwo\nthr');
  tail.push('ee');
  expect(tail.text()).toBe('two\nthree');
});
