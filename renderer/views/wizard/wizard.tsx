import { Button, Group, Select, Switch, Text, Textarea, TextInput, Title, UnstyledButton } from '@mantine/core';
import { IconCheck, IconDisc, IconHome2, IconTerminal2 } from '@tabler/icons-react';
import { useEffect, useMemo, useRef, useState, type ReactNode } from 'react';
import { useStore } from 'zustand';
import { DiskSizeField, FormatFields, More, useFreeSpace } from '../../components/disk-fields';
import { DropTarget } from '../../components/drop-target';
import { ErrorPanel } from '../../components/error-panel';
import { navigate, useHost, useLodge, usePreferences } from '../../components/lodge-context';
import { OsIcon } from '../../components/os-icon';
import { Page } from '../../components/page';
import { PathField } from '../../components/path-field';
import { CpuField, MemoryField } from '../../components/resource-fields';
import { findOs } from '../../model/catalogue';
import { formatBytes, formatMiB, baseName } from '../../model/format';
import { formatLabel, isThin, VARIANT_LABEL } from '../../model/storage';
import { LodgeError } from '../../model/types';
import {
  applyImage,
  chooseOs,
  firstInvalidStep,
  initialDraft,
  STEP_LABEL,
  summarize,
  toCreateInput,
  validateStep,
  WIZARD_STEPS,
  type Draft,
  type FieldErrors,
  type WizardContext,
  type WizardStep,
} from '../../model/wizard';
import classes from './wizard.module.css';

