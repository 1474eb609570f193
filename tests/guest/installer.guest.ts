/** Debian's installer from a disc, in its graphical form: VESA menu, 800×600, mouse and keyboard. */
import { expect, it } from 'vitest';
import { TIER } from './harness';
import { changedArea, medium, ScreenRun, type Picture } from './screen';

/** The bar with the swirl along the top, and below it the pale page of GTK. */
const isPage = ({ width, height, channels, data }: Picture): boolean => {
  const at = (x: number, y: number): number[] => [0, 1, 2].map((i) => data[(y * width + x) * channels + i]!);
  const [bar, page] = [at(10, 10), at(width - 8, height - 200)];
  return width >= 800 && height >= 600 && bar[0]! < 60 && bar[2]! > 80 && page.every((c) => c > 200);
};

/** How many colours the rows of a picture from `top` to `bottom` have: text and buttons bring some, an empty page none. */
const shades = ({ width, channels, data }: Picture, top: number, bottom: number): number =>
  new Set(Array.from({ length: (bottom - top) * width }, (_, i) => data[(top * width + i) * channels])).size;

it('Debian’s graphical installer asks for the language, and its pointer moves', { timeout: 900_000 }, async (context) => {
  const run = new ScreenRun(['--cdrom', medium(context, 'installer-gtk.iso'), '--memory', '1024', ...TIER]);
  const menu = await run.waitForPicture('menu in VESA graphics', 60, ({ width, height }) => width === 640 && height === 480);
  await run.waitForPicture('splash behind the menu', 30, (picture) => shades(picture, 0, menu.height) > 100);
  await run.keys('<enter>');
  await run.waitForPicture('page of the installer', 400, isPage);
  // The question comes some seconds after the empty page.
  let still = await run.waitForPicture('list of languages', 120, (picture) => isPage(picture) && shades(picture, 200, 550) > 20);
  await run.waitForPicture('picture that stays', 60, (picture) => {
    const same = changedArea(still, picture) === undefined;
    still = picture;
    return same;
  });

  // The pointer starts in the middle of the screen. X makes more of a fast motion, so this one is slow.
  const [x, y] = [still.width / 2, still.height / 2];
  for (let i = 0; i < 20; i++) await run.mouse(3, 2);
  const moved = await run.waitForPicture('pointer further right and down', 30, (picture) => {
    const area = changedArea(still, picture);
    return area !== undefined && area.x <= x && area.y <= y && area.x + area.width > x + 40 && area.y + area.height > y + 25;
  });
  // Two pointers: where it was, and where it is.
  expect(changedArea(still, moved)!.pixels).toBeLessThan(2 * 24 * 24);
  // The list follows the keyboard.
  await run.keys('<down>');
  await run.waitForPicture('another language chosen', 30, (picture) => (changedArea(moved, picture)?.width ?? 0) > 400);
  run.kill();
});
