/** The storage page on real images: made, converted, checked, grown, put in order, removed, and discs in their drive. */
import { existsSync, readdirSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Page } from '@playwright/test';
import { coloursOn, dropFiles, expect, picture, test, type Lodge } from './lodge';

const NAME = 'Storage test';

interface Described {
  definition: { disks: { path: string; bus: string; kind: string; format: string }[] };
  folder?: string;
}
const described = (lodge: Lodge): Described => {
  const list = JSON.parse(lodge.command('list', '--json').stdout) as (Described & { definition: { name: string } })[];
  return list.find((vm) => vm.definition.name === NAME)!;
};
const disksOf = (lodge: Lodge): Described['definition']['disks'] => described(lodge).definition.disks;

/** An ISO as far as its volume descriptor tells: enough to be known as a disc. */
function iso(path: string, label: string): string {
  const bytes = Buffer.alloc(24 * 2048);
  const at = 16 * 2048;
  bytes.writeUInt8(1, at);
  bytes.write('CD001', at + 1, 'latin1');
  bytes.writeUInt8(1, at + 6);
  bytes.write(label.padEnd(32), at + 40, 'latin1');
  bytes.writeUInt32LE(24, at + 80);
  bytes.writeUInt16LE(2048, at + 128);
  bytes.writeUInt8(255, at + 2048);
  bytes.write('CD001', at + 2049, 'latin1');
  writeFileSync(path, bytes);
  return path;
}

async function create(lodge: Lodge): Promise<void> {
  const created = lodge.command('create', NAME, '--builtin', '--memory', '64', '--json');
  expect(created.code, created.stderr).toBe(0);
  await expect(lodge.machine(NAME)).toBeVisible();
}
async function openStorage(lodge: Lodge, page: Page = lodge.library): Promise<void> {
  if (page === lodge.library) await lodge.machine(NAME).click();
  await page.getByRole('button', { name: 'Settings' }).first().click();
  await page.getByRole('tab', { name: 'Storage' }).click();
}
const save = async (page: Page): Promise<void> => {
  await page.getByRole('button', { name: 'Save' }).click();
  await expect(page.getByRole('dialog')).toHaveCount(0);
};

test('a disk is made, checked, grown, converted and swapped for its copy, and its file deleted only when asked', async ({
  lodge,
}) => {
  const page = lodge.library;
  await create(lodge);
  await openStorage(lodge);

  await page.getByRole('button', { name: 'New disk…' }).click();
  await expect(page.getByText(/free there/)).toBeVisible();
  await page.getByRole('textbox', { name: 'Size' }).fill('2');
  await page.getByRole('button', { name: /^More Raw/ }).click();
  await page.getByRole('combobox', { name: 'Format' }).selectOption('qcow2');
  await page.screenshot({ path: picture(`storage-new-disk-${lodge.kind}`) });
  await page.getByRole('button', { name: 'Add disk' }).click();
  await expect(page.getByText(/made when you save/)).toBeVisible();
  // Escape closes the dialog in front, not the form behind it that is not saved.
  await page.getByRole('button', { name: 'New disk…' }).click();
  await expect(page.getByRole('dialog')).toHaveCount(2);
  await page.keyboard.press('Escape');
  await expect(page.getByRole('dialog')).toHaveCount(1);
  await expect(page.getByText(/made when you save/)).toBeVisible();
  const { folder } = described(lodge);
  expect(existsSync(join(folder!, 'disk.qcow2')), 'nothing is made before it is saved').toBe(false);
  await save(page);
  expect(disksOf(lodge)).toMatchObject([{ path: join(folder!, 'disk.qcow2'), bus: 'virtio', kind: 'disk' }]);

  await openStorage(lodge);
  await expect(page.getByText(/qcow2, 2 GiB, uses/)).toBeVisible();
  const more = page.getByRole('button', { name: 'More for disk.qcow2' });
  await more.click();
  await page.getByRole('menuitem', { name: 'Check…' }).click();
  await expect(page.getByText('Everything is in order')).toBeVisible();
  await page.getByRole('button', { name: 'Close', exact: true }).last().click();

  await more.click();
  await page.getByRole('menuitem', { name: 'Make larger…' }).click();
  await page.getByRole('textbox', { name: 'Size' }).fill('3');
  await page.getByRole('button', { name: 'Make it larger' }).click();
  await expect(page.getByText(/qcow2, 3 GiB, uses/)).toBeVisible();

  await more.click();
  await page.getByRole('menuitem', { name: 'Convert…' }).click();
  await page.getByRole('combobox', { name: 'Format' }).selectOption('vdi');
  await page.getByRole('button', { name: 'Make the copy' }).click();
  await page.getByRole('button', { name: 'Use it here' }).click();
  await expect(page.getByText(/VDI, 3 GiB, uses/)).toBeVisible();
  await page.getByRole('combobox', { name: 'Connection of disk.vdi' }).selectOption('ahci');
  await expect(page.getByText(/SATA disk ·/)).toBeVisible();
  await page.screenshot({ path: picture(`storage-converted-${lodge.kind}`) });
  await save(page);
  expect(disksOf(lodge)).toMatchObject([{ path: join(folder!, 'disk.vdi'), bus: 'ahci' }]);
  expect(statSync(join(folder!, 'disk.qcow2')).size, 'the original stays').toBeGreaterThan(0);

  await openStorage(lodge);
  await page.getByRole('button', { name: 'More for disk.vdi' }).click();
  await page.getByRole('menuitem', { name: 'Remove…' }).click();
  await page.getByRole('checkbox', { name: /Also delete the file/ }).check();
  await page.getByRole('button', { name: 'Remove and delete the file' }).click();
  await expect(page.getByText(/Saving deletes/)).toBeVisible();
  expect(existsSync(join(folder!, 'disk.vdi')), 'not before it is saved').toBe(true);
  await save(page);
  await expect.poll(() => readdirSync(folder!).filter((f) => /\.(vdi|qcow2)$/.test(f))).toEqual(['disk.qcow2']);
  expect(disksOf(lodge)).toEqual([]);
});

