#!/usr/bin/env node
/**
 * `npm run --silent lodge -- …`: the command line of a built tree. Nothing is checked but that the build is there, because
 * how fast a machine starts is measured from here; standard output belongs to the command.
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const path = (relative) => fileURLToPath(new URL(relative, import.meta.url));
const cli = path('../../out/main/cli.cjs');
if (![cli, path('../../out/main/vm.cjs'), path('../../out/native/lodge.node')].every((file) => existsSync(file))) {
  const built = spawnSync(process.execPath, [path('build.mjs')], { stdio: ['ignore', 2, 2] });
  if (built.status !== 0) process.exit(1);
}
process.argv[1] = cli;
createRequire(import.meta.url)('node:module').runMain();
