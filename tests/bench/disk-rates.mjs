/**
 * How fast a guest reads its disks: sequentially in pieces of 1 MiB, and 4 KiB at random places, past its page cache, on virtio-blk
 * and on IDE with DMA: the median of short stretches, after a first pass that does not count; the same kernel, initial RAM disk and image on Lodge and on QEMU (TCG), by turns. Prints medians and ratios.
 * `--rounds N` (3), `--mib N` (256), `--reads N` (4000), `--only lodge|qemu`, `--tier NAME`, `--format raw|qcow2`.
 */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { cpio } from '../../resources/tools/lib/cpio.mjs';
import { CLI, compileStatic, guestOf, median, needsGuest, option, runs } from './lib.mjs';

const [rounds, mib, reads] = [Number(option('rounds', 3)), Number(option('mib', 256)), Number(option('reads', 4000))];
const format = option('format', 'raw');
const DEADLINE_MS = 600_000;

const guest = guestOf('linux-image-amd64');
needsGuest(guest);

const folder = mkdtempSync(join(tmpdir(), 'lodge-rates-'));
const DEVICES = { virtio: '/dev/vda', ide: '/dev/sda' };

function prepare() {
  const program = join(folder, 'disk-read');
  compileStatic('tests/bench/disk-read.c', program, '-nostdlib', '-ffreestanding', '-fno-stack-protector');
  const init = `#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for list in order storage; do while read -r name; do insmod "/modules/$name.ko"; done </modules/$list; done 2>/dev/null
n=0; while [ ! -e /dev/vda -o ! -e /dev/sda ] && [ $n -lt 100 ]; do n=$((n + 1)); sleep 0.1; done
for device in ${Object.values(DEVICES).join(' ')}; do
  /bin/disk-read $device ${mib} 100 >/dev/null
  /bin/disk-read $device ${mib} ${reads}
done
echo LODGE-DONE
poweroff -f
`;
  const more = cpio([
    { name: 'bin/disk-read', kind: 'file', data: readFileSync(program) },
    { name: 'rates-init', kind: 'file', data: init },
  ]);
  writeFileSync(join(folder, 'initrd.gz'), Buffer.concat([readFileSync(guest.initrd), gzipSync(more)]));
  for (const name of Object.keys(DEVICES)) {
    const raw = join(folder, `${name}.raw`);
    const block = Buffer.alloc(1 << 20);
    for (let i = 0; i < block.length; i += 4) block.writeUInt32LE((i * 2654435761) >>> 0, i);
    writeFileSync(raw, Buffer.concat(Array.from({ length: mib }, () => block)));
    if (format === 'raw') continue;
    spawnSync(process.execPath, [CLI, 'disk', 'convert', raw, join(folder, `${name}.${format}`), '--format', format]);
  }
}

const append = 'console=ttyS0 quiet rdinit=/rates-init';
const image = (name) => join(folder, `${name}.${format}`);
const initrd = join(folder, 'initrd.gz');
const ENGINES = {
  lodge: () => [
    process.execPath,
    [
      CLI,
      'run',
      '--kernel',
      guest.kernel,
      '--initrd',
      initrd,
      '--append',
      append,
      '--memory',
      '512',
      '--serial',
      'stdio',
      '--display',
      'none',
      '--disk',
      image('virtio'),
      '--disk',
      `${image('ide')},bus=ide`,
      ...(option('tier') ? ['--tier', option('tier')] : []),
    ],
  ],
  qemu: () => [
    'qemu-system-x86_64',
    [
      '-accel',
      'tcg',
      '-cpu',
      'max',
      '-m',
      '512',
      '-nographic',
      '-no-reboot',
      '-kernel',
      guest.kernel,
      '-initrd',
      initrd,
      '-append',
      append,
      '-drive',
      `file=${image('virtio')},format=${format},if=virtio`,
      '-drive',
      `file=${image('ide')},format=${format},if=ide`,
    ],
  ],
};

/** {virtio: {sequential, random}, ide: …} */
function run(engine) {
  const [command, args] = ENGINES[engine]();
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let out = '';
    let errors = '';
    const timer = setTimeout(() => child.kill('SIGKILL'), DEADLINE_MS);
    child.stdout.on('data', (text) => (out += text));
    child.stderr.on('data', (text) => (errors += text));
    child.on('error', reject);
    child.on('exit', () => {
      clearTimeout(timer);
      const rates = {};
      for (const [name, device] of Object.entries(DEVICES)) {
        const found = new RegExp(`LODGE-RATE ${device} sequential=(\\d+) random=(\\d+)`).exec(out);
        if (!found) return reject(new Error(`${engine} said nothing of ${device}\n${out.slice(-2000)}${errors.slice(-2000)}`));
        rates[name] = { sequential: Number(found[1]), random: Number(found[2]) };
      }
      resolve(rates);
    });
  });
}

try {
  prepare();
  const engines = option('only') ? [option('only')] : ['lodge', ...(runs('qemu-system-x86_64') ? ['qemu'] : [])];
  const all = [];
  for (let round = 0; round < rounds; round++) for (const engine of engines) all.push({ engine, rates: await run(engine) });
  console.log(`${mib} MiB, ${format}, ${rounds} rounds; MiB/s and reads of 4 KiB a second\n`);
  for (const name of Object.keys(DEVICES)) {
    for (const what of ['sequential', 'random']) {
      const of = (engine) => median(all.filter((one) => one.engine === engine).map(({ rates }) => rates[name][what]));
      const ratio = engines.length > 1 ? `  lodge/qemu ${(of('lodge') / of('qemu')).toFixed(2)}` : '';
      console.log(`${name.padEnd(7)} ${what.padEnd(11)}${engines.map((engine) => `  ${engine} ${of(engine)}`).join('')}${ratio}`);
    }
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
