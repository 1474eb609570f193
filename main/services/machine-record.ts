/** What Lodge knows of one machine, stored or ephemeral, stopped or running. */
import { LodgeError, type StopReason, type Vm, type VmDefinition, type VmState, type VmStats } from '../../preload/contract';
import type { Supervisor } from '../process/supervisor';
import type { FileLocks } from './file-locks';
import type { RunOptions } from './machine-spec';
import { Picture } from './picture';

export interface Machine {
  definition: VmDefinition;
  readonly folder: string | undefined;
  readonly run: RunOptions;
  state: VmState;
  lastStop?: StopReason | undefined;
  engine?: Vm['engine'];
  stats?: VmStats | undefined;
  /** What its processors used and waited for of the host's lately, and may use; null: what they get. */
  load?: { used: number; waited: number } | undefined;
  quota: number | null;
  lastStatsAt: number;
  readonly picture: Picture;
  notices: number;
  process?: Supervisor | undefined;
  locks?: FileLocks | undefined;
  readonly whenEnded: ((reason: StopReason, screen: Buffer | null) => void)[];
}

/** Of a machine that does not run yet; `folder`: where it is stored, if it is. */
export function newMachine(definition: VmDefinition, folder: string | undefined, run: RunOptions): Machine {
  return {
    definition,
    folder,
    run,
    state: 'stopped',
    lastStatsAt: 0,
    quota: null,
    picture: new Picture(),
    notices: 0,
    whenEnded: [],
  };
}

/** How clients see it. */
export function view(vm: Machine): Vm {
  return {
    definition: vm.definition,
    state: vm.state,
    thumbnail: vm.picture.version,
    ephemeral: vm.folder === undefined,
    ...(vm.folder !== undefined && { folder: vm.folder }),
    ...(vm.state === 'stopped' && vm.lastStop && { lastStop: vm.lastStop }),
    ...(vm.state !== 'stopped' && vm.engine && { engine: vm.engine }),
    ...(vm.state !== 'stopped' && vm.stats && { stats: vm.stats }),
  };
}

/** The process that runs it; throws a LodgeError that says what it cannot do (`what`: "be measured") when there is none. */
export function liveProcess(vm: Machine, what: string): Pick<Supervisor, 'request'> {
  if (!vm.process || vm.state === 'starting' || vm.state === 'stopped') {
    throw new LodgeError({
      code: 'invalidState',
      message: `“${vm.definition.name}” cannot ${what}: it is not running.`,
      fix: 'Start it first.',
    });
  }
  return vm.process;
}
