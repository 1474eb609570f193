/** The VHDX parent locator ([MS-VHDX] §2.6.2.6): which image a differencing one is built on. Little-endian; hostile input. */
import { err, ok, type Result } from '../../lib/result';
import { viewOf } from '../core/meta-cache';
import { utf16 } from '../vhd/vhd';
import { guidAt, guidBytes } from './guid';

const VHDX_LOCATOR = 'b04aefb7-d19e-4a81-b789-25b8e9445913';
const HEADER_BYTES = 20;
const ENTRY_BYTES = 12;
const PAIRS_MAX = 64;

export interface ParentLocator {
  /** Data-write GUIDs that the parent may have; the second is set while the parent was being changed. */
  readonly linkage: readonly string[];
  /** As its writer saw it: relative to the child, or the last part of a full path. */
  readonly name: string;
}

export function parseParentLocator(item: Uint8Array): Result<ParentLocator, string> {
  if (item.length < HEADER_BYTES || guidAt(item, 0) !== VHDX_LOCATOR)
    return err('it names its parent in a way that is not known');
  const view = viewOf(item);
  const count = view.getUint16(18, true);
  if (count > PAIRS_MAX || HEADER_BYTES + count * ENTRY_BYTES > item.length) return err('the name of its parent is not valid');
  const pairs = new Map<string, string>();
  for (let i = 0; i < count; i++) {
    const at = HEADER_BYTES + i * ENTRY_BYTES;
    const text = (offset: number, bytes: number): string | undefined =>
      bytes > 0 && offset + bytes <= item.length ? utf16(item.subarray(offset, offset + bytes), false) : undefined;
    const key = text(view.getUint32(at, true), view.getUint16(at + 8, true));
    const value = text(view.getUint32(at + 4, true), view.getUint16(at + 10, true));
    if (key === undefined || value === undefined) return err('the name of its parent is not valid');
    pairs.set(key, value);
  }
  const linkage = ['parent_linkage', 'parent_linkage2'].flatMap(
    (key) => pairs.get(key)?.toLowerCase().replace(/[{}]/g, '') ?? [],
  );
  const relative = pairs.get('relative_path')?.replaceAll('\\', '/');
  const full = pairs.get('absolute_win32_path') ?? pairs.get('volume_path');
  const name = relative ?? full?.split('\\').at(-1);
  if (linkage.length === 0 || !name) return err('it does not say what it is built on');
  return ok({ linkage, name });
}

export function parentLocatorImage(linkage: string, name: string): Uint8Array {
  const pairs = [
    ['parent_linkage', `{${linkage}}`],
    ['relative_path', name.startsWith('.') ? name.replaceAll('/', '\\') : `.\\${name.replaceAll('/', '\\')}`],
  ].map((pair) => pair.map((text) => Buffer.from(text, 'utf16le')));
  const head = new Uint8Array(HEADER_BYTES + pairs.length * ENTRY_BYTES);
  const view = viewOf(head);
  head.set(guidBytes(VHDX_LOCATOR), 0);
  view.setUint16(18, pairs.length, true);
  let offset = head.length;
  pairs.forEach(([key, value], i) => {
    const at = HEADER_BYTES + i * ENTRY_BYTES;
    view.setUint32(at, offset, true);
    view.setUint32(at + 4, offset + key!.length, true);
    view.setUint16(at + 8, key!.length, true);
    view.setUint16(at + 10, value!.length, true);
    offset += key!.length + value!.length;
  });
  return Buffer.concat([head, ...pairs.flat()]);
}
