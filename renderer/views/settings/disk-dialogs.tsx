/** The questions of the storage page: a new disk, a copy in another format, a larger size, a check, removing. */
import { Button, Checkbox, Group, Loader, Modal, NativeSelect, Stack, Text, TextInput } from '@mantine/core';
import { IconCircleCheckFilled } from '@tabler/icons-react';
import { useEffect, useState, type ReactNode } from 'react';
import { DiskSizeField, FormatFields, More, useFreeSpace } from '../../components/disk-fields';
import { ErrorPanel } from '../../components/error-panel';
import { useLodge } from '../../components/lodge-context';
import { PathField } from '../../components/path-field';
import { mediumKind } from '../../model/drop';
import { baseName, formatBytes } from '../../model/format';
import {
  BUS_LABEL,
  bytesOf,
  convertTarget,
  formatLabel,
  freeDiskPath,
  isThin,
  pathProblem,
  sizeProblem,
  VARIANT_LABEL,
  withFormat,
} from '../../model/storage';
import {
  LodgeError,
  type Disk,
  type DiskBus,
  type DiskCheck,
  type DiskFormat,
  type DiskInfo,
  type DiskVariant,
} from '../../model/types';
import { fileProblem, type DraftFile } from '../../model/wizard';

const GIB = 1024 ** 3;

function Frame({
  title,
  onClose,
  confirm,
  children,
}: {
  title: string;
  onClose: () => void;
  confirm: ReactNode;
  children: ReactNode;
}) {
  return (
    <Modal opened onClose={onClose} title={title} size={500} padding="lg">
      <Stack gap="md">{children}</Stack>
      <Group justify="flex-end" gap="xs" className="lodge-dialog-foot">
        <Button variant="default" onClick={onClose}>
          Cancel
        </Button>
        {confirm}
      </Group>
    </Modal>
  );
}

export interface NewDisk {
  readonly path: string;
  readonly bus: DiskBus;
  readonly bytes: number;
  readonly format: DiskFormat;
  readonly variant: DiskVariant;
}

/** The file is made when the settings are saved: until then it can be taken back. */
export function NewDiskDialog({
  folder,
  taken,
  sizeGib,
  onAdd,
  onClose,
}: {
  folder: string;
  taken: readonly string[];
  sizeGib: number;
  onAdd: (disk: NewDisk) => void;
  onClose: () => void;
}) {
  const [gib, setGib] = useState(sizeGib);
  const [{ format, variant }, setKind] = useState<{ format: DiskFormat; variant: DiskVariant }>({
    format: 'raw',
    variant: 'dynamic',
  });
  const [path, setPath] = useState(() => freeDiskPath(folder, 'raw', taken));
  const [bus, setBus] = useState<DiskBus>('virtio');
  const free = useFreeSpace(path.trim());
  const wrongPath = pathProblem(path, taken);
  const wrongSize = sizeProblem(gib, format);
  return (
    <Frame
      title="New disk"
      onClose={onClose}
      confirm={
        <Button
          disabled={wrongPath !== undefined || wrongSize !== undefined}
          onClick={() => onAdd({ path: path.trim(), bus, bytes: bytesOf(gib), format, variant })}
        >
          Add disk
        </Button>
      }
    >
      <DiskSizeField gib={gib} onChange={setGib} variant={variant} freeBytes={free} error={wrongSize} />
      <NativeSelect
        label="Connection"
        value={bus}
        onChange={(e) => setBus(e.currentTarget.value as DiskBus)}
        data={(['virtio', 'ahci', 'ide'] as const).map((b) => ({ value: b, label: BUS_LABEL[b] }))}
      />
      <More summary={`${formatLabel(format)}, ${VARIANT_LABEL[variant].toLowerCase()}`}>
        <Stack gap="sm">
          <FormatFields
            format={format}
            variant={variant}
            onChange={(kind) => {
              setKind(kind);
              const renamed = withFormat(path, kind.format);
              setPath(taken.includes(renamed) ? convertTarget(path, kind.format, taken) : renamed);
            }}
          />
          <TextInput
            label="File"
            value={path}
            error={wrongPath}
            onChange={(e) => setPath(e.currentTarget.value)}
            spellCheck={false}
          />
        </Stack>
      </More>
    </Frame>
  );
}

