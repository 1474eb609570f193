import {
  Alert,
  Button,
  Group,
  Modal,
  NativeSelect,
  NumberInput,
  Select,
  Stack,
  Tabs,
  Text,
  Textarea,
  TextInput,
} from '@mantine/core';
import {
  IconAdjustments,
  IconCpu,
  IconDatabase,
  IconDeviceDesktop,
  IconInfoCircle,
  IconPlayerPlay,
  IconWriting,
} from '@tabler/icons-react';
import { useCallback, useEffect, useState } from 'react';
import { useStore } from 'zustand';
import { ErrorPanel } from '../../components/error-panel';
import { useHost, useLodge, useVm } from '../../components/lodge-context';
import { OsIcon } from '../../components/os-icon';
import { CpuCapField, CpuField, CpuSharesField, MemoryField } from '../../components/resource-fields';
import { actionsOf } from '../../model/actions';
import { findOs } from '../../model/catalogue';
import { codeCacheSizes } from '../../model/code-cache';
import { CPU_MODEL_LABEL, predictEngine } from '../../model/engine';
import { formatMiB } from '../../model/format';
import { changedFields, configOf, validateSettings } from '../../model/settings';
import { driveProblems, withNewDisk } from '../../model/storage';
import { CODE_CACHE_MIB, CPU_MODELS, LodgeError, type CpuModel, type Vm, type VmConfig } from '../../model/types';
import { BootTab } from './boot-tab';
import { DisplayTab } from './display-tab';
import { StorageTab, type PendingDisk } from './storage-tab';
import classes from './settings.module.css';

/** Escape, while nothing lies over the only dialog. */
function useEscape(close: () => void): void {
  useEffect(() => {
    const onKey = (e: KeyboardEvent): void => {
      if (e.key !== 'Escape' || e.isComposing) return;
      if (document.querySelectorAll('[role=dialog]').length !== 1 || document.querySelector('[role=menu]') !== null) return;
      close();
    };
    // Before those who take what lies over it away.
    window.addEventListener('keydown', onKey, { capture: true });
    return () => window.removeEventListener('keydown', onKey, { capture: true });
  }, [close]);
}

export function SettingsDialog() {
  const { library } = useLodge();
  const id = useStore(library, (s) => s.editing);
  const vm = useVm(id ?? '');
  const close = useCallback((): void => library.getState().edit(null), [library]);
  useEscape(close);
  return (
    <Modal
      opened={vm !== undefined}
      onClose={close}
      title={vm === undefined ? '' : `Settings of “${vm.definition.name}”`}
      size={780}
      padding="lg"
      // A form that is not saved yet neither goes with a click beside it nor with the Escape that closes a dialog over it.
      closeOnClickOutside={false}
      closeOnEscape={false}
    >
      {vm !== undefined && <SettingsForm key={vm.definition.id} vm={vm} onClose={close} />}
    </Modal>
  );
}

