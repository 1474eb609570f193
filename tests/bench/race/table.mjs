/** The race's results as text. */
import { median } from '../lib.mjs';

const GROUPS = [
  ['shell and text', /^(sh-|sha|gzip|sort)/],
  ['integer (C)', /^c-(sieve|qsort|chase|strmem|aes|par2|jit)$/],
  ['floating point', /^(awk-fp|c-matmul|c-nbody)/],
  ['kernel', /^(fork-|c-(getpid|mmap|pipe)$)/],
  ['disk', /^blk-/],
  ['all', /^(?!boot)/],
];

const defined = (values) => values.filter((value) => value !== undefined);
const geomean = (values) =>
  values.length ? Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length) : undefined;
const number = (value) => (value === undefined ? '-' : value >= 100 ? value.toFixed(0) : value.toPrecision(3));

/** @param runs {peer, result}[] in any order */
export function table(runs) {
  const peers = [...new Set(runs.map(({ peer }) => peer))];
  const of = (peer) => runs.filter((one) => one.peer === peer).map(({ result }) => result);
  const rows = ['boot', ...new Set(runs.flatMap(({ result }) => Object.keys(result.seconds)))];
  const seconds = (peer, row) => {
    // QEMU's default processor lacks what some programs are quick with, and is quicker in others: its better one counts.
    if (peer === 'tcg') {
      const both = defined(['tcg default', 'tcg max'].map((one) => seconds(one, row)));
      return both.length ? Math.min(...both) : undefined;
    }
    if (row === 'boot') return median(defined(of(peer).map(({ boot }) => boot)));
    return median(defined(of(peer).map((result) => (result.failed.includes(row) ? undefined : result.seconds[row]))));
  };
  const ratio = (a, b, row) => {
    const [x, y] = [seconds(a, row), seconds(b, row)];
    return x && y ? x / y : undefined;
  };
  const ratios = [
    ['lodge', 'tcg'],
    ['lodge', 'native'],
    ['tcg', 'native'],
  ];
  const expected = Object.assign({}, ...of('native').map(({ sums }) => sums));
  const complaint = (peer, row) => {
    if (of(peer).some((result) => result.failed.includes(row))) return [`FAILED (${peer})`];
    if (of(peer).some(({ sums }) => row in expected && sums[row] !== expected[row])) return [`BAD SUM (${peer})`];
    return [];
  };
  const complaints = rows.map((row) => peers.flatMap((peer) => complaint(peer, row)).join(' '));
  const clocks = runs.filter(({ result }) => result.clock !== undefined);
  const wrong = clocks.map(
    ({ peer, result }) => `WRONG CLOCK (${peer}): ${number(result.clock)} s of the guest in one of the host`,
  );
  const head = ['row', ...peers.map((peer) => `${peer} s`), ...ratios.map((pair) => pair.join('/'))];
  const body = rows.map((row, i) => [
    row,
    ...peers.map((peer) => number(seconds(peer, row))),
    ...ratios.map(([a, b]) => number(ratio(a, b, row))),
    complaints[i],
  ]);
  const means = GROUPS.map(([name, rule]) => {
    const members = rows.filter((row) => rule.test(row));
    const mean = ([a, b]) => number(geomean(defined(members.map((row) => ratio(a, b, row)))));
    return [`${name} (${members.length})`, ...peers.map(() => ''), ...ratios.map(mean)];
  }).filter(([name]) => !name.endsWith('(0)'));
  const widths = head.map((text, i) => Math.max(...[head, ...body, ...means].map((cells) => cells[i].length), text.length));
  const text = (cells) =>
    cells
      .map((cell, i) => (i ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[0])))
      .join('  ')
      .trimEnd();
  const lines = [text(head), ...body.map(text), '', 'geometric means', ...means.map(text), ...wrong];
  return { text: lines.join('\n'), correct: [...complaints, ...wrong].every((words) => words === '') };
}
