/** `--boot`: which kinds of media are tried first. A machine's disks stand in the order in which they are tried. */
import { LodgeError, type Disk, type DiskKind } from '../../preload/contract';

export interface BootWish {
  /** First to last; kinds that are not named follow in their usual order. */
  readonly kinds: readonly DiskKind[];
  /** Ask the person who sits there. */
  readonly menu: boolean;
}

const KINDS: Readonly<Record<string, DiskKind>> = { disk: 'disk', cdrom: 'disc', disc: 'disc', floppy: 'floppy' };

export function parseBoot(text: string): BootWish {
  const words = text.split(',').map((word) => word.trim().toLowerCase());
  const unknown = words.find((word) => word !== 'menu' && KINDS[word] === undefined);
  if (unknown !== undefined || new Set(words).size < words.length) {
    throw new LodgeError({
      code: 'invalidInput',
      message: unknown === undefined ? 'The boot order names something twice.' : `“${unknown}” is nothing to start from.`,
      fix: 'Use disk, cdrom and floppy in the order you want, as in --boot cdrom,disk, or --boot menu to be asked.',
    });
  }
  return { kinds: words.flatMap((word) => KINDS[word] ?? []), menu: words.includes('menu') };
}

export function inBootOrder(disks: readonly Disk[], { kinds }: BootWish): Disk[] {
  for (const kind of kinds) {
    if (disks.some((disk) => disk.kind === kind)) continue;
    const [noun, option] = { disk: ['disk', '--disk'], disc: ['disc', '--cdrom'], floppy: ['floppy', '--floppy'] }[kind] as [
      string,
      string,
    ];
    throw new LodgeError({
      code: 'invalidInput',
      message: `The machine has no ${noun} to start from.`,
      fix: `Add ${option} FILE, or leave it out of --boot.`,
    });
  }
  const rank = ({ kind }: Disk): number => (kinds.includes(kind) ? kinds.indexOf(kind) : kinds.length);
  return [...disks].sort((a, b) => rank(a) - rank(b));
}
