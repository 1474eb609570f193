import { Input, Text, UnstyledButton, VisuallyHidden } from '@mantine/core';
import { IconGripVertical } from '@tabler/icons-react';
import { useRef, useState, type KeyboardEvent, type PointerEvent } from 'react';
import { MediumIcon } from '../../components/medium-icon';
import { baseName } from '../../model/format';
import { driveName, dropIndex, moved } from '../../model/storage';
import type { Disk } from '../../model/types';
import classes from './settings.module.css';

interface Drag {
  readonly from: number;
  readonly to: number;
  readonly dy: number;
  readonly startY: number;
  /** Of all rows when the drag began, in page pixels. */
  readonly middles: readonly number[];
  /** One row and the gap after it. */
  readonly pitch: number;
}

/** What the firmware tries first. Rows are dragged by their handles; with a handle focused, the arrow keys move its row. */
export function BootOrder({
  disks,
  onChange,
  disabled,
}: {
  disks: readonly Disk[];
  onChange: (disks: Disk[]) => void;
  disabled: boolean;
}) {
  const list = useRef<HTMLOListElement>(null);
  const [drag, setDrag] = useState<Drag | null>(null);
  const [said, setSaid] = useState('');
  if (disks.length === 0) return null;

  const move = (from: number, to: number): void => {
    const place = Math.max(0, Math.min(disks.length - 1, to));
    if (place === from) return;
    onChange(moved(disks, from, place));
    setSaid(`${baseName(disks[from]!.path)} is number ${place + 1} of ${disks.length} now.`);
  };
  const onKeyDown = (e: KeyboardEvent, index: number): void => {
    const to = { ArrowUp: index - 1, ArrowDown: index + 1, Home: 0, End: disks.length - 1 }[e.key];
    if (to === undefined) return;
    e.preventDefault();
    move(index, to);
  };
  const onPointerDown = (e: PointerEvent<HTMLElement>, from: number): void => {
    if (disabled || e.button !== 0 || list.current === null) return;
    e.currentTarget.setPointerCapture(e.pointerId);
    const boxes = [...list.current.children].map((row) => row.getBoundingClientRect());
    setDrag({
      from,
      to: from,
      dy: 0,
      startY: e.clientY,
      middles: boxes.map((b) => b.top + b.height / 2),
      pitch: boxes.length > 1 ? boxes[1]!.top - boxes[0]!.top : 0,
    });
  };
  const onPointerMove = (e: PointerEvent): void => {
    setDrag((d) => {
      if (d === null) return d;
      const dy = e.clientY - d.startY;
      return { ...d, dy, to: dropIndex(d.middles, d.from, d.middles[d.from]! + dy) };
    });
  };
  const onPointerUp = (): void => {
    if (drag !== null) move(drag.from, drag.to);
    setDrag(null);
  };
  const shift = (index: number): number => {
    if (drag === null) return 0;
    if (index === drag.from) return drag.dy;
    if (index > drag.from && index <= drag.to) return -drag.pitch;
    if (index < drag.from && index >= drag.to) return drag.pitch;
    return 0;
  };

  return (
    <div>
      <Input.Label>Order</Input.Label>
      <Text size="xs" c="dimmed">
        The first one that something can be started from is taken. Drag a row, or move it with the arrow keys.
      </Text>
      <ol className={classes.order} ref={list} aria-label="Boot order" data-settled={drag === null || undefined}>
        {disks.map((disk, index) => (
          <li
            key={disk.id}
            className={classes.orderRow}
            data-dragged={drag?.from === index || undefined}
            style={drag === null ? {} : { transform: `translateY(${shift(index)}px)` }}
          >
            <UnstyledButton
              className={classes.grip ?? ''}
              disabled={disabled}
              aria-label={`Move ${baseName(disk.path)}, number ${index + 1} of ${disks.length}`}
              onKeyDown={(e) => onKeyDown(e, index)}
              onPointerDown={(e) => onPointerDown(e, index)}
              onPointerMove={onPointerMove}
              onPointerUp={onPointerUp}
              onPointerCancel={() => setDrag(null)}
            >
              <IconGripVertical size={17} />
            </UnstyledButton>
            <Text size="xs" className={`${classes.orderNumber} tabular`}>
              {index + 1}
            </Text>
            <MediumIcon kind={disk.kind} size={18} />
            <Text size="sm" fw={600} truncate style={{ flex: 1, minWidth: 0 }}>
              {baseName(disk.path)}
            </Text>
            <Text size="xs" c="dimmed" style={{ flex: 'none' }}>
              {driveName(disk)}
            </Text>
          </li>
        ))}
      </ol>
      <VisuallyHidden role="status">{said}</VisuallyHidden>
    </div>
  );
}
