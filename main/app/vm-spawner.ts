/** VM processes of the Electron app: one utilityProcess each, so that a guest's misbehaviour ends with its own process. */
import { utilityProcess, type MessagePortMain } from 'electron';
import type { Spawner, VmChannel } from '../process/channel';

export function utilitySpawner(entry: string): Spawner {
  return (options, listener) => {
    const child = utilityProcess.fork(entry, [], { serviceName: `Lodge: ${options.name}`, stdio: ['ignore', 'ignore', 'pipe'] });
    let pid = child.pid;
    let ended = false;
    let exit: number | null = null;
    let stderrOpen = child.stderr !== null;

    const end = (): void => {
      if (ended) return;
      ended = true;
      // Electron gives Windows-style codes for some crashes and 0 for others; the supervisor treats every exit that was
      // not announced as a crash, so the number is only shown.
      listener.onExit({ code: exit, signal: null });
    };

    child.on('spawn', () => (pid = child.pid));
    child.on('message', (message: unknown) => listener.onMessage(message));
    child.stderr?.setEncoding?.('utf8');
    child.stderr?.on('data', (text: string | Buffer) => listener.onStderr(text.toString()));
    child.stderr?.on('error', () => {});
    child.stderr?.on('close', () => {
      stderrOpen = false;
      if (exit !== null) end();
    });
    child.on('exit', (code) => {
      exit = code ?? -1;
      // Its last words may still be in the pipe.
      if (stderrOpen) setTimeout(end, 200);
      else end();
    });

    const channel: VmChannel = {
      get pid() {
        return pid;
      },
      send(message, transfer) {
        if (ended || exit !== null) return false;
        try {
          child.postMessage(message, transfer === undefined ? [] : [transfer as MessagePortMain]);
          return true;
        } catch {
          return false;
        }
      },
      kill() {
        // utilityProcess.kill() only asks (SIGTERM); a process that hangs would not hear it.
        try {
          if (pid !== undefined && exit === null) process.kill(pid, 'SIGKILL');
          else child.kill();
        } catch {
          // Gone already.
        }
      },
    };
    return channel;
  };
}
