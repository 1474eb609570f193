import { IconPlayerPauseFilled } from '@tabler/icons-react';
import { useEffect } from 'react';
import { useStore } from 'zustand';
import type { Vm } from '../model/types';
import { useLodge } from './lodge-context';
import { OsIcon } from './os-icon';
import classes from './thumbnail.module.css';

/** The last picture of a machine's screen: live while it runs, dimmed when it does not. */
export function Thumbnail({ vm, icon = 40, overlay = false }: { vm: Vm; icon?: number; overlay?: boolean }) {
  const { thumbnails } = useLodge();
  const id = vm.definition.id;
  const picture = useStore(thumbnails, (s) => s.byId[id]);
  useEffect(() => thumbnails.getState().want(id, vm.thumbnail), [thumbnails, id, vm.thumbnail]);
  const live = vm.state === 'running' || vm.state === 'stopping';
  return (
    <div className={classes.frame} data-live={live || undefined} data-picture={picture !== undefined || undefined}>
      {picture !== undefined ? (
        <img className={classes.picture} src={picture.url} alt="" draggable={false} />
      ) : (
        <span className={classes.empty}>
          <OsIcon os={vm.definition.os} size={icon} builtin={vm.definition.boot.kind === 'builtin'} />
        </span>
      )}
      {overlay && vm.state === 'paused' && (
        <span className={classes.overlay}>
          <IconPlayerPauseFilled size={20} />
        </span>
      )}
    </div>
  );
}