function SettingsForm({ vm, onClose }: { vm: Vm; onClose: () => void }) {
  const { api, vms, notices } = useLodge();
  const host = useHost();
  const [before] = useState(() => configOf(vm.definition));
  const [config, setConfig] = useState(before);
  /** Images to be made, by disk id, and to be deleted, when the settings are saved. */
  const [pending, setPending] = useState<Readonly<Record<string, PendingDisk>>>({});
  const [doomed, setDoomed] = useState<readonly string[]>([]);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<LodgeError | null>(null);
  const names = useStore(vms, (s) => s.byId);
  const otherNames = Object.values(names)
    .filter((v) => v.definition.id !== vm.definition.id)
    .map((v) => v.definition.name);
  const hardware = actionsOf(vm).editHardware;
  const errors = validateSettings(config, host, otherNames);
  const patch = changedFields(before, { ...config, name: config.name.trim() });
  const change = (part: Partial<VmConfig>): void => setConfig((c) => ({ ...c, ...part }));

  // A running machine's discs come and go meanwhile: what is shown is what is true, not the draft.
  const disks = hardware ? config.disks : vm.definition.disks;
  const driveProblem = patch.disks === undefined ? undefined : Object.values(driveProblems(config.disks))[0];
  const invalid = Object.keys(errors).length > 0 || driveProblem !== undefined;

  const save = async (): Promise<void> => {
    if (Object.keys(patch).length === 0) {
      onClose();
      return;
    }
    setBusy(true);
    setError(null);
    const made: string[] = [];
    try {
      for (const disk of config.disks) {
        const wanted = pending[disk.id];
        if (wanted === undefined) continue;
        await api.call('disk.create', { path: disk.path, ...wanted });
        made.push(disk.path);
      }
      await vms.getState().update(vm.definition.id, patch);
      onClose();
      for (const path of doomed)
        await api.call('disk.delete', { path }).catch((e: unknown) => notices.getState().fail(`Delete “${path}”`, e));
    } catch (e) {
      // All or nothing: an image that no machine has would only take up space.
      await Promise.allSettled(made.map((path) => api.call('disk.delete', { path })));
      setError(LodgeError.from(e));
      setBusy(false);
    }
  };

  return (
    <form
      onSubmit={(e) => {
        e.preventDefault();
        if (!invalid) void save();
      }}
    >
      {!hardware && (
        <Alert variant="light" color="spruce" icon={<IconInfoCircle size={18} />} mb="md" py={10}>
          The machine is not stopped: name, notes, processor cap and share, screen size and discs can be changed now, the rest
          after it was shut down.
        </Alert>
      )}
      <Tabs defaultValue="general" orientation="vertical" variant="pills" classNames={{ tabLabel: classes.tabLabel ?? '' }}>
        <Tabs.List w={150} mr="lg">
          <Tabs.Tab value="general" leftSection={<IconWriting size={16} />}>
            General
          </Tabs.Tab>
          <Tabs.Tab value="resources" leftSection={<IconCpu size={16} />}>
            Resources
          </Tabs.Tab>
          <Tabs.Tab value="boot" leftSection={<IconPlayerPlay size={16} />}>
            Boot
          </Tabs.Tab>
          <Tabs.Tab value="storage" leftSection={<IconDatabase size={16} />}>
            Storage
          </Tabs.Tab>
          <Tabs.Tab value="display" leftSection={<IconDeviceDesktop size={16} />}>
            Display
          </Tabs.Tab>
          <Tabs.Tab value="advanced" leftSection={<IconAdjustments size={16} />}>
            Advanced
          </Tabs.Tab>
        </Tabs.List>
        <div className={classes.panels}>
          <Tabs.Panel value="general">
            <GeneralTab config={config} change={change} hardware={hardware} nameError={errors.name} />
          </Tabs.Panel>
          <Tabs.Panel value="resources">
            <ResourcesTab
              config={config}
              change={change}
              hardware={hardware}
              memoryError={errors.memoryMiB}
              cpuError={errors.cpus}
              live={(change) => {
                // A running machine follows the slider; a stopped one waits for “Save”.
                if (hardware) return;
                vms
                  .getState()
                  .update(vm.definition.id, change)
                  .catch((e: unknown) => setError(LodgeError.from(e)));
              }}
            />
          </Tabs.Panel>
          <Tabs.Panel value="boot">
            <BootTab
              config={config}
              change={change}
              hardware={hardware}
              kernelError={errors.kernel}
              firmwareError={errors.firmware}
            />
          </Tabs.Panel>
          <Tabs.Panel value="storage">
            <StorageTab
              vm={vm}
              disks={disks}
              os={config.os}
              hardware={hardware}
              pending={pending}
              onChange={(next) => change({ disks: next })}
              onAddNew={(disk, wanted) => {
                change({ disks: withNewDisk(config.disks, disk) });
                setPending((p) => ({ ...p, [disk.id]: wanted }));
              }}
              onRemove={(disk, deleteFile) => {
                change({ disks: config.disks.filter((d) => d.id !== disk.id) });
                setPending(({ [disk.id]: _gone, ...rest }) => rest);
                if (deleteFile) setDoomed((paths) => [...paths, disk.path]);
              }}
            />
          </Tabs.Panel>
          <Tabs.Panel value="display">
            <DisplayTab vmId={vm.definition.id} config={config} change={change} hardware={hardware} />
          </Tabs.Panel>
          <Tabs.Panel value="advanced">
            <AdvancedTab config={config} change={change} hardware={hardware} gdbError={errors.gdbPort} />
          </Tabs.Panel>
        </div>
      </Tabs>
      {error !== null && (
        <div className={classes.error}>
          <ErrorPanel
            context={`Change the settings of “${vm.definition.name}”`}
            title="The settings were not saved"
            message={error.message}
            fix={error.fix}
            detail={error.detail}
            code={error.code}
            onClose={() => setError(null)}
          />
        </div>
      )}
      {doomed.length > 0 && (
        <Text size="xs" c="red" mt="sm" role="status">
          Saving deletes {doomed.join(', ')}.
        </Text>
      )}
      <Group justify="flex-end" gap="xs" className="lodge-dialog-foot">
        <Button variant="default" onClick={onClose}>
          Cancel
        </Button>
        <Button type="submit" loading={busy} disabled={invalid}>
          Save
        </Button>
      </Group>
    </form>
  );
}

