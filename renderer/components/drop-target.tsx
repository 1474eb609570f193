import { Button, Checkbox, Group, Loader, Modal, Progress, Text } from '@mantine/core';
import { IconDisc, IconDownload } from '@tabler/icons-react';
import { useEffect, useRef, useState } from 'react';
import { useStore } from 'zustand';
import { firstFile, mediumKind, planAttach } from '../model/drop';
import { formatBytes } from '../model/format';
import { LodgeError, type ImageInfo, type LodgeErrorData, type Vm } from '../model/types';
import { ErrorPanel } from './error-panel';
import classes from './drop-target.module.css';
import { navigate, useLodge, useVm } from './lodge-context';
import { mediaCommands } from './media';

interface Pending {
  readonly name: string;
  readonly vmId: string | null;
  readonly info?: ImageInfo;
  readonly error?: LodgeErrorData;
}

const hasFiles = (e: DragEvent): boolean => e.dataTransfer?.types.includes('Files') === true;
const vmUnder = (e: DragEvent): string | null =>
  e.target instanceof Element ? (e.target.closest<HTMLElement>('[data-drop-vm]')?.dataset.dropVm ?? null) : null;

/**
 * The whole window takes files: on a machine (an element with data-drop-vm) they are attached to it, after a question that
 * says what will happen; anywhere else they start the wizard, filled in. `vmId`: the window belongs to that machine.
 */
export function DropTarget({ vmId = null }: { vmId?: string | null }) {
  const lodge = useLodge();
  const { api, uploads, notices } = lodge;
  const [over, setOver] = useState<{ vm: string | null } | null>(null);
  const [pending, setPending] = useState<Pending | null>(null);
  const generation = useRef(0);

  useEffect(() => {
    const take = async (files: readonly File[], target: string | null): Promise<void> => {
      const { file, note } = firstFile(files);
      if (file === null) return;
      if (note !== null) notices.getState().say('info', note);
      const mine = ++generation.current;
      const current = (): boolean => mine === generation.current;
      setPending({ name: file.name, vmId: target });
      try {
        const path = await uploads.getState().resolve(file);
        if (!current()) return;
        if (path === null) {
          setPending(null);
          return;
        }
        const info = await api.call('image.inspect', { path });
        if (!current()) return;
        const vm = target === null ? undefined : lodge.vms.getState().byId[target];
        const medium = mediumKind(info);
        if (vm?.state === 'running' && medium !== null && planAttach(info, vm).possible) {
          // Nothing is lost by putting a disc in, and the toast takes it out again: no question.
          setPending(null);
          await mediaCommands(lodge, vm).insert(path, medium);
          return;
        }
        if (target === null && info.problem === undefined && info.kind !== 'unknown' && info.kind !== 'archive') {
          setPending(null);
          navigate({ view: 'new', image: path });
        } else setPending({ name: file.name, vmId: target, info });
      } catch (e) {
        if (current()) setPending({ name: file.name, vmId: target, error: LodgeError.from(e).toData() });
      }
    };
    const onOver = (e: DragEvent): void => {
      if (!hasFiles(e)) return;
      e.preventDefault();
      if (e.dataTransfer !== null) e.dataTransfer.dropEffect = 'copy';
      const vm = vmId ?? vmUnder(e);
      setOver((o) => (o !== null && o.vm === vm ? o : { vm }));
    };
    const onLeave = (e: DragEvent): void => {
      // Leaving the window, not just an element of it.
      if (e.relatedTarget === null) setOver(null);
    };
    const onDrop = (e: DragEvent): void => {
      if (!hasFiles(e)) return;
      e.preventDefault();
      setOver(null);
      void take([...(e.dataTransfer?.files ?? [])], vmId ?? vmUnder(e));
    };
    window.addEventListener('dragenter', onOver);
    window.addEventListener('dragover', onOver);
    window.addEventListener('dragleave', onLeave);
    window.addEventListener('drop', onDrop);
    return () => {
      window.removeEventListener('dragenter', onOver);
      window.removeEventListener('dragover', onOver);
      window.removeEventListener('dragleave', onLeave);
      window.removeEventListener('drop', onDrop);
    };
  }, [api, uploads, notices, lodge, vmId]);

  const close = (): void => {
    generation.current++;
    setPending(null);
  };
  return (
    <>
      {over !== null && <DropHint vmId={over.vm} />}
      {pending !== null && <DropDialog pending={pending} onClose={close} />}
    </>
  );
}

