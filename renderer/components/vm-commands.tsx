import { Text } from '@mantine/core';
import { modals } from '@mantine/modals';
import { useMemo } from 'react';
import { actionsOf, isLive, type VmAction } from '../model/actions';
import type { Vm } from '../model/types';
import type { StartChoice, VmCommand } from '../stores/vms';
import { navigate, useLodge } from './lodge-context';
import { openSettings } from '../views/settings/open-settings';

/** What pulling the plug or resetting costs, in plain words, asked before it happens. */
const QUESTIONS: Partial<Record<VmCommand, (name: string) => { title: string; text: string; confirm: string }>> = {
  powerOff: (name) => ({
    title: `Power off “${name}”?`,
    text: 'This is like pulling the plug: what the guest has not saved is lost. “Shut down” asks the guest to end by itself.',
    confirm: 'Power off now',
  }),
  reset: (name) => ({
    title: `Reset “${name}”?`,
    text: 'This is like the reset button of a computer: the guest starts again at once and what it has not saved is lost.',
    confirm: 'Reset now',
  }),
};

export interface VmCommands {
  readonly allowed: Readonly<Record<VmAction, boolean>>;
  run(command: VmCommand): void;
  /** Starts it from something else than usual, and shows its window. */
  start(choice: StartChoice): void;
  /** Starts it if it is stopped, and shows its window. */
  open(): void;
  settings(): void;
  remove(): void;
  screenshot(): void;
  sendKeys(keys: string): void;
}

/** Everything a menu, a button or a shortcut can do to one machine, with the questions that belong to it. */
export function useVmCommands(vm: Vm): VmCommands {
  const lodge = useLodge();
  return useMemo(() => {
    const { id, name, boot } = vm.definition;
    const { vms, notices, api } = lodge;
    const allowed = actionsOf(vm);
    const execute = async (command: VmCommand): Promise<void> => {
      const worked = await vms.getState().command(id, command);
      if (worked && command === 'shutdown')
        notices.getState().say('info', `“${name}” was asked to shut down. If it does not react, use Power off.`);
    };
    return {
      allowed,
      run: (command) => {
        const question = QUESTIONS[command]?.(name);
        if (question === undefined) {
          void execute(command);
          return;
        }
        modals.openConfirmModal({
          title: question.title,
          children: <Text size="sm">{question.text}</Text>,
          labels: { confirm: question.confirm, cancel: 'Cancel' },
          confirmProps: { color: 'red' },
          onConfirm: () => void execute(command),
        });
      },
      start: (choice) => {
        void vms.getState().start(id, choice);
        if (!lodge.openVmWindow(id)) navigate({ view: 'vm', id });
        if (choice.bootMenu === true && boot.kind === 'firmware' && boot.image !== undefined)
          notices.getState().say('info', 'This firmware opens its menu when Esc is pressed while it says so or shows its logo.');
      },
      open: () => {
        if (!isLive(vm.state) && allowed.start) void execute('start');
        if (!lodge.openVmWindow(id)) navigate({ view: 'vm', id });
      },
      settings: () => openSettings(lodge, id),
      remove: () => {
        modals.openConfirmModal({
          title: `Remove “${name}”?`,
          children: (
            <Text size="sm">
              Its folder, with the disks Lodge made for it, goes to the trash folder beside your machines, and can be taken back
              from there. Images that lie elsewhere stay where they are.
            </Text>
          ),
          labels: { confirm: 'Remove', cancel: 'Cancel' },
          confirmProps: { color: 'red' },
          onConfirm: () => void vms.getState().remove(id, false),
        });
      },
      screenshot: () => {
        void (async () => {
          try {
            const { png } = await api.call('vm.screenshot', { id });
            download(`data:image/png;base64,${png}`, `${name} ${timestamp(new Date())}.png`);
          } catch (e) {
            notices.getState().fail(`Screenshot of “${name}”`, e, { vmId: id });
          }
        })();
      },
      sendKeys: (keys) => void vms.getState().sendKeys(id, keys),
    };
  }, [vm, lodge]);
}

const timestamp = (d: Date): string => {
  const two = (n: number): string => String(n).padStart(2, '0');
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} ${two(d.getHours())}.${two(d.getMinutes())}.${two(d.getSeconds())}`;
};

function download(url: string, name: string): void {
  const link = document.createElement('a');
  link.href = url;
  link.download = name.replace(/[/\\:*?"<>|]/g, '_');
  link.click();
}
