import { ActionIcon, Button, Group, Menu, NativeSelect, Stack, Text, Tooltip } from '@mantine/core';
import {
  IconArrowsMaximize,
  IconCopy,
  IconDisc,
  IconDots,
  IconFolderOpen,
  IconLock,
  IconPlus,
  IconShieldCheck,
  IconTrash,
} from '@tabler/icons-react';
import { useEffect, useState } from 'react';
import { useStore } from 'zustand';
import { JobRow } from '../../components/job-row';
import { useLodge, usePreferences } from '../../components/lodge-context';
import { useMedia } from '../../components/media';
import { MediumIcon } from '../../components/medium-icon';
import { PathField } from '../../components/path-field';
import { findOs } from '../../model/catalogue';
import { mediumKind } from '../../model/drop';
import { baseName, formatBytes, shortPath } from '../../model/format';
import {
  BUS_LABEL,
  defaultBus,
  driveGroups,
  driveName,
  driveProblems,
  folderOf,
  formatLabel,
  freeDiskId,
  isRemovable,
  newDrive,
} from '../../model/storage';
import { LodgeError, type Disk, type DiskBus, type DiskInfo, type LodgeErrorData, type Vm } from '../../model/types';
import { fileProblem, type DraftFile } from '../../model/wizard';
import {
  CheckDialog,
  ChooseDialog,
  ConvertDialog,
  NewDiskDialog,
  RemoveDialog,
  ResizeDialog,
  type NewDisk,
} from './disk-dialogs';
import classes from './settings.module.css';

export interface PendingDisk {
  readonly bytes: number;
  readonly format: NewDisk['format'];
  readonly variant: NewDisk['variant'];
}

export interface StorageTabProps {
  readonly vm: Vm;
  readonly disks: readonly Disk[];
  readonly os: string;
  readonly hardware: boolean;
  /** To be made when the settings are saved, by disk id. */
  readonly pending: Readonly<Record<string, PendingDisk>>;
  readonly onChange: (disks: Disk[]) => void;
  readonly onAddNew: (disk: Disk, pending: PendingDisk) => void;
  readonly onRemove: (disk: Disk, deleteFile: boolean) => void;
}

type DiskDialog = 'convert' | 'resize' | 'check' | 'choose' | 'remove';
type Open = { kind: 'new' } | { kind: DiskDialog; disk: Disk } | null;
type Looked = { info: DiskInfo } | { error: LodgeErrorData };

/** What is on the host under each path; again whenever a job on it has ended. */
function useDiskInfos(disks: readonly Disk[], pending: StorageTabProps['pending']): Readonly<Record<string, Looked>> {
  const { api, jobs } = useLodge();
  const [found, setFound] = useState<Readonly<Record<string, Looked>>>({});
  const wanted = disks.filter((d) => d.kind === 'disk' && pending[d.id] === undefined).map((d) => d.path);
  const ended = useStore(jobs, (s) => Object.values(s.byId).filter((t) => t.job.state === 'done').length);
  const key = JSON.stringify(wanted);
  useEffect(() => {
    let gone = false;
    for (const path of JSON.parse(key) as string[])
      api.call('disk.info', { path }).then(
        (info) => !gone && setFound((f) => ({ ...f, [path]: { info } })),
        (e: unknown) => !gone && setFound((f) => ({ ...f, [path]: { error: LodgeError.from(e).toData() } })),
      );
    return () => {
      gone = true;
    };
  }, [api, key, ended]);
  return found;
}