export function Wizard({ image }: { image: string | undefined }) {
  const lodge = useLodge();
  const host = useHost();
  const byId = useStore(lodge.vms, (s) => s.byId);
  const context: WizardContext = useMemo(
    () => ({ host, catalogue: lodge.catalogue, takenNames: Object.values(byId).map((vm) => vm.definition.name) }),
    [host, lodge.catalogue, byId],
  );
  const [draft, setDraft] = useState<Draft>(() => initialDraft(context));
  const [step, setStep] = useState<WizardStep>('system');
  /** Errors show from the first attempt to go on, not while a form is still being filled in. */
  const [tried, setTried] = useState<ReadonlySet<WizardStep>>(new Set());
  const [busy, setBusy] = useState<'create' | 'start' | null>(null);
  const [error, setError] = useState<LodgeError | null>(null);
  const created = useRef(false);
  const errors = tried.has(step) && !created.current ? validateStep(step, draft, context) : {};
  const change = (patch: Partial<Draft>): void => setDraft((d) => ({ ...d, ...patch }));
  const index = WIZARD_STEPS.indexOf(step);

  useEffect(() => {
    document.title = 'New machine – Lodge';
  }, []);
  const contextRef = useRef(context);
  contextRef.current = context;
  useEffect(() => {
    if (image === undefined) return;
    let gone = false;
    lodge.api.call('image.inspect', { path: image }).then(
      (info) => !gone && setDraft((d) => applyImage(d, info, contextRef.current)),
      (e: unknown) => {
        if (gone) return;
        const { message } = LodgeError.from(e);
        setDraft((d) => ({ ...d, bootKind: 'image', image: { path: image, error: message } }));
      },
    );
    return () => {
      gone = true;
    };
  }, [image, lodge.api]);

  const next = (): void => {
    setTried((t) => new Set(t).add(step));
    if (Object.keys(validateStep(step, draft, context)).length === 0) setStep(WIZARD_STEPS[index + 1]!);
  };
  const create = async (start: boolean): Promise<void> => {
    const invalid = firstInvalidStep(draft, context);
    if (invalid !== null) {
      setTried((t) => new Set(t).add(invalid));
      setStep(invalid);
      return;
    }
    setBusy(start ? 'start' : 'create');
    setError(null);
    try {
      // Its event arrives before the answer and takes the name.
      created.current = true;
      const vm = await lodge.vms.getState().create(toCreateInput(draft));
      const { id } = vm.definition;
      lodge.library.getState().setSearch('');
      lodge.library.getState().select(id);
      if (start) {
        void lodge.vms.getState().command(id, 'start');
        navigate(lodge.openVmWindow(id) ? { view: 'library' } : { view: 'vm', id });
      } else navigate({ view: 'library' });
    } catch (e) {
      created.current = false;
      setError(LodgeError.from(e));
      setBusy(null);
    }
  };

  return (
    <Page title="New machine" backLabel="Cancel">
      <div className={classes.body}>
        <nav className={classes.steps} aria-label="Steps">
          {WIZARD_STEPS.map((s, i) => (
            <UnstyledButton
              key={s}
              className={classes.step ?? ''}
              data-active={s === step || undefined}
              data-done={i < index || undefined}
              disabled={i > index}
              aria-current={s === step ? 'step' : undefined}
              onClick={() => setStep(s)}
            >
              <span className={classes.dot}>{i < index ? <IconCheck size={14} stroke={2.6} /> : i + 1}</span>
              <span>
                <span className={classes.stepName}>{STEP_LABEL[s]}</span>
                <span className={classes.stepHint}>{stepHint(s, draft, context)}</span>
              </span>
            </UnstyledButton>
          ))}
        </nav>
        <form
          className={classes.main}
          onSubmit={(e) => {
            e.preventDefault();
            if (step === 'summary') void create(true);
            else next();
          }}
        >
          <div className={classes.content}>
            {step === 'system' && (
              <SystemStep
                draft={draft}
                change={change}
                choose={(id) => setDraft((d) => chooseOs(d, id, context))}
                errors={errors}
              />
            )}
            {step === 'resources' && <ResourcesStep draft={draft} change={change} context={context} errors={errors} />}
            {step === 'boot' && <BootStep draft={draft} change={change} errors={errors} />}
            {step === 'storage' && <StorageStep draft={draft} change={change} errors={errors} />}
            {step === 'summary' && <SummaryStep draft={draft} context={context} go={setStep} />}
            {error !== null && (
              <div className={classes.error}>
                <ErrorPanel
                  context={`Create “${draft.name}”`}
                  title="The machine could not be made"
                  message={error.message}
                  fix={error.fix}
                  detail={error.detail}
                  code={error.code}
                  onClose={() => setError(null)}
                />
              </div>
            )}
          </div>
          <footer className={classes.footer}>
            <Button variant="subtle" color="gray" onClick={() => navigate({ view: 'library' })}>
              Cancel
            </Button>
            <Group gap="xs">
              <Button variant="default" disabled={index === 0} onClick={() => setStep(WIZARD_STEPS[index - 1]!)}>
                Back
              </Button>
              {step === 'summary' ? (
                <>
                  <Button
                    variant="default"
                    loading={busy === 'create'}
                    disabled={busy === 'start'}
                    onClick={() => void create(false)}
                  >
                    Create
                  </Button>
                  <Button type="submit" loading={busy === 'start'} disabled={busy === 'create'}>
                    Create and start
                  </Button>
                </>
              ) : (
                <Button type="submit">Next</Button>
              )}
            </Group>
          </footer>
        </form>
      </div>
      <DropTarget />
    </Page>
  );
}

function stepHint(step: WizardStep, draft: Draft, context: WizardContext): string {
  switch (step) {
    case 'system':
      return draft.name.trim() || 'Name and system';
    case 'resources':
      return `${draft.cpus} × CPU, ${formatMiB(draft.memoryMiB)}`;
    case 'boot':
      return draft.bootKind === 'builtin'
        ? 'Built-in guest'
        : draft.bootKind === 'linux'
          ? draft.kernel.path === ''
            ? 'What it starts from'
            : baseName(draft.kernel.path)
          : draft.image.path === ''
            ? 'What it starts from'
            : baseName(draft.image.path);
    case 'storage':
      return draft.newDisk ? `New disk, ${formatBytes(draft.diskGiB * 1024 ** 3)}` : 'No new disk';
    case 'summary':
      return firstInvalidStep(draft, context) === null ? 'Ready' : 'Look it over';
  }
}

interface StepProps {
  readonly draft: Draft;
  readonly change: (patch: Partial<Draft>) => void;
  readonly errors: FieldErrors;
}

function Heading({ title, children }: { title: string; children: ReactNode }) {
  return (
    <div className={classes.heading}>
      <Title order={2} fz={21} lts={-0.2}>
        {title}
      </Title>
      <Text size="sm" c="dimmed">
        {children}
      </Text>
    </div>
  );
}

