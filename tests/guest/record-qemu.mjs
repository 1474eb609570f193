#!/usr/bin/env node
/**
 * Renews dmesg-qemu.json: boots the fixtures on QEMU's PC, prints warnings and errors of the kernel in normalised form.
 * For development; needs qemu-system-x86_64. Look at the difference before committing it.
 */
import { spawnSync } from 'node:child_process';
import { ensureFixtures } from '../../resources/tools/lib/fixtures.mjs';

const found = new Set();
for (const [name, fixture] of Object.entries(ensureFixtures())) {
  if (fixture.problem) throw new Error(fixture.problem);
  for (const cpus of [1, 2]) {
    const devices = ['-device', 'virtio-rng-pci', '-display', 'none', '-serial', 'stdio', '-no-reboot'];
    const kernel = ['-kernel', fixture.kernel, '-initrd', fixture.initrd, '-append', 'console=ttyS0 quiet lodge.test=report'];
    const args = ['-M', 'pc', '-accel', 'tcg', '-m', '256', '-smp', String(cpus), ...devices, ...kernel];
    const { stdout } = spawnSync('qemu-system-x86_64', args, { encoding: 'utf8', timeout: 180_000, input: '' });
    const dmesg = /LODGE-BEGIN dmesg\r?\n([^]*?)LODGE-END dmesg/.exec(stdout);
    if (!dmesg) throw new Error(`${name} did not report:\n${stdout.slice(-2000)}`);
    for (const line of dmesg[1].split(/\r?\n/).filter(Boolean)) {
      console.error(`${name} -smp ${cpus}: ${line}`);
      found.add(line);
    }
  }
}
console.log([...found].join('\n'));
