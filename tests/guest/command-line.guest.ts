/** What `lodge run` answers when it cannot do what it was asked for, and how it ends. */
import { existsSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { BOOT_SECONDS, boot, fixture, lodge, scratch } from './harness';

describe('lodge run', () => {
  it('ends with 124 at its time limit and leaves a screenshot', async (context) => {
    const file = join(scratch(), 'last.png');
    const run = boot(fixture(context, 'linux-image-cloud-amd64'), {
      test: 'idle',
      append: 'quiet console=tty0',
      extra: ['--timeout', '20', '--screenshot', file],
    });
    expect((await run.ended(BOOT_SECONDS)).code).toBe(124);
    expect(existsSync(file)).toBe(true);
    expect(statSync(file).size).toBeGreaterThan(200);
  });

  it.each([
    ['a kernel that is not there', () => ['--kernel', join(scratch(), 'nowhere')], /nowhere/],
    [
      'a kernel of no bytes',
      () => {
        const file = join(scratch(), 'empty-kernel');
        writeFileSync(file, '');
        return ['--kernel', file];
      },
      /empty-kernel/,
    ],
    [
      'a kernel that is a text',
      () => {
        const file = join(scratch(), 'letter.txt');
        writeFileSync(file, 'Dear reader,\n'.repeat(500));
        return ['--kernel', file];
      },
      /letter\.txt/,
    ],
  ])('says what is wrong with %s', (_what, args, reason) => {
    const { code, stdout, stderr } = lodge(['run', ...args(), '--serial', 'stdio']);
    expect(code).not.toBe(0);
    expect(code).not.toBe(124);
    expect(stderr).toMatch(reason);
    // A sentence for a person, not a stack.
    expect(stderr).not.toMatch(/^\s+at /m);
    expect(stdout).toBe('');
  });

  it('refuses a disk of no bytes, and more memory than there is', (context) => {
    const guest = fixture(context, 'linux-image-cloud-amd64');
    const empty = join(scratch(), 'empty.img');
    writeFileSync(empty, '');
    const disk = lodge(['run', '--kernel', guest.kernel, '--disk', empty]);
    expect(disk.code).not.toBe(0);
    expect(disk.stderr).toMatch(/empty\.img/);

    const memory = lodge(['run', '--kernel', guest.kernel, '--memory', String(900 * 1024)]);
    expect(memory.code).not.toBe(0);
    expect(memory.stderr).toMatch(/memory/i);
  });

  it('reports the processor when a guest runs into nothing', () => {
    // A "kernel" with a valid header whose protected-mode code is empty: the processor executes zeroes until it cannot.
    const file = join(scratch(), 'hollow');
    const image = Buffer.alloc(64 * 1024);
    image.writeUInt16LE(0xaa55, 0x1fe);
    image.write('HdrS', 0x202, 'latin1');
    image.writeUInt16LE(0x020c, 0x206); // boot protocol 2.12
    image.writeUInt8(4, 0x1f1); // set-up sectors
    image.writeUInt8(1, 0x211); // loaded high
    image.writeUInt32LE(0x100000, 0x214);
    image.writeUInt32LE(0x7fffffff, 0x22c);
    image.writeUInt32LE(0x1000000, 0x230);
    image.writeUInt8(1, 0x234); // relocatable
    image.writeUInt16LE(1, 0x236); // 64-bit entry
    image.writeUInt32LE(0x7ff, 0x238);
    image.writeUInt32LE(0x1000000, 0x258); // preferred address
    image.writeUInt32LE(0x1000000, 0x260); // memory it needs
    writeFileSync(file, image);
    truncateSync(file, 64 * 1024);
    const { code, stderr } = lodge(['run', '--kernel', file, '--memory', '64', '--timeout', '30']);
    expect(code).not.toBe(0);
    expect(code, 'it stopped by itself').not.toBe(124);
    expect(stderr).toMatch(/rip/i);
  });
});
