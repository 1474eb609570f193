/**
 * Images whose writer ended at a random moment of a random life: killed, or with the host's power cut, which may lose and tear
 * everything that was not synced. What was flushed must be there, nothing may be foreign, no check may find anything
 * corrupt, and the image must go on being of use. True kills of true processes: kills.test.ts.
 * LODGE_CRASH_SEQUENCES: lives of each kind (2,000 in a development run); each ends both ways.
 */
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checkDisk, openDisk } from '../../../main/storage';
import { hasQemu, KINDS, NO_QEMU, qemuCheck, QEMU_NAME, QEMU_KINDS, qemuImg, type Kind } from './images';
import { FakeMemory, life, Model, perform, random, wholeDisk } from './model';
import { Recorder, RecordingMemory, recording } from './recorder';

const SEQUENCES = Number(process.env['LODGE_CRASH_SEQUENCES'] ?? 3);
const FIRST_SEED = Number(process.env['LODGE_CRASH_SEED'] ?? 1);
const STEPS = 40;
const SECTORS = 5 * 2048 + 8;

let dir: string;
beforeAll(async () => void (dir = await mkdtemp(join(process.env['LODGE_CRASH_DIR'] ?? tmpdir(), 'lodge-crashes-'))));
afterAll(() => rm(dir, { recursive: true, force: true }));

/** Of a life that was recorded: the moments at which each step began and was done. */
interface Recorded {
  readonly recorder: Recorder;
  readonly steps: { readonly begun: number; readonly done: number }[];
  readonly end: number;
}

async function live(path: string, seed: number): Promise<Recorded> {
  const recorder = new Recorder();
  const steps: { begun: number; done: number }[] = [];
  await recording(recorder, async () => {
    const memory = new RecordingMemory(4 << 20, recorder);
    const disk = await openDisk(path, { readOnly: false, native: memory });
    for (const step of life(seed, SECTORS, STEPS)) {
      const begun = recorder.now();
      await perform(disk, memory, step);
      steps.push({ begun, done: recorder.now() });
    }
    await disk.close();
  });
  return { recorder, steps, end: recorder.now() };
}

async function crashed(kind: Kind, seed: number): Promise<void> {
  for (const name of await readdir(dir)) await rm(join(dir, name), { recursive: true });
  const path = join(dir, `${seed}.img`);
  await kind.make(path, SECTORS * 512, seed);
  const all = life(seed, SECTORS, STEPS);
  const { recorder, steps, end } = await live(path, seed);
  const next = random(seed * 7919);
  for (const how of ['kill', 'power'] as const) {
    const moment = Math.ceil(next() * end);
    recorder.crash(moment, how, next);
    const model = new Model(SECTORS);
    steps.forEach(({ begun, done }, i) => {
      if (done <= moment) model.done(all[i]!);
      else if (begun <= moment) model.begun(all[i]!);
    });
    const about = `${kind.name}, seed ${seed}, ${how} at ${moment} of ${end}`;
    if (how === 'power' && kind.mended) await (await openDisk(path, { readOnly: false })).close();
    const before = await look(kind, path, about, (bytes) => model.problem(bytes, false));

    // It goes on: what is there now, and more, ended in order.
    const words = new Uint32Array(before.buffer);
    const model2 = new Model(SECTORS, (s) => [words[s * 128]!]);
    const memory = new FakeMemory(4 << 20);
    const disk = await openDisk(path, { readOnly: false, native: memory });
    for (const step of life(seed + 1e6, SECTORS, 8, 1e6)) {
      await perform(disk, memory, step);
      model2.done(step);
    }
    await disk.close();
    await look(kind, path, `${about}, reopened`, (bytes) => model2.problem(bytes, true), how === 'kill');
  }
}

async function look(
  kind: Kind,
  path: string,
  about: string,
  problem: (bytes: Uint8Array) => string | undefined,
  strict = true,
): Promise<Uint8Array> {
  const disk = await openDisk(path, { readOnly: true });
  const bytes = await wholeDisk(disk);
  await disk.close();
  expect(problem(bytes), about).toBeUndefined();
  expect((await checkDisk(path)).errors, about).toEqual([]);
  if (!hasQemu || !kind.qemu || !strict) return bytes;
  await writeFile(`${path}.raw`, bytes);
  const [report, comparison] = await Promise.all([
    qemuCheck(path, kind.format),
    qemuImg('compare', '-f', QEMU_NAME[kind.format], '-F', 'raw', path, `${path}.raw`),
  ]);
  expect(report?.corruptions ?? 0, `${about}\n${report?.text}`).toBe(0);
  expect(comparison, about).toContain('identical');
  return bytes;
}

describe('a writer that ended at any moment', () => {
  for (const kind of [...KINDS, ...QEMU_KINDS]) {
    it(kind.name, { timeout: 120_000 + SEQUENCES * 4000 }, async ({ skip }) => {
      if (QEMU_KINDS.includes(kind) && !hasQemu) skip(NO_QEMU);
      for (let seed = FIRST_SEED; seed < FIRST_SEED + SEQUENCES; seed++) await crashed(kind, seed);
      if (SEQUENCES > 100) console.log(`${kind.name}: ${SEQUENCES} lives, each killed once and cut off once`);
    });
  }
});
