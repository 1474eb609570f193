import { Alert, NativeSelect, Stack, Textarea } from '@mantine/core';
import { IconInfoCircle } from '@tabler/icons-react';
import { useState } from 'react';
import { PathField } from '../../components/path-field';
import { bootAdvice } from '../../model/storage';
import type { Boot, VmConfig } from '../../model/types';
import { DEFAULT_COMMAND_LINE, type DraftFile } from '../../model/wizard';
import { BootOrder } from './boot-order';
import { FirmwareField } from './firmware-field';

const kept = ({
  modules,
  firmware,
}: Extract<Boot, { kind: 'linux' }>): Pick<Extract<Boot, { kind: 'linux' }>, 'modules' | 'firmware'> => ({
  ...(modules && { modules }),
  ...(firmware && { firmware }),
});

export function BootTab({
  config,
  change,
  hardware,
  kernelError,
  firmwareError,
}: {
  config: VmConfig;
  change: (part: Partial<VmConfig>) => void;
  hardware: boolean;
  kernelError: string | undefined;
  firmwareError: string | undefined;
}) {
  const { boot } = config;
  /** What inspection found is for the eye only; the definition holds paths. */
  const [kernel, setKernel] = useState<DraftFile>({ path: boot.kind === 'linux' ? boot.kernel : '' });
  const [initrd, setInitrd] = useState<DraftFile>({ path: boot.kind === 'linux' ? (boot.initrd ?? '') : '' });
  const [commandLine, setCommandLine] = useState(boot.kind === 'linux' ? boot.commandLine : DEFAULT_COMMAND_LINE);
  const linux = (k: string, i: string, c: string): Boot => ({
    // What has no field here stays: modules, and firmware that starts the kernel.
    ...(boot.kind === 'linux' && kept(boot)),
    kind: 'linux',
    kernel: k,
    ...(i !== '' && { initrd: i }),
    commandLine: c.trim(),
  });
  return (
    <Stack>
      <NativeSelect
        label="Start from"
        value={boot.kind}
        disabled={!hardware}
        onChange={(e) => {
          const kind = e.currentTarget.value as Boot['kind'];
          change({ boot: kind === 'linux' ? linux(kernel.path, initrd.path, commandLine) : { kind } });
        }}
        data={[
          { value: 'linux', label: 'Linux kernel, started directly' },
          { value: 'firmware', label: 'Its disks and discs, in order' },
          { value: 'builtin', label: 'The guest that comes with Lodge' },
        ]}
      />
      {boot.kind === 'firmware' && (
        <FirmwareField
          image={boot.image}
          without={{ label: 'Lodge’s own BIOS', description: 'Starts at once; for everything that starts from a BIOS.' }}
          error={firmwareError}
          disabled={!hardware}
          // Settings of one firmware mean nothing to another.
          onChange={(image) => change({ boot: { kind: 'firmware', ...(image !== undefined && { image }) } })}
        />
      )}
      {boot.kind === 'firmware' && (
        <BootOrder disks={config.disks} onChange={(disks) => change({ disks })} disabled={!hardware} />
      )}
      {bootAdvice(config) !== null && (
        <Alert variant="light" color="yellow" icon={<IconInfoCircle size={17} />} py={8}>
          {bootAdvice(config)}
        </Alert>
      )}
      {boot.kind === 'linux' && (
        <>
          <PathField
            label="Kernel"
            kind="kernel"
            wanted="kernel"
            required
            value={kernel}
            error={kernelError}
            disabled={!hardware}
            onChange={(f) => {
              setKernel(f);
              change({ boot: linux(f.path, initrd.path, commandLine) });
            }}
          />
          <PathField
            label="Initial RAM disk (initrd)"
            kind="initrd"
            wanted="initrd"
            value={initrd}
            disabled={!hardware}
            placeholder="Optional"
            onChange={(f) => {
              setInitrd(f);
              change({ boot: linux(kernel.path, f.path, commandLine) });
            }}
          />
          <Textarea
            label="Command line"
            autosize
            minRows={1}
            maxRows={4}
            maxLength={2047}
            disabled={!hardware}
            value={commandLine}
            onChange={(e) => {
              const text = e.currentTarget.value.replace(/\n/g, ' ');
              setCommandLine(text);
              change({ boot: linux(kernel.path, initrd.path, text) });
            }}
            spellCheck={false}
            styles={{ input: { fontFamily: 'var(--mantine-font-family-monospace)', fontSize: 12.5 } }}
          />
          <FirmwareField
            image={boot.firmware?.image}
            without={{ label: 'None: Lodge starts the kernel', description: 'Quickest; also for multiboot and PVH kernels.' }}
            error={firmwareError}
            disabled={!hardware}
            onChange={(image) => {
              const { firmware: _firmware, ...plain } = boot;
              change({ boot: image === undefined ? plain : { ...plain, firmware: { image } } });
            }}
          />
        </>
      )}
    </Stack>
  );
}
