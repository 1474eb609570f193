import { Text } from '@mantine/core';
import { modals } from '@mantine/modals';
import { useMemo } from 'react';
import { baseName } from '../model/format';
import { driveName } from '../model/storage';
import { LodgeError, type Disk, type Vm } from '../model/types';
import type { Lodge } from '../stores';
import { useLodge } from './lodge-context';

export interface MediaCommands {
  /** Puts an image into the drive of its kind; what is in there is taken out. Resolves to whether it is in. */
  insert(path: string, kind: 'disc' | 'floppy'): Promise<boolean>;
  eject(disk: Disk): Promise<boolean>;
}

/** Discs and floppies of a machine, with the question that a locked tray asks, and a way back in a toast. */
export function mediaCommands(lodge: Lodge, vm: Vm): MediaCommands {
  const { id, name } = vm.definition;
  const { vms, notices, kept } = lodge;
  const current = (): readonly Disk[] => vms.getState().byId[id]?.definition.disks ?? [];

  const withQuestion = async (context: string, work: (force: boolean) => Promise<void>): Promise<boolean> => {
    try {
      await work(false);
      return true;
    } catch (e) {
      const error = LodgeError.from(e);
      if (error.code !== 'mediumLocked') {
        notices.getState().fail(context, error, { vmId: id });
        return false;
      }
      if (!(await askForce(error))) return false;
      try {
        await work(true);
        return true;
      } catch (again) {
        notices.getState().fail(context, again, { vmId: id });
        return false;
      }
    }
  };

  const commands: MediaCommands = {
    insert: async (path, kind) => {
      const worked = await withQuestion(`Insert “${baseName(path)}”`, async (force) => {
        await vms.getState().insert(id, path, kind, force);
      });
      if (!worked) return false;
      kept.getState().usedMedium(path);
      notices.getState().say('info', `“${baseName(path)}” is in the ${kind === 'disc' ? 'CD' : 'floppy'} drive of “${name}”.`, {
        label: 'Eject',
        run: () => {
          // The guest may have ejected it in the meantime.
          const disk = current().find((d) => d.path === path);
          if (disk !== undefined) void commands.eject(disk);
        },
      });
      return true;
    },
    eject: (disk) => {
      kept.getState().usedMedium(disk.path);
      return withQuestion(`Eject “${baseName(disk.path)}”`, async (force) => {
        await vms.getState().detach(id, disk.id, force);
        notices.getState().say('info', `The ${driveName(disk)} of “${name}” is empty.`);
      });
    },
  };
  return commands;
}

export function useMedia(vm: Vm): MediaCommands {
  const lodge = useLodge();
  return useMemo(() => mediaCommands(lodge, vm), [lodge, vm]);
}

/** The guest keeps the tray shut while it uses the disc: taking it out is possible and has a price. */
const askForce = (error: LodgeError): Promise<boolean> =>
  new Promise((answer) => {
    modals.openConfirmModal({
      title: 'The guest holds on to the medium',
      children: (
        <>
          <Text size="sm">{error.message}</Text>
          {error.fix !== undefined && (
            <Text size="sm" c="dimmed" mt={6}>
              {error.fix}
            </Text>
          )}
        </>
      ),
      labels: { confirm: 'Take it out anyway', cancel: 'Leave it in' },
      confirmProps: { color: 'red' },
      onConfirm: () => answer(true),
      onCancel: () => answer(false),
      onClose: () => answer(false),
    });
  });
