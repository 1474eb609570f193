import { Button, Group, Loader, Text, TextInput } from '@mantine/core';
import { IconCircleCheckFilled, IconFolderOpen } from '@tabler/icons-react';
import { useRef, useState } from 'react';
import { formatBytes } from '../model/format';
import { LodgeError, type FileKind, type ImageInfo } from '../model/types';
import { fileProblem, type DraftFile } from '../model/wizard';
import { FileBrowser } from './file-browser';
import { useLodge } from './lodge-context';

export interface PathFieldProps {
  readonly label: string;
  readonly kind: FileKind;
  readonly wanted: 'kernel' | 'initrd' | 'image' | 'firmware' | 'folder';
  readonly value: DraftFile;
  readonly onChange: (file: DraftFile) => void;
  readonly description?: string;
  readonly placeholder?: string;
  readonly required?: boolean;
  readonly error?: string | undefined;
  readonly disabled?: boolean;
}

/** A path on the host with a picker, looked at by the service as soon as it is complete. */
export function PathField({
  label,
  kind,
  wanted,
  value,
  onChange,
  description,
  placeholder,
  required,
  error,
  disabled = false,
}: PathFieldProps) {
  const { api, chooseFile } = useLodge();
  const [browsing, setBrowsing] = useState(false);
  const [busy, setBusy] = useState(false);
  /** A slow inspection must not overwrite a path that was typed after it. */
  const latest = useRef(0);

  const look = async (path: string): Promise<void> => {
    const trimmed = path.trim();
    const mine = ++latest.current;
    const settle = (file: DraftFile): void => {
      if (mine !== latest.current) return;
      setBusy(false);
      onChange(file);
    };
    if (trimmed === '' || wanted === 'folder') {
      onChange({ path: trimmed });
      return;
    }
    setBusy(true);
    onChange({ path: trimmed });
    try {
      settle({ path: trimmed, info: await api.call('image.inspect', { path: trimmed }) });
    } catch (e) {
      const { message, fix } = LodgeError.from(e);
      settle({ path: trimmed, error: fix === undefined ? message : `${message} ${fix}` });
    }
  };

  const browse = async (): Promise<void> => {
    if (chooseFile === undefined) {
      setBrowsing(true);
      return;
    }
    const path = await chooseFile({ title: label, kind });
    if (path !== null) await look(path);
  };

  const problem = wanted === 'folder' ? null : value.path === '' ? null : fileProblem(value, wanted);
  // Below the field and its button, which stay on one line.
  const said = problem ?? error ?? null;
  return (
    <div>
      <Group gap="xs" align="flex-end" wrap="nowrap">
        <TextInput
          style={{ flex: 1 }}
          label={label}
          {...(description !== undefined && { description })}
          placeholder={placeholder ?? 'Path on this host'}
          aria-required={required ?? false}
          value={value.path}
          error={said !== null}
          disabled={disabled}
          onChange={(e) => {
            latest.current++;
            setBusy(false);
            onChange({ path: e.currentTarget.value });
          }}
          onBlur={(e) => value.info === undefined && value.error === undefined && void look(e.currentTarget.value)}
          onKeyDown={(e) => e.key === 'Enter' && void look(e.currentTarget.value)}
          rightSection={busy ? <Loader size={14} /> : undefined}
          spellCheck={false}
        />
        <Button
          variant="default"
          leftSection={<IconFolderOpen size={16} />}
          onClick={() => void browse()}
          disabled={disabled}
          aria-label={`Browse for ${label}`}
        >
          Browse…
        </Button>
      </Group>
      {said !== null && (
        <Text size="xs" c="red" mt={5} role="alert" className="selectable">
          {said}
        </Text>
      )}
      {problem === null && value.info !== undefined && <Found info={value.info} />}
      {chooseFile === undefined && (
        <FileBrowser
          title={label}
          kind={kind}
          opened={browsing}
          onClose={() => setBrowsing(false)}
          onChoose={(path) => void look(path)}
        />
      )}
    </div>
  );
}

const KIND_LABEL: Readonly<Record<ImageInfo['kind'], string>> = {
  disk: 'Disk image',
  disc: 'Disc image',
  linuxKernel: 'Linux kernel',
  archive: 'Archive',
  unknown: 'File',
};

function Found({ info }: { info: ImageInfo }) {
  const parts = [
    KIND_LABEL[info.kind],
    info.label,
    formatBytes(info.bytes),
    info.kind === 'disc' || info.kind === 'disk' ? (info.bootable ? 'bootable' : 'not bootable') : undefined,
  ];
  return (
    <Group gap={6} mt={6} wrap="nowrap">
      <IconCircleCheckFilled size={15} color="var(--lodge-green)" />
      <Text size="xs" c="dimmed" className="selectable">
        {parts.filter((p) => p !== undefined && p !== '').join(' · ')}
      </Text>
    </Group>
  );
}