function SystemStep({ draft, change, choose, errors }: StepProps & { choose: (id: string) => void }) {
  const { catalogue } = useLodge();
  const os = findOs(catalogue, draft.os);
  return (
    <>
      <Heading title="What will run in it?">
        The system decides the starting values on the next pages. Everything can be changed later.
      </Heading>
      <TextInput
        label="Name"
        data-autofocus
        autoFocus
        value={draft.name}
        error={errors.name}
        maxLength={80}
        onChange={(e) => change({ name: e.currentTarget.value, nameTouched: true })}
      />
      <Select
        mt="md"
        label="Operating system"
        data={catalogue.map((e) => ({ value: e.id, label: e.name }))}
        value={draft.os}
        onChange={(id) => id !== null && choose(id)}
        searchable
        // Typing replaces the present name rather than adding to it.
        onClick={(e) => e.currentTarget.select()}
        allowDeselect={false}
        nothingFoundMessage="Not in the list: take “Other”"
        maxDropdownHeight={320}
        leftSection={<OsIcon os={draft.os} size={22} />}
        renderOption={({ option, checked }) => (
          <Group gap="sm" wrap="nowrap" flex={1}>
            <OsIcon os={option.value} size={24} />
            <Text size="sm" flex={1}>
              {option.label}
            </Text>
            {checked === true && <IconCheck size={16} />}
          </Group>
        )}
      />
      <div className={classes.osCard}>
        <OsIcon os={os.id} size={52} />
        <div>
          <Text fw={600}>{os.name}</Text>
          <Text size="xs" c="dimmed">
            Works best with {formatMiB(os.recommended.memoryMiB)} of memory
            {os.recommended.diskGiB > 0 ? ` and a disk of ${os.recommended.diskGiB} GiB` : ''}; needs at least{' '}
            {formatMiB(os.minimum.memoryMiB)}.
          </Text>
        </div>
      </div>
    </>
  );
}

function ResourcesStep({ draft, change, context, errors }: StepProps & { context: WizardContext }) {
  const os = findOs(context.catalogue, draft.os);
  return (
    <>
      <Heading title="How much of this computer may it use?">
        The colours show what the host can give right now: green leaves room for everything else, amber gets tight, red does not
        fit at the moment.
      </Heading>
      <MemoryField
        value={draft.memoryMiB}
        onChange={(memoryMiB) => change({ memoryMiB, resourcesTouched: true })}
        host={context.host}
        os={os}
        error={errors.memoryMiB}
      />
      <div className={classes.gap} />
      <CpuField
        value={draft.cpus}
        onChange={(cpus) => change({ cpus, resourcesTouched: true })}
        host={context.host}
        error={errors.cpus}
      />
    </>
  );
}

const BOOT_KINDS: readonly { value: Draft['bootKind']; title: string; text: string; icon: ReactNode }[] = [
  {
    value: 'linux',
    title: 'Linux kernel',
    text: 'Started directly, with an initial RAM disk',
    icon: <IconTerminal2 size={22} />,
  },
  { value: 'image', title: 'Disk or disc image', text: 'An installer ISO or a ready-made disk', icon: <IconDisc size={22} /> },
  { value: 'builtin', title: 'Built-in guest', text: 'Comes with Lodge and starts at once', icon: <IconHome2 size={22} /> },
];

