/** The way through every layer: wizard, double-click, screen, keyboard, serial line, power. */
import { writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import type { Page } from '@playwright/test';
import { freePort } from '../free-port';
import {
  BUILTIN,
  coloursOn,
  patience,
  debian,
  dropFiles,
  expect,
  inkOn,
  picture,
  pictureHash,
  test,
  typeKeys,
  type Lodge,
} from './lodge';

/** The machine every new user finds in the library. */
async function builtinName(lodge: Lodge): Promise<string> {
  const list = (): { definition: { name: string; boot: { kind: string } } }[] =>
    JSON.parse(lodge.command('list', '--json').stdout || '[]');
  await expect.poll(() => list().length, { message: 'the library of a new user is empty' }).toBeGreaterThan(0);
  return list().find((vm) => vm.definition.boot.kind === 'builtin')!.definition.name;
}

test('a new user double-clicks the guest in the box', async ({ lodge }) => {
  const name = await builtinName(lodge);
  await expect(lodge.machine(name)).toBeVisible();
  await lodge.library.screenshot({ path: picture(`library-${lodge.kind}`) });

  const started = Date.now();
  const page = await lodge.doubleClick(name);
  await expect.poll(() => coloursOn(page), { intervals: [20], timeout: 30_000 }).toBeGreaterThan(2);
  const onScreen = Date.now() - started;
  expect(onScreen, 'milliseconds from the double-click to the picture').toBeLessThan(2000 * patience());

  // A picture for people, and what to compare with when it has been away.
  await expect.poll(() => inkOn(page)).toBeGreaterThan(0.5);
  const ink = await inkOn(page);

  // It says so on its serial line too.
  await page.getByRole('tab', { name: 'Serial 1' }).click();
  await expect(page.locator('.xterm-rows')).toContainText(BUILTIN.ready);
  await page.locator('.xterm-helper-textarea').focus();
  await page.keyboard.type('echo serial-works');
  await page.keyboard.press('Enter');
  await expect(page.locator('.xterm-rows')).toContainText(/(serial-works[^]*){2}/);

  await page.getByRole('tab', { name: 'Display' }).click();
  await page.locator('canvas').first().click();
  const before = await pictureHash(page);
  await typeKeys(page, 'help\n');
  await expect.poll(() => pictureHash(page), { message: 'the guest answers on its screen' }).not.toBe(before);
  // What was drawn while another tab was open is there too.
  await expect
    .poll(() => inkOn(page), { message: 'the whole picture is back, not only what changed' })
    .toBeGreaterThan(ink * 0.95);
  await page.screenshot({ path: picture(`builtin-${lodge.kind}`) });
  await typeKeys(page, 'poweroff\n');
  await expect(page.getByRole('button', { name: 'Start' }).first()).toBeEnabled({ timeout: 10_000 });
});

test('the wizard makes a Linux machine that boots, answers and powers off', async ({ lodge }) => {
  const guest = debian();
  const { library } = lodge;
  await library.getByRole('button', { name: 'New machine' }).first().click();
  await library.getByLabel('Name').fill('Debian test');
  await library.screenshot({ path: picture(`wizard-name-${lodge.kind}`) });
  await library.getByRole('button', { name: 'Next' }).click();
  await expect(library.getByRole('slider').first()).toBeVisible();
  await library.screenshot({ path: picture(`wizard-hardware-${lodge.kind}`) });
  await library.getByRole('button', { name: 'Next' }).click();
  await library.getByRole('radio', { name: /kernel/i }).check({ force: true });
  await library.getByRole('textbox', { name: 'Kernel' }).fill(guest.kernel);
  await library.getByRole('textbox', { name: 'Initial RAM disk' }).fill(guest.initrd);
  await library.getByRole('textbox', { name: /command line/i }).fill('console=ttyS0 console=tty0 quiet lodge.test=both');
  await library.screenshot({ path: picture(`wizard-boot-${lodge.kind}`) });
  // There may be a page for a disk between here and the summary.
  const create = library.getByRole('button', { name: 'Create', exact: true });
  for (let i = 0; i < 3 && !(await create.isVisible()); i++) await library.getByRole('button', { name: 'Next' }).click();
  await library.screenshot({ path: picture(`wizard-summary-${lodge.kind}`) });
  await create.click();

  await expect(lodge.machine('Debian test')).toBeVisible();
  const page = await lodge.doubleClick('Debian test');
  await expect.poll(() => lodge.screenText('Debian test'), { timeout: 120_000, intervals: [1000] }).toContain('lodge#');
  await expect.poll(() => coloursOn(page), { message: 'the text is on the canvas', timeout: 30_000 }).toBeGreaterThan(1);

  await page.locator('canvas').first().click();
  await typeKeys(page, 'echo "Answer: $((6*7))"\n');
  await expect.poll(() => lodge.screenText('Debian test'), { timeout: 20_000 }).toContain('Answer: 42');
  await page.screenshot({ path: picture(`linux-${lodge.kind}`) });

  // The mouse is the machine's until the host key is pressed.
  await expect(page.getByText('Right Ctrl').first()).toBeVisible();
  await page.keyboard.press('ControlRight');
  await page.getByRole('tab', { name: 'Serial 1' }).click();
  // Printed before the tab was opened: a late viewer sees what was.
  const terminal = page.locator('.xterm-rows');
  await expect(terminal).toContainText('LODGE-SHELL');
  await page.locator('.xterm-helper-textarea').focus();
  await page.keyboard.type('echo "serial: $((6*7))"\n');
  await expect(terminal).toContainText('serial: 42');
  await page.screenshot({ path: picture(`serial-${lodge.kind}`) });

  await page.getByRole('tab', { name: 'Display' }).click();
  await page.locator('canvas').first().click();
  await typeKeys(page, 'poweroff -f\n');
  await expect(page.getByRole('button', { name: 'Start' }).first()).toBeEnabled({ timeout: 30_000 });
});

test('pause, resume, reset and power off do what they say', async ({ lodge }) => {
  const name = await builtinName(lodge);
  const page = await lodge.doubleClick(name);
  await expect.poll(() => coloursOn(page), { timeout: 30_000 }).toBeGreaterThan(2);
  await page.getByRole('button', { name: 'Pause' }).click();
  const resume = page.getByRole('button', { name: 'Resume' }).first();
  await expect(resume).toBeEnabled();
  await resume.click();
  await expect(page.getByRole('button', { name: 'Pause' })).toBeEnabled();
  await page.getByRole('button', { name: 'Power off' }).first().click();
  // It asks first.
  await page.getByRole('dialog').getByRole('button', { name: 'Power off' }).click();
  await expect(page.getByRole('button', { name: 'Start' }).first()).toBeEnabled();
});

test('an image dropped on the library becomes the beginning of a machine', async ({ lodge, scratch }) => {
  const image = join(scratch, 'my-disk.img');
  const bytes = Buffer.alloc(4 << 20);
  bytes.writeUInt16LE(0xaa55, 510);
  writeFileSync(image, bytes);
  await expect(lodge.library.getByRole('button', { name: 'New machine' }).first()).toBeVisible();
  await dropFiles(lodge, lodge.library, lodge.library.locator('body'), [image]);
  await expect(lodge.library.getByLabel('Name')).toHaveValue(/my.disk/i, { timeout: 20_000 });
});

test('a killed VM process is noticed at once and hurts nobody else', async ({ lodge }) => {
  const name = await builtinName(lodge);
  const created = lodge.command('create', 'Neighbour', '--builtin', '--memory', '64', '--json');
  expect(created.code, created.stderr).toBe(0);
  const neighbour = await lodge.doubleClick('Neighbour');
  await expect.poll(() => coloursOn(neighbour), { timeout: 30_000 }).toBeGreaterThan(2);
  if (neighbour === lodge.library) await neighbour.goBack();

  const page = await lodge.doubleClick(name);
  await expect.poll(() => coloursOn(page), { timeout: 30_000 }).toBeGreaterThan(2);
  process.kill(await lodge.vmPid(name), 'SIGKILL');
  await expect(page.getByText(/crashed|killed|ended unexpectedly/i).first()).toBeVisible({ timeout: 1000 * patience() });
  await page.screenshot({ path: picture(`crashed-${lodge.kind}`) });

  const states = (): Record<string, string> =>
    Object.fromEntries(
      (JSON.parse(lodge.command('list', '--json').stdout) as { definition: { name: string }; state: string }[]).map((vm) => [
        vm.definition.name,
        vm.state,
      ]),
    );
  expect(states()).toMatchObject({ [name]: 'stopped', Neighbour: 'running' });
  await page
    .getByRole('button', { name: /^(start|restart)/i })
    .first()
    .click();
  // The canvas may still hold the last picture of the killed machine, so the state is what counts first.
  await expect.poll(states, { timeout: 30_000 }).toMatchObject({ [name]: 'running', Neighbour: 'running' });
  await expect.poll(() => coloursOn(page), { timeout: 30_000 }).toBeGreaterThan(2);
});

test('a guest that crashed shows its processor, instruction by instruction', async ({ lodge, scratch }) => {
  // lidt [7c0dh]; movaps xmm0, xmm1, which is undefined as long as CR4.OSFXSR is clear; hlt; and a table without entries.
  const sector = Buffer.alloc(1 << 20);
  sector.set([0x31, 0xc0, 0x8e, 0xd8, 0x0f, 0x01, 0x1e, 0x0d, 0x7c, 0x0f, 0x28, 0xc1, 0xf4]);
  sector.writeUInt16LE(0xaa55, 510);
  const image = join(scratch, 'crash.img');
  writeFileSync(image, sector);
  const created = lodge.command('create', 'Crash', '--disk', image, '--accelerator', 'software', '--memory', '32', '--json');
  expect(created.code, created.stderr).toBe(0);
  const page = await lodge.doubleClick('Crash');
  await page.getByRole('button', { name: 'CPU state' }).click({ timeout: 30_000 * patience() });
  const view = page.getByRole('dialog', { name: /CPU state/ });
  await expect(view.getByRole('region', { name: 'Instructions from there on' })).toContainText(
    /7c09\s*0f 28 c1\s*movaps xmm0, xmm1/,
  );
  await page.screenshot({ path: picture(`cpu-state-${lodge.kind}`) });
});

/** What gdb would ask for first, and what the machine says. */
async function askStub(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => socket.write('$?#3f'));
    let answer = '';
    socket.setEncoding('latin1').on('data', (text: string) => {
      answer += text;
      if (!/#[0-9a-f]{2}/.test(answer)) return;
      socket.destroy();
      resolve(answer);
    });
    socket.on('error', reject);
  });
}

