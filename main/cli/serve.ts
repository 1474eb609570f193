/** `lodge serve` in the foreground: prints where it is, and ends cleanly when told to. */
import { isIP } from 'node:net';
import { serve, type ServeOptions } from '../headless';

export async function serveUntilSignal(options: ServeOptions, json: boolean): Promise<void> {
  const serving = await serve(options);
  // The address carries the token: to the terminal of the person who started it, and nowhere else.
  process.stdout.write(json ? JSON.stringify({ url: serving.url, port: serving.port }) + '\n' : `Lodge is at ${serving.url}\n`);
  if (!json) process.stdout.write('Ctrl-C ends it, and the machines that run in it.\n');
  for (const notice of serving.notices) process.stderr.write(`lodge: ${notice}\n`);
  if (!loopback(options.host))
    process.stderr.write(
      'lodge: others on the network can reach this address; what is sent is not encrypted. An SSH tunnel to 127.0.0.1 is safer.\n',
    );

  await new Promise<void>((resolve, reject) => {
    let asked = false;
    const onSignal = (): void => {
      // Asked twice: the machines' processes notice by themselves that their parent is gone.
      if (asked) process.exit(1);
      asked = true;
      const { running } = serving.lodge.machines;
      if (running.length > 0) process.stderr.write(`lodge: powering off ${running.map((vm) => vm.definition.name).join(', ')}\n`);
      serving.close().then(resolve, reject);
    };
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, onSignal);
  });
}

const loopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