function BootStep({ draft, change, errors }: StepProps) {
  return (
    <>
      <Heading title="What does it start from?">
        Files stay where they are; Lodge never writes to a disc image or a kernel.
      </Heading>
      <div className={classes.choices} role="radiogroup" aria-label="Boot medium">
        {BOOT_KINDS.map((kind) => (
          <UnstyledButton
            key={kind.value}
            role="radio"
            aria-checked={draft.bootKind === kind.value}
            aria-label={kind.title}
            className={classes.choice ?? ''}
            onClick={() => change({ bootKind: kind.value })}
          >
            {kind.icon}
            <span className={classes.choiceTitle}>{kind.title}</span>
            <span className={classes.choiceText}>{kind.text}</span>
          </UnstyledButton>
        ))}
      </div>
      {draft.bootKind === 'linux' && (
        <div className={classes.fields}>
          <PathField
            label="Kernel"
            kind="kernel"
            wanted="kernel"
            required
            value={draft.kernel}
            onChange={(kernel) => change({ kernel })}
            error={errors.kernel}
            placeholder="/path/to/vmlinuz"
          />
          <PathField
            label="Initial RAM disk (initrd)"
            kind="initrd"
            wanted="initrd"
            value={draft.initrd}
            onChange={(initrd) => change({ initrd })}
            error={errors.initrd}
            placeholder="Optional: /path/to/initrd"
          />
          <Textarea
            label="Command line"
            autosize
            minRows={1}
            maxRows={4}
            value={draft.commandLine}
            error={errors.commandLine}
            onChange={(e) => change({ commandLine: e.currentTarget.value.replace(/\n/g, ' ') })}
            spellCheck={false}
            styles={{ input: { fontFamily: 'var(--mantine-font-family-monospace)', fontSize: 12.5 } }}
          />
        </div>
      )}
      {draft.bootKind === 'image' && (
        <div className={classes.fields}>
          <PathField
            label="Image"
            kind="any"
            wanted="image"
            required
            value={draft.image}
            onChange={(image) => change({ image })}
            error={errors.image}
            placeholder="/path/to/image.iso"
          />
        </div>
      )}
      {draft.bootKind === 'builtin' && (
        <Text size="sm" c="dimmed" mt="md">
          A small guest of Lodge’s own: it draws on the screen, answers keyboard and mouse, lists the hardware it finds and powers
          off. Nothing else is needed.
        </Text>
      )}
    </>
  );
}

function StorageStep({ draft, change, errors }: StepProps) {
  const { vmFolder } = usePreferences();
  const free = useFreeSpace(vmFolder);
  return (
    <>
      <Heading title="Does it need a disk of its own?">
        A system that is going to be installed needs one. A disk can also be added later.
      </Heading>
      <Switch label="Make a new disk" checked={draft.newDisk} onChange={(e) => change({ newDisk: e.currentTarget.checked })} />
      {draft.newDisk && (
        <div className={classes.fields}>
          <DiskSizeField
            gib={draft.diskGiB}
            onChange={(diskGiB) => change({ diskGiB, diskTouched: true })}
            variant={draft.diskVariant}
            freeBytes={free}
            error={errors.diskGiB}
          />
          <More summary={`${formatLabel(draft.diskFormat)}, ${VARIANT_LABEL[draft.diskVariant].toLowerCase()}`}>
            <FormatFields
              format={draft.diskFormat}
              variant={draft.diskVariant}
              onChange={({ format, variant }) => change({ diskFormat: format, diskVariant: variant })}
            />
          </More>
        </div>
      )}
    </>
  );
}

function SummaryStep({ draft, context, go }: { draft: Draft; context: WizardContext; go: (step: WizardStep) => void }) {
  const row = (step: WizardStep, name: string, value: string): ReactNode => (
    <>
      <dt>{name}</dt>
      <dd>{value}</dd>
      <UnstyledButton className={classes.edit ?? ''} onClick={() => go(step)} aria-label={`Change ${name.toLowerCase()}`}>
        Change
      </UnstyledButton>
    </>
  );
  return (
    <>
      <Heading title="Ready to make it">{summarize(draft, context)}</Heading>
      <dl className={classes.summary}>
        {row('system', 'Name', draft.name.trim())}
        {row('system', 'System', findOs(context.catalogue, draft.os).name)}
        {row('resources', 'Memory', formatMiB(draft.memoryMiB))}
        {row('resources', 'Processors', String(draft.cpus))}
        {row(
          'boot',
          'Starts from',
          draft.bootKind === 'builtin'
            ? 'The built-in guest'
            : draft.bootKind === 'linux'
              ? `${draft.kernel.path}${draft.initrd.path !== '' ? ` with ${draft.initrd.path}` : ''}`
              : draft.image.path,
        )}
        {row(
          'storage',
          'New disk',
          draft.newDisk
            ? `${formatBytes(draft.diskGiB * 1024 ** 3)}, ${formatLabel(draft.diskFormat)}${isThin(draft.diskVariant) ? ', grows as it fills' : ''}`
            : 'None',
        )}
      </dl>
    </>
  );
}
