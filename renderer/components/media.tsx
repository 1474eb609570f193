import { Text } from '@mantine/core';
import { modals } from '@mantine/modals';
import { useMemo } from 'react';
import { baseName } from '../model/format';
import { driveName, isRemovable } from '../model/storage';
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

  /** `inside`: what has to come out. */
  const withQuestion = async (
    context: string,
    inside: Disk | undefined,
    work: (force: boolean) => Promise<void>,
  ): Promise<boolean> => {
    try {
      await work(false);
      return true;
    } catch (e) {
      const error = LodgeError.from(e);
      if (error.code !== 'mediumLocked') {
        notices.getState().fail(context, error, { vmId: id });
        return false;
      }
      const answer = await askForce(error, (gone) =>
        vms.subscribe(() => {
          if (!current().some((disk) => disk.id === inside?.id)) gone();
        }),
      );
      if (answer === 'leave') return false;
      try {
        await work(answer === 'force');
        return true;
      } catch (again) {
        notices.getState().fail(context, again, { vmId: id });
        return false;
      }
    }
  };

  const commands: MediaCommands = {
    insert: async (path, kind) => {
      const inside = current().find((disk) => disk.kind === kind && isRemovable(disk));
      const worked = await withQuestion(`Insert “${baseName(path)}”`, inside, async (force) => {
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
      return withQuestion(`Eject “${baseName(disk.path)}”`, disk, async (force) => {
        // The guest may have been quicker, when it was asked.
        if (current().some((d) => d.id === disk.id)) await vms.getState().detach(id, disk.id, force);
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

/** A guest that can let go does so within about a second. */
const GRACE_MS = 1500;

/**
 * The guest keeps the tray shut while it uses the disc: it was asked to let go; if it does not, taking the disc out is possible and has a
 * price. `watch` calls back when the disc has gone, and returns what ends it.
 */
const askForce = (error: LodgeError, watch: (gone: () => void) => () => void): Promise<'force' | 'leave' | 'gone'> =>
  new Promise((resolve) => {
    let dialog: string | undefined;
    const answer = (value: 'force' | 'leave' | 'gone'): void => {
      clearTimeout(timer);
      unwatch();
      resolve(value);
      if (value === 'gone' && dialog !== undefined) modals.close(dialog);
    };
    const unwatch = watch(() => answer('gone'));
    const timer = setTimeout(() => {
      dialog = modals.openConfirmModal({
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
        onConfirm: () => answer('force'),
        onCancel: () => answer('leave'),
        onClose: () => answer('leave'),
      });
    }, GRACE_MS);
  });
