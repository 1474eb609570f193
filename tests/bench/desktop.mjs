/**
 * Debian with a desktop (Xfce on X), from power-on to its session: under Lodge's own CPU and under QEMU's (TCG, `-cpu max`), by turns, from the
 * same disk with the same memory; and what Lodge's process then takes beside guest memory and code cache. Exits with 1 when that is
 * more than is promised, or translated code more than its limit. Needs root and mmdebstrap for the disk, which is kept.
 * `--rounds N` (1).
 */
import { execFileSync, spawn } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { hashOf } from '../../resources/tools/lib/common.mjs';
import { DESKTOP, DESKTOP_IS_UP, biosDisk, debianRoot } from '../../resources/tools/lib/debian-disk.mjs';
import { HOME } from '../../resources/tools/lib/packages.mjs';
import { CLI, median, needs, option, runs } from './lib.mjs';

const QEMU = 'qemu-system-x86_64';
const PROMISED_MIB = 150;
const MIB = 1 << 20;
const DEADLINE_MS = 600_000;
/** For what the session still starts behind its last program. */
const SETTLE_MS = 10_000;
needs([CLI, existsSync(CLI)], ['mmdebstrap', runs('mmdebstrap')], ['root', process.getuid() === 0]);

const work = mkdtempSync(join(tmpdir(), 'lodge-desktop-'));
const data = join(work, 'data');
const disk = join(work, 'disk.img');

/** The installed system, made once. */
function pristine() {
  const kept = join(HOME, 'media', `desktop-${hashOf(['resources/tools/lib/debian-disk.mjs']).slice(0, 12)}.img`);
  if (existsSync(kept)) return kept;
  mkdirSync(join(kept, '..'), { recursive: true });
  const root = join(work, 'root.ext4');
  debianRoot(root, work, DESKTOP);
  biosDisk(disk, work, root);
  rmSync(root);
  copyFileSync(disk, `${kept}.new`);
  renameSync(`${kept}.new`, kept);
  return kept;
}

const machine = [
  'run',
  '--data',
  data,
  '--name',
  'desktop',
  '--memory',
  '1024',
  '--video',
  'virtio',
  '--accelerator',
  'software',
];
const PEERS = {
  lodge: [process.execPath, [CLI, ...machine, '--disk', `${disk},bus=virtio`, '--serial', 'stdio']],
  'tcg max': [
    QEMU,
    ['-nodefaults', '-no-user-config', '-display', 'none', '-accel', 'tcg', '-cpu', 'max', '-m', '1024', '-device', 'virtio-vga']
      .concat('-drive', `file=${disk},format=raw,if=virtio,cache=writeback`, '-serial', 'stdio'),
  ],
}; // prettier-ignore

/** Proportional MiB of the VM process without guest memory; translated code counts once, though it is mapped twice. */
function residentMiB() {
  const ours = readdirSync('/proc').find((pid) => {
    try {
      return (
        /^\d+$/.test(pid) &&
        readFileSync(`/proc/${pid}/maps`, 'utf8').includes('lodge-ram') &&
        readFileSync(`/proc/${pid}/environ`, 'utf8').includes(work)
      );
    } catch {
      return false;
    }
  });
  if (!ours) throw new Error('the VM process was not found');
  const mappings = readFileSync(`/proc/${ours}/smaps`, 'utf8').split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m);
  return (
    mappings
      .filter((text) => !text.split('\n', 1)[0].includes('lodge-ram'))
      .reduce((sum, text) => sum + Number(/^Pss: +(\d+)/m.exec(text)?.[1] ?? 0), 0) / 1024
  );
}

/** Seconds to the desktop; behind that, `look` at the running machine. */
async function start(peer, look) {
  const [command, args] = PEERS[peer];
  const started = performance.now();
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, LODGE_BENCH: work } });
  const timer = setTimeout(() => child.kill('SIGKILL'), DEADLINE_MS);
  const ended = new Promise((done) => child.on('exit', done));
  let text = '';
  const seconds = await new Promise((resolve, reject) => {
    child.on('exit', () => reject(new Error(`${peer} ended before there was a desktop:\n${text.slice(-2000)}`)));
    child.stdout.on('data', (part) => {
      text += part;
      if (text.includes(DESKTOP_IS_UP)) resolve((performance.now() - started) / 1000);
    });
  });
  clearTimeout(timer);
  if (look) await look();
  child.kill('SIGTERM');
  await ended;
  return seconds;
}

async function look() {
  await new Promise((done) => setTimeout(done, SETTLE_MS));
  const stats = JSON.parse(
    execFileSync(process.execPath, [CLI, 'stats', '--data', data, 'desktop', '--json'], { encoding: 'utf8' }),
  );
  const { codeBytes, codeLimit, flushes, units } = stats.vcpus[0].translator;
  const beside = residentMiB() - codeBytes / MIB;
  console.log(
    `${units} units; code cache ${(codeBytes / MIB).toFixed(0)} of ${codeLimit / MIB} MiB, ${flushes} evictions; beside guest memory and code ${beside.toFixed(0)} MiB`,
  );
  if (codeBytes > codeLimit || !(beside < PROMISED_MIB)) process.exitCode = 1;
}

try {
  const image = pristine();
  const times = Object.fromEntries(Object.keys(PEERS).map((peer) => [peer, []]));
  for (let round = 0; round < Number(option('rounds', 1)); round++) {
    for (const peer of Object.keys(PEERS)) {
      if (peer !== 'lodge' && !runs(QEMU)) continue;
      copyFileSync(image, disk);
      times[peer].push(await start(peer, peer === 'lodge' && look));
    }
  }
  for (const [peer, seconds] of Object.entries(times)) {
    if (seconds.length) console.log(`${peer}: desktop after ${median(seconds).toFixed(1)} s`);
  }
} finally {
  rmSync(work, { recursive: true, force: true });
}
