import { Input, Slider, type SliderProps } from '@mantine/core';
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

interface LiveFieldProps {
  readonly value: number;
  readonly onChange: (value: number) => void;
  /** The slider was let go. */
  readonly onDone: (value: number) => void;
}

/** A slider with a label and a sentence about what its value means. */
function DescribedSlider({ title, description, ...slider }: SliderProps & { title: string; description: string }) {
  return (
    <Input.Wrapper label={title} description={description} labelElement="div">
      <Slider mt="xs" mb="lg" {...slider} />
    </Input.Wrapper>
  );
}

export function CpuCapField({ value, onChange, onDone }: LiveFieldProps) {
  return (
    <DescribedSlider
      title="Processor cap"
      description={
        value === 100
          ? 'The machine’s processors may use the host’s fully.'
          : `Each of the machine’s processors gets at most ${value} % of one of the host’s. Its clock stays right.`
      }
      min={1}
      max={100}
      value={value}
      onChange={onChange}
      onChangeEnd={onDone}
      label={(percent) => `${percent} %`}
      marks={[25, 50, 75, 100].map((percent) => ({ value: percent, label: `${percent} %` }))}
      thumbLabel="Processor cap in percent"
    />
  );
}

/** Low, normal and high are a factor of two apart; the slider goes by factors. */
const SHARE_MARKS = [
  { shares: 25, label: 'Lowest' },
  { shares: 50, label: 'Low' },
  { shares: 100, label: 'Normal' },
  { shares: 200, label: 'High' },
  { shares: 400, label: 'Highest' },
];
const sharePosition = (shares: number): number => Math.log2(shares / 100);
const sharesAt = (position: number): number => Math.round(100 * 2 ** position);

export function CpuSharesField({ value, onChange, onDone }: LiveFieldProps) {
  return (
    <DescribedSlider
      title="Processor share"
      description={
        value === 100
          ? 'When machines want more than the host has, this one gets as much as the others.'
          : `When machines want more than the host has, each of its processors gets ${value} for every 100 of a normal machine’s.`
      }
      mx="md"
      min={-2}
      max={2}
      step={0.125}
      value={Math.min(2, Math.max(-2, sharePosition(value)))}
      onChange={(position) => onChange(sharesAt(position))}
      onChangeEnd={(position) => onDone(sharesAt(position))}
      label={(position) => String(sharesAt(position))}
      marks={SHARE_MARKS.map(({ shares, label }) => ({ value: sharePosition(shares), label }))}
      thumbLabel="Processor share"
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
