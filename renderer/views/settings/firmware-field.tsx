import { NativeSelect } from '@mantine/core';
import { useState } from 'react';
import { useHost } from '../../components/lodge-context';
import { PathField } from '../../components/path-field';
import type { DraftFile } from '../../model/wizard';

const NONE = 'none';
const OTHER = 'other';

/** A firmware image of this host, by name or by path, or what there is without one. */
export function FirmwareField({
  image,
  without,
  error,
  disabled,
  onChange,
}: {
  image: string | undefined;
  /** What happens without an image. */
  without: { readonly label: string; readonly description: string };
  error: string | undefined;
  disabled: boolean;
  onChange: (image: string | undefined) => void;
}) {
  const { firmware: known = [] } = useHost();
  const [file, setFile] = useState<DraftFile>({ path: image ?? '' });
  const value = image === undefined ? NONE : known.some(({ path }) => path === image) ? image : OTHER;
  return (
    <>
      <NativeSelect
        label="Firmware"
        description={
          value === NONE
            ? without.description
            : `Runs unchanged; UEFI images keep their settings with the machine.${value === OTHER ? '' : ` From ${image}.`}`
        }
        value={value}
        disabled={disabled}
        onChange={(e) => {
          const chosen = e.currentTarget.value;
          // One that has a name in the list is no other.
          const other = known.some(({ path }) => path === file.path) ? '' : file.path;
          if (chosen === OTHER && other !== file.path) setFile({ path: other });
          onChange(chosen === NONE ? undefined : chosen === OTHER ? other : chosen);
        }}
        data={[
          { value: NONE, label: without.label },
          ...known.map(({ name, path }) => ({ value: path, label: name })),
          { value: OTHER, label: known.length > 0 ? 'Another image…' : 'An image: SeaBIOS, OVMF (UEFI)…' },
        ]}
      />
      {value === OTHER && (
        <PathField
          label="Firmware image"
          kind="any"
          wanted="firmware"
          required
          placeholder="/usr/share/OVMF/OVMF_CODE_4M.fd"
          value={file}
          error={error}
          disabled={disabled}
          onChange={(f) => {
            setFile(f);
            onChange(f.path);
          }}
        />
      )}
    </>
  );
}
