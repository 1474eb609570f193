/**
 * Four processors under load: stress-ng computes, checks memory and switches tasks, and the kernel must see neither a stall nor a lost
 * interrupt. LODGE_STRESS_SECONDS=60 is the long run; by default it is 15 s each, behind a boot.
 */
import { expect, it, type TestContext } from 'vitest';
import { BOOT_SECONDS, boot, fixture, PATIENCE, scratch, section, type KernelName } from './harness';
import { stressInitrd, type Arch } from './stress';

const SECONDS = Number(process.env['LODGE_STRESS_SECONDS'] ?? 15);
const MACHINES: readonly [arch: Arch, kernel: KernelName][] = [
  ['amd64', 'linux-image-cloud-amd64'],
  ['i386', 'linux-image-686-pae:i386'],
];

/** What Linux says when a processor, a timer or an interrupt went missing, or memory is not what it should be. */
const TROUBLE =
  /rcu.*stall|soft lockup|hard LOCKUP|hung_task|blocked for more than|nobody cared|lost.*interrupt|BUG:|Oops|general protection|segfault|bad page|bad pagetable|corrupt|clocksource.*unstable|Marking TSC unstable|APIC error|No irq handler|WARNING: CPU/i;

function media(context: TestContext, arch: Arch, initrd: string): string {
  try {
    return stressInitrd(arch, initrd, scratch());
  } catch (e) {
    return context.skip(`stress-ng cannot be had: ${(e as Error).message.split('\n')[0]}`);
  }
}

it.for(MACHINES)(
  '%s: four processors under stress',
  { timeout: (SECONDS + 600) * 1000 * PATIENCE },
  async ([arch, kernel], context) => {
    const guest = fixture(context, kernel);
    const run = boot(
      { ...guest, initrd: media(context, arch, guest.initrd) },
      { cpus: 4, memory: 512, append: `rdinit=/stress lodge.seconds=${SECONDS}` },
    );
    const init = await run.waitFor(/LODGE-INIT cpus=(\d+)/, BOOT_SECONDS * 2);
    expect(init[1]).toBe('4');
    // It starts its workers one after the other, and ends the last of them when it gets to it.
    const done = await run.waitFor(/LODGE-STRESS code=(\d+)/, SECONDS + 120);
    await run.waitFor(/LODGE-END interrupts/, 30);
    const exit = await run.ended(60);
    const text = exit.stdout;
    expect(done[1], text.slice(-4000)).toBe('0');
    expect(text.split(/\r?\n/).filter((line) => TROUBLE.test(line))).toEqual([]);
    // Every processor had its timer, and was called by others.
    const counts = (name: string): number[] => {
      const line = section(text, 'interrupts').find((l) => l.trimStart().startsWith(`${name}:`)) ?? '';
      return [...line.matchAll(/\s(\d+)(?=\s)/g)].map((m) => Number(m[1]));
    };
    for (const name of ['LOC', 'RES', 'CAL']) expect(counts(name), name).toHaveLength(4);
    for (const count of counts('LOC')) expect(count).toBeGreaterThan(SECONDS * 10);
    expect(exit.code, exit.stderr).toBe(0);
  },
);
