import { Button, Collapse, NativeSelect, Stack, Text } from '@mantine/core';
import { IconChevronDown } from '@tabler/icons-react';
import { useEffect, useState } from 'react';
import { formatBytes } from '../model/format';
import {
  bytesOf,
  formatEntry,
  FORMATS,
  isAbsolutePath,
  SIZE_STOPS_GIB,
  sizeForecast,
  VARIANT_LABEL,
  variantFor,
} from '../model/storage';
import type { DiskFormat, DiskVariant } from '../model/types';
import { positionOf, valueAt, type Zones } from '../model/zones';
import { useLodge } from './lodge-context';
import { ZonedSlider } from './zoned-slider';

const GIB = 1024 ** 3;
/** A path is still being typed: the host is asked when it rests. */
const SETTLE_MS = 300;

/** Free bytes where the path is or will be; undefined while it is not known. */
export function useFreeSpace(path: string): number | undefined {
  const { api } = useLodge();
  const [free, setFree] = useState<number | undefined>();
  useEffect(() => {
    if (!isAbsolutePath(path)) return;
    let gone = false;
    const timer = setTimeout(() => {
      api.call('files.space', { path }).then(
        (space) => !gone && setFree(space.freeBytes),
        () => !gone && setFree(undefined),
      );
    }, SETTLE_MS);
    return () => {
      gone = true;
      clearTimeout(timer);
    };
  }, [api, path]);
  return isAbsolutePath(path) ? free : undefined;
}

/** The size of a disk, with what the host has free as zones of the track. `minGib`: it can only grow. */
export function DiskSizeField({
  gib,
  onChange,
  variant,
  freeBytes,
  minGib = 1,
  error,
}: {
  gib: number;
  onChange: (gib: number) => void;
  variant: DiskVariant;
  freeBytes: number | undefined;
  minGib?: number;
  error?: string | undefined;
}) {
  const first = Math.max(1, Math.ceil(minGib));
  const stops = [first, ...SIZE_STOPS_GIB.filter((s) => s > first)];
  if (stops.length < 3) stops.push(first * 2, first * 4);
  const max = stops[stops.length - 1]!;
  const freeGib = freeBytes === undefined ? max : Math.floor(freeBytes / GIB);
  const zones: Zones = { greenTo: freeBytes === undefined ? max : Math.floor(freeGib * 0.8), amberTo: Math.max(0, freeGib), max };
  const forecast = sizeForecast(gib, variant, freeBytes);
  return (
    <ZonedSlider
      label="Size"
      description="What the guest sees"
      value={gib}
      onChange={onChange}
      zones={zones}
      position={(v) => positionOf(stops, v)}
      valueAt={(p) => valueAt(stops, p)}
      positions={stops.length - 1}
      step={1}
      min={first}
      boxStep={1}
      suffix=" GiB"
      format={(v) => formatBytes(bytesOf(v))}
      error={error}
      advice={{ tone: forecast.tone ?? 'none', text: forecast.text }}
    />
  );
}

/** Format and kind of a new image: for most people the first is right, so they are under "More". */
export function FormatFields({
  format,
  variant,
  onChange,
}: {
  format: DiskFormat;
  variant: DiskVariant;
  onChange: (change: { format: DiskFormat; variant: DiskVariant }) => void;
}) {
  const entry = formatEntry(format);
  return (
    <Stack gap="sm">
      <NativeSelect
        label="Format"
        description={`${entry.hint}.`}
        value={format}
        onChange={(e) => {
          const next = e.currentTarget.value as DiskFormat;
          onChange({ format: next, variant: variantFor(next, variant) });
        }}
        data={FORMATS.map((f) => ({ value: f.value, label: f.label }))}
      />
      <NativeSelect
        label="Space on the host"
        value={variant}
        disabled={entry.variants.length === 1}
        onChange={(e) => onChange({ format, variant: e.currentTarget.value as DiskVariant })}
        data={entry.variants.map((v) => ({ value: v, label: VARIANT_LABEL[v] }))}
      />
    </Stack>
  );
}

/** Progressive disclosure: what most people never need is one press away and stays open. */
export function More({ summary, children }: { summary: string; children: React.ReactNode }) {
  const [open, setOpen] = useState(false);
  return (
    <div>
      <Button
        size="compact-sm"
        variant="subtle"
        color="gray"
        aria-expanded={open}
        onClick={() => setOpen(!open)}
        rightSection={<IconChevronDown size={14} style={{ rotate: open ? '180deg' : '0deg' }} />}
      >
        More
        <Text span size="xs" c="dimmed" ml={8} fw={400}>
          {open ? '' : summary}
        </Text>
      </Button>
      <Collapse expanded={open} keepMounted={false}>
        <div style={{ marginTop: 10 }}>{children}</div>
      </Collapse>
    </div>
  );
}
