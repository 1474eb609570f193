import { describe, expect, it } from 'vitest';
import { LodgeError } from '../../preload/contract';
import { inBootOrder, parseBoot } from './boot-order';
import { runStdio } from './early';
import { EscapeFilter } from './escape';
import { parseGdb, parseSize, parseTrace } from './program';
import { errorText, exitOf, parseDisk, parseMedium, parseSerial } from './run';
import { pick, unescape } from './verbs';

describe('EscapeFilter', () => {
  const run = (...chunks: string[]) => {
    const filter = new EscapeFilter();
    let text = '';
    for (const chunk of chunks) {
      const { forward, leave } = filter.push(Buffer.from(chunk, 'latin1'));
      text += Buffer.from(forward).toString('latin1');
      if (leave) return { text, left: true };
    }
    return { text, left: false };
  };
  it('leaves at Ctrl-] and at Ctrl-A X, split over chunks too', () => {
    expect(run('ls\x1dmore')).toEqual({ text: 'ls', left: true });
    expect(run('ls\x01', 'x')).toEqual({ text: 'ls', left: true });
    expect(run('\x01X')).toEqual({ text: '', left: true });
  });
  it('passes everything else, and one Ctrl-A for two', () => {
    expect(run('a\x01\x01b\x01c\x03')).toEqual({ text: 'a\x01b\x01c\x03', left: false });
  });
});

it('runStdio knows the streams before the line is parsed', () => {
  expect(runStdio(['run', '--kernel', 'k'], true)).toEqual({ stdin: 'pipe', stdout: 'inherit' });
  expect(runStdio(['run', '--kernel', 'k'], false)).toEqual({ stdin: 'inherit', stdout: 'inherit' });
  expect(runStdio(['run', '--serial=none'], true)).toEqual({ stdin: 'ignore', stdout: 'ignore' });
  expect(runStdio(['run', '--serial', 'log'], true)).toEqual({ stdin: 'ignore', stdout: 'ignore' });
  expect(runStdio(['run', '--serial', 'stdio', '--serial=log'], true)).toEqual({ stdin: 'pipe', stdout: 'inherit' });
  expect(runStdio(['run', '--serial', 'log', '--serial', 'stdio'], false)).toEqual({ stdin: 'inherit', stdout: 'inherit' });
  expect(runStdio(['run', '--serial', 'log', '--serial=none'], true)).toEqual({ stdin: 'ignore', stdout: 'ignore' });
  expect(runStdio(['run', '--help'], true)).toBeUndefined();
  expect(runStdio(['list'], true)).toBeUndefined();
});

it('parseDisk takes options from the end, and leaves commas in names alone', () => {
  expect(parseDisk('/a/b.img', 0)).toMatchObject({ path: '/a/b.img', bus: 'virtio', kind: 'disk', readOnly: false });
  expect(parseDisk('/a,b.img,bus=ide,readonly', 1)).toMatchObject({ id: 'disk1', path: '/a,b.img', bus: 'ide', readOnly: true });
  expect(parseDisk('/a.ISO', 0)).toMatchObject({ kind: 'disc', bus: 'ide', readOnly: true });
  expect(parseDisk('/a.img,format=raw,bus=ahci', 0)).toMatchObject({ path: '/a.img', format: 'raw', bus: 'ahci' });
  expect(() => parseDisk('/a,format=tar', 0)).toThrow(/no disk format "tar"/);
  expect(parseMedium('floppy', '/f.img,readonly', 1)).toMatchObject({
    id: 'floppy1',
    path: '/f.img',
    kind: 'floppy',
    readOnly: true,
  });
  expect(parseMedium('disc', '/d.iso', 0)).toMatchObject({ id: 'disc0', kind: 'disc', bus: 'ide', readOnly: true });
  expect(() => parseDisk('/a,bus=', 0)).toThrow(/no disk bus/);
});

it('parseSerial: COM1 first, the terminal once', () => {
  expect(parseSerial([])).toEqual([{ kind: 'stdio' }]);
  expect(parseSerial(['none'])).toEqual([{ kind: 'none' }]);
  expect(parseSerial(['/a.log', 'stdio'])).toEqual([{ kind: 'file', path: '/a.log' }, { kind: 'stdio' }]);
  expect(() => parseSerial(['stdio', 'stdio'])).toThrow(/terminal/);
  expect(() => parseSerial(['/a', 'none', '/b'])).toThrow(/2 serial ports/);
  expect(() => parseSerial(['/tmp/../a.log', '/a.log'])).toThrow(/same file/);
});

