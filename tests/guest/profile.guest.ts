/** What is measured of a running guest, from another shell: an idle one idles, a busy one is busy where its symbols say. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { Profile, VmCounters } from '../../preload/contract';
import { BOOT_SECONDS, boot, fixture, lodge, scratch } from './harness';

interface Report {
  readonly total: number;
  readonly idle: number;
  readonly kernel: number;
  readonly byTier: Record<Profile['places'][number]['tier'], number>;
  readonly rows: { readonly where: string; readonly function: string; readonly ticks: number }[];
  readonly warnings: string[];
}

const LINKED_TEXT = 0xffffffff81000000n;

it('a profile names the kernel’s busy function, in spite of KASLR, and an idle guest idles', async (context) => {
  const data = scratch();
  const guest = fixture(context, 'linux-image-cloud-amd64');
  const run = boot(guest, { test: 'shell', append: 'quiet', extra: ['--name', 'profiled', '--data', data] });
  await run.waitFor(/lodge# /, BOOT_SECONDS);
  // Each with the symbol behind it, which is where it ends.
  run.type(`grep -E -A1 ' [tT] (_text|entry_SYSCALL_64|read_zero|clear_user[a-z_]*)$' /proc/kallsyms; echo "<END>"\n`);
  const [listing] = await run.waitFor(/grep[^]*?\n<END>/, 60);
  const symbols = [...listing.matchAll(/^([0-9a-f]{16}) (\w) (\w+)\r?$/gm)].map(([, address, , name]) => ({
    address: BigInt(`0x${address}`),
    // Those that only end another must not stand for all that follows them.
    type: /^(_text|entry_SYSCALL_64|read_zero|clear_user\w*)$/.test(name!) ? 'T' : 'D',
    name,
  }));
  const text = symbols.find(({ name }) => name === '_text');
  expect(text, listing).toBeDefined();
  // As the kernel's own System.map would have them.
  const slide = text!.address - LINKED_TEXT;
  const map = join(data, 'System.map');
  writeFileSync(map, symbols.map(({ address, type, name }) => `${(address - slide).toString(16)} ${type} ${name}\n`).join(''));

  const ask = <T>(...args: string[]): T => {
    const { code, stdout, stderr } = lodge([...args, '--json', '--data', data]);
    expect(code, stderr).toBe(0);
    return JSON.parse(stdout) as T;
  };
  const idle = ask<Report>('profile', 'profiled', '--seconds', '1', '--symbols', map);
  expect(idle.total).toBeGreaterThan(300);
  expect(idle.idle / idle.total).toBeGreaterThan(0.7);

  const before = ask<VmCounters>('stats', 'profiled');
  run.type('dd if=/dev/zero of=/dev/null bs=64k &\n');
  await run.waitFor(/lodge# /, 30);
  const busy = ask<Report>('profile', 'profiled', '--seconds', '2', '--symbols', map);
  expect(busy.idle / busy.total).toBeLessThan(0.2);
  // /dev/zero's read, which clears memory itself where the processor is good at that.
  const clearing = busy.rows.filter((row) => row.where === 'kernel' && /^(read_zero|clear_user)/.test(row.function));
  const ticks = clearing.reduce((sum, row) => sum + row.ticks, 0);
  expect(ticks / busy.total, JSON.stringify(busy.rows.slice(0, 5))).toBeGreaterThan(0.3);
  if (slide === 0n) expect(busy.warnings).toEqual([]);
  else expect(busy.warnings.join()).toContain(`0x${slide.toString(16)} behind`);

  const after = ask<VmCounters>('stats', 'profiled');
  expect(after.vcpus[0]!.cpuSeconds).toBeGreaterThan(before.vcpus[0]!.cpuSeconds);
  expect(after.vcpus[0]!.haltedSeconds!).toBeGreaterThan(0.7);
  expect(after.vcpus[0]!.exits.portOut).toBeGreaterThan(before.vcpus[0]!.exits.portOut);
  expect(after.vcpus[0]!.counters!.interrupts).toBeGreaterThan(0);
  run.kill();
});
