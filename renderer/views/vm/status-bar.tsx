import { Tooltip } from '@mantine/core';
import { IconCpu, IconDatabase, IconKeyboard } from '@tabler/icons-react';
import { useEffect, useState, type ReactNode } from 'react';
import { useStore } from 'zustand';
import { useHost, useLodge } from '../../components/lodge-context';
import { Sparkline } from '../../components/sparkline';
import { isLive, STATE_LABEL } from '../../model/actions';
import { engineOf } from '../../model/engine';
import { formatBytes, formatDuration, formatMiB, plural } from '../../model/format';
import { hostKeyLabel, type HostKey } from '../../model/keys';
import type { Vm } from '../../model/types';
import type { ViewerSession } from '../../stores';
import { DiscMenu } from './disc-menu';
import classes from './status-bar.module.css';

/** How long an activity light stays on after the activity: shorter cannot be seen. */
const LIGHT_MS = 160;

export function StatusBar({
  vm,
  session,
  captured,
  hostKey,
}: {
  vm: Vm;
  session: ViewerSession;
  captured: boolean;
  hostKey: HostKey;
}) {
  const { vms, platform } = useLodge();
  const host = useHost();
  const { status, screen, absolute, leds, activity } = useStore(session.state);
  const history = useStore(vms, (s) => s.cpuHistory[vm.definition.id]) ?? [];
  const engine = engineOf(vm, host);
  const { stats } = vm;
  const live = isLive(vm.state);
  const cpu = stats?.cpuPercent ?? activity.cpuPercent;
  const key = hostKeyLabel(hostKey, platform);
  return (
    <footer className={`${classes.bar} tabular`} aria-label="Status">
      <Item
        tip={`${vm.definition.name} is ${STATE_LABEL[vm.state].toLowerCase()}.${stats !== undefined && live ? ` Up ${formatDuration(stats.uptimeSeconds)}.` : ''}`}
      >
        {STATE_LABEL[vm.state]}
        {live && status !== 'open' && vm.state !== 'starting' ? ' · no picture yet' : ''}
      </Item>
      <Item tip={engine.reason}>{engine.label}</Item>
      {live && screen.width > 0 && (
        <Item tip={screen.mode === 'text' ? 'The guest is in text mode.' : 'The guest is in graphics mode.'}>
          {screen.width} × {screen.height}
        </Item>
      )}
      <span className={classes.grow} />
      <Item
        tip={
          stats === undefined || !live
            ? 'Processor'
            : `Processor: ${Math.round(stats.cpuPercent)} % of one host processor; ${plural(vm.definition.cpus, 'virtual processor')}. Memory: ${formatBytes(stats.residentBytes)} of the host for ${formatMiB(vm.definition.memoryMiB)}.`
        }
      >
        <IconCpu size={15} aria-label="Processor activity" />
        <Sparkline values={live ? history : []} width={54} height={16} />
        <span className={classes.number}>{live ? `${Math.round(cpu)} %` : '–'}</span>
      </Item>
      <Item
        tip={
          vm.definition.disks.length === 0
            ? 'No disks'
            : `${plural(vm.definition.disks.length, 'disk')}${stats !== undefined && live ? `: read ${formatBytes(stats.diskReadBytes)}, written ${formatBytes(stats.diskWrittenBytes)}` : ''}`
        }
      >
        <IconDatabase size={15} aria-label="Disk activity" />
        <Light on={activity.diskRead} tone="read" />
        <Light on={activity.diskWrite} tone="write" />
      </Item>
      <DiscMenu vm={vm} />
      {live && (
        <Item tip="Keyboard lights of the guest: Num Lock, Caps Lock, Scroll Lock">
          <span className={classes.led} data-on={leds.numLock || undefined}>
            1
          </span>
          <span className={classes.led} data-on={leds.capsLock || undefined}>
            A
          </span>
          <span className={classes.led} data-on={leds.scrollLock || undefined}>
            S
          </span>
        </Item>
      )}
      <Item
        strong={captured}
        tip={`${absolute ? 'The mouse moves freely between host and guest.' : 'A click on the screen gives the mouse to the guest.'} Hold ${key} with F for full screen, with Del for Ctrl + Alt + Del, with S for a screenshot.`}
      >
        <IconKeyboard size={16} aria-label={captured ? 'Keyboard is in the machine' : 'Keyboard is on the host'} />
        {captured ? 'In the machine' : 'On the host'} · <kbd>{key}</kbd> leaves the machine
      </Item>
    </footer>
  );
}

function Item({ tip, strong = false, children }: { tip: string; strong?: boolean; children: ReactNode }) {
  return (
    <Tooltip label={tip} position="top">
      <span className={classes.item} tabIndex={0} data-strong={strong || undefined}>
        {children}
      </span>
    </Tooltip>
  );
}

function Light({ on, tone }: { on: boolean; tone: 'read' | 'write' }) {
  const [lit, setLit] = useState(false);
  useEffect(() => {
    if (on) {
      setLit(true);
      return;
    }
    const timer = setTimeout(() => setLit(false), LIGHT_MS);
    return () => clearTimeout(timer);
  }, [on]);
  return <span className={classes.light} data-tone={tone} data-on={lit || undefined} />;
}