interface TabProps {
  readonly config: VmConfig;
  readonly change: (part: Partial<VmConfig>) => void;
  readonly hardware: boolean;
}

function GeneralTab({ config, change, hardware, nameError }: TabProps & { nameError: string | undefined }) {
  const { catalogue } = useLodge();
  return (
    <Stack>
      <TextInput
        label="Name"
        value={config.name}
        error={nameError}
        maxLength={80}
        onChange={(e) => change({ name: e.currentTarget.value })}
      />
      <Select
        label="Operating system"
        data={catalogue.map((e) => ({ value: e.id, label: e.name }))}
        value={findOs(catalogue, config.os).id}
        onChange={(os) => os !== null && change({ os })}
        leftSection={<OsIcon os={config.os} size={22} />}
        searchable
        // Typing replaces the present name rather than adding to it.
        onClick={(e) => e.currentTarget.select()}
        allowDeselect={false}
        disabled={!hardware}
      />
      <Textarea
        label="Notes"
        placeholder="Anything worth remembering about this machine"
        autosize
        minRows={4}
        maxRows={10}
        maxLength={10_000}
        value={config.notes}
        onChange={(e) => change({ notes: e.currentTarget.value })}
      />
    </Stack>
  );
}

function ResourcesTab({
  config,
  change,
  hardware,
  memoryError,
  cpuError,
  live,
}: TabProps & {
  memoryError: string | undefined;
  cpuError: string | undefined;
  live: (change: Pick<VmConfig, 'cpuCap' | 'cpuShares'>) => void;
}) {
  const { catalogue } = useLodge();
  const host = useHost();
  return (
    <Stack gap="lg">
      <MemoryField
        value={config.memoryMiB}
        onChange={(memoryMiB) => change({ memoryMiB })}
        host={host}
        os={findOs(catalogue, config.os)}
        error={memoryError}
        disabled={!hardware}
      />
      <CpuField value={config.cpus} onChange={(cpus) => change({ cpus })} host={host} error={cpuError} disabled={!hardware} />
      <CpuCapField value={config.cpuCap ?? 100} onChange={(cpuCap) => change({ cpuCap })} onDone={(cpuCap) => live({ cpuCap })} />
      <CpuSharesField
        value={config.cpuShares ?? 100}
        onChange={(cpuShares) => change({ cpuShares })}
        onDone={(cpuShares) => live({ cpuShares })}
      />
    </Stack>
  );
}

