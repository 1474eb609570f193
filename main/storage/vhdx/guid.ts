/** GUIDs as text, and as Microsoft stores them. */

/** The first three fields of a GUID are little-endian. */
export function guidAt(bytes: Uint8Array, at: number): string {
  const hex = (...order: number[]): string => order.map((i) => bytes[at + i]!.toString(16).padStart(2, '0')).join('');
  return `${hex(3, 2, 1, 0)}-${hex(5, 4)}-${hex(7, 6)}-${hex(8, 9)}-${hex(10, 11, 12, 13, 14, 15)}`;
}
export function guidBytes(guid: string): Uint8Array {
  const raw = Buffer.from(guid.replaceAll('-', ''), 'hex');
  raw.subarray(0, 4).reverse();
  raw.subarray(4, 6).reverse();
  raw.subarray(6, 8).reverse();
  return raw;
}
