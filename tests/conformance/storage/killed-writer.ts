/** Lives on several disks at once until it is killed. Each disk's log gets one byte when a step begins and one when it is done. */
import { openSync, writeSync } from 'node:fs';
import { openDisk } from '../../../main/storage';
import { FakeMemory, life, perform } from './model';

interface Job {
  readonly path: string;
  readonly log: string;
  readonly seed: number;
  readonly sectors: number;
  readonly steps: number;
}

const jobs = JSON.parse(process.argv[2]!) as Job[];
await Promise.all(
  jobs.map(async ({ path, log, seed, sectors, steps }) => {
    const memory = new FakeMemory(4 << 20);
    const disk = await openDisk(path, { readOnly: false, native: memory });
    const fd = openSync(log, 'a');
    for (const step of life(seed, sectors, steps)) {
      writeSync(fd, 'b');
      await perform(disk, memory, step);
      writeSync(fd, 'd');
    }
  }),
);
process.stdout.write('finished');
setInterval(() => undefined, 1000);
