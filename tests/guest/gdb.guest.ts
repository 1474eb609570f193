/** The real gdb on a real kernel. About 20 s on an idle core: a boot to a shell, and the beginning of another. */
import { spawnSync } from 'node:child_process';
import { expect, it, type TestContext } from 'vitest';
import { freePort } from '../free-port';
import { BOOT_SECONDS, boot, fixture, PATIENCE, scratch, type KernelName } from './harness';

function needGdb(context: TestContext): void {
  if (spawnSync('gdb', ['--version']).status !== 0) context.skip('gdb is not installed');
}

function gdb(port: number, commands: readonly string[]): string {
  const args = ['set architecture i386:x86-64', `target remote 127.0.0.1:${port}`, ...commands].flatMap((c) => ['-ex', c]);
  const result = spawnSync('gdb', ['-nx', '-batch', ...args], { cwd: scratch(), encoding: 'utf8', timeout: 100_000 * PATIENCE });
  return `${result.stdout}${result.stderr}`;
}

it('gdb breaks in start_kernel, steps, reads cr3, watches memory and lets the guest go', async (context) => {
  needGdb(context);
  const port = await freePort();
  const run = boot(fixture(context, 'linux-image-cloud-amd64' satisfies KernelName), {
    cpus: 2,
    append: 'nokaslr rdinit=/bin/sh quiet',
    extra: ['--gdb', String(port)],
  });
  // Debian's System.map is in a package of a gigabyte; the kernel knows its own symbols.
  await run.waitFor(/\/ # /, BOOT_SECONDS);
  run.type('mount -t proc proc /proc; /bin/busybox grep -w -e start_kernel -e jiffies /proc/kallsyms\n');
  const symbols = new Map<string, string>();
  while (symbols.size < 2) {
    const [, address, name] = await run.waitFor(/([0-9a-f]{16}) \w (start_kernel|jiffies)\r/, 30);
    symbols.set(name!, address!);
  }
  const start = symbols.get('start_kernel')!;
  await run.waitFor(/\/ # /, 10);

  const said = gdb(port, [
    'info threads',
    `x/1xg 0x${symbols.get('jiffies')}`,
    `watch *(long *)0x${symbols.get('jiffies')}`,
    'continue',
    'delete',
    // The kernel has filled its freed code with INT3, and over an INT3 that it did not write itself gdb never steps.
    `set {char}0x${start} = 0`,
    `hbreak *0x${start}`,
    'monitor reset',
    'continue',
    'printf "at %lx\\n", $rip',
    'printf "cr3 %lx cr0 %lx efer %lx\\n", $cr3, $cr0, $efer',
    'stepi',
    'printf "stepped %d\\n", $rip != 0x' + start,
    'x/2i $rip',
    'monitor translate 0x' + start,
    'delete',
    'detach',
  ]);
  expect(said).toMatch(/Thread 2 \(CPU 1 \((halted|runnable)\)\)/);
  expect(said).toMatch(/Hardware watchpoint 1: /);
  const [, before, after] = /Old value = (\d+)\s+New value = (\d+)/.exec(said) ?? expect.fail(said);
  expect(Number(after)).toBeGreaterThan(Number(before));
  expect(said).toMatch(/Breakpoint 2, 0x/);
  expect(said).toContain(`at ${start}`);
  const [, cr3, cr0, efer] = /cr3 (\w+) cr0 (\w+) efer (\w+)/.exec(said) ?? expect.fail(said);
  expect(BigInt(`0x${cr3}`) & 0xfffn).toBe(0n);
  expect(BigInt(`0x${cr3}`)).toBeGreaterThan(0n);
  // Paging and long mode are on by then.
  expect(BigInt(`0x${cr0}`) >> 31n).toBe(1n);
  expect((BigInt(`0x${efer}`) >> 10n) & 1n).toBe(1n);
  expect(said).toContain('stepped 1');
  expect(said).toMatch(/^0x[0-9a-f]+\r?$/m);
  expect(said).toContain('detached');

  await run.waitFor(/\/ # /, BOOT_SECONDS);
  run.type('/bin/busybox poweroff -f\n');
  expect((await run.ended(30)).code).toBe(0);
});
