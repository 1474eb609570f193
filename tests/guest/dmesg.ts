/**
 * What a kernel complains about, compared with what the same kernel complains about on QEMU's PC. The known lines are data
 * (dmesg-qemu.json, written by record-qemu.mjs), in a form that does not depend on times, addresses and counts.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const KNOWN = JSON.parse(readFileSync(join(import.meta.dirname, 'dmesg-qemu.json'), 'utf8')) as {
  lines: { line: string; why: string }[];
};

/** Timestamps, hexadecimal and decimal numbers become signs. */
export const normalise = (line: string): string =>
  line
    .replace(/^\[ *\d+\.\d+\] */, '')
    .replace(/\b0x[0-9a-f]+\b/gi, '#')
    .replace(/\b(?=[0-9a-f]*\d)[0-9a-f]{8,16}\b/gi, '#')
    .replace(/\d+(\.\d+)*/g, '#')
    .trim();

/** The lines QEMU's PC does not give rise to. */
export function unexpected(lines: readonly string[]): string[] {
  const known = new Set(KNOWN.lines.map(({ line }) => line));
  return lines.filter((line) => line.trim() !== '' && !known.has(normalise(line)));
}
