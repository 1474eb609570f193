/** Kernels that are not Linux: multiboot, multiboot2 and PVH, each as a program of a few instructions that tells what it was given. */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { GuestRun, lodge, ROOT, scratch } from './harness';

function assemble(protocol: number): string {
  const file = join(scratch(), 'kernel');
  const flags = [
    '-m32',
    '-nostdlib',
    '-static',
    '-no-pie',
    '-Wl,-Ttext=0x100000,-N,--build-id=none,--section-start=.note.Xen=0x110000',
    `-DPROTOCOL=${protocol}`,
  ];
  const result = spawnSync('gcc', [...flags, '-o', file, join(ROOT, 'tests/guest/kernel.S')], { encoding: 'utf8' });
  if (result.status !== 0) throw new Error(result.stderr ?? String(result.error));
  return file;
}

describe.each([
  ['multiboot', 1],
  ['multiboot2', 2],
  ['PVH', 3],
] as const)('%s', (_name, protocol) => {
  it('gets its command line and its modules', async () => {
    const kernel = assemble(protocol);
    const [first, second] = [join(scratch(), 'first'), join(scratch(), 'second')];
    writeFileSync(first, 'contents of the first\n');
    writeFileSync(second, 'and of the second\n');
    const run = new GuestRun([
      ...['run', '--kernel', kernel, '--append', 'root=none answer=42', '--module', `${first}=one a=b`, '--module', second],
      ...['--memory', '32', '--debug-exit', '--serial', 'stdio'],
    ]);
    const exit = await run.ended(60);
    expect(exit.stdout).toBe('KERNEL\nroot=none answer=42\none a=b\ncontents of the first\n\nand of the second\n');
    // isa-debug-exit makes (value << 1) | 1 of it.
    expect(exit.code, exit.stderr).toBe((42 << 1) | 1);
  });
});

it('says what is wrong with a kernel that fits nowhere', () => {
  const file = join(scratch(), 'high');
  const image = Buffer.alloc(4096);
  // multiboot with addresses: header at itself, loaded at 2 GiB.
  [0x1badb002, 0x10000, -(0x1badb002 + 0x10000), 0x80000000, 0x80000000, 0, 0, 0x80000000].forEach((word, i) =>
    image.writeUInt32LE(word >>> 0, 4 * i),
  );
  writeFileSync(file, image);
  const { code, stderr } = lodge(['run', '--kernel', file, '--memory', '64', '--serial', 'stdio']);
  expect(code).toBe(1);
  expect(stderr).toMatch(/wants to lie where the machine has no memory/);
});
