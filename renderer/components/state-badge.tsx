import { STATE_LABEL } from '../model/actions';
import { describeStop } from '../model/stop-reason';
import type { Vm } from '../model/types';
import classes from './state-badge.module.css';

export const isFailed = (vm: Vm): boolean =>
  vm.state === 'stopped' && vm.lastStop !== undefined && describeStop(vm.lastStop).tone === 'error';

/** State as a coloured dot and a word; the word carries the meaning, the colour only helps. */
export function StateBadge({ vm, compact = false }: { vm: Vm; compact?: boolean }) {
  const failed = isFailed(vm);
  return (
    <span className={classes.badge} data-state={failed ? 'failed' : vm.state} data-compact={compact || undefined}>
      <span className={classes.dot} />
      {failed ? 'Stopped by an error' : STATE_LABEL[vm.state]}
    </span>
  );
}
