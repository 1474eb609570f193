/**
 * How fast a Linux guest runs: booting, the shell, programs in C, the kernel and a disk, under Lodge's own CPU, under QEMU's
 * (TCG, with its default processor and with all it has; the better one of each row counts) and natively, with the same programs and
 * by turns. Prints medians, ratios and their geometric means; exits with 1 when a row failed, its checksum is not the native
 * one, or the clock it was timed with is wrong.
 * `--rounds N` (3), `--only row,row`, `--cpus N` (1).
 */
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { cpio } from '../../resources/tools/lib/cpio.mjs';
import { at, compileStatic, guestOf, needsGuest, option } from './lib.mjs';
import { PEERS, run } from './race/peers.mjs';
import { table } from './race/table.mjs';

const DISK_MIB = '64';
const rounds = Number(option('rounds', 3));
const guest = guestOf('linux-image-cloud-amd64');
needsGuest(guest);

const folder = mkdtempSync(join(tmpdir(), 'lodge-race-'));
const race = {
  kernel: guest.kernel,
  initrd: join(folder, 'initrd.gz'),
  root: join(folder, 'root'),
  disk: join(folder, 'disk.raw'),
  only: option('only', ''),
  cpus: option('cpus', '1'),
};
const pristine = join(folder, 'pristine.raw');

function prepare() {
  const program = join(folder, 'ubench');
  compileStatic('tests/bench/race/ubench.c', program, '-lm');
  const more = cpio([
    { name: 'race', kind: 'folder' },
    { name: 'race/ubench', kind: 'file', data: readFileSync(program) },
    { name: 'race/workloads.sh', kind: 'file', data: readFileSync(at('tests/bench/race/workloads.sh')) },
    { name: 'race-init', kind: 'file', data: readFileSync(at('tests/bench/race/init.sh')) },
  ]);
  writeFileSync(race.initrd, Buffer.concat([readFileSync(guest.initrd), gzipSync(more)]));
  for (const name of ['bin', 'race', 'proc', 'dev', 'tmp']) mkdirSync(join(race.root, name), { recursive: true });
  copyFileSync(guest.busybox, join(race.root, 'bin/busybox'));
  const applets = spawnSync(guest.busybox, ['--list'], { encoding: 'utf8' }).stdout.split('\n');
  for (const name of applets) if (name && name !== 'busybox') symlinkSync('busybox', join(race.root, 'bin', name));
  copyFileSync(program, join(race.root, 'race/ubench'));
  copyFileSync(at('tests/bench/race/workloads.sh'), join(race.root, 'race/workloads.sh'));
  if (spawnSync(program, ['gen', 'bytes', pristine, DISK_MIB], { stdio: 'inherit' }).status !== 0) process.exit(1);
}

try {
  prepare();
  const peers = Object.keys(PEERS).filter((peer) => {
    const reason = PEERS[peer].missing();
    if (reason) console.log(`${peer} skipped: ${reason}`);
    return !reason;
  });
  const runs = [];
  for (let round = 0; round < rounds; round++) {
    // There and back, so that no peer always follows the same one.
    for (const peer of round % 2 ? [...peers].reverse() : peers) {
      copyFileSync(pristine, race.disk);
      runs.push({ peer, result: await run(peer, race) });
    }
  }
  const { text, correct } = table(runs);
  console.log(`${cpus()[0]?.model}, ${cpus().length} processors; guests with ${race.cpus}; ${rounds} rounds\n\n${text}`);
  if (!correct) process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
