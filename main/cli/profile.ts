/** `lodge profile`: where a guest's time goes, as a table of functions or as stacks for a flame graph. */
import { readFile, stat } from 'node:fs/promises';
import { LodgeError, type Profile } from '../../preload/contract';
import { isKernelAddress, kernelSlide, parseSymbols, type SymbolTable } from './symbols';

const SYMBOL_FILE_MAX = 2 ** 30;
const PAGE = 4096n;

export interface ProfileRow {
  readonly where: 'kernel' | 'user';
  /** A symbol, or the page when there is none. */
  readonly function: string;
  readonly ticks: number;
  /** Of those: waiting for a device, and in translated code. */
  readonly deviceTicks: number;
  readonly translatedTicks: number;
}

export interface ProfileReport {
  readonly hertz: number;
  readonly seconds: number;
  readonly processors: number;
  /** All in sampling periods. */
  readonly total: number;
  readonly kernel: number;
  readonly user: number;
  readonly idle: number;
  readonly device: number;
  readonly byTier: Partial<Record<Profile['places'][number]['tier'], number>>;
  readonly rows: readonly ProfileRow[];
  readonly warnings: readonly string[];
}

export async function readSymbols(paths: readonly string[]): Promise<{ path: string; table: SymbolTable }[]> {
  return Promise.all(
    paths.map(async (path) => {
      try {
        if ((await stat(path)).size > SYMBOL_FILE_MAX)
          throw new LodgeError({ code: 'fileInvalid', message: `${path} is too large for a file of symbols.` });
        return { path, table: parseSymbols(await readFile(path), path) };
      } catch (e) {
        if (e instanceof LodgeError) throw e;
        throw new LodgeError({ code: 'fileMissing', message: `The symbols cannot be read: ${path}`, detail: String(e) });
      }
    }),
  );
}

export function reportOf(profile: Profile, symbols: readonly { path: string; table: SymbolTable }[]): ProfileReport {
  const warnings = new Set<string>();
  const tables = symbols.map(({ path, table }) => {
    const { bytes, warning } = kernelSlide(table, profile.syscallEntry);
    if (warning !== undefined) warnings.add(`${path}: ${warning}`);
    if (bytes !== 0n)
      warnings.add(`${path}: the kernel runs 0x${bytes.toString(16)} behind its symbols (KASLR); names are corrected by that.`);
    return { table, slide: bytes };
  });
  const nameOf = (address: bigint): string => {
    for (const { table, slide } of tables) {
      const name = table.find(isKernelAddress(address) ? address - slide : address);
      if (name !== undefined) return name;
    }
    return `0x${((address / PAGE) * PAGE).toString(16)} (page)`;
  };
  const rows = new Map<string, ProfileRow>();
  const byTier: Partial<Record<Profile['places'][number]['tier'], number>> = {};
  for (const { address, user, device, tier, ticks } of profile.places) {
    const where = user ? 'user' : 'kernel';
    const name = nameOf(BigInt(address));
    const key = `${where} ${name}`;
    const before = rows.get(key) ?? { where, function: name, ticks: 0, deviceTicks: 0, translatedTicks: 0 };
    rows.set(key, {
      ...before,
      ticks: before.ticks + ticks,
      deviceTicks: before.deviceTicks + (device ? ticks : 0),
      translatedTicks: before.translatedTicks + (tier === 'translator' ? ticks : 0),
    });
    if (!device) byTier[tier] = (byTier[tier] ?? 0) + ticks;
  }
  const all = [...rows.values()].sort((a, b) => b.ticks - a.ticks);
  const sum = (of: (row: ProfileRow) => number): number => all.reduce((total, row) => total + of(row), 0);
  const idle = profile.vcpus.reduce((total, vcpu) => total + vcpu.halted, 0);
  if (profile.otherTicks > 0) warnings.add(`${profile.otherTicks} samples are not in the table: there were too many.`);
  return {
    hertz: profile.hertz,
    seconds: profile.seconds,
    processors: profile.vcpus.length,
    total: idle + sum((row) => row.ticks) + profile.otherTicks,
    kernel: sum((row) => (row.where === 'kernel' ? row.ticks : 0)),
    user: sum((row) => (row.where === 'user' ? row.ticks : 0)),
    idle,
    device: sum((row) => row.deviceTicks),
    byTier,
    rows: all,
    warnings: [...warnings],
  };
}

const percent = (part: number, whole: number): string => (whole === 0 ? '–' : `${((part / whole) * 100).toFixed(1)} %`);

/** Shares are of all the processors' time, halts included. */
export function reportText(report: ProfileReport, top: number): string {
  const { total } = report;
  const lines = [
    `${report.seconds.toFixed(1)} s at ${report.hertz} Hz, ${report.processors} ${report.processors === 1 ? 'processor' : 'processors'}: ` +
      `kernel ${percent(report.kernel, total)}, user ${percent(report.user, total)}, idle ${percent(report.idle, total)}`,
  ];
  const ran = Object.values(report.byTier).reduce((sum, ticks) => sum + ticks, 0);
  if (ran > 0) {
    const tiers = Object.entries(report.byTier).map(([tier, ticks]) => `${tier} ${percent(ticks, ran)}`);
    lines.push(`of the time it ran: ${tiers.join(', ')}; waiting for devices: ${percent(report.device, total)} of all`);
  }
  lines.push('', '   share   samples  where   function');
  const row = (ticks: number, where: string, name: string): string =>
    `${percent(ticks, total).padStart(8)}  ${String(ticks).padStart(8)}  ${where.padEnd(6)}  ${name}`;
  const rows = [
    ...report.rows.map(({ ticks, where, function: name, deviceTicks }) => ({
      ticks,
      text: row(ticks, where, deviceTicks > 0 ? `${name}, ${percent(deviceTicks, ticks)} waiting for a device` : name),
    })),
    ...(report.idle > 0 ? [{ ticks: report.idle, text: row(report.idle, 'idle', '(halted)') }] : []),
  ].sort((a, b) => b.ticks - a.ticks);
  lines.push(...rows.slice(0, top).map(({ text }) => text));
  const rest = rows.slice(top);
  if (rest.length > 0) {
    const ticks = rest.reduce((sum, { ticks: n }) => sum + n, 0);
    lines.push(row(ticks, '', `${rest.length} others`));
  }
  return lines.join('\n');
}

/** Stacks as flame graph tools read them: frames from the outermost, separated by semicolons, and a count. */
export function foldedText(report: ProfileReport): string {
  const frame = (name: string): string => name.replaceAll(/[;\r\n]/g, '_');
  const lines: string[] = [];
  for (const { where, function: name, ticks, deviceTicks } of report.rows) {
    if (ticks > deviceTicks) lines.push(`${where};${frame(name)} ${ticks - deviceTicks}`);
    if (deviceTicks > 0) lines.push(`${where};${frame(name)};[waits for a device] ${deviceTicks}`);
  }
  if (report.idle > 0) lines.push(`idle ${report.idle}`);
  return lines.join('\n');
}
