/** A picture of every screen, light and dark, for people to look at; and that each of them can be reached and read. */
import { expect, picture, test } from './lodge';

for (const scheme of ['light', 'dark'] as const) {
  test(`every screen, ${scheme}`, async ({ lodge }) => {
    const page = lodge.library;
    await page.emulateMedia({ colorScheme: scheme });
    const newMachine = page.getByRole('button', { name: 'New machine' }).first();
    await expect(newMachine).toBeVisible();
    const shoot = (name: string): Promise<Buffer> =>
      page.screenshot({ path: picture(`${name}-${scheme}-${lodge.kind}`), animations: 'disabled' });

    const brightness = await page.evaluate(() => {
      const [r = 0, g = 0, b = 0] = getComputedStyle(document.body).backgroundColor.match(/\d+/g)!.map(Number);
      return (r + g + b) / 3;
    });
    if (scheme === 'dark') expect(brightness).toBeLessThan(80);
    else expect(brightness).toBeGreaterThan(200);

    await shoot('screen-library');
    await newMachine.click();
    await expect(page.getByLabel('Name')).toBeVisible();
    await shoot('screen-wizard');
    await page.evaluate(() => (location.hash = '#/preferences'));
    await expect(page.getByText(/host key/i).first()).toBeVisible();
    await shoot('screen-preferences');
    await page.evaluate(() => (location.hash = '#/'));
    await expect(newMachine).toBeVisible();
  });
}