export function ConvertDialog({
  path,
  info,
  taken,
  onClose,
}: {
  path: string;
  info: DiskInfo;
  taken: readonly string[];
  onClose: () => void;
}) {
  const { jobs } = useLodge();
  const first: DiskFormat = info.format === 'qcow2' ? 'raw' : 'qcow2';
  const [{ format, variant }, setKind] = useState<{ format: DiskFormat; variant: DiskVariant }>({
    format: first,
    variant: 'dynamic',
  });
  const [target, setTarget] = useState(() => convertTarget(path, first, taken));
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<LodgeError | null>(null);
  const free = useFreeSpace(target.trim());
  const wrong = pathProblem(target, [...taken, path]);
  const start = async (): Promise<void> => {
    setBusy(true);
    setError(null);
    try {
      await jobs.getState().convert({ path, target: target.trim(), format, variant });
      onClose();
    } catch (e) {
      setError(LodgeError.from(e));
      setBusy(false);
    }
  };
  return (
    <Frame
      title={`Convert “${baseName(path)}”`}
      onClose={onClose}
      confirm={
        <Button loading={busy} disabled={wrong !== undefined} onClick={() => void start()}>
          Make the copy
        </Button>
      }
    >
      <Text size="sm" c="dimmed">
        A copy in another format is made and compared with the original, which stays as it is.
      </Text>
      <FormatFields
        format={format}
        variant={variant}
        onChange={(kind) => {
          setKind(kind);
          setTarget(convertTarget(path, kind.format, taken));
        }}
      />
      <TextInput
        label="New file"
        value={target}
        error={wrong}
        onChange={(e) => setTarget(e.currentTarget.value)}
        spellCheck={false}
      />
      <Text size="xs" c="dimmed" role="status">
        About {formatBytes(isThin(variant) ? Math.min(info.bytes, info.hostBytes) : info.bytes)} are needed
        {free !== undefined ? `; ${formatBytes(free)} are free there` : ''}.
      </Text>
      {error !== null && <Failed context={`Convert ${path}`} title="The copy was not begun" error={error} />}
    </Frame>
  );
}

export function ResizeDialog({ path, info, onClose }: { path: string; info: DiskInfo; onClose: () => void }) {
  const { jobs } = useLodge();
  const now = info.bytes / GIB;
  const [gib, setGib] = useState(() => Math.max(Math.floor(now) + 1, Math.ceil(now * 1.5)));
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<LodgeError | null>(null);
  const free = useFreeSpace(path);
  const fixed = /fixed|flat/i.test(info.variant);
  const wrong =
    bytesOf(gib) <= info.bytes
      ? `It has ${formatBytes(info.bytes)} now and can only become larger.`
      : sizeProblem(gib, info.format);
  const start = async (): Promise<void> => {
    setBusy(true);
    setError(null);
    try {
      await jobs.getState().resize({ path, bytes: bytesOf(gib) });
      onClose();
    } catch (e) {
      setError(LodgeError.from(e));
      setBusy(false);
    }
  };
  return (
    <Frame
      title={`Make “${baseName(path)}” larger`}
      onClose={onClose}
      confirm={
        <Button loading={busy} disabled={wrong !== undefined} onClick={() => void start()}>
          Make it larger
        </Button>
      }
    >
      <Text size="sm" c="dimmed">
        It has {formatBytes(info.bytes)} now. The guest sees a longer disk; its partitions and file systems are then grown with
        the guest’s own tools.
      </Text>
      <DiskSizeField
        gib={gib}
        onChange={setGib}
        variant={fixed ? 'fixed' : 'dynamic'}
        freeBytes={free}
        minGib={Math.floor(now) + 1}
        error={wrong}
      />
      {error !== null && <Failed context={`Make ${path} larger`} title="It was not begun" error={error} />}
    </Frame>
  );
}

