import { Menu, Text, UnstyledButton } from '@mantine/core';
import { IconDeviceFloppy, IconDisc, IconPlayerEject, IconPlus } from '@tabler/icons-react';
import { useState } from 'react';
import { useStore } from 'zustand';
import { FileBrowser } from '../../components/file-browser';
import { useLodge } from '../../components/lodge-context';
import { useMedia } from '../../components/media';
import { mediumKind } from '../../model/drop';
import { baseName, shortPath } from '../../model/format';
import { driveName, isRemovable } from '../../model/storage';
import { LodgeError, type Vm } from '../../model/types';
import classes from './status-bar.module.css';

/** Discs and floppies at the foot of the machine's window: what is in, taking it out, putting another in. */
export function DiscMenu({ vm }: { vm: Vm }) {
  const { api, chooseFile, kept, notices } = useLodge();
  const media = useMedia(vm);
  const recent = useStore(kept, (s) => s.media);
  const [browsing, setBrowsing] = useState(false);
  const inside = vm.definition.disks.filter(isRemovable);
  const changeable = vm.state === 'running' || (vm.state === 'stopped' && !vm.ephemeral);
  const others = recent.filter((path) => !inside.some((d) => d.path === path));
  const summary = inside.length === 0 ? 'No disc' : inside.map((d) => baseName(d.path)).join(', ');

  const insert = async (path: string): Promise<void> => {
    try {
      const info = await api.call('image.inspect', { path });
      const kind = mediumKind(info);
      if (kind === null)
        throw new LodgeError({
          code: 'fileInvalid',
          message: info.problem ?? `“${baseName(path)}” is neither a disc nor a floppy image.`,
          fix: 'A disk image is added in the settings, under Storage.',
        });
      await media.insert(path, kind);
    } catch (e) {
      const error = LodgeError.from(e);
      if (error.code === 'fileMissing') kept.getState().forgetMedium(path);
      notices.getState().fail(`Insert “${baseName(path)}”`, error, { vmId: vm.definition.id });
    }
  };
  const choose = async (): Promise<void> => {
    if (chooseFile === undefined) {
      setBrowsing(true);
      return;
    }
    const path = await chooseFile({ title: 'Insert an image', kind: 'disc' });
    if (path !== null) await insert(path);
  };

  return (
    <>
      <Menu position="top-end" width={290}>
        <Menu.Target>
          <UnstyledButton className={`${classes.item} ${classes.press}`} aria-label={`Discs: ${summary}`} title={summary}>
            <IconDisc size={15} />
            <span className={classes.medium} data-empty={inside.length === 0 || undefined}>
              {summary}
            </span>
          </UnstyledButton>
        </Menu.Target>
        <Menu.Dropdown>
          {inside.length === 0 && <Menu.Label>The CD drive is empty</Menu.Label>}
          {inside.map((disk) => (
            <Menu.Item
              key={disk.id}
              leftSection={<IconPlayerEject size={16} />}
              disabled={!changeable}
              onClick={() => void media.eject(disk)}
            >
              Eject “{baseName(disk.path)}”
              <Text size="xs" c="dimmed">
                {driveName(disk)}
              </Text>
            </Menu.Item>
          ))}
          <Menu.Item leftSection={<IconPlus size={16} />} disabled={!changeable} onClick={() => void choose()}>
            Insert image…
          </Menu.Item>
          {others.length > 0 && (
            <>
              <Menu.Divider />
              <Menu.Label>Recently used</Menu.Label>
              {others.map((path) => (
                <Menu.Item
                  key={path}
                  leftSection={/\.(ima|flp|vfd)$/i.test(path) ? <IconDeviceFloppy size={16} /> : <IconDisc size={16} />}
                  disabled={!changeable}
                  onClick={() => void insert(path)}
                >
                  {baseName(path)}
                  <Text size="xs" c="dimmed" truncate>
                    {shortPath(path, 40)}
                  </Text>
                </Menu.Item>
              ))}
            </>
          )}
          {!changeable && vm.state !== 'stopped' && <Menu.Label>Discs can be changed while the machine runs.</Menu.Label>}
        </Menu.Dropdown>
      </Menu>
      {chooseFile === undefined && (
        <FileBrowser
          title="Insert an image"
          kind="disc"
          opened={browsing}
          onClose={() => setBrowsing(false)}
          onChoose={(path) => void insert(path)}
        />
      )}
    </>
  );
}