test('what cannot be done is said, with a way out, and nothing changes', async ({ lodge, scratch }) => {
  const page = lodge.library;
  await create(lodge);
  const here = join(scratch, 'here.qcow2');
  writeFileSync(here, 'something else');
  await openStorage(lodge);
  await page.getByRole('button', { name: 'New disk…' }).click();
  await page.getByRole('button', { name: /^More/ }).last().click();
  await page.getByRole('textbox', { name: 'File' }).fill(here);
  await page.getByRole('button', { name: 'Add disk' }).click();
  await page.getByRole('button', { name: 'Save' }).click();
  await expect(page.getByText('The settings were not saved')).toBeVisible();
  await expect(page.getByText(/exists already/)).toBeVisible();
  await page.screenshot({ path: picture(`storage-refused-${lodge.kind}`) });
  expect(disksOf(lodge)).toEqual([]);
  expect(statSync(here).size, 'the file that was there is untouched').toBe('something else'.length);
});

test('a disk whose file was moved is pointed at its new place, and stays what it was', async ({ lodge, scratch }) => {
  const page = lodge.library;
  await create(lodge);
  const [old, moved] = [join(scratch, 'old.img'), join(scratch, 'moved.img')];
  writeFileSync(old, Buffer.alloc(1 << 20));
  lodge.command('attach', NAME, old, '--bus', 'ahci');
  renameSync(old, moved);
  await openStorage(lodge);
  await expect(page.getByText(/old\.img does not exist/)).toBeVisible();
  await page.getByRole('button', { name: 'More for old.img' }).click();
  await page.getByRole('menuitem', { name: 'Choose another file…' }).click();
  const field = page.getByRole('textbox', { name: 'Image' });
  const use = page.getByRole('button', { name: 'Use this file' });
  await field.fill(iso(join(scratch, 'not.iso'), 'NOT A DISK'));
  await field.blur();
  await expect(page.getByText(/It is a disc image/)).toBeVisible();
  await expect(use).toBeDisabled();
  await field.fill(moved);
  await field.blur();
  await page.screenshot({ path: picture(`storage-choose-${lodge.kind}`) });
  await use.click();
  await expect(page.getByText(/Raw, 1 MiB, uses/)).toBeVisible();
  await save(page);
  expect(disksOf(lodge)).toMatchObject([{ path: moved, bus: 'ahci', kind: 'disk' }]);
});

