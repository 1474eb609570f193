/** `lodge stats` as text. */
import type { Rates, VmCounters } from '../../preload/contract';

const UNITS = ['', 'k', 'M', 'G', 'T'] as const;

/** 1234567 → 1.23M */
export function short(value: number): string {
  let unit = 0;
  while (unit < UNITS.length - 1 && value >= 999.5) {
    value /= 1000;
    unit++;
  }
  const digits = unit === 0 && value === Math.round(value) ? 0 : value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return `${value.toFixed(digits)}${UNITS[unit]!}`;
}

const bytes = (value: number): string => `${(value / 2 ** 20).toFixed(1)} MiB`;

/** One reading after another: rates over the time between them. */
export function ratesText(rates: Rates, now: VmCounters): string {
  const exits = (name: keyof Rates['vcpus'][number]['exits']): number =>
    rates.vcpus.reduce((sum, vcpu) => sum + vcpu.exits[name], 0);
  const lines = [
    `up ${now.uptimeSeconds.toFixed(0)} s, ${rates.hostPercent.toFixed(0)} % of a host processor, ${bytes(rates.residentBytes)} of host memory`,
    `disk: ${bytes(rates.disk.readBytes)}/s read in ${short(rates.disk.reads)}/s, ${bytes(rates.disk.writtenBytes)}/s written in ${short(rates.disk.writes)}/s; ` +
      `display: ${rates.frames.toFixed(0)} frames/s`,
    `exits/s: port in ${short(exits('portIn'))}, port out ${short(exits('portOut'))}, memory read ${short(exits('mmioRead'))}, memory write ${short(exits('mmioWrite'))}`,
    '',
    'vCPU  host %  halted %  instr/s  exits/s  intr/s  faults/s  decoded/s  TLB miss/s',
  ];
  const optional = (value: number | undefined): string => (value === undefined ? '–' : short(value));
  rates.vcpus.forEach((vcpu, i) => {
    const all = vcpu.exits.portIn + vcpu.exits.portOut + vcpu.exits.mmioRead + vcpu.exits.mmioWrite;
    const cells = [
      [String(i), 4],
      [vcpu.hostPercent.toFixed(0), 6],
      [vcpu.haltedPercent?.toFixed(0) ?? '–', 8],
      [optional(vcpu.instructions), 7],
      [short(all), 7],
      [optional(vcpu.interrupts), 6],
      [optional(vcpu.exceptions), 8],
      [optional(vcpu.blocksDecoded), 9],
      [optional(vcpu.tlbMisses), 10],
    ] as const;
    lines.push(cells.map(([text, width]) => text.padStart(width)).join('  '));
  });
  now.vcpus.forEach(({ translator }, i) => {
    if (translator)
      lines.push(
        `vCPU ${i} translator: ${short(translator.units)} units (${short(translator.tierUps)} tier-ups, ${short(translator.traces)} traces), ${bytes(translator.codeBytes)} of ${bytes(translator.codeLimit)} of code, ${short(translator.invalidations)} invalidated, ${short(translator.flushes)} flushes, ${(translator.translatedNs / 1e9).toFixed(1)} s translated, ${(translator.interpretedNs / 1e9).toFixed(1)} s interpreted${translator.checks > 0 ? `, ${short(translator.checks)} checks` : ''}`,
      );
  });
  return lines.join('\n');
}