function DropHint({ vmId }: { vmId: string | null }) {
  const vm = useVm(vmId ?? '');
  useEffect(() => {
    if (vmId === null) return;
    const targets = document.querySelectorAll(`[data-drop-vm="${CSS.escape(vmId)}"]`);
    targets.forEach((t) => t.setAttribute('data-drop-over', ''));
    return () => targets.forEach((t) => t.removeAttribute('data-drop-over'));
  }, [vmId]);
  return (
    <div className={classes.hint} data-vm={vmId ?? undefined}>
      <div className={classes.card}>
        <IconDownload size={26} />
        <div>
          <Text fw={650}>{vm === undefined ? 'Drop to make a new machine' : `Drop to attach to “${vm.definition.name}”`}</Text>
          <Text size="sm" c="dimmed">
            {vm === undefined
              ? 'An ISO, a disk image or a Linux kernel. Drop it on a machine to attach it there.'
              : vm.state === 'running'
                ? 'A disc goes into its drive at once. You are asked before anything else changes.'
                : 'You are asked before anything changes.'}
          </Text>
        </div>
      </div>
    </div>
  );
}

function DropDialog({ pending, onClose }: { pending: Pending; onClose: () => void }) {
  const lodge = useLodge();
  const { vms, uploads, notices } = lodge;
  const vm = useVm(pending.vmId ?? '');
  const upload = useStore(uploads, (s) => s.active.find((u) => u.name === pending.name));
  const [busy, setBusy] = useState(false);
  const [startNow, setStartNow] = useState(false);
  const [error, setError] = useState<LodgeErrorData | null>(null);
  const failure = error ?? pending.error ?? null;
  const { info } = pending;
  const plan = info !== undefined && vm !== undefined ? planAttach(info, vm) : null;

  /** It was added last. */
  const startFrom = async ({ definition: { id, disks } }: Vm): Promise<void> => {
    const medium = disks.at(-1);
    if (medium === undefined) return;
    const started = vms.getState().start(id, { bootFirst: medium.id });
    if (!lodge.openVmWindow(id)) navigate({ view: 'vm', id });
    await started;
  };
  const attach = async (): Promise<void> => {
    if (info === undefined || vm === undefined) return;
    setBusy(true);
    setError(null);
    try {
      const changed = await vms
        .getState()
        .attach(vm.definition.id, info.path, mediumKind(info) === 'floppy' ? 'floppy' : undefined);
      notices.getState().say('info', `“${pending.name}” is attached to “${vm.definition.name}”.`);
      onClose();
      if (startNow) await startFrom(changed);
    } catch (e) {
      setError(LodgeError.from(e).toData());
    } finally {
      setBusy(false);
    }
  };

  return (
    <Modal
      opened
      onClose={() => {
        upload?.cancel();
        onClose();
      }}
      title={
        failure !== null
          ? `“${pending.name}” cannot be used`
          : (plan?.headline ?? (info === undefined ? `Looking at “${pending.name}”` : `“${pending.name}” cannot be used`))
      }
    >
      {failure !== null ? (
        <ErrorPanel
          context={`Drop of ${pending.name}`}
          title="It did not work"
          message={failure.message}
          fix={failure.fix}
          detail={failure.detail}
          code={failure.code}
        />
      ) : info === undefined ? (
        upload !== undefined ? (
          <>
            <Text size="sm" mb="xs">
              Uploading to the host: {formatBytes(upload.sent)} of {formatBytes(upload.total)}
            </Text>
            <Progress value={(upload.sent / Math.max(1, upload.total)) * 100} aria-label="Upload" />
          </>
        ) : (
          <Loader size="sm" />
        )
      ) : plan !== null ? (
        <Group gap="sm" wrap="nowrap" align="flex-start">
          <IconDisc size={22} style={{ flex: 'none' }} />
          <div>
            <Text size="sm">{plan.consequence}</Text>
            {plan.possible &&
              vm?.state === 'stopped' &&
              vm.definition.boot.kind === 'firmware' &&
              vm.definition.disks.length > 0 && (
                <Checkbox
                  mt="sm"
                  checked={startNow}
                  onChange={(e) => setStartNow(e.currentTarget.checked)}
                  label="Start the machine from it now"
                  description="This once; the boot order stays as it is."
                />
              )}
          </div>
        </Group>
      ) : (
        <Text size="sm">
          {info.problem ??
            (info.kind === 'archive'
              ? 'It is an archive. Unpack it and drop the image that is inside.'
              : 'It is neither an image nor a kernel that Lodge knows.')}
        </Text>
      )}
      <Group justify="flex-end" mt="lg" gap="xs">
        <Button
          variant="default"
          onClick={() => {
            upload?.cancel();
            onClose();
          }}
        >
          {plan?.possible === true || (info === undefined && failure === null) ? 'Cancel' : 'Close'}
        </Button>
        {plan?.possible === true && (
          <Button loading={busy} onClick={() => void attach()} data-autofocus>
            {startNow ? 'Attach and start' : 'Attach'}
          </Button>
        )}
      </Group>
    </Modal>
  );
}
