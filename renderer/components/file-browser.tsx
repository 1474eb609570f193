import {
  ActionIcon,
  Breadcrumbs,
  Button,
  Group,
  Loader,
  Modal,
  Progress,
  ScrollArea,
  Text,
  TextInput,
  UnstyledButton,
} from '@mantine/core';
import { IconArrowUp, IconDisc, IconFile, IconFolderFilled, IconSearch, IconUpload } from '@tabler/icons-react';
import { useCallback, useEffect, useRef, useState } from 'react';
import { useStore } from 'zustand';
import { formatBytes } from '../model/format';
import { LodgeError, type FileKind, type Output } from '../model/types';
import { ErrorPanel } from './error-panel';
import classes from './file-browser.module.css';
import { useLodge } from './lodge-context';

type Listing = Output<'files.list'>;

export interface FileBrowserProps {
  readonly title: string;
  readonly kind: FileKind;
  readonly opened: boolean;
  readonly onClose: () => void;
  readonly onChoose: (path: string) => void;
}

const LAST_FOLDER_KEY = 'lodge.lastFolder';

/** Files of the host, for a page that has no native dialog; also takes a file of the browser's computer by upload. */
export function FileBrowser({ title, kind, opened, onClose, onChoose }: FileBrowserProps) {
  const { api, uploads } = useLodge();
  const active = useStore(uploads, (s) => s.active);
  const [listing, setListing] = useState<Listing | null>(null);
  const [error, setError] = useState<LodgeError | null>(null);
  const [filter, setFilter] = useState('');
  const [selected, setSelected] = useState<string | null>(null);
  const request = useRef(0);
  const input = useRef<HTMLInputElement>(null);
  const folders = kind === 'folder';

  const open = useCallback(
    async (path?: string) => {
      const mine = ++request.current;
      setError(null);
      try {
        const next = await api.call('files.list', path === undefined ? {} : { path });
        if (mine !== request.current) return;
        setListing(next);
        setSelected(null);
        setFilter('');
        localStorage.setItem(LAST_FOLDER_KEY, next.path);
      } catch (e) {
        if (mine !== request.current) return;
        if (path !== undefined) {
          // A remembered folder may be gone; the host's own start folder never is.
          const fallback = await api.call('files.list', {}).catch(() => null);
          if (fallback !== null && mine === request.current) setListing((l) => l ?? fallback);
        }
        setError(LodgeError.from(e));
      }
    },
    [api],
  );

  useEffect(() => {
    if (opened) void open(localStorage.getItem(LAST_FOLDER_KEY) ?? undefined);
  }, [opened, open]);

  const choose = (path: string): void => {
    onChoose(path);
    onClose();
  };
  const upload = async (file: File): Promise<void> => {
    setError(null);
    try {
      const path = await uploads.getState().resolve(file);
      if (path !== null) choose(path);
    } catch (e) {
      setError(LodgeError.from(e));
    }
  };

  const entries = (listing?.entries ?? [])
    .filter((e) => (folders ? e.directory : true) && e.name.toLowerCase().includes(filter.toLowerCase()))
    .sort((a, b) => Number(b.directory) - Number(a.directory) || a.name.localeCompare(b.name, undefined, { numeric: true }));
  const result = folders ? listing?.path : selected;

  return (
    <Modal opened={opened} onClose={onClose} title={title} size="lg" padding="md">
      <Group gap="xs" wrap="nowrap" mb="xs">
        <ActionIcon
          variant="default"
          size={34}
          aria-label="Parent folder"
          disabled={listing?.parent == null}
          onClick={() => listing?.parent != null && void open(listing.parent)}
        >
          <IconArrowUp size={17} />
        </ActionIcon>
        <PathCrumbs path={listing?.path ?? ''} onOpen={(path) => void open(path)} />
        <TextInput
          w={170}
          leftSection={<IconSearch size={15} />}
          placeholder="Filter"
          aria-label="Filter"
          value={filter}
          onChange={(e) => setFilter(e.currentTarget.value)}
        />
      </Group>
      {error !== null && (
        <ErrorPanel
          context={title}
          title="This folder cannot be shown"
          message={error.message}
          fix={error.fix}
          detail={error.detail}
          onClose={() => setError(null)}
        />
      )}
      <ScrollArea h={340} className={classes.list ?? ''} type="auto">
        {listing === null && error === null && <Loader size="sm" m="md" />}
        <div role="listbox" aria-label="Files">
          {entries.map((entry) => (
            <UnstyledButton
              key={entry.path}
              role="option"
              aria-selected={selected === entry.path}
              className={classes.entry ?? ''}
              onClick={() => (entry.directory ? void open(entry.path) : setSelected(entry.path))}
              onDoubleClick={() => !entry.directory && choose(entry.path)}
            >
              {entry.directory ? (
                <IconFolderFilled size={18} className={classes.folder ?? ''} />
              ) : /\.(iso|img|raw|qcow2|vdi|vmdk)$/i.test(entry.name) ? (
                <IconDisc size={18} />
              ) : (
                <IconFile size={18} />
              )}
              <span className={classes.name}>{entry.name}</span>
              <span className={classes.size}>{entry.directory ? '' : formatBytes(entry.bytes)}</span>
            </UnstyledButton>
          ))}
          {listing !== null && entries.length === 0 && (
            <Text size="sm" c="dimmed" ta="center" py="xl">
              {filter !== '' ? 'Nothing matches the filter.' : 'This folder is empty.'}
            </Text>
          )}
        </div>
      </ScrollArea>
      {active.map((u) => (
        <Group key={u.id} mt="sm" gap="sm" wrap="nowrap">
          <Text size="xs" style={{ flex: 1 }}>
            Uploading {u.name}: {formatBytes(u.sent)} of {formatBytes(u.total)}
            <Progress mt={4} size="sm" value={(u.sent / Math.max(1, u.total)) * 100} aria-label={`Upload of ${u.name}`} />
          </Text>
          <Button size="compact-xs" variant="default" onClick={u.cancel}>
            Cancel upload
          </Button>
        </Group>
      ))}
      <Group justify="space-between" mt="md">
        {folders ? (
          <span />
        ) : (
          <>
            <Button variant="subtle" leftSection={<IconUpload size={16} />} onClick={() => input.current?.click()}>
              Upload from this computer…
            </Button>
            <input
              ref={input}
              type="file"
              hidden
              aria-label="File to upload"
              onChange={(e) => {
                const file = e.currentTarget.files?.[0];
                e.currentTarget.value = '';
                if (file !== undefined) void upload(file);
              }}
            />
          </>
        )}
        <Group gap="xs">
          <Button variant="default" onClick={onClose}>
            Cancel
          </Button>
          <Button disabled={result == null} onClick={() => result != null && choose(result)}>
            {folders ? 'Choose this folder' : 'Choose'}
          </Button>
        </Group>
      </Group>
    </Modal>
  );
}

function PathCrumbs({ path, onOpen }: { path: string; onOpen: (path: string) => void }) {
  const separator = path.includes('\\') ? '\\' : '/';
  const parts = path.split(separator).filter((p) => p !== '');
  const shown = parts.length > 4 ? parts.slice(-4) : parts;
  const upTo = (i: number): string =>
    `${separator === '/' ? '/' : ''}${parts.slice(0, parts.length - shown.length + i + 1).join(separator)}${separator === '\\' && i === 0 ? '\\' : ''}`;
  return (
    <div className={classes.crumbs}>
      <Breadcrumbs separator="›" separatorMargin={5}>
        {separator === '/' && (
          <UnstyledButton className={classes.crumb ?? ''} onClick={() => onOpen('/')} aria-label="Root folder">
            {parts.length > shown.length ? '/ …' : '/'}
          </UnstyledButton>
        )}
        {shown.map((part, i) => (
          <UnstyledButton key={`${i}-${part}`} className={classes.crumb ?? ''} onClick={() => onOpen(upTo(i))}>
            {part}
          </UnstyledButton>
        ))}
      </Breadcrumbs>
    </div>
  );
}