export function StorageTab({ vm, disks, os, hardware, pending, onChange, onAddNew, onRemove }: StorageTabProps) {
  const { catalogue, jobs } = useLodge();
  const { vmFolder } = usePreferences();
  const media = useMedia(vm);
  const tracked = useStore(jobs, (s) => s.byId);
  const [open, setOpen] = useState<Open>(null);
  const [adding, setAdding] = useState<DraftFile>({ path: '' });
  const [addOpen, setAddOpen] = useState(false);
  const infos = useDiskInfos(disks, pending);
  const problems = driveProblems(disks);
  const taken = disks.map((d) => d.path);
  const close = (): void => setOpen(null);
  const infoOf = (disk: Disk): DiskInfo | undefined => {
    const looked = infos[disk.path];
    return looked !== undefined && 'info' in looked ? looked.info : undefined;
  };
  const replace = (id: string, part: Partial<Disk>): void => onChange(disks.map((d) => (d.id === id ? { ...d, ...part } : d)));
  const addProblem = adding.path === '' ? null : fileProblem(adding, 'image');
  const duplicate = taken.includes(adding.path.trim());
  const add = (): void => {
    const kind = (adding.info && mediumKind(adding.info)) ?? 'disk';
    onChange([...disks, newDrive(adding.path.trim(), kind, freeDiskId(disks))]);
    setAdding({ path: '' });
    setAddOpen(false);
  };
  const folder = vm.folder ?? disks.filter((d) => d.kind === 'disk').map((d) => folderOf(d.path))[0] ?? vmFolder;

  return (
    <Stack gap="sm">
      {disks.length === 0 && (
        <Text size="sm" c="dimmed" py="xs">
          {hardware
            ? 'No disks and no discs yet. Make a new disk, or add an image that you have.'
            : 'This machine has no disks and no discs. Shut it down to add some.'}
        </Text>
      )}
      {driveGroups(disks).map((group) => (
        <section key={group.id} aria-label={group.title}>
          <div className={classes.groupHead}>
            <Text size="sm" fw={650} component="h3">
              {group.title}
            </Text>
            <Text size="xs" c="dimmed" truncate>
              {group.hint}
            </Text>
            {group.places !== null && (
              <Text size="xs" c="dimmed" ml="auto" className="tabular" style={{ flex: 'none' }}>
                {group.disks.length} of {group.places}
              </Text>
            )}
          </div>
          <Stack gap={6}>
            {group.disks.map((disk) => (
              <Drive
                key={disk.id}
                disk={disk}
                looked={infos[disk.path]}
                pending={pending[disk.id]}
                problem={problems[disk.id]}
                hardware={hardware}
                onBus={(bus) => replace(disk.id, { bus })}
                onReadOnly={(readOnly) => replace(disk.id, { readOnly })}
                onOpen={(kind) => setOpen({ kind, disk })}
                onEject={!hardware && isRemovable(disk) && vm.state === 'running' ? () => void media.eject(disk) : undefined}
              >
                {Object.values(tracked)
                  .filter((t) => t.job.path === disk.path)
                  .map((t) => (
                    <JobRow key={t.job.id} tracked={t}>
                      {t.job.kind === 'convert' && hardware && !taken.includes(t.job.target) && (
                        <Button
                          size="compact-xs"
                          onClick={() => {
                            replace(disk.id, { path: t.job.target, format: 'auto' });
                            jobs.getState().dismiss(t.job.id);
                          }}
                        >
                          Use it here
                        </Button>
                      )}
                    </JobRow>
                  ))}
              </Drive>
            ))}
          </Stack>
        </section>
      ))}
      {hardware ? (
        <>
          {addOpen ? (
            <div className={classes.addBox}>
              <PathField
                label="Image"
                kind="any"
                wanted="image"
                value={adding}
                onChange={setAdding}
                placeholder="An ISO, floppy or disk image on this host"
                error={duplicate ? 'It is in the list already.' : undefined}
              />
              <Group justify="flex-end" gap="xs" mt="sm">
                <Button variant="default" size="xs" onClick={() => setAddOpen(false)}>
                  Cancel
                </Button>
                <Button size="xs" disabled={adding.info === undefined || addProblem !== null || duplicate} onClick={add}>
                  Add image
                </Button>
              </Group>
            </div>
          ) : (
            <Group gap="xs" mt={4}>
              <Button variant="default" size="xs" leftSection={<IconPlus size={15} />} onClick={() => setOpen({ kind: 'new' })}>
                New disk…
              </Button>
              <Button variant="default" size="xs" leftSection={<IconDisc size={15} />} onClick={() => setAddOpen(true)}>
                Add an image…
              </Button>
            </Group>
          )}
        </>
      ) : (
        vm.state === 'running' &&
        disks.some(isRemovable) && (
          <Text size="xs" c="dimmed">
            Another disc goes in by the disc button at the foot of the machine’s window, or by dropping its image there.
          </Text>
        )
      )}
      {open?.kind === 'new' && (
        <NewDiskDialog
          folder={folder}
          taken={taken}
          sizeGib={Math.max(1, Math.round(findOs(catalogue, os).recommended.diskGiB || 20))}
          onClose={close}
          onAdd={({ path, bus, bytes, format, variant }) => {
            const id = freeDiskId(disks);
            onAddNew({ id, path, bus, format, readOnly: false, kind: 'disk' }, { bytes, format, variant });
            close();
          }}
        />
      )}
      {open?.kind === 'convert' && infoOf(open.disk) !== undefined && (
        <ConvertDialog path={open.disk.path} info={infoOf(open.disk)!} taken={taken} onClose={close} />
      )}
      {open?.kind === 'resize' && infoOf(open.disk) !== undefined && (
        <ResizeDialog path={open.disk.path} info={infoOf(open.disk)!} onClose={close} />
      )}
      {open?.kind === 'check' && <CheckDialog path={open.disk.path} onClose={close} />}
      {open?.kind === 'choose' && (
        <ChooseDialog
          disk={open.disk}
          taken={taken}
          onClose={close}
          onChoose={(path) => {
            replace(open.disk.id, { path, format: 'auto' });
            close();
          }}
        />
      )}
      {open?.kind === 'remove' && (
        <RemoveDialog
          disk={open.disk}
          info={infoOf(open.disk)}
          pending={pending[open.disk.id] !== undefined}
          onClose={close}
          onRemove={(deleteFile) => {
            onRemove(open.disk, deleteFile);
            close();
          }}
        />
      )}
    </Stack>
  );
}

interface DriveActions {
  readonly onReadOnly: (readOnly: boolean) => void;
  readonly onOpen: (kind: DiskDialog) => void;
}

