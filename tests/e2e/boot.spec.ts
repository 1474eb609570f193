/** What a machine starts from, chosen in the app for one start. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, patience, picture, test } from './lodge';

const NAME = 'Boot test';

/** A disk whose first sector says its name on the screen and halts. */
function disk(path: string, name: string): string {
  const sector = Buffer.alloc(64 << 10);
  // mov si, text; next: lodsb; test al, al; jz halt; mov ah, 0Eh; int 10h; jmp next; halt: hlt; jmp halt
  sector.set([0xbe, 0x20, 0x7c, 0xac, 0x84, 0xc0, 0x74, 0x06, 0xb4, 0x0e, 0xcd, 0x10, 0xeb, 0xf5, 0xf4, 0xeb, 0xfd]);
  sector.write(`${name} has started`, 0x20, 'latin1');
  sector.set([0x55, 0xaa], 510);
  writeFileSync(path, sector);
  return path;
}

test('the boot menu comes on demand, and any disk can start a machine once', async ({ lodge, scratch }) => {
  const [first, second] = [disk(join(scratch, 'first.img'), 'The first'), disk(join(scratch, 'second.img'), 'The second')];
  const created = lodge.command('create', NAME, '--disk', first, '--disk', second, '--memory', '64');
  expect(created.code, created.stderr).toBe(0);
  const shows = (text: RegExp): Promise<void> =>
    expect.poll(() => lodge.screenText(NAME), { timeout: 20_000 * patience() }).toMatch(text);

  await lodge.machine(NAME).click();
  const page = lodge.library;
  await page.getByRole('button', { name: 'More actions' }).click();
  await page.getByRole('menuitem', { name: 'Start with the boot menu' }).click();
  await shows(/Boot from:\s+1 {2}first\.img\s+2 {2}second\.img/);
  expect(lodge.command('keys', NAME, '<down><enter>').code).toBe(0);
  await shows(/The second has started/);
  expect(lodge.command('stop', NAME).code).toBe(0);

  const window = lodge.context.pages().find((candidate) => /#\/vm\//.test(candidate.url()))!;
  await window.getByRole('button', { name: 'Start from something else' }).click();
  await window.screenshot({ path: picture(`start-from-${lodge.kind}`) });
  await window.getByRole('menuitem', { name: 'second.img' }).click();
  await shows(/The second has started/);
  expect(lodge.command('stop', NAME).code).toBe(0);

  expect(lodge.command('start', NAME).code).toBe(0);
  await shows(/The first has started/);
});
