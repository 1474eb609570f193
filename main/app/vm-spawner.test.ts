import { EventEmitter } from 'node:events';
import { PassThrough } from 'node:stream';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import type { ProcessExit } from '../process/channel';

class FakeUtility extends EventEmitter {
  pid: number | undefined;
  readonly stderr = new PassThrough();
  readonly posted: unknown[][] = [];
  broken = false;
  postMessage(...args: unknown[]): void {
    if (this.broken) throw new Error('gone');
    this.posted.push(args);
  }
  readonly kill = vi.fn();
}
let child: FakeUtility;
const fork = vi.fn(() => child);
vi.mock('electron', () => ({ utilityProcess: { fork } }));
const { utilitySpawner } = await import('./vm-spawner');

describe('a VM in a utility process', () => {
  const heard: unknown[] = [];
  let stderr = '';
  let exits: ProcessExit[];
  const spawn = () =>
    utilitySpawner('/out/main/vm.cjs')(
      { name: 'Demo', serialStdio: false },
      { onMessage: (m) => heard.push(m), onStderr: (t) => (stderr += t), onExit: (e) => exits.push(e) },
    );
  beforeEach(() => {
    child = new FakeUtility();
    heard.length = 0;
    exits = [];
    stderr = '';
  });

  it('carries messages, ports and last words', async () => {
    const channel = spawn();
    expect(fork).toHaveBeenCalledWith('/out/main/vm.cjs', [], expect.objectContaining({ serviceName: 'Lodge: Demo' }));
    child.pid = 77;
    child.emit('spawn');
    expect(channel.pid).toBe(77);
    expect(channel.send({ type: 'stop' })).toBe(true);
    const port = {};
    expect(channel.send({ type: 'viewer' }, port)).toBe(true);
    expect(child.posted).toEqual([
      [{ type: 'stop' }, []],
      [{ type: 'viewer' }, [port]],
    ]);
    child.emit('message', { type: 'ready' });
    expect(heard).toEqual([{ type: 'ready' }]);

    child.emit('exit', 6);
    expect(exits, 'not before its last words').toEqual([]);
    child.stderr.end('assertion failed\n');
    await vi.waitFor(() => expect(exits).toEqual([{ code: 6, signal: null }]));
    expect(stderr).toBe('assertion failed\n');
    expect(channel.send({ type: 'stop' })).toBe(false);
  });

  it('reports an exit once, even if the pipe never closes', async () => {
    spawn();
    child.emit('exit', 0);
    await vi.waitFor(() => expect(exits).toHaveLength(1));
    child.stderr.end();
    await new Promise((done) => setImmediate(done));
    expect(exits).toEqual([{ code: 0, signal: null }]);
  });

  it('never throws when the process goes at this very moment', () => {
    const channel = spawn();
    child.broken = true;
    expect(channel.send({ type: 'stop' })).toBe(false);
  });
});