function AdvancedTab({ config, change, hardware, gdbError }: TabProps & { gdbError: string | undefined }) {
  const host = useHost();
  const engine = predictEngine(config, host);
  return (
    <Stack>
      <NativeSelect
        label="Engine"
        description="Automatic takes the fastest one this host has."
        value={config.accelerator}
        disabled={!hardware}
        onChange={(e) => change({ accelerator: e.currentTarget.value as VmConfig['accelerator'] })}
        data={[
          { value: 'auto', label: 'Automatic' },
          { value: 'kvm', label: 'Hardware virtualization (KVM)' },
          { value: 'software', label: 'Software CPU' },
        ]}
      />
      <NativeSelect
        label="Tier of the software CPU"
        description="The interpreter is the reference; the translator is faster."
        value={config.tier}
        disabled={!hardware || config.accelerator === 'kvm'}
        onChange={(e) => change({ tier: e.currentTarget.value as VmConfig['tier'] })}
        data={[
          { value: 'auto', label: 'Automatic' },
          { value: 'interpreter', label: 'Interpreter' },
          { value: 'translator', label: 'Translator' },
          { value: 'lockstep', label: 'Both, compared with each other (very slow)' },
        ]}
      />
      <NativeSelect
        label="Code cache"
        description="The most memory that translated code may take. With too little, code is translated again and again."
        value={String(config.codeCacheMiB ?? CODE_CACHE_MIB)}
        disabled={!hardware || config.accelerator === 'kvm' || config.tier === 'interpreter'}
        onChange={(e) => {
          const size = Number(e.currentTarget.value);
          change({ codeCacheMiB: size === CODE_CACHE_MIB ? undefined : size });
        }}
        data={codeCacheSizes(config.codeCacheMiB).map((size) => ({ value: String(size), label: formatMiB(size) }))}
      />
      <NativeSelect
        label="Processor model"
        description="Old systems may want an old processor; a machine that moves between computers wants one that both have."
        value={config.cpuModel ?? 'host'}
        disabled={!hardware}
        onChange={(e) => {
          const model = e.currentTarget.value as CpuModel;
          change({ cpuModel: model === 'host' ? undefined : model });
        }}
        data={[...CPU_MODELS].reverse().map((value) => ({ value, label: CPU_MODEL_LABEL[value] }))}
      />
      <div className={classes.verdict} data-bad={!engine.usable || undefined}>
        <Text size="sm" fw={600}>
          {engine.usable ? `The next start uses: ${engine.label}` : `${engine.label} cannot be used here`}
        </Text>
        <Text size="xs" c="dimmed">
          {engine.reason}
        </Text>
      </div>
      {host.accelerators.map((a) => (
        <Text key={a.kind} size="xs" c="dimmed">
          <b>{a.kind === 'kvm' ? 'KVM' : 'Software CPU'}:</b> {a.available ? '' : 'not available. '}
          {a.reason}
        </Text>
      ))}
      <NativeSelect
        label="Serial ports"
        description="Each is a terminal tab in the machine’s window."
        value={String(config.serialPorts)}
        disabled={!hardware}
        onChange={(e) => change({ serialPorts: Number(e.currentTarget.value) })}
        data={['0', '1', '2']}
      />
      <NumberInput
        label="Debugger port"
        description={
          typeof config.gdbPort === 'number'
            ? `While the machine runs: target remote localhost:${config.gdbPort} in gdb, on this computer.`
            : 'A port for gdb on this computer, such as 1234. Empty: none.'
        }
        placeholder="none"
        min={1024}
        max={65535}
        allowDecimal={false}
        allowNegative={false}
        hideControls
        value={config.gdbPort ?? ''}
        disabled={!hardware}
        error={gdbError}
        onChange={(value) => change({ gdbPort: typeof value === 'number' ? value : null })}
      />
    </Stack>
  );
}
