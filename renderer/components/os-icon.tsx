import {
  IconBrandDebian,
  IconBrandRedhat,
  IconBrandUbuntu,
  IconBrandWindows,
  IconCpu,
  IconHome2,
  IconTerminal2,
} from '@tabler/icons-react';
import type { ComponentType } from 'react';
import { findOs } from '../model/catalogue';
import { useLodge } from './lodge-context';
import classes from './os-icon.module.css';

const MARKS: Readonly<Record<string, { icon: ComponentType<{ size?: number; stroke?: number }>; hue: number }>> = {
  debian: { icon: IconBrandDebian, hue: 340 },
  ubuntu: { icon: IconBrandUbuntu, hue: 18 },
  redhat: { icon: IconBrandRedhat, hue: 0 },
  windows: { icon: IconBrandWindows, hue: 208 },
  linux: { icon: IconTerminal2, hue: 44 },
  memory: { icon: IconCpu, hue: 268 },
  lodge: { icon: IconHome2, hue: 165 },
};

/** Stable hue for systems without a mark of their own. */
const hueOf = (text: string): number => [...text].reduce((hash, c) => (hash * 31 + c.charCodeAt(0)) % 360, 7);

/** A tile for an operating system: its mark where there is one, else its initial. */
export function OsIcon({ os, size = 36, builtin = false }: { os: string; size?: number; builtin?: boolean }) {
  const entry = findOs(useLodge().catalogue, os);
  const mark = MARKS[builtin ? 'lodge' : (entry.icon ?? entry.id)] ?? (entry.id === 'other' ? MARKS.linux : undefined);
  const Icon = mark?.icon;
  return (
    <span
      className={classes.tile}
      style={{
        width: size,
        height: size,
        fontSize: size * 0.46,
        borderRadius: size * 0.26,
        ['--hue' as string]: mark?.hue ?? hueOf(entry.id),
      }}
      aria-hidden
    >
      {Icon !== undefined ? <Icon size={size * 0.6} stroke={1.8} /> : entry.name.slice(0, 1)}
    </span>
  );
}
