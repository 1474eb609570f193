import { NativeSelect, Radio, Stack } from '@mantine/core';
import { useStore } from 'zustand';
import { useLodge } from '../../components/lodge-context';
import { SCALE_HINT, SCALE_LABEL, SCALE_MODES, type ScaleMode } from '../../model/scale';
import type { VmConfig } from '../../model/types';
import { scaleKey } from '../../stores';

export function DisplayTab({
  vmId,
  config,
  change,
  hardware,
}: {
  vmId: string;
  config: VmConfig;
  change: (part: Partial<VmConfig>) => void;
  hardware: boolean;
}) {
  const video = config.video ?? 'vga';
  return (
    <Stack gap="lg">
      <NativeSelect
        label="Graphics"
        description={
          video === 'vga'
            ? 'Works with every guest; its screen has the sizes that the guest chooses.'
            : 'A VGA until the guest’s driver takes over; then the screen follows the size of the window. Linux has the driver.'
        }
        value={video}
        disabled={!hardware}
        onChange={(e) => change({ video: e.currentTarget.value as NonNullable<VmConfig['video']> })}
        data={[
          { value: 'vga', label: 'VGA' },
          { value: 'virtio', label: 'Virtio' },
        ]}
      />
      <ScaleChoice vmId={vmId} />
    </Stack>
  );
}

/** How the picture is shown here. It is this window's business, not the machine's: it takes effect at once. */
function ScaleChoice({ vmId }: { vmId: string }) {
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
