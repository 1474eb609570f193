/** What the page may do. */
import { expect, test } from './lodge';

test('the page has no Node, a policy, and a way to its own server only', async ({ lodge }) => {
  const page = lodge.library;
  await expect(page.getByRole('button', { name: 'New machine' }).first()).toBeVisible();
  const found = await page.evaluate(async () => {
    const globals = globalThis as Record<string, unknown>;
    // Not directly: what the debugger evaluates is exempt from the policy, what it calls later is not.
    const evalBlocked = await new Promise<boolean>((done) =>
      setTimeout(() => {
        try {
          done(new Function('return 1')() !== 1);
        } catch {
          done(true);
        }
      }),
    );
    const inline = await new Promise<boolean>((done) => {
      const script = document.createElement('script');
      script.textContent = 'globalThis.inlineRan = true';
      document.body.append(script);
      setTimeout(() => done(globals['inlineRan'] === true), 100);
    });
    return {
      node: ['require', 'process', 'module', 'Buffer', '__dirname'].filter((name) => globals[name] !== undefined),
      bridge: globals['lodge'] === undefined ? undefined : Object.keys(globals['lodge'] as object).sort(),
      evalBlocked,
      inline,
      foreignFetch: await fetch('https://example.org/').then(
        () => true,
        () => false,
      ),
    };
  });
  expect(found).toMatchObject({ node: [], evalBlocked: true, inline: false, foreignFetch: false });
  if (lodge.kind === 'electron')
    expect(found.bridge).toEqual(['call', 'chooseFile', 'on', 'openViewer', 'openVmWindow', 'pathForFile', 'platform']);
  else expect(found.bridge).toBeUndefined();
});
