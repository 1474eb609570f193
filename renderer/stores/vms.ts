import { createStore } from 'zustand/vanilla';
import type { Api } from '../api';
import { isRemovable } from '../model/storage';
import type { BrokenVm, DiskKind, Input, Vm, VmConfig, VmId } from '../model/types';
import type { NoticeStore } from './notices';

/** Calls of one machine that take nothing but its id. */
export type VmCommand = 'start' | 'pause' | 'resume' | 'shutdown' | 'reset' | 'powerOff';

const COMMAND_LABEL: Readonly<Record<VmCommand, string>> = {
  start: 'Start',
  pause: 'Pause',
  resume: 'Resume',
  shutdown: 'Shut down',
  reset: 'Reset',
  powerOff: 'Power off',
};

/** What a machine starts from this once, instead of the first in its order. */
export interface StartChoice {
  readonly bootFirst?: string;
  readonly bootMenu?: boolean;
}

/** Points of the CPU curve in a status bar: one a second for a minute. */
const HISTORY_POINTS = 60;

export interface VmStoreState {
  byId: Readonly<Record<VmId, Vm>>;
  broken: readonly BrokenVm[];
  /** CPU percent of the last minute, newest last. */
  cpuHistory: Readonly<Record<VmId, readonly number[]>>;
  replace(vms: readonly Vm[], broken: readonly BrokenVm[]): void;
  put(vm: Vm): void;
  drop(id: VmId): void;
  /** Runs a command; failures go to the notices with a way to try again. Resolves to whether it worked. */
  command(id: VmId, command: VmCommand): Promise<boolean>;
  /** The same, from something else than usual. */
  start(id: VmId, choice: StartChoice): Promise<boolean>;
  create(input: Input<'vm.create'>): Promise<Vm>;
  update(id: VmId, config: Partial<VmConfig>): Promise<Vm>;
  remove(id: VmId, deleteFiles: boolean): Promise<boolean>;
  attach(id: VmId, path: string, kind?: DiskKind): Promise<Vm>;
  /** A disc or floppy that the guest locked in is the error mediumLocked, and goes with `force`. */
  detach(id: VmId, diskId: string, force?: boolean): Promise<Vm>;
  /** Into the drive of its kind, for the medium that is in there. */
  insert(id: VmId, path: string, kind: 'disc' | 'floppy', force?: boolean): Promise<Vm>;
  sendKeys(id: VmId, keys: string): Promise<boolean>;
}

export const createVmStore = (api: Api, notices: NoticeStore) =>
  createStore<VmStoreState>()((set, get) => {
    const nameOf = (id: VmId): string => get().byId[id]?.definition.name ?? 'machine';
    const put = (vm: Vm): Vm => {
      const id = vm.definition.id;
      set((s) => ({
        byId: { ...s.byId, [id]: vm },
        cpuHistory: { ...s.cpuHistory, [id]: nextHistory(s.cpuHistory[id], s.byId[id], vm) },
      }));
      return vm;
    };
    return {
      byId: {},
      broken: [],
      cpuHistory: {},
      replace: (vms, broken) => set({ byId: Object.fromEntries(vms.map((vm) => [vm.definition.id, vm])), broken }),
      put: (vm) => void put(vm),
      drop: (id) =>
        set((s) => {
          const { [id]: _vm, ...byId } = s.byId;
          const { [id]: _history, ...cpuHistory } = s.cpuHistory;
          return { byId, cpuHistory };
        }),
      // Replies are not put into the store: the event with its sequence number is the truth, and may be newer already.
      command: async (id, command) => {
        try {
          await api.call(`vm.${command}`, { id });
          return true;
        } catch (e) {
          notices
            .getState()
            .fail(`${COMMAND_LABEL[command]} “${nameOf(id)}”`, e, { vmId: id, retry: () => void get().command(id, command) });
          return false;
        }
      },
      start: async (id, choice) => {
        try {
          await api.call('vm.start', { id, ...choice });
          return true;
        } catch (e) {
          notices
            .getState()
            .fail(`${COMMAND_LABEL.start} “${nameOf(id)}”`, e, { vmId: id, retry: () => void get().start(id, choice) });
          return false;
        }
      },
      create: async (input) => {
        const vm = await api.call('vm.create', input);
        // The next view opens this machine at once; its event may still be on the way.
        if (get().byId[vm.definition.id] === undefined) put(vm);
        return vm;
      },
      update: (id, config) => api.call('vm.update', { id, config }),
      remove: async (id, deleteFiles) => {
        try {
          await api.call('vm.remove', { id, deleteFiles });
          return true;
        } catch (e) {
          notices.getState().fail(`Remove “${nameOf(id)}”`, e, { vmId: id });
          return false;
        }
      },
      attach: (id, path, kind) => api.call('vm.attach', { id, path, ...(kind !== undefined && { kind }) }),
      detach: (id, diskId, force) => api.call('vm.detach', { id, diskId, ...(force === true && { force }) }),
      insert: async (id, path, kind, force) => {
        const inside = get().byId[id]?.definition.disks.find((d) => d.kind === kind && isRemovable(d));
        if (inside !== undefined) await get().detach(id, inside.id, force);
        return get().attach(id, path, kind);
      },
      sendKeys: async (id, keys) => {
        try {
          await api.call('vm.keys', { id, keys });
          return true;
        } catch (e) {
          notices.getState().fail(`Send keys to “${nameOf(id)}”`, e, { vmId: id });
          return false;
        }
      },
    };
  });

function nextHistory(history: readonly number[] = [], before: Vm | undefined, now: Vm): readonly number[] {
  if (now.state === 'stopped' || now.state === 'starting') return [];
  if (now.stats === undefined || now.stats.uptimeSeconds === before?.stats?.uptimeSeconds) return history;
  return [...history, now.stats.cpuPercent].slice(-HISTORY_POINTS);
}
