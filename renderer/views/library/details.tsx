import { ActionIcon, Button, Menu, Text, Tooltip } from '@mantine/core';
import {
  IconDots,
  IconExternalLink,
  IconPlayerPauseFilled,
  IconPlayerPlayFilled,
  IconPower,
  IconSettings,
} from '@tabler/icons-react';
import type { ReactNode } from 'react';
import { CpuStateButton } from '../../components/cpu-state';
import { ErrorPanel } from '../../components/error-panel';
import { useHost, useLodge } from '../../components/lodge-context';
import { MediumIcon } from '../../components/medium-icon';
import { StateBadge } from '../../components/state-badge';
import { Thumbnail } from '../../components/thumbnail';
import { useVmCommands } from '../../components/vm-commands';
import { isLive } from '../../model/actions';
import { findOs } from '../../model/catalogue';
import { engineOf } from '../../model/engine';
import { baseName, formatBytes, formatDuration, formatMiB, plural, shortPath } from '../../model/format';
import { driveName } from '../../model/storage';
import { describeStop } from '../../model/stop-reason';
import type { Boot, Vm } from '../../model/types';
import classes from './details.module.css';
import { VmMenuItems } from './vm-menu';

export function Details({ vm }: { vm: Vm }) {
  const { catalogue } = useLodge();
  const host = useHost();
  const commands = useVmCommands(vm);
  const { definition, stats } = vm;
  const engine = engineOf(vm, host);
  const stop = vm.lastStop !== undefined && vm.state === 'stopped' ? describeStop(vm.lastStop) : null;
  const { allowed, run } = commands;
  return (
    <aside className={classes.pane} aria-label="Details">
      <div className={classes.stage} onDoubleClick={commands.open}>
        <Thumbnail vm={vm} icon={72} />
      </div>
      <div className={classes.head}>
        <h2 className={`${classes.title} selectable`}>{definition.name}</h2>
        <StateBadge vm={vm} />
      </div>
      <div className={classes.actions}>
        {isLive(vm.state) ? (
          <Button className={classes.primary ?? ''} leftSection={<IconExternalLink size={17} />} onClick={commands.open}>
            Open
          </Button>
        ) : (
          <Button
            className={classes.primary ?? ''}
            leftSection={<IconPlayerPlayFilled size={16} />}
            disabled={!allowed.start}
            onClick={commands.open}
          >
            Start
          </Button>
        )}
        {allowed.resume ? (
          <IconAction label="Resume" icon={<IconPlayerPlayFilled size={17} />} enabled onClick={() => run('resume')} />
        ) : (
          <IconAction
            label="Pause"
            icon={<IconPlayerPauseFilled size={17} />}
            enabled={allowed.pause}
            onClick={() => run('pause')}
          />
        )}
        <IconAction label="Shut down" icon={<IconPower size={18} />} enabled={allowed.shutdown} onClick={() => run('shutdown')} />
        <IconAction label="Settings" icon={<IconSettings size={18} />} enabled={allowed.rename} onClick={commands.settings} />
        <Menu position="bottom-end" width={230}>
          <Menu.Target>
            <ActionIcon variant="default" size={36} aria-label="More actions">
              <IconDots size={18} />
            </ActionIcon>
          </Menu.Target>
          <Menu.Dropdown>
            <VmMenuItems vm={vm} />
          </Menu.Dropdown>
        </Menu>
      </div>

      {stop !== null && stop.tone === 'error' && (
        <div className={classes.block}>
          <ErrorPanel
            context={`“${definition.name}” stopped`}
            title={stop.title}
            message={stop.message}
            fix={stop.fix}
            detail={stop.report}
            code={vm.lastStop?.kind === 'failed' ? vm.lastStop.error.code : undefined}
            actions={
              <>
                <Button size="compact-xs" variant="default" onClick={commands.settings}>
                  Open settings
                </Button>
                {vm.lastStop?.kind === 'guestFault' && vm.lastStop.cpu && (
                  <CpuStateButton cpu={vm.lastStop.cpu} report={vm.lastStop.report} name={definition.name} />
                )}
              </>
            }
          />
        </div>
      )}

      <dl className={classes.facts}>
        {stop !== null && stop.tone !== 'error' && <Fact name="Last stop">{stop.message}</Fact>}
        {stats !== undefined && isLive(vm.state) && (
          <Fact name="Now">
            <span className="tabular">
              {Math.round(stats.cpuPercent)} % CPU · {formatBytes(stats.residentBytes)} of host memory · up{' '}
              {formatDuration(stats.uptimeSeconds)}
            </span>
          </Fact>
        )}
        <Fact name="System">{definition.boot.kind === 'builtin' ? 'Built-in guest' : findOs(catalogue, definition.os).name}</Fact>
        <Fact name="Processors">{definition.cpus}</Fact>
        <Fact name="Memory">{formatMiB(definition.memoryMiB)}</Fact>
        <Fact name="Starts from">
          <BootSummary boot={definition.boot} vm={vm} />
        </Fact>
        <Fact name="Disks">
          {definition.disks.length === 0 ? (
            <Text span inherit c="dimmed">
              None
            </Text>
          ) : (
            definition.disks.map((d) => (
              <Tooltip key={d.id} label={d.path}>
                <div className={classes.disk} tabIndex={0}>
                  <MediumIcon kind={d.kind} size={15} />
                  <span>{baseName(d.path)}</span>
                  <Text span size="xs" c="dimmed">
                    {driveName(d)}
                    {d.readOnly && d.kind === 'disk' ? ', read-only' : ''}
                  </Text>
                </div>
              </Tooltip>
            ))
          )}
        </Fact>
        <Fact name="Serial ports">{definition.serialPorts === 0 ? 'None' : plural(definition.serialPorts, 'port')}</Fact>
        <Fact name="Engine">
          {engine.label}
          <div className={classes.reason}>{engine.reason}</div>
        </Fact>
        {definition.notes !== '' && (
          <Fact name="Notes">
            <span className={`${classes.notes} selectable`}>{definition.notes}</span>
          </Fact>
        )}
      </dl>
    </aside>
  );
}

function BootSummary({ boot, vm }: { boot: Boot; vm: Vm }) {
  switch (boot.kind) {
    case 'builtin':
      return 'The guest that comes with Lodge';
    case 'firmware':
      return (
        <>
          {vm.definition.disks[0] !== undefined ? baseName(vm.definition.disks[0].path) : 'Its disks'}
          {boot.image !== undefined && ` with the firmware ${baseName(boot.image)}`}
        </>
      );
    case 'linux':
      return (
        <>
          <Tooltip label={boot.kernel}>
            <span tabIndex={0}>{baseName(boot.kernel)}</span>
          </Tooltip>
          {boot.initrd !== undefined && (
            <Tooltip label={boot.initrd}>
              <span tabIndex={0}> with {baseName(boot.initrd)}</span>
            </Tooltip>
          )}
          {boot.commandLine !== '' && <div className={`${classes.command} selectable`}>{shortPath(boot.commandLine, 120)}</div>}
        </>
      );
  }
}

function Fact({ name, children }: { name: string; children: ReactNode }) {
  return (
    <>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </>
  );
}

function IconAction({
  label,
  icon,
  enabled,
  onClick,
}: {
  label: string;
  icon: ReactNode;
  enabled: boolean;
  onClick: () => void;
}) {
  return (
    <Tooltip label={label}>
      <ActionIcon variant="default" size={36} aria-label={label} disabled={!enabled} onClick={onClick}>
        {icon}
      </ActionIcon>
    </Tooltip>
  );
}
