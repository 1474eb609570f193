import { useMemo } from 'react';
import { formatMiB } from '../model/format';
import type { OsEntry } from '../model/catalogue';
import { MEMORY_MIN_MIB, type Host } from '../model/types';
import { cpuAdvice, memoryAdvice } from '../model/wizard';
import { cpuZones, memoryStops, memoryZones, positionOf, valueAt } from '../model/zones';
import { ZonedSlider } from './zoned-slider';

interface FieldProps {
  readonly value: number;
  readonly onChange: (value: number) => void;
  readonly host: Host;
  readonly error?: string | undefined;
  readonly disabled?: boolean;
}

export function CpuField({ value, onChange, host, error, disabled = false }: FieldProps) {
  const zones = cpuZones(host);
  const marks = [1, zones.greenTo, zones.max]
    .filter((v, i, all) => all.indexOf(v) === i)
    .map((v) => ({ value: v - 1, label: String(v) }));
  return (
    <ZonedSlider
      label="Processors"
      description={`This host has ${zones.max}: ${host.cpuModel}`}
      value={value}
      onChange={onChange}
      zones={zones}
      position={(v) => Math.max(0, v - 1)}
      valueAt={(p) => Math.round(p) + 1}
      positions={zones.max - 1}
      step={1}
      min={1}
      boxStep={1}
      format={String}
      marks={marks}
      error={error}
      advice={cpuAdvice(value, host)}
      disabled={disabled}
    />
  );
}

export function MemoryField({ value, onChange, host, os, error, disabled = false }: FieldProps & { os: OsEntry }) {
  const stops = useMemo(() => memoryStops(host.memoryMiB), [host.memoryMiB]);
  const zones = memoryZones(host);
  const marks = stops
    .map((mib, i) => ({
      value: i,
      label: mib >= 1024 && Number.isInteger(Math.log2(mib / 1024)) ? formatMiB(mib) : mib === 256 ? '256 MiB' : '',
    }))
    .filter((m) => m.label !== '');
  return (
    <ZonedSlider
      label="Memory"
      description={`${formatMiB(host.availableMiB)} of ${formatMiB(host.memoryMiB)} are free now`}
      value={value}
      onChange={onChange}
      zones={zones}
      position={(v) => positionOf(stops, v)}
      // Half-way stops of the slider snap to whole megabytes; the box takes any number.
      valueAt={(p) => valueAt(stops, p)}
      positions={stops.length - 1}
      step={0.5}
      min={MEMORY_MIN_MIB}
      boxStep={256}
      suffix=" MiB"
      format={formatMiB}
      marks={marks}
      error={error}
      advice={memoryAdvice(value, os, host)}
      disabled={disabled}
    />
  );
}
