/** Who races: how each is started on one kernel, initial RAM disk and disk image, and how its rows are timed. */
import { spawn, spawnSync } from 'node:child_process';
import { CLI, runs } from '../lib.mjs';

const QEMU = 'qemu-system-x86_64';
const MEMORY_MIB = '512';
const DEADLINE_MS = 900_000;
const append = ({ only }) =>
  `console=ttyS0 quiet loglevel=3 mitigations=off nokaslr panic=-1 rdinit=/race-init race.only=${only}`;

const qemu =
  (...cpu) =>
  (race) => [
    QEMU,
    ['-nodefaults', '-no-user-config', '-no-reboot', '-display', 'none', '-accel', 'tcg', ...cpu, '-smp', race.cpus],
    ['-m', MEMORY_MIB, '-kernel', race.kernel, '-initrd', race.initrd, '-append', append(race)],
    ['-drive', `file=${race.disk},format=raw,if=virtio,cache=writeback`, '-serial', 'stdio'],
  ];

function lodge(race) {
  const machine = ['--cpus', race.cpus, '--memory', MEMORY_MIB, '--display', 'none', '--serial', 'stdio', '--disk', race.disk];
  const kernel = ['--kernel', race.kernel, '--initrd', race.initrd, '--append', append(race)];
  return [process.execPath, [CLI, 'run', '--accelerator', 'software'], machine, kernel];
}

/** The guest's programs in a chroot; its mounts are private and go with the process. */
function native({ root, disk, only }) {
  const enter = `set -e
mount --bind "$0" "$0"; mount -t proc proc "$0/proc"; mount --rbind /dev "$0/dev"; mount -t tmpfs -o size=400m tmp "$0/tmp"
touch "$0/tmp/disk"; mount --bind "$1" "$0/tmp/disk"
RACE_NODIRECT=1 RACE_DISK=/tmp/disk RACE_ONLY="$2" exec chroot "$0" /bin/sh /race/workloads.sh`;
  return ['unshare', ['--mount', '--propagation', 'private', 'sh', '-c', enter, root, disk, only]];
}

const noQemu = () => !runs(QEMU) && `there is no ${QEMU}`;
const noNamespace = () => spawnSync('unshare', ['--mount', 'true']).status !== 0 && 'a private mount namespace needs root';

/** Each with a reason why it cannot take part, if there is one. */
export const PEERS = {
  native: { command: native, missing: noNamespace },
  lodge: { command: lodge, missing: () => false },
  'tcg default': { command: qemu(), missing: noQemu },
  'tcg max': { command: qemu('-cpu', 'max'), missing: noQemu },
};

/** How far a guest's clock may be from the host's over a run: 3 %, and what the serial line's output may be late by, in s. */
const CLOCK_TOLERANCE = 0.03;
const OUTPUT_DELAY = 0.25;

/**
 * One run: { boot, seconds: {row: s}, sums: {row: text}, failed: [row], clock }. Rows are timed by the guest, as the output of its serial
 * line reaches the host in pieces and late; the guest's clock, which is emulated too, is held against the host's from its first line
 * to its last: clock is the ratio when it is wrong. boot is host time from the start of the process to the first line of init.
 */
export function run(peer, race) {
  const [command, ...args] = PEERS[peer].command(race);
  return new Promise((resolve, reject) => {
    const result = { boot: undefined, seconds: {}, sums: {}, failed: [], clock: undefined };
    const started = performance.now();
    const child = spawn(command, args.flat(), { stdio: ['ignore', 'pipe', 'pipe'] });
    let [rest, seen, errors, done] = ['', '', '', false];
    let booted = { host: 0, guest: 0 };
    const timer = setTimeout(() => child.kill('SIGKILL'), DEADLINE_MS);
    const line = (text, now) => {
      const mark = /^RACE-(BOOTED|DONE) .*mono=([\d.]+)/.exec(text);
      const row = /^RACE (\S+) ([\d.]+) rc=(\d+) sum=(\w+)/.exec(text);
      if (row) {
        result.seconds[row[1]] = Number(row[2]);
        result.sums[row[1]] = row[4];
        if (row[3] !== '0') result.failed.push(row[1]);
      } else if (mark?.[1] === 'BOOTED') {
        result.boot = now;
        booted = { host: now, guest: Number(mark[2]) };
      } else if (mark) {
        done = true;
        const [host, guest] = [now - booted.host, Number(mark[2]) - booted.guest];
        if (result.boot && Math.abs(host - guest) > host * CLOCK_TOLERANCE + OUTPUT_DELAY) result.clock = guest / host;
      }
    };
    child.stdout.on('data', (data) => {
      const now = (performance.now() - started) / 1000;
      const lines = (rest + data.toString('latin1')).replaceAll('\r', '').split('\n');
      rest = lines.pop();
      seen = `${seen}${data}`.slice(-2000);
      for (const text of lines) line(text, now);
    });
    child.stderr.on('data', (data) => (errors = `${errors}${data}`.slice(-2000)));
    child.on('error', reject);
    child.on('close', () => {
      clearTimeout(timer);
      if (done) resolve(result);
      else reject(new Error(`${peer} did not finish\n${seen}${errors}`));
    });
  });
}
