/** VM processes of `lodge serve` and `lodge run`: child_process.fork with a JSON channel that can carry sockets. */
import { fork, type ChildProcess } from 'node:child_process';
import type { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import type { SpawnOptions, Spawner, VmChannel, VmChannelListener } from './channel';

/** 'pipe': the parent feeds the child's stdin itself (it watches for the key that leaves a terminal). */
export type StdinMode = 'ignore' | 'inherit' | 'pipe';

/**
 * A child started before anybody knows what to do with it: `lodge run` forks first and loads the rest of itself meanwhile.
 * Messages and output wait in the pipes until somebody listens.
 */
export function forkVmProcess(entry: string, stdio: { stdin: StdinMode; stdout: 'ignore' | 'inherit' }): ChildProcess {
  const child = fork(entry, [], {
    stdio: [stdio.stdin, stdio.stdout, 'pipe', 'ipc'],
    serialization: 'json',
    // The parent's inspector port and loaders are not for the child.
    execArgv: [],
    windowsHide: true,
  } as Parameters<typeof fork>[2]);
  // A spawn may fail before the child is adopted; adoptChild() then finds no pid and reports it.
  child.on('error', (error) => spawnErrors.set(child, error));
  return child;
}

const spawnErrors = new WeakMap<ChildProcess, Error>();

export function nodeSpawner(entry: string): Spawner {
  return (options, listener) =>
    adoptChild(
      forkVmProcess(entry, {
        stdin: options.serialStdio ? 'inherit' : 'ignore',
        stdout: options.serialStdio ? 'inherit' : 'ignore',
      }),
      listener,
    );
}

/** For a child forked earlier: the first VM gets it, there must be no second. */
export function forkedSpawner(child: ChildProcess): Spawner {
  let taken = false;
  return (_options: SpawnOptions, listener) => {
    if (taken) throw new Error('This process runs one machine only');
    taken = true;
    return adoptChild(child, listener);
  };
}

function adoptChild(child: ChildProcess, listener: VmChannelListener): VmChannel {
  let ended = false;
  const end = (code: number | null, signal: string | null): void => {
    if (ended) return;
    ended = true;
    listener.onExit({ code, signal });
  };
  child.on('message', (message) => listener.onMessage(message));
  const stderr = child.stderr as Readable;
  stderr.setEncoding('utf8');
  stderr.on('data', (text: string) => listener.onStderr(text));
  stderr.on('error', () => {});
  // 'close' comes after the pipes are drained, so the last words are complete; a grandchild could hold them open for ever.
  child.on('close', end);
  child.on('exit', (code, signal) => setTimeout(() => end(code, signal), 200).unref());
  if (child.pid === undefined) {
    // The spawn failed: no 'exit' will follow. Its error event comes in the next tick, or came before.
    setImmediate(() => {
      listener.onStderr(`${spawnErrors.get(child)?.message ?? 'unknown error'}\n`);
      end(null, null);
    });
  } else if (child.exitCode !== null || child.signalCode !== null) setImmediate(() => end(child.exitCode, child.signalCode));

  return {
    pid: child.pid,
    send: (message, transfer) => {
      if (!child.connected) return false;
      try {
        // Errors come through the callback when the child dies at this very moment.
        child.send(message as object, transfer as Socket | undefined, { keepOpen: false }, () => {});
        return true;
      } catch {
        return false;
      }
    },
    kill: () => void child.kill('SIGKILL'),
  };
}
