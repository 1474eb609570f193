/**
 * What must be known of a command line before it is parsed: how the VM process of `lodge run` (or `lodge profile --run`) is to be
 * connected.
 */
import type { StdinMode } from '../process/node-spawner';

/** Undefined: this is no run. Errors in the rest of the line are found later, by the real parser. */
export function runStdio(
  argv: readonly string[],
  terminal: boolean,
): { stdin: StdinMode; stdout: 'ignore' | 'inherit' } | undefined {
  if (argv.includes('--help') || argv.includes('-h')) return undefined;
  // Its standard output is the profile's.
  if (argv[0] === 'profile' && argv.includes('--run')) return { stdin: 'ignore', stdout: 'ignore' };
  if (argv[0] !== 'run') return undefined;
  const serial: string[] = [];
  argv.forEach((arg, i) => {
    if (arg === '--serial') serial.push(argv[i + 1] ?? '');
    else if (arg.startsWith('--serial=')) serial.push(arg.slice('--serial='.length));
  });
  if (serial.length > 0 && !serial.includes('stdio')) return { stdin: 'ignore', stdout: 'ignore' };
  // On a terminal this process reads the keys, to see the one that leaves.
  return { stdin: terminal ? 'pipe' : 'inherit', stdout: 'inherit' };
}
