/** Debian's own kernels, from power-on through their init to power-off, on the reference tier. */
import { createHash, randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { unexpected } from './dmesg';
import { BOOT_SECONDS, boot, fixture, scratch, section, type KernelName } from './harness';

const KERNELS: readonly KernelName[] = ['linux-image-cloud-amd64', 'linux-image-amd64'];

describe.each(KERNELS)('%s', (name) => {
  it('boots to its init, finds the machine it was given and powers off', async (context) => {
    const guest = fixture(context, name);
    const run = boot(guest, { test: 'report', memory: 512, append: 'quiet', extra: ['--tier', 'interpreter'] });
    const init = await run.waitFor(/LODGE-INIT kernel=(\S+) machine=(\S+) cpus=(\d+)\s/, BOOT_SECONDS);
    expect(init.slice(1, 4)).toEqual([guest.release, 'x86_64', '1']);
    await run.waitFor(/LODGE-DONE/, BOOT_SECONDS);
    const exit = await run.ended(30);
    expect(exit.code, exit.stderr).toBe(0);

    const text = exit.stdout;
    expect(unexpected(section(text, 'dmesg')), 'kernel messages that QEMU’s PC does not show').toEqual([]);
    expect(text).not.toContain('LODGE-MODULE-FAILED');

    const serial = section(text, 'tty').join('\n');
    expect(serial).toMatch(/^0: uart:16550A port:000003F8 irq:4/m);
    expect(section(text, 'input').join('\n')).toContain('AT Translated Set 2 keyboard');
    expect(section(text, 'rtc')[0]).toContain('rtc_cmos');

    const pci = section(text, 'pci').map((line) => line.split(' ').slice(1, 3).join(':').replaceAll('0x', ''));
    expect(pci).toEqual(expect.arrayContaining(['8086:1237', '8086:7000', '8086:7113', '1234:1111']));
    const interrupts = section(text, 'interrupts').join('\n');
    expect(interrupts).toMatch(/IO-APIC\s+9-fasteoi\s+acpi/);
    expect(interrupts).toMatch(/IO-APIC\s+4-edge\s+ttyS0/);
    // What the kernel keeps for itself is about 40 MiB of 512.
    expect(Number.parseInt(section(text, 'memory')[0] ?? '', 10)).toBeGreaterThan(440 * 1024);
  });

  it('knows the time of day', async (context) => {
    const guest = fixture(context, name);
    const run = boot(guest, { test: 'report', append: 'quiet' });
    await run.waitFor(/LODGE-BEGIN rtc\r?\n/, BOOT_SECONDS);
    const [, seconds] = await run.waitFor(/rtc_cmos[^\n]*\n(\d+)\s/, 30);
    const apart = Math.abs(Number(seconds) - Date.now() / 1000);
    expect(apart, 'guest and host clocks differ by seconds').toBeLessThan(10);
    expect((await run.ended(60)).code).toBe(0);
  });
});

describe('linux-image-cloud-amd64 with more of everything', () => {
  it('brings up two processors', async (context) => {
    const run = boot(fixture(context, 'linux-image-cloud-amd64'), { cpus: 2 });
    const init = await run.waitFor(/LODGE-INIT .*cpus=(\d+)\s/, BOOT_SECONDS);
    expect(init[1]).toBe('2');
    // A stock kernel finds itself paravirtualized and uses what is offered.
    for (const line of [
      /Hypervisor detected: KVM/,
      /kvm-clock: Using msrs 4b564d01 and 4b564d00/,
      /kvm-guest: KVM setup pv remote TLB flush/,
      /kvm-guest: PV spinlocks enabled/,
      /clocksource: Switched to clocksource (kvm-clock|tsc)/,
    ]) {
      expect(run.text).toMatch(line);
    }
    expect((await run.ended(60)).code).toBe(0);
  });

  it('uses memory above 4 GiB', async (context) => {
    const run = boot(fixture(context, 'linux-image-cloud-amd64'), { test: 'report', memory: 5120, append: 'quiet' });
    await run.waitFor(/LODGE-BEGIN memory\r?\n/, BOOT_SECONDS * 2);
    const [, kib] = await run.waitFor(/(\d+) kB/, 30);
    expect(Number(kib)).toBeGreaterThan(4.7 * 1024 * 1024);
    expect((await run.ended(60)).code).toBe(0);
  });

  it('finds processors and interrupt wires in the MP tables when ACPI is off', async (context) => {
    const image = join(scratch(), 'sata.img');
    const data = randomBytes(2 << 20);
    writeFileSync(image, data);
    const run = boot(fixture(context, 'linux-image-amd64'), {
      cpus: 2,
      test: 'storage',
      append: 'acpi=off pci=nomsi',
      extra: ['--tier', 'interpreter', '--disk', `${image},bus=ahci`],
    });
    await run.waitFor(/Intel MultiProcessor Specification v1\.4/, BOOT_SECONDS);
    const [, cpus] = await run.waitFor(/LODGE-INIT .*cpus=(\d+)\s/, BOOT_SECONDS);
    expect(cpus).toBe('2');
    // Without its interrupt each of these reads would take half a minute.
    const [, read] = await run.waitFor(/LODGE-DISK sda read=(\w{64})/, 60);
    expect(read).toBe(createHash('sha256').update(data).digest('hex'));
    expect(run.text).not.toMatch(/ata\d.*(timeout|exception|lost interrupt)/i);
    run.kill();
  });

  it('runs in a code cache that is too small for it', async (context) => {
    const run = boot(fixture(context, 'linux-image-cloud-amd64'), {
      extra: ['--tier', 'translator', '--code-cache', '4'],
      env: { LODGE_TRACE: 'translator' },
    });
    const exit = await run.ended(BOOT_SECONDS);
    expect(exit.code, exit.stderr).toBe(0);
    expect(exit.stdout).toContain('LODGE-DONE');
    const evictions = [...exit.stderr.matchAll(/(\d+) evictions/g)].reduce((sum, [, n]) => sum + Number(n), 0);
    expect(evictions).toBeGreaterThan(2);
  });

  it('comes back from its own reboot', async (context) => {
    const run = boot(fixture(context, 'linux-image-cloud-amd64'), { test: 'reboot', append: 'quiet' });
    await run.waitFor(/LODGE-REBOOT/, BOOT_SECONDS);
    await run.waitFor(/LODGE-INIT/, BOOT_SECONDS);
    run.kill();
  });
});
