import { Radio, Stack } from '@mantine/core';
import { useStore } from 'zustand';
import { useLodge } from '../../components/lodge-context';
import { SCALE_HINT, SCALE_LABEL, SCALE_MODES, type ScaleMode } from '../../model/scale';
import { scaleKey } from '../../stores';

/** How the picture is shown here. It is this window's business, not the machine's: it takes effect at once. */
export function DisplayTab({ vmId }: { vmId: string }) {
  const { kept } = useLodge();
  const key = scaleKey(vmId, window.screen);
  const scale = useStore(kept, (s) => s.scales[key] ?? 'auto');
  return (
    <Radio.Group
      label="Size of the screen"
      description="Remembered for this machine on this monitor. It changes at once, also while the machine runs."
      value={scale}
      onChange={(mode) => kept.getState().setScale(key, mode as ScaleMode)}
    >
      <Stack gap="sm" mt="sm">
        {SCALE_MODES.map((mode) => (
          <Radio key={mode} value={mode} label={SCALE_LABEL[mode]} description={SCALE_HINT[mode]} />
        ))}
      </Stack>
    </Radio.Group>
  );
}
