/**
 * Entry of a VM process. Its standard output belongs to the guest (a serial port on stdio): nothing is printed here. What goes wrong
 * is told to the parent; what is a bug ends the process with a stack on standard error.
 */
import { connectParent } from './parent';
import { Session } from './session';

const parent = connectParent();
if (!parent) {
  process.stderr.write('This is the machine process of Lodge; Lodge starts it. To run a machine: lodge run --kernel FILE\n');
  process.exitCode = 2;
} else {
  const session = new Session(parent, () => process.exit(0));
  // Ctrl-C in a terminal goes to the whole process group; it is the guest's, and the parent decides what it means.
  process.on('SIGINT', () => undefined);
  // So does the hang-up of a terminal that closes: the parent stops the machine properly, or is gone itself, which is noticed.
  process.on('SIGHUP', () => undefined);
  process.on('SIGTERM', () => session.stop());
}