describe('--boot', () => {
  const disks = [parseDisk('/a.img', 0), parseMedium('disc', '/b.iso', 0), parseMedium('floppy', '/c.img', 0)];
  const order = (text: string): string[] => inBootOrder(disks, parseBoot(text)).map(({ kind }) => kind);
  it('puts what it names first, and leaves the rest as it was', () => {
    expect(order('cdrom')).toEqual(['disc', 'disk', 'floppy']);
    expect(order('Floppy, cdrom,disk')).toEqual(['floppy', 'disc', 'disk']);
    expect(order('menu,disc')).toEqual(['disc', 'disk', 'floppy']);
    expect([parseBoot('menu').menu, parseBoot('disk').menu]).toEqual([true, false]);
  });
  it('refuses what it does not know, what is named twice, and what the machine does not have', () => {
    for (const bad of ['', 'usb', 'disk,disk', 'disk;cdrom']) expect(() => parseBoot(bad), bad).toThrow(LodgeError);
    expect(() => inBootOrder(disks.slice(0, 1), parseBoot('cdrom'))).toThrow(/no disc to start from/);
  });
});

it('parseGdb', () => {
  expect(parseGdb('1234')).toEqual({ port: 1234, wait: false });
  expect(parseGdb('65535,wait')).toEqual({ port: 65535, wait: true });
  for (const bad of ['', '80', '65536', '1234,later', 'x', '1e4']) expect(() => parseGdb(bad)).toThrow();
});

it('parseTrace', () => {
  expect(parseTrace(undefined, undefined)).toBeUndefined();
  expect(parseTrace('/tmp/trace', undefined)).toEqual({ path: '/tmp/trace', last: 100_000 });
  expect(parseTrace('/tmp/trace', 7)).toEqual({ path: '/tmp/trace', last: 7 });
  expect(() => parseTrace(undefined, 7)).toThrow(/no trace/);
});

it('parseSize', () => {
  expect([parseSize('20G'), parseSize('1.5GiB'), parseSize('512mb'), parseSize('1048576')]).toEqual([
    20 * 2 ** 30,
    1.5 * 2 ** 30,
    512 * 2 ** 20,
    2 ** 20,
  ]);
  for (const bad of ['', 'x', '-1G', '5', '1P']) expect(() => parseSize(bad)).toThrow();
});

it('exitOf keeps a debug exit within what a shell can see', () => {
  expect(exitOf({ kind: 'debugExit', code: 33 })).toEqual({ code: 33 });
  expect(exitOf({ kind: 'debugExit', code: 511 }).code).toBe(255);
  expect(exitOf({ kind: 'powerOff' })).toEqual({ code: 0 });
});

it('unescape', () => {
  expect(unescape('ls\\n')).toBe('ls\n');
  expect(unescape('a\\\\n\\x41\\q')).toBe('a\\nA\\q');
});

it('pick prefers exact names and refuses doubt', () => {
  const all = [
    { id: 'aaaa1111', name: 'Box' },
    { id: 'aaaa2222', name: 'box' },
    { id: 'bbbb3333', name: 'Other' },
  ];
  const of = (x: { id: string; name: string }) => x;
  expect(pick(all, 'box', of).id).toBe('aaaa2222');
  expect(pick(all, 'other', of).id).toBe('bbbb3333');
  expect(pick(all, 'bbbb', of).id).toBe('bbbb3333');
  expect(() => pick(all, 'BOX', of)).toThrow(/several/);
  expect(() => pick(all, 'aaaa', of)).toThrow(/several/);
  expect(() => pick(all, 'no', of)).toThrow(/no machine/);
});

it('errorText says why there is no accelerator, and shows stacks of bugs only', () => {
  const error = (code: 'acceleratorUnavailable' | 'fileMissing') =>
    new LodgeError({ code, message: 'No.', fix: 'Do.', detail: 'because' });
  expect(errorText(error('acceleratorUnavailable'))).toBe('No.\nDo.\nbecause');
  expect(errorText(error('fileMissing'))).toBe('No.\nDo.');
});
