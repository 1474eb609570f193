import {
  ActionIcon,
  Alert,
  Button,
  Group,
  Modal,
  NativeSelect,
  Select,
  Stack,
  Tabs,
  Text,
  Textarea,
  TextInput,
  Tooltip,
} from '@mantine/core';
import {
  IconAdjustments,
  IconCpu,
  IconDeviceFloppy,
  IconDisc,
  IconInfoCircle,
  IconPlayerPlay,
  IconTrash,
  IconWriting,
} from '@tabler/icons-react';
import { useState } from 'react';
import { useStore } from 'zustand';
import { ErrorPanel } from '../../components/error-panel';
import { useHost, useLodge, useVm } from '../../components/lodge-context';
import { OsIcon } from '../../components/os-icon';
import { PathField } from '../../components/path-field';
import { CpuField, MemoryField } from '../../components/resource-fields';
import { actionsOf } from '../../model/actions';
import { findOs } from '../../model/catalogue';
import { predictEngine } from '../../model/engine';
import { baseName, shortPath } from '../../model/format';
import { changedFields, configOf, validateSettings } from '../../model/settings';
import { LodgeError, type Boot, type Disk, type Vm, type VmConfig } from '../../model/types';
import { DEFAULT_COMMAND_LINE, diskFromImage, fileProblem, type DraftFile } from '../../model/wizard';
import classes from './settings.module.css';

export function SettingsDialog() {
  const { library } = useLodge();
  const id = useStore(library, (s) => s.editing);
  const vm = useVm(id ?? '');
  const close = (): void => library.getState().edit(null);
  return (
    <Modal
      opened={vm !== undefined}
      onClose={close}
      title={vm === undefined ? '' : `Settings of “${vm.definition.name}”`}
      size={720}
      padding="lg"
    >
      {vm !== undefined && <SettingsForm key={vm.definition.id} vm={vm} onClose={close} />}
    </Modal>
  );
}

function SettingsForm({ vm, onClose }: { vm: Vm; onClose: () => void }) {
  const { vms } = useLodge();
  const host = useHost();
  const [before] = useState(() => configOf(vm.definition));
  const [config, setConfig] = useState(before);
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

  const save = async (): Promise<void> => {
    if (Object.keys(patch).length === 0) {
      onClose();
      return;
    }
    setBusy(true);
    setError(null);
    try {
      await vms.getState().update(vm.definition.id, patch);
      onClose();
    } catch (e) {
      setError(LodgeError.from(e));
      setBusy(false);
    }
  };

  return (
    <form
      onSubmit={(e) => {
        e.preventDefault();
        if (Object.keys(errors).length === 0) void save();
      }}
    >
      {!hardware && (
        <Alert variant="light" color="spruce" icon={<IconInfoCircle size={18} />} mb="md">
          The machine is not stopped: name and notes can be changed now, everything else after it was shut down.
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
          <Tabs.Tab value="disks" leftSection={<IconDeviceFloppy size={16} />}>
            Disks
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
            />
          </Tabs.Panel>
          <Tabs.Panel value="boot">
            <BootTab config={config} change={change} hardware={hardware} kernelError={errors.kernel} />
          </Tabs.Panel>
          <Tabs.Panel value="disks">
            <DisksTab config={config} change={change} hardware={hardware} />
          </Tabs.Panel>
          <Tabs.Panel value="advanced">
            <AdvancedTab config={config} change={change} hardware={hardware} />
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
      <Group justify="flex-end" gap="xs" mt="lg">
        <Button variant="default" onClick={onClose}>
          Cancel
        </Button>
        <Button type="submit" loading={busy} disabled={Object.keys(errors).length > 0}>
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
}: TabProps & { memoryError: string | undefined; cpuError: string | undefined }) {
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
    </Stack>
  );
}

function BootTab({ config, change, hardware, kernelError }: TabProps & { kernelError: string | undefined }) {
  const { boot } = config;
  /** What inspection found is for the eye only; the definition holds paths. */
  const [kernel, setKernel] = useState<DraftFile>({ path: boot.kind === 'linux' ? boot.kernel : '' });
  const [initrd, setInitrd] = useState<DraftFile>({ path: boot.kind === 'linux' ? (boot.initrd ?? '') : '' });
  const [commandLine, setCommandLine] = useState(boot.kind === 'linux' ? boot.commandLine : DEFAULT_COMMAND_LINE);
  const linux = (k: string, i: string, c: string): Boot => ({
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
        </>
      )}
    </Stack>
  );
}

function DisksTab({ config, change, hardware }: TabProps) {
  const [adding, setAdding] = useState<DraftFile>({ path: '' });
  const { disks } = config;
  const problem = adding.path === '' ? null : fileProblem(adding, 'image');
  const duplicate = disks.some((d) => d.path === adding.path.trim());
  const add = (): void => {
    let n = 1;
    while (disks.some((d) => d.id === `disk${n}`)) n++;
    change({ disks: [...disks, diskFromImage(adding.path.trim(), adding.info?.kind === 'disc' ? 'disc' : 'disk', `disk${n}`)] });
    setAdding({ path: '' });
  };
  const replace = (id: string, part: Partial<Disk>): void =>
    change({ disks: disks.map((d) => (d.id === id ? { ...d, ...part } : d)) });
  return (
    <Stack>
      {disks.length === 0 && (
        <Text size="sm" c="dimmed">
          No disks. Add an image below, or drop one on the machine in the library.
        </Text>
      )}
      {disks.map((d) => (
        <div key={d.id} className={classes.disk}>
          {d.kind === 'disc' ? <IconDisc size={20} /> : <IconDeviceFloppy size={20} />}
          <div className={classes.diskText}>
            <Text size="sm" fw={600} truncate>
              {baseName(d.path)}
            </Text>
            <Tooltip label={d.path}>
              <Text size="xs" c="dimmed" truncate>
                {shortPath(d.path, 44)}
                {d.readOnly ? ' · read-only' : ''}
              </Text>
            </Tooltip>
          </div>
          <NativeSelect
            size="xs"
            aria-label={`Connection of ${baseName(d.path)}`}
            value={d.bus}
            disabled={!hardware}
            onChange={(e) => replace(d.id, { bus: e.currentTarget.value as Disk['bus'] })}
            data={[
              { value: 'virtio', label: 'Fast (virtio)' },
              { value: 'ide', label: 'Compatible (IDE)' },
            ]}
          />
          <Tooltip label="Take it out; the file stays">
            <ActionIcon
              variant="subtle"
              color="gray"
              disabled={!hardware}
              aria-label={`Remove ${baseName(d.path)}`}
              onClick={() => change({ disks: disks.filter((x) => x.id !== d.id) })}
            >
              <IconTrash size={17} />
            </ActionIcon>
          </Tooltip>
        </div>
      ))}
      <PathField
        label="Add an image"
        kind="any"
        wanted="image"
        value={adding}
        onChange={setAdding}
        disabled={!hardware}
        error={duplicate ? 'It is in the list already.' : undefined}
      />
      <Group justify="flex-end">
        <Button
          variant="default"
          size="xs"
          disabled={!hardware || adding.path.trim() === '' || problem !== null || duplicate}
          onClick={add}
        >
          Add disk
        </Button>
      </Group>
    </Stack>
  );
}

function AdvancedTab({ config, change, hardware }: TabProps) {
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
        ]}
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
    </Stack>
  );
}
