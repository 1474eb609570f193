/**
 * Shares of the processors, on a host that has none to spare: two machines that compute without end beside programs that do, too. What
 * counts is how the processor time of the one goes to that of the other. Takes some 20 s.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, expect, it } from 'vitest';
import { lodge, PATIENCE, ROOT, scratch } from './harness';

const children: ChildProcess[] = [];
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
});

const start = (command: string, args: readonly string[]): ChildProcess => {
  const child = spawn(command, args, { stdio: 'ignore' });
  children.push(child);
  return child;
};

it('a machine with three times the shares gets about three times the processor', { timeout: 120_000 * PATIENCE }, async () => {
  const folder = scratch();
  const data = ['--data', join(folder, 'data')];
  const floppy = join(folder, 'busy.img');
  const sector = Buffer.alloc(1_474_560);
  sector.set([0xeb, 0xfe]); // jmp $
  sector.set([0x55, 0xaa], 510);
  writeFileSync(floppy, sector);
  start(process.execPath, [join(ROOT, 'resources/tools/lodge.mjs'), 'serve', ...data, '--port', '0']);
  for (let i = 0; lodge(['list', ...data]).code !== 0 && i < 60; i++) await delay(500);
  const call = (...args: string[]): string => {
    const { code, stdout, stderr } = lodge([...args, ...data]);
    expect(code, stderr).toBe(0);
    return stdout;
  };
  for (const [name, shares] of [
    ['heavy', '300'],
    ['light', '100'],
  ] as const) {
    call('create', name, '--floppy', `${floppy},readonly`, '--memory', '16', '--cpu-shares', shares);
    call('start', name);
  }
  // So that there is somebody for each processor without the machines.
  for (let i = 0; i < availableParallelism(); i++) start(process.execPath, ['-e', 'for (;;);']);
  const used = (name: string): number => {
    const { vcpus } = JSON.parse(call('stats', name, '--json')) as { vcpus: { cpuSeconds: number }[] };
    return vcpus.reduce((sum, vcpu) => sum + vcpu.cpuSeconds, 0);
  };
  // A look a second: some until the quotas are what they should be.
  await delay(5000);
  const before = { heavy: used('heavy'), light: used('light') };
  await delay(6000);
  const heavy = used('heavy') - before.heavy;
  const light = used('light') - before.light;
  expect(light).toBeGreaterThan(0.1);
  expect(heavy / light).toBeGreaterThan(2);
  expect(heavy / light).toBeLessThan(4.5);
});