/** An image that was moved, or another of its kind: the place in the boot order and the connection stay. */
export function ChooseDialog({
  disk,
  taken,
  onClose,
  onChoose,
}: {
  disk: Disk;
  taken: readonly string[];
  onClose: () => void;
  onChoose: (path: string) => void;
}) {
  const [file, setFile] = useState<DraftFile>({ path: '' });
  const { info } = file;
  const path = file.path.trim();
  const wrong = taken.includes(path)
    ? 'It is in the list already.'
    : info !== undefined && (mediumKind(info) === 'disc') !== (disk.kind === 'disc')
      ? disk.kind === 'disc'
        ? 'It is no disc image, and this is a disc drive.'
        : 'It is a disc image. Add it as one, with “Add an image…”.'
      : undefined;
  return (
    <Frame
      title={`Another file for “${baseName(disk.path)}”`}
      onClose={onClose}
      confirm={
        <Button
          disabled={info === undefined || wrong !== undefined || fileProblem(file, 'image') !== null}
          onClick={() => onChoose(path)}
        >
          Use this file
        </Button>
      }
    >
      <PathField label="Image" kind="any" wanted="image" value={file} onChange={setFile} placeholder={disk.path} error={wrong} />
      <Text size="sm" c="dimmed">
        The drive keeps its connection and its place in the boot order. The old file is left as it is.
      </Text>
    </Frame>
  );
}

export function CheckDialog({ path, onClose }: { path: string; onClose: () => void }) {
  const { api } = useLodge();
  const [result, setResult] = useState<DiskCheck | LodgeError | null>(null);
  useEffect(() => {
    let gone = false;
    api.call('disk.check', { path }).then(
      (check) => !gone && setResult(check),
      (e: unknown) => !gone && setResult(LodgeError.from(e)),
    );
    return () => {
      gone = true;
    };
  }, [api, path]);
  return (
    <Modal opened onClose={onClose} title={`Check of “${baseName(path)}”`} size={500} padding="lg">
      {result === null ? (
        <Group gap="sm">
          <Loader size="sm" />
          <Text size="sm">Reading its tables…</Text>
        </Group>
      ) : result instanceof LodgeError ? (
        <Failed context={`Check ${path}`} title="It could not be checked" error={result} />
      ) : result.ok ? (
        <Group gap="sm" wrap="nowrap" align="flex-start">
          <IconCircleCheckFilled size={20} color="var(--lodge-green)" style={{ flex: 'none' }} />
          <div>
            <Text size="sm" fw={600}>
              Everything is in order
            </Text>
            <Text size="sm" c="dimmed">
              {formatBytes(result.allocatedBytes)} are in use
              {result.leakedBytes > 0
                ? `; ${formatBytes(result.leakedBytes)} of the file belong to nothing, which is harmless`
                : ''}
              .
            </Text>
          </div>
        </Group>
      ) : (
        <ErrorPanel
          context={`Check ${path}`}
          title="The image is damaged"
          message="What the guest reads from it may be wrong or missing."
          fix="Convert it to a new image, which saves what can be read, and check the guest’s file systems. Keep this file."
          detail={result.errors.join('\n')}
        />
      )}
      <Group justify="flex-end" className="lodge-dialog-foot">
        <Button onClick={onClose} data-autofocus>
          Close
        </Button>
      </Group>
    </Modal>
  );
}

/** Taking a drive out is one thing, deleting its file another: the second is off unless somebody wants it. */
export function RemoveDialog({
  disk,
  info,
  pending,
  onRemove,
  onClose,
}: {
  disk: Disk;
  info: DiskInfo | undefined;
  pending: boolean;
  onRemove: (deleteFile: boolean) => void;
  onClose: () => void;
}) {
  const [deleteFile, setDeleteFile] = useState(false);
  const name = baseName(disk.path);
  return (
    <Frame
      title={`Remove “${name}”?`}
      onClose={onClose}
      confirm={
        <Button color="red" onClick={() => onRemove(deleteFile)} data-autofocus>
          {deleteFile ? 'Remove and delete the file' : 'Remove'}
        </Button>
      }
    >
      <Text size="sm">
        {pending
          ? 'It was not made yet: nothing is lost.'
          : `The machine does not have it any more once the settings are saved.${deleteFile ? '' : ' The file stays where it is.'}`}
      </Text>
      {!pending && disk.kind === 'disk' && (
        <Checkbox
          color="red"
          checked={deleteFile}
          onChange={(e) => setDeleteFile(e.currentTarget.checked)}
          label="Also delete the file"
          description={`${disk.path}${info !== undefined ? `, ${formatBytes(info.hostBytes)}` : ''}: everything on it is gone for good.`}
        />
      )}
    </Frame>
  );
}

const Failed = ({ context, title, error }: { context: string; title: string; error: LodgeError }) => (
  <ErrorPanel context={context} title={title} message={error.message} fix={error.fix} detail={error.detail} code={error.code} />
);
