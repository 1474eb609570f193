/** Once a second: whether a machine’s shares of the processors ask for a quota now, and tells its process. The rules: cpu-shares.ts. */
import { cpus } from 'node:os';
import type { VmDefinition, VmState } from '../../preload/contract';
import type { Disposable } from '../lib/disposable';
import type { Supervisor } from '../process/supervisor';
import { apportion, CPU_SHARES_DEFAULT } from './cpu-shares';

const PERIOD_MS = 1000;
/** Smaller changes are not worth a message. */
const NOTABLE = 0.03;

/** The part of a machine that is looked at here. */
export interface Sharing {
  readonly definition: VmDefinition;
  readonly state: VmState;
  readonly process?: Pick<Supervisor, 'request'> | undefined;
  readonly load?: { used: number; waited: number } | undefined;
  quota: number | null;
}

/** Processors of the host that nobody used since the last call. */
function idleMeter(): () => number {
  const read = () =>
    cpus().reduce(
      (sum, { times }) => ({ idle: sum.idle + times.idle, all: sum.all + Object.values(times).reduce((a, b) => a + b, 0) }),
      {
        idle: 0,
        all: 0,
      },
    );
  let before = read();
  return () => {
    const now = read();
    const passed = now.all - before.all;
    const idle = passed > 0 ? ((now.idle - before.idle) / passed) * cpus().length : 0;
    before = now;
    return idle;
  };
}

export class ShareKeeper implements Disposable {
  private timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly machines: () => Iterable<Sharing>,
    private readonly idle: () => number = idleMeter(),
  ) {}

  /** A machine runs, or somebody's shares changed. */
  wake(): void {
    this.timer ??= setInterval(() => this.look(), PERIOD_MS).unref();
  }

  dispose(): void {
    clearInterval(this.timer);
    this.timer = undefined;
  }

  look(): void {
    const idle = this.idle();
    const running = [...this.machines()].filter((vm) => vm.state === 'running' && vm.process && vm.load);
    if (running.length === 0) return this.dispose();
    const shares = running.map(({ definition }) => definition.cpuShares ?? CPU_SHARES_DEFAULT);
    const alike = shares.every((n) => n === shares[0]);
    // The host shares out fairly itself among those who are alike.
    const quotas = alike
      ? running.map(() => null)
      : apportion(
          running.map(({ definition, load, quota }, i) => ({
            shares: shares[i]!,
            processors: definition.cpus,
            cap: definition.cpuCap ?? 100,
            ...load!,
            quota,
          })),
          idle,
        );
    running.forEach((vm, i) => give(vm, quotas[i] ?? null));
  }
}

function give(vm: Sharing, quota: number | null): void {
  const small = quota !== null && vm.quota !== null && Math.abs(quota - vm.quota) < vm.quota * NOTABLE;
  if (small || quota === vm.quota) return;
  vm.quota = quota;
  // One that is ending has no use for it.
  vm.process?.request({ name: 'cpuQuota', processors: quota ?? 0 }).catch(() => undefined);
}
