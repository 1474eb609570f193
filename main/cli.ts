/**
 * The `lodge` command. `lodge run` forks its VM process before anything else is loaded, since from the shell to the guest's
 * first instruction every millisecond is waited for; everything else is imported by the verb that needs it.
 */
import { isatty } from 'node:tty';
import { forkVmProcess } from './process/node-spawner';
import { appLayout } from './lib/paths';
import { runStdio } from './cli/early';

declare const __LODGE_VERSION__: string;

const layout = appLayout(__dirname, __LODGE_VERSION__);
const argv = process.argv.slice(2);
// Touching process.stdin would make the descriptor that the child inherits non-blocking.
const stdio = runStdio(argv, isatty(0));
const child = stdio && forkVmProcess(layout.vmEntry, stdio);

void import('./cli/program')
  .then(({ main }) => main(argv, layout, child))
  .then((code) => {
    process.exitCode = code;
  });
