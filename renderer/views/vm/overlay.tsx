import { Button, Loader, Text } from '@mantine/core';
import { IconPlayerPlayFilled } from '@tabler/icons-react';
import { CpuStateButton } from '../../components/cpu-state';
import { ErrorPanel } from '../../components/error-panel';
import type { VmCommands } from '../../components/vm-commands';
import { describeStop } from '../../model/stop-reason';
import type { Vm } from '../../model/types';
import classes from './overlay.module.css';

/**
 * What lies over the screen while the guest does not run. Its buttons repeat the toolbar's at a size nobody misses, so they
 * are left out of the accessibility tree.
 */
export function Overlay({ vm, commands, hasPicture }: { vm: Vm; commands: VmCommands; hasPicture: boolean }) {
  switch (vm.state) {
    case 'running':
      return null;
    case 'stopping':
      return (
        <div className={classes.corner} role="status">
          <Loader size={14} color="gray" /> Shutting down
        </div>
      );
    case 'starting':
    case 'pausing':
    case 'resuming':
      return (
        <div className={classes.overlay} role="status" data-clear={vm.state !== 'starting' || undefined}>
          <Loader size={30} />
          <Text size="sm">{vm.state === 'starting' ? 'Starting' : vm.state === 'pausing' ? 'Pausing' : 'Resuming'}</Text>
        </div>
      );
    case 'paused':
      return (
        <div className={classes.overlay} data-clear>
          <BigButton label="Resume" onClick={() => commands.run('resume')} />
          <Text size="sm">Paused: the guest’s clock stands still</Text>
        </div>
      );
    case 'stopped': {
      const stop = vm.lastStop === undefined ? null : describeStop(vm.lastStop);
      return (
        <div className={classes.overlay} data-solid={!hasPicture || undefined}>
          {stop?.tone !== 'error' && <BigButton label="Start" onClick={() => commands.run('start')} />}
          {stop === null ? (
            <Text size="sm">Stopped</Text>
          ) : stop.tone === 'error' ? (
            <div className={classes.panel}>
              <ErrorPanel
                context={`“${vm.definition.name}” stopped`}
                title={stop.title}
                message={stop.message}
                fix={stop.fix}
                detail={stop.report}
                code={vm.lastStop?.kind === 'failed' ? vm.lastStop.error.code : undefined}
                actions={
                  <>
                    <Button size="compact-xs" onClick={() => commands.run('start')}>
                      Restart
                    </Button>
                    <Button size="compact-xs" variant="default" onClick={commands.settings}>
                      Open settings
                    </Button>
                    {vm.lastStop?.kind === 'guestFault' && vm.lastStop.cpu && (
                      <CpuStateButton cpu={vm.lastStop.cpu} report={vm.lastStop.report} name={vm.definition.name} />
                    )}
                  </>
                }
              />
            </div>
          ) : (
            <Text size="sm">{stop.message}</Text>
          )}
        </div>
      );
    }
  }
}

function BigButton({ label, onClick }: { label: string; onClick: () => void }) {
  return (
    <button type="button" className={classes.big} onClick={onClick} aria-hidden tabIndex={-1}>
      <span>
        <IconPlayerPlayFilled size={30} />
      </span>
      {label}
    </button>
  );
}