test('a running machine follows its sliders, and gdb finds it at the port of its page', async ({ lodge, scratch }) => {
  const floppy = join(scratch, 'busy.img');
  const sector = Buffer.alloc(1_474_560);
  sector.set([0xeb, 0xfe]); // jmp $
  sector.writeUInt16LE(0xaa55, 510);
  writeFileSync(floppy, sector);
  const created = lodge.command('create', 'Busy', '--floppy', `${floppy},readonly`, '--memory', '16', '--json');
  expect(created.code, created.stderr).toBe(0);
  const page = lodge.library;
  const open = async (tab: string, on: Page): Promise<void> => {
    await on.getByRole('button', { name: 'Settings' }).first().click();
    await on.getByRole('tab', { name: tab }).click();
  };

  const port = await freePort();
  await lodge.machine('Busy').click();
  await open('Advanced', page);
  await page.getByRole('textbox', { name: 'Debugger port' }).fill(String(port));
  await page.getByRole('button', { name: 'Save' }).click();
  await expect(page.getByRole('dialog')).toHaveCount(0);
  const window = await lodge.doubleClick('Busy');
  await expect(window.getByRole('button', { name: 'Pause' })).toBeEnabled();
  await expect.poll(() => askStub(port).catch(String)).toMatch(/\$T02thread:1;/);

  // The share of one host processor that it takes, over a second.
  const used = async (): Promise<number> => {
    const seconds = (): number => {
      const { vcpus } = JSON.parse(lodge.command('stats', 'Busy', '--json').stdout) as { vcpus: { cpuSeconds: number }[] };
      return vcpus.reduce((sum, vcpu) => sum + vcpu.cpuSeconds, 0);
    };
    const before = seconds();
    const since = Date.now();
    await window.waitForTimeout(1000);
    return ((seconds() - before) * 1000) / (Date.now() - since);
  };
  await expect.poll(used, { intervals: [0] }).toBeGreaterThan(0.2 / patience());
  await open('Resources', window);
  await window.getByRole('slider', { name: 'Processor cap in percent' }).press('Home');
  await expect.poll(used, { intervals: [0], message: 'a cap of 1 %, not saved yet' }).toBeLessThan(0.1);
  await window.getByRole('slider', { name: 'Processor share' }).press('End');
  const shares = (): number =>
    (JSON.parse(lodge.command('list', '--json').stdout) as { definition: { name: string; cpuShares?: number } }[]).find(
      (vm) => vm.definition.name === 'Busy',
    )!.definition.cpuShares ?? 100;
  await expect.poll(shares).toBe(400);
});
