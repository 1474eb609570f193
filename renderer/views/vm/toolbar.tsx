import { ActionIcon, Button, Divider, Menu, Tooltip } from '@mantine/core';
import {
  IconArrowLeft,
  IconArrowsMaximize,
  IconChevronDown,
  IconListNumbers,
  IconCamera,
  IconKeyboard,
  IconPlayerPauseFilled,
  IconPlayerPlayFilled,
  IconPlugX,
  IconPower,
  IconRefresh,
  IconAspectRatio,
  IconSettings,
  IconX,
} from '@tabler/icons-react';
import type { ReactNode } from 'react';
import { navigate, useLodge } from '../../components/lodge-context';
import { MediumIcon } from '../../components/medium-icon';
import { OsIcon } from '../../components/os-icon';
import { StateBadge } from '../../components/state-badge';
import type { VmCommands } from '../../components/vm-commands';
import { baseName } from '../../model/format';
import { KEY_COMBINATIONS } from '../../model/keys';
import { SCALE_LABEL, SCALE_MODES, type ScaleMode } from '../../model/scale';
import type { Vm } from '../../model/types';
import classes from './toolbar.module.css';

export interface ToolbarProps {
  readonly vm: Vm;
  readonly commands: VmCommands;
  readonly scale: ScaleMode;
  readonly onScale: (mode: ScaleMode) => void;
  readonly onSendKeys: (keys: string) => void;
  readonly fullscreen: boolean;
  readonly onFullscreen: () => void;
  /** A page in a browser has no window of its own to close. */
  readonly onClose: (() => void) | undefined;
  readonly display: boolean;
}

export function Toolbar({ vm, commands, scale, onScale, onSendKeys, fullscreen, onFullscreen, onClose, display }: ToolbarProps) {
  const { kind } = useLodge();
  const { allowed, run } = commands;
  const { definition } = vm;
  return (
    <header className={classes.bar}>
      <div className={classes.title}>
        {kind === 'server' && (
          <Tooltip label="Library (the machine keeps running)">
            <ActionIcon
              variant="subtle"
              color="gray"
              size={32}
              aria-label="Library"
              onClick={() => navigate({ view: 'library' })}
            >
              <IconArrowLeft size={18} />
            </ActionIcon>
          </Tooltip>
        )}
        <OsIcon os={definition.os} size={28} builtin={definition.boot.kind === 'builtin'} />
        <h1 className={classes.name}>{definition.name}</h1>
        <StateBadge vm={vm} />
      </div>
      <div className={classes.group}>
        {vm.state === 'stopped' ? (
          <StartButton vm={vm} commands={commands} />
        ) : vm.state === 'paused' || vm.state === 'resuming' ? (
          <Button
            size="compact-md"
            leftSection={<IconPlayerPlayFilled size={15} />}
            disabled={!allowed.resume}
            onClick={() => run('resume')}
          >
            Resume
          </Button>
        ) : (
          <Button
            size="compact-md"
            variant="default"
            leftSection={<IconPlayerPauseFilled size={15} />}
            disabled={!allowed.pause}
            onClick={() => run('pause')}
          >
            Pause
          </Button>
        )}
        <Button
          size="compact-md"
          variant="default"
          leftSection={<IconPower size={16} />}
          disabled={!allowed.shutdown}
          onClick={() => run('shutdown')}
        >
          Shut down
        </Button>
        <Tool label="Reset" icon={<IconRefresh size={17} />} enabled={allowed.reset} onClick={() => run('reset')} />
        <Tool label="Power off" icon={<IconPlugX size={17} />} enabled={allowed.powerOff} onClick={() => run('powerOff')} />
      </div>
      <div className={classes.group}>
        <Menu position="bottom-end" width={230}>
          <Menu.Target>
            <Tooltip label="Send keys">
              <ActionIcon variant="subtle" color="gray" size={32} aria-label="Send keys" disabled={!allowed.sendKeys}>
                <IconKeyboard size={18} />
              </ActionIcon>
            </Tooltip>
          </Menu.Target>
          <Menu.Dropdown>
            <Menu.Label>Keys the host would keep</Menu.Label>
            {KEY_COMBINATIONS.map((c) => (
              <Menu.Item key={c.keys} onClick={() => onSendKeys(c.keys)}>
                {c.label}
              </Menu.Item>
            ))}
          </Menu.Dropdown>
        </Menu>
        <Menu position="bottom-end" width={220}>
          <Menu.Target>
            <Tooltip label="Scale">
              <ActionIcon variant="subtle" color="gray" size={32} aria-label="Scale" disabled={!display}>
                <IconAspectRatio size={18} />
              </ActionIcon>
            </Tooltip>
          </Menu.Target>
          <Menu.Dropdown>
            <Menu.Label>Size of the screen</Menu.Label>
            <Menu.RadioGroup value={scale} onChange={(mode) => onScale(mode as ScaleMode)}>
              {SCALE_MODES.map((mode) => (
                <Menu.RadioItem key={mode} value={mode} closeMenuOnClick>
                  {SCALE_LABEL[mode]}
                </Menu.RadioItem>
              ))}
            </Menu.RadioGroup>
          </Menu.Dropdown>
        </Menu>
        <Tool
          label="Screenshot"
          icon={<IconCamera size={18} />}
          enabled={allowed.screenshot}
          onClick={commands.screenshot}
          subtle
        />
        <Tool label="Settings" icon={<IconSettings size={18} />} enabled={allowed.rename} onClick={commands.settings} subtle />
        <Tool label="Full screen" icon={<IconArrowsMaximize size={17} />} enabled={!fullscreen} onClick={onFullscreen} subtle />
        {onClose !== undefined && (
          <>
            <Divider orientation="vertical" my={6} />
            <Tool label="Close" icon={<IconX size={18} />} enabled onClick={onClose} subtle />
          </>
        )}
      </div>
    </header>
  );
}

