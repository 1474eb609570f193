import { Menu } from '@mantine/core';
import {
  IconExternalLink,
  IconListNumbers,
  IconPlayerPause,
  IconPlayerPlay,
  IconPower,
  IconRefresh,
  IconPlugX,
  IconSettings,
  IconTrash,
  IconCamera,
} from '@tabler/icons-react';
import { useVmCommands } from '../../components/vm-commands';
import { useLodge } from '../../components/lodge-context';
import { isLive } from '../../model/actions';
import { formatRoute } from '../../model/route';
import type { Vm } from '../../model/types';

const ICON = 16;

/** Items of a machine's menu; the same order as its toolbar. */
export function VmMenuItems({ vm }: { vm: Vm }) {
  const { kind } = useLodge();
  const commands = useVmCommands(vm);
  const { allowed, run } = commands;
  return (
    <>
      {isLive(vm.state) ? (
        <Menu.Item leftSection={<IconExternalLink size={ICON} />} onClick={commands.open}>
          Open
        </Menu.Item>
      ) : (
        <Menu.Item leftSection={<IconPlayerPlay size={ICON} />} disabled={!allowed.start} onClick={() => run('start')}>
          Start
        </Menu.Item>
      )}
      {vm.state === 'stopped' && vm.definition.boot.kind === 'firmware' && (
        <Menu.Item
          leftSection={<IconListNumbers size={ICON} />}
          disabled={!allowed.start}
          onClick={() => commands.start({ bootMenu: true })}
        >
          Start with the boot menu
        </Menu.Item>
      )}
      {kind === 'server' && (
        <Menu.Item
          leftSection={<IconExternalLink size={ICON} />}
          component="a"
          href={formatRoute({ view: 'vm', id: vm.definition.id })}
          target="_blank"
          rel="noopener"
        >
          Open in a new tab
        </Menu.Item>
      )}
      <Menu.Divider />
      {allowed.resume ? (
        <Menu.Item leftSection={<IconPlayerPlay size={ICON} />} onClick={() => run('resume')}>
          Resume
        </Menu.Item>
      ) : (
        <Menu.Item leftSection={<IconPlayerPause size={ICON} />} disabled={!allowed.pause} onClick={() => run('pause')}>
          Pause
        </Menu.Item>
      )}
      <Menu.Item leftSection={<IconPower size={ICON} />} disabled={!allowed.shutdown} onClick={() => run('shutdown')}>
        Shut down
      </Menu.Item>
      <Menu.Item leftSection={<IconRefresh size={ICON} />} disabled={!allowed.reset} onClick={() => run('reset')}>
        Reset…
      </Menu.Item>
      <Menu.Item leftSection={<IconPlugX size={ICON} />} disabled={!allowed.powerOff} onClick={() => run('powerOff')}>
        Power off…
      </Menu.Item>
      <Menu.Divider />
      <Menu.Item leftSection={<IconCamera size={ICON} />} disabled={!allowed.screenshot} onClick={commands.screenshot}>
        Save a screenshot
      </Menu.Item>
      <Menu.Item leftSection={<IconSettings size={ICON} />} disabled={!allowed.rename} onClick={commands.settings}>
        Settings…
      </Menu.Item>
      <Menu.Item leftSection={<IconTrash size={ICON} />} color="red" disabled={!allowed.remove} onClick={commands.remove}>
        Remove…
      </Menu.Item>
    </>
  );
}
