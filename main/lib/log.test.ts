import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { createLogger } from './log';

it('writes lines at once, keeps one older file, and stays silent when it cannot write', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'lodge-log-'));
  const file = join(dir, 'sub', 'lodge.log');
  (await createLogger({ file }, 'info')).warn({ vm: 1 }, 'hello');
  expect(JSON.parse(await readFile(file, 'utf8'))).toMatchObject({ level: 40, vm: 1, msg: 'hello' });
  await writeFile(file, Buffer.alloc(5 << 20));
  (await createLogger({ file }, 'info')).info({}, 'again');
  expect((await stat(`${file}.old`)).size).toBe(5 << 20);
  expect((await stat(file)).size).toBeLessThan(200);
  (await createLogger({ file: join(file, 'not-a-folder', 'x.log') }, 'info')).error({}, 'lost');
  await rm(dir, { recursive: true });
});