/** Start, and beside it what else the machine could start from this once. */
function StartButton({ vm: { definition }, commands: { allowed, run, start } }: { vm: Vm; commands: VmCommands }) {
  const button = (
    <Button
      size="compact-md"
      leftSection={<IconPlayerPlayFilled size={15} />}
      disabled={!allowed.start}
      onClick={() => run('start')}
    >
      Start
    </Button>
  );
  if (definition.boot.kind !== 'firmware') return button;
  return (
    <Button.Group>
      {button}
      <Menu position="bottom-start" width={270}>
        <Menu.Target>
          <Tooltip label="Start from something else">
            <ActionIcon className={classes.more ?? ''} aria-label="Start from something else" disabled={!allowed.start}>
              <IconChevronDown size={15} />
            </ActionIcon>
          </Tooltip>
        </Menu.Target>
        <Menu.Dropdown>
          <Menu.Item leftSection={<IconListNumbers size={16} />} onClick={() => start({ bootMenu: true })}>
            Start with the boot menu
          </Menu.Item>
          {definition.disks.length > 1 && <Menu.Label>This once from</Menu.Label>}
          {definition.disks.length > 1 &&
            definition.disks.map((disk) => (
              <Menu.Item
                key={disk.id}
                leftSection={<MediumIcon kind={disk.kind} size={16} />}
                onClick={() => start({ bootFirst: disk.id })}
              >
                {baseName(disk.path)}
              </Menu.Item>
            ))}
        </Menu.Dropdown>
      </Menu>
    </Button.Group>
  );
}

function Tool({
  label,
  icon,
  enabled,
  onClick,
  subtle = false,
}: {
  label: string;
  icon: ReactNode;
  enabled: boolean;
  onClick: () => void;
  subtle?: boolean;
}) {
  return (
    <Tooltip label={label}>
      <ActionIcon
        variant={subtle ? 'subtle' : 'default'}
        {...(subtle && { color: 'gray' })}
        size={subtle ? 32 : 30}
        aria-label={label}
        disabled={!enabled}
        onClick={onClick}
      >
        {icon}
      </ActionIcon>
    </Tooltip>
  );
}
