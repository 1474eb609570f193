/** Numbers as people read them. Binary units throughout: a guest's memory and disks are powers of two. */

export function formatBytes(bytes: number): string {
  if (bytes < 1024) return `${Math.round(bytes)} B`;
  const units = ['KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let value = bytes / 1024;
  let unit = 0;
  // Rounding must not print "1024 MiB".
  while (unit < units.length - 1 && Math.round(value) >= 1024) {
    value /= 1024;
    unit++;
  }
  return `${trim(value)} ${units[unit]!}`;
}

export const formatMiB = (mib: number): string => formatBytes(mib * 1024 * 1024);

const trim = (value: number): string => {
  if (value >= 100) return value.toFixed(0);
  return String(Number(value.toFixed(value >= 10 ? 1 : 2)));
};

export function formatDuration(seconds: number): string {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3600)} h`;
}

export const plural = (n: number, one: string, many = `${one}s`): string => `${n} ${n === 1 ? one : many}`;

/** Last part of a path of either kind of host. */
export const baseName = (path: string): string =>
  path
    .replace(/[/\\]+$/, '')
    .split(/[/\\]/)
    .pop() || path;

/** `/a/very/long/path/file.iso` → `/a/very/…/file.iso`: both ends of a path matter. */
export function shortPath(path: string, max = 48): string {
  if (path.length <= max) return path;
  const name = baseName(path);
  const head = max - name.length - 2;
  if (head < 4) return `…${path.slice(-(max - 1))}`;
  return `${path.slice(0, head)}…${path.slice(-(name.length + 1))}`;
}
