/** Keys of the host: how the host key is called, and the combinations the "Send keys" menu offers. */
import type { Preferences } from './types';

export type HostKey = Preferences['hostKey'];

export const HOST_KEYS: Readonly<Record<HostKey, string>> = {
  ControlRight: 'Right Ctrl',
  AltRight: 'Right Alt',
  MetaRight: 'Right Super',
  ShiftRight: 'Right Shift',
  ScrollLock: 'Scroll Lock',
  Pause: 'Pause',
  F12: 'F12',
};

export const hostKeyLabel = (key: HostKey, platform = ''): string =>
  platform === 'darwin' && key === 'MetaRight'
    ? 'Right ⌘'
    : platform === 'darwin' && key === 'AltRight'
      ? 'Right ⌥'
      : HOST_KEYS[key];

export const asHostKey = (code: string): HostKey | null => (code in HOST_KEYS ? (code as HostKey) : null);

/** Combinations the host would keep for itself, in the syntax of `vm.keys`. */
export const KEY_COMBINATIONS: readonly { readonly label: string; readonly keys: string }[] = [
  { label: 'Ctrl + Alt + Delete', keys: '<ctrl+alt+delete>' },
  { label: 'Ctrl + Alt + Backspace', keys: '<ctrl+alt+backspace>' },
  { label: 'Ctrl + Alt + F1', keys: '<ctrl+alt+f1>' },
  { label: 'Ctrl + Alt + F2', keys: '<ctrl+alt+f2>' },
  { label: 'Ctrl + Alt + F7', keys: '<ctrl+alt+f7>' },
  { label: 'Alt + Tab', keys: '<alt+tab>' },
  { label: 'Alt + F4', keys: '<alt+f4>' },
  { label: 'Ctrl + C', keys: '<ctrl+c>' },
  { label: 'Escape', keys: '<esc>' },
  { label: 'F12, for the boot menu', keys: '<f12>' },
  { label: 'Print Screen', keys: '<print>' },
];
