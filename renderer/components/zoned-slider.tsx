import { Group, Input, NumberInput, Slider, Text } from '@mantine/core';
import { useId, type ReactNode } from 'react';
import { zoneOf, type Zones } from '../model/zones';
import classes from './zoned-slider.module.css';

export interface ZonedSliderProps {
  readonly label: string;
  readonly description?: ReactNode;
  readonly value: number;
  readonly onChange: (value: number) => void;
  readonly zones: Zones;
  /** Slider position of a value and back: the track need not be linear. */
  readonly position: (value: number) => number;
  readonly valueAt: (position: number) => number;
  readonly positions: number;
  readonly step: number;
  readonly min: number;
  readonly boxStep: number;
  readonly suffix?: string;
  readonly format: (value: number) => string;
  readonly marks?: { value: number; label: string }[];
  readonly error?: string | undefined;
  readonly advice?: { tone: 'amber' | 'red' | 'none'; text: string } | null;
  readonly disabled?: boolean;
}

/** A slider whose track shows what the host can give now, with a number box for the exact value. */
export function ZonedSlider(props: ZonedSliderProps) {
  const { label, value, zones, position, valueAt, positions } = props;
  const id = useId();
  const percent = (v: number): string => `${((position(v) / Math.max(1, positions)) * 100).toFixed(2)}%`;
  const zone = zoneOf(zones, value);
  return (
    <div>
      <Group justify="space-between" align="flex-end" mb={10} wrap="nowrap">
        <div>
          <Input.Label htmlFor={id} fw={600}>
            {label}
          </Input.Label>
          {props.description !== undefined && (
            <Text size="xs" c="dimmed">
              {props.description}
            </Text>
          )}
        </div>
        <NumberInput
          id={id}
          w={132}
          value={value}
          min={props.min}
          step={props.boxStep}
          clampBehavior="none"
          allowDecimal={false}
          allowNegative={false}
          suffix={props.suffix ?? ''}
          error={props.error !== undefined}
          disabled={props.disabled ?? false}
          onChange={(v) => props.onChange(typeof v === 'number' ? v : Number.parseInt(v, 10) || 0)}
          className="tabular"
        />
      </Group>
      <Slider
        className={classes.slider ?? ''}
        style={{ ['--green' as string]: percent(zones.greenTo), ['--amber' as string]: percent(zones.amberTo) }}
        data-zone={zone}
        min={0}
        max={Math.max(1, positions)}
        step={props.step}
        value={position(value)}
        onChange={(p) => props.onChange(valueAt(p))}
        label={(p) => props.format(valueAt(p))}
        thumbLabel={`${label} slider`}
        thumbValueText={(p) => props.format(valueAt(p))}
        thumbSize={18}
        size={8}
        disabled={props.disabled ?? false}
        {...(props.marks !== undefined && { marks: props.marks })}
        classNames={{
          track: classes.track ?? '',
          bar: classes.bar ?? '',
          thumb: classes.thumb ?? '',
          mark: classes.mark ?? '',
          markLabel: classes.markLabel ?? '',
        }}
      />
      <Text
        size="xs"
        mt={props.marks !== undefined ? 28 : 10}
        mih={18}
        className={classes.advice ?? ''}
        data-tone={props.error !== undefined ? 'red' : props.advice?.tone}
        role="status"
      >
        {props.error ?? props.advice?.text ?? ' '}
      </Text>
    </div>
  );
}
