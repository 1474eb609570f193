import { describe, expect, it } from 'vitest';
import { CONFIG_SCHEMA_VERSION, type CallResult, type LodgeEvent, type Vm } from '../../preload/contract';
import { Emitter } from '../lib/disposable';
import { Machines } from './machines';

const id = (n: number): string => `00000000-0000-4000-8000-00000000000${n}`;
const vm = (n: number, state: Vm['state']): Vm => ({
  definition: {
    schema: CONFIG_SCHEMA_VERSION,
    id: id(n),
    createdAt: '2026-01-01T00:00:00.000Z',
    name: `Machine ${n}`,
    os: 'other',
    notes: '',
    cpus: 1,
    memoryMiB: 64,
    boot: { kind: 'builtin' },
    disks: [],
    serialPorts: 1,
    accelerator: 'auto',
    tier: 'auto',
  },
  state,
  thumbnail: 0,
  ephemeral: false,
});

function fakeControl(vms: Vm[]) {
  const events = new Emitter<LodgeEvent>();
  let seq = 0;
  const snapshot = {
    seq: 0,
    vms,
    broken: [],
    host: { cpuModel: 'x', logicalCpus: 1, memoryMiB: 1, availableMiB: 1, accelerators: [], mode: 'electron', version: '0' },
    preferences: { theme: 'auto', hostKey: 'ControlRight', vmFolder: '/vms', libraryView: 'grid', closeAction: 'ask' },
    notices: [],
  };
  return {
    tell: (changed: Vm) => events.fire({ type: 'vm', seq: ++seq, vm: changed }),
    remove: (n: number) => events.fire({ type: 'vmRemoved', seq: ++seq, id: id(n) }),
    control: {
      call: (): Promise<CallResult<unknown>> => Promise.resolve({ ok: true, value: snapshot }),
      onEvent: events.event,
      openViewer: () => false,
      shutdown: () => Promise.resolve(),
    },
  };
}

describe('the shell’s view of the machines', () => {
  it('follows events and knows what has a process', async () => {
    const { control, tell, remove } = fakeControl([vm(1, 'stopped'), vm(2, 'paused')]);
    const machines = new Machines(control);
    await machines.load();
    expect(machines.running.map((m) => m.definition.name)).toEqual(['Machine 2']);
    tell(vm(1, 'starting'));
    expect(machines.running).toHaveLength(2);
    remove(2);
    expect(machines.running.map((m) => m.definition.name)).toEqual(['Machine 1']);
    expect(machines.preferences?.closeAction).toBe('ask');
  });

  it('does not let an older snapshot undo an event', async () => {
    const { control, tell } = fakeControl([vm(1, 'stopped')]);
    const machines = new Machines(control);
    const loading = machines.load();
    tell(vm(1, 'running'));
    await loading;
    expect(machines.get(id(1))?.state).toBe('running');
  });

  it('waits for a machine to stop, but not for ever, and leaves nothing behind', async () => {
    const { control, tell } = fakeControl([vm(1, 'running'), vm(2, 'running')]);
    const machines = new Machines(control);
    await machines.load();
    const first = machines.stopped(id(1), 60_000);
    const second = machines.stopped(id(2), 1);
    tell(vm(1, 'stopped'));
    expect(await first).toBe(true);
    expect(await second).toBe(false);
    expect(await machines.stopped(id(1), 60_000)).toBe(true);
    machines.dispose();
    tell(vm(2, 'stopped'));
    expect(machines.get(id(2))?.state).toBe('running');
  });
});
