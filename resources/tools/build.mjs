#!/usr/bin/env node
/** `npm run build [-- native|guest|app]`: what is out of date, or only the named parts. */
import { main, SetupError } from './lib/common.mjs';
import { checkNode, ensureApp, ensureBuilt, ensureDependencies, ensureGuest, ensureNative } from './lib/setup.mjs';

const PARTS = { native: ensureNative, guest: ensureGuest, app: ensureApp };

main(async () => {
  const parts = process.argv.slice(2);
  const unknown = parts.find((part) => !(part in PARTS));
  if (unknown) throw new SetupError(`There is no part '${unknown}'; choose among ${Object.keys(PARTS).join(', ')}`);
  if (parts.length === 0) return ensureBuilt({});
  checkNode();
  ensureDependencies();
  for (const part of parts) await PARTS[part]({});
});
