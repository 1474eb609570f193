/** What a guest does with its devices, seen from both sides. */
import { createHash } from 'node:crypto';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { BOOT_SECONDS, boot, fixture, lodge, scratch } from './harness';

const sha256 = (data: Buffer): string => createHash('sha256').update(data).digest('hex');
const MIB = 1 << 20;

describe('devices of a Linux guest', () => {
  it('reads and writes a virtio disk and finds randomness', async (context) => {
    const guest = fixture(context, 'linux-image-cloud-amd64');
    const disk = join(scratch(), 'disk.img');
    const before = Buffer.alloc(8 * MIB);
    for (let i = 0; i < before.length; i += 4) before.writeUInt32LE((i * 2654435761) >>> 0, i);
    writeFileSync(disk, before);
    const { blocks } = statSync(disk);

    const run = boot(guest, { test: 'disk', append: 'quiet', extra: ['--disk', disk] });
    expect((await run.waitFor(/LODGE-DISK sectors=(\d+)\s/, BOOT_SECONDS))[1]).toBe(String(before.length / 512));
    expect((await run.waitFor(/LODGE-DISK read=(\w+)\s/, 60))[1]).toBe(sha256(before));
    const written = Buffer.from('lodge-guest-wrote-this\n'.repeat(MIB)).subarray(0, MIB);
    expect((await run.waitFor(/LODGE-DISK reread=(\w+)\s/, 60))[1]).toBe(sha256(written));
    expect((await run.waitFor(/LODGE-DISCARD code=(\d+)\s/, 60))[1]).toBe('0');
    expect((await run.waitFor(/LODGE-RNG bytes=(\d+)\s/, 60))[1]).toBe('256');
    expect((await run.ended(60)).code).toBe(0);

    const after = readFileSync(disk);
    expect(after.length).toBe(before.length);
    expect(after.subarray(MIB, 2 * MIB).equals(written), 'what the guest wrote is in the file').toBe(true);
    expect(after.subarray(0, MIB).equals(before.subarray(0, MIB)), 'the megabyte before is untouched').toBe(true);
    // 2 MiB from 4 MiB on were discarded: they are zeroes, and the host has their blocks again.
    before.fill(0, 4 * MIB, 6 * MIB);
    expect(after.subarray(2 * MIB).equals(before.subarray(2 * MIB)), 'everything after is untouched').toBe(true);
    expect(statSync(disk).blocks * 512).toBeLessThanOrEqual(blocks * 512 - 2 * MIB);
  });

  it('talks on the serial line in both directions', async (context) => {
    const run = boot(fixture(context, 'linux-image-cloud-amd64'), { test: 'shell', append: 'quiet' });
    await run.waitFor(/LODGE-SHELL/, BOOT_SECONDS);
    await run.waitFor(/lodge# /, 60);
    run.type('echo "<$((6 * 7))>"\n');
    await run.waitFor(/<42>/, 60);
    // More than a FIFO full at once must not be lost.
    const long = 'abcdefghijklmnopqrstuvwxyz0123456789'.repeat(5);
    run.type(`echo ${long} | wc -c\n`);
    await run.waitFor(new RegExp(`^${long.length + 1}\\r?$`, 'm'), 60);
    run.type('poweroff -f\n');
    expect((await run.ended(60)).code).toBe(0);
  });

  it('leaves with the code written to isa-debug-exit, if it was asked for', async (context) => {
    const run = boot(fixture(context, 'linux-image-amd64'), { test: 'exit', append: 'quiet', extra: ['--debug-exit'] });
    await run.waitFor(/LODGE-INIT/, BOOT_SECONDS);
    // The guest writes 0x15 through /dev/port, which the cloud kernel lacks; QEMU's rule is (value << 1) | 1.
    expect((await run.ended(60)).code).toBe((0x15 << 1) | 1);
  });

  it('has no isa-debug-exit otherwise', async (context) => {
    const run = boot(fixture(context, 'linux-image-amd64'), { test: 'exit', append: 'quiet' });
    await run.waitFor(/LODGE-EXIT ignored/, BOOT_SECONDS);
    expect((await run.ended(60)).code).toBe(0);
  });

  it('costs next to nothing while it is idle', async (context) => {
    const run = boot(fixture(context, 'linux-image-cloud-amd64'), { test: 'idle', append: 'quiet' });
    await run.waitFor(/LODGE-IDLE/, BOOT_SECONDS);
    const measure = async (seconds: number): Promise<number> => {
      const start = run.cpuSeconds();
      await new Promise((done) => setTimeout(done, seconds * 1000));
      return ((run.cpuSeconds() - start) / seconds) * 100;
    };
    // The kernel still has things to do right after its init was started.
    await measure(5);
    expect(await measure(15), 'percent of one core').toBeLessThan(5);
    run.kill();
  });

  it('shows its console on the screen and takes keys, through another shell', async (context) => {
    const guest = fixture(context, 'linux-image-amd64');
    const name = `screen-${process.pid}`;
    const env = { LODGE_DATA_DIR: scratch() };
    const run = boot(guest, { test: 'shell', append: 'quiet console=tty0', extra: ['--name', name], env });
    const screen = (): string => {
      const { code, stdout, stderr } = lodge(['text', name], env);
      return code === 0 ? stdout : stderr;
    };
    await expect.poll(screen, { timeout: BOOT_SECONDS * 1000, interval: 1000 }).toContain('lodge#');
    expect(lodge(['keys', name, "echo 'Shift: A_b' $((40+2))\n"], env).code).toBe(0);
    await expect.poll(screen, { timeout: 60_000, interval: 500 }).toContain('Shift: A_b 42');

    const file = join(scratch(), 'screen.png');
    expect(lodge(['screenshot', name, file], env).code).toBe(0);
    expect(readFileSync(file).subarray(1, 4).toString()).toBe('PNG');
    expect(lodge(['stop', name], env).code).toBe(0);
    await run.ended(30);
  });

  it('switches its screen to graphics', async (context) => {
    const name = `graphics-${process.pid}`;
    const env = { LODGE_DATA_DIR: scratch() };
    const run = boot(fixture(context, 'linux-image-amd64'), {
      test: 'idle',
      append: 'quiet console=tty0 console=ttyS0 lodge.screen=graphics',
      extra: ['--name', name],
      env,
    });
    await run.waitFor(/LODGE-IDLE/, BOOT_SECONDS);
    const file = join(scratch(), 'screen.png');
    const size = (): string => {
      if (lodge(['screenshot', name, file], env).code !== 0) return 'no screenshot';
      const png = readFileSync(file);
      return `${png.readUInt32BE(16)}×${png.readUInt32BE(20)}`;
    };
    // What EDID names as preferred; the text console is drawn in it.
    await expect.poll(size, { timeout: 30_000, interval: 500 }).toMatch(/^(1024×768|1280×800|1280×720|1280×1024)$/);
    expect(lodge(['text', name], env).stderr).toMatch(/graphics/);
    run.kill();
  });
});
