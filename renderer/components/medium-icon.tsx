import { IconDatabase, IconDeviceFloppy, IconDisc } from '@tabler/icons-react';
import type { DiskKind } from '../model/types';

const ICONS: Readonly<Record<DiskKind, typeof IconDisc>> = { disk: IconDatabase, disc: IconDisc, floppy: IconDeviceFloppy };

/** A disk, a disc or a floppy, the same picture wherever one is named. */
export function MediumIcon({ kind, size }: { kind: DiskKind; size: number }) {
  const Icon = ICONS[kind];
  return <Icon size={size} style={{ flex: 'none' }} />;
}