function Drive({
  disk,
  looked,
  pending,
  problem,
  hardware,
  onBus,
  onReadOnly,
  onOpen,
  onEject,
  children,
}: DriveActions & {
  disk: Disk;
  looked: Looked | undefined;
  pending: PendingDisk | undefined;
  problem: string | undefined;
  hardware: boolean;
  onBus: (bus: DiskBus) => void;
  onEject: (() => void) | undefined;
  children: React.ReactNode;
}) {
  const name = baseName(disk.path);
  const info = looked !== undefined && 'info' in looked ? looked.info : undefined;
  const error = looked !== undefined && 'error' in looked ? looked.error : undefined;
  const wrong =
    problem ?? (error === undefined ? undefined : `${error.message}${error.fix === undefined ? '' : ` ${error.fix}`}`);
  const facts = [
    driveName(disk),
    pending !== undefined
      ? `${formatLabel(pending.format)}, ${formatBytes(pending.bytes)}, made when you save`
      : info !== undefined
        ? `${formatLabel(info.format)}, ${formatBytes(info.bytes)}, uses ${formatBytes(info.hostBytes)}`
        : undefined,
    disk.readOnly && disk.kind === 'disk' ? 'read-only' : undefined,
    info?.readOnlyReason,
  ].filter((f) => f !== undefined);
  return (
    <div className={classes.drive} data-bad={wrong !== undefined || undefined}>
      <div className={classes.disk}>
        <MediumIcon kind={disk.kind} size={20} />
        <div className={classes.diskText}>
          <Tooltip label={shortPath(disk.path, 90)}>
            <Text size="sm" fw={600} truncate tabIndex={0}>
              {name}
            </Text>
          </Tooltip>
          <Text size="xs" c="dimmed" className="tabular">
            {facts.join(' · ')}
          </Text>
        </div>
        {onEject !== undefined && (
          <Button size="compact-xs" variant="default" onClick={onEject} aria-label={`Eject ${name}`}>
            Eject
          </Button>
        )}
        {disk.kind !== 'floppy' && (
          <NativeSelect
            size="xs"
            w={124}
            aria-label={`Connection of ${name}`}
            value={disk.bus}
            disabled={!hardware}
            onChange={(e) => onBus(e.currentTarget.value as DiskBus)}
            data={(['virtio', 'ahci', 'ide'] as const)
              // A disc on virtio cannot be ejected: offered only to a machine that has one.
              .filter((b) => disk.kind === 'disk' || b !== 'virtio' || disk.bus === 'virtio')
              .map((b) => ({ value: b, label: b === 'virtio' && defaultBus(disk.kind) !== 'virtio' ? 'virtio' : BUS_LABEL[b] }))}
          />
        )}
        {(disk.kind !== 'disc' || hardware) && (
          <DriveMenu
            disk={disk}
            info={info}
            pending={pending !== undefined}
            hardware={hardware}
            onReadOnly={onReadOnly}
            onOpen={onOpen}
          />
        )}
      </div>
      {wrong !== undefined && (
        <Text size="xs" c="red" role="alert" className={`${classes.driveNote} selectable`}>
          {wrong}
        </Text>
      )}
      <div className={classes.driveJobs}>{children}</div>
    </div>
  );
}

function DriveMenu({
  disk,
  info,
  pending,
  hardware,
  onReadOnly,
  onOpen,
}: DriveActions & { disk: Disk; info: DiskInfo | undefined; pending: boolean; hardware: boolean }) {
  return (
    <Menu position="bottom-end" width={220} withinPortal>
      <Menu.Target>
        <ActionIcon variant="subtle" color="gray" aria-label={`More for ${baseName(disk.path)}`}>
          <IconDots size={17} />
        </ActionIcon>
      </Menu.Target>
      <Menu.Dropdown>
        {disk.kind === 'disk' && (
          <>
            <Menu.Item leftSection={<IconCopy size={16} />} disabled={info === undefined} onClick={() => onOpen('convert')}>
              Convert…
            </Menu.Item>
            <Menu.Item
              leftSection={<IconArrowsMaximize size={16} />}
              disabled={info === undefined || !hardware || info.readOnlyReason !== undefined}
              onClick={() => onOpen('resize')}
            >
              Make larger…
            </Menu.Item>
            <Menu.Item leftSection={<IconShieldCheck size={16} />} disabled={info === undefined} onClick={() => onOpen('check')}>
              Check…
            </Menu.Item>
            <Menu.Divider />
          </>
        )}
        {disk.kind !== 'disc' && (
          <Menu.Item leftSection={<IconLock size={16} />} disabled={!hardware} onClick={() => onReadOnly(!disk.readOnly)}>
            {disk.readOnly ? 'Let the guest write to it' : 'Read-only'}
          </Menu.Item>
        )}
        {hardware && !pending && (
          <Menu.Item leftSection={<IconFolderOpen size={16} />} onClick={() => onOpen('choose')}>
            Choose another file…
          </Menu.Item>
        )}
        <Menu.Item color="red" leftSection={<IconTrash size={16} />} disabled={!hardware} onClick={() => onOpen('remove')}>
          Remove…
        </Menu.Item>
      </Menu.Dropdown>
    </Menu>
  );
}