test('the boot order is changed by dragging and by keys', async ({ lodge, scratch }) => {
  const page = lodge.library;
  await create(lodge);
  for (const name of ['a.img', 'b.img', 'c.img']) {
    writeFileSync(join(scratch, name), Buffer.alloc(1 << 20));
    await openStorage(lodge);
    await page.getByRole('button', { name: 'Add an image…' }).click();
    await page.getByRole('textbox', { name: 'Image' }).fill(join(scratch, name));
    await page.getByRole('textbox', { name: 'Image' }).press('Tab');
    await page.getByRole('button', { name: 'Add image' }).click();
    await save(page);
  }
  const order = (): string[] => disksOf(lodge).map((d) => d.path.split('/').pop()!);
  expect(order()).toEqual(['a.img', 'b.img', 'c.img']);

  await lodge.machine(NAME).click();
  await page.getByRole('button', { name: 'Settings' }).first().click();
  await page.getByRole('tab', { name: 'Boot' }).click();
  await page.getByRole('combobox', { name: 'Start from' }).selectOption('firmware');
  const rows = page.getByRole('list', { name: 'Boot order' }).getByRole('listitem');
  const grip = page.getByRole('button', { name: /^Move a\.img/ });
  const from = (await grip.boundingBox())!;
  const to = (await rows.nth(2).boundingBox())!;
  await page.mouse.move(from.x + from.width / 2, from.y + from.height / 2);
  await page.mouse.down();
  await page.mouse.move(from.x + from.width / 2, to.y + to.height - 4, { steps: 6 });
  await page.screenshot({ path: picture(`boot-order-${lodge.kind}`) });
  await page.mouse.up();
  await expect(rows).toHaveText([/b\.img/, /c\.img/, /a\.img/]);
  await page.getByRole('button', { name: /^Move c\.img/ }).focus();
  await page.keyboard.press('ArrowUp');
  await expect(rows).toHaveText([/c\.img/, /b\.img/, /a\.img/]);
  await expect(page.getByRole('button', { name: /^Move c\.img, number 1 of 3/ })).toBeFocused();
  await page.keyboard.press('End');
  await save(page);
  expect(order()).toEqual(['b.img', 'a.img', 'c.img']);
});

test('a disc goes in and out at the foot of the window, by menu and by drop', async ({ lodge, scratch }) => {
  const first = iso(join(scratch, 'first.iso'), 'FIRST');
  const second = iso(join(scratch, 'second.iso'), 'SECOND');
  await create(lodge);
  const attached = lodge.command('attach', NAME, first);
  expect(attached.code, attached.stderr).toBe(0);
  const page = await lodge.doubleClick(NAME);
  await expect.poll(() => coloursOn(page), { timeout: 30_000 }).toBeGreaterThan(2);

  await page.getByRole('button', { name: 'Discs: first.iso' }).click();
  await page.getByRole('menuitem', { name: /Eject/ }).click();
  await expect(page.getByRole('button', { name: 'Discs: No disc' })).toBeVisible();
  expect(disksOf(lodge)).toEqual([]);

  await dropFiles(lodge, page, page.locator('canvas').first(), [second]);
  await expect(page.getByRole('button', { name: 'Discs: second.iso' })).toBeVisible();
  expect(disksOf(lodge)).toMatchObject([{ kind: 'disc', bus: 'ide' }]);
  await page.screenshot({ path: picture(`disc-inserted-${lodge.kind}`) });

  await page.getByRole('button', { name: 'Discs: second.iso' }).click();
  await page.getByRole('menuitem', { name: /first\.iso/ }).click();
  await expect(page.getByRole('button', { name: 'Discs: first.iso' })).toBeVisible();
  expect(disksOf(lodge), 'one drive, one disc').toHaveLength(1);
  await page.getByRole('button', { name: 'Eject', exact: true }).last().click();
  await expect(page.getByRole('button', { name: 'Discs: No disc' })).toBeVisible();
});

for (const scheme of ['light', 'dark'] as const) {
  test(`the storage page, ${scheme}`, async ({ lodge, scratch }) => {
    const page = lodge.library;
    await page.emulateMedia({ colorScheme: scheme });
    await create(lodge);
    lodge.command('attach', NAME, iso(join(scratch, 'installer.iso'), 'INSTALLER'));
    writeFileSync(join(scratch, 'data.img'), Buffer.alloc(1 << 20));
    lodge.command('attach', NAME, join(scratch, 'data.img'));
    await openStorage(lodge);
    await expect(page.getByText('data.img')).toHaveCount(2);
    await expect(page.getByText(/Raw, 1 MiB, uses/)).toBeVisible();
    await page.screenshot({ path: picture(`storage-${scheme}-${lodge.kind}`), animations: 'disabled' });
  });
}
