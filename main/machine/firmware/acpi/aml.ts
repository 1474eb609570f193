/** ACPI Machine Language, as much as the DSDT needs: terms are byte arrays. ACPI 6.4 §20.2 (grammar), §6.4 (resource descriptors). */

export type Aml = readonly number[];

const byte = (n: number): number[] => [n & 0xff];
const word = (n: number): number[] => [n & 0xff, (n >>> 8) & 0xff];
const dword = (n: number): number[] => [...word(n & 0xffff), ...word(n >>> 16)];
const flat = (parts: readonly Aml[]): number[] => parts.flatMap((p) => [...p]);

/** A package length counts its own bytes. §20.2.4. */
function withLength(body: readonly number[]): number[] {
  const n = body.length;
  if (n + 1 < 0x40) return [n + 1, ...body];
  const extra = n + 2 < 1 << 12 ? 1 : n + 3 < 1 << 20 ? 2 : 3;
  const total = n + 1 + extra;
  const bytes = [(extra << 6) | (total & 0x0f)];
  for (let i = 0; i < extra; i++) bytes.push((total >>> (4 + 8 * i)) & 0xff);
  return [...bytes, ...body];
}

/** 'PCI0', '\\_SB', '\\_SB.PCI0', '^ISA.PRQ0'. */
export function name(path: string): number[] {
  const prefix = /^\\|^\^+/.exec(path)?.[0] ?? '';
  const segments = path
    .slice(prefix.length)
    .split('.')
    .filter((s) => s !== '')
    .map((s) => {
      if (!/^[A-Z_][A-Z0-9_]{0,3}$/.test(s)) throw new Error(`${path} is not an ACPI name`);
      return [...s.padEnd(4, '_')].map((c) => c.charCodeAt(0));
    });
  const lead = segments.length > 2 ? [0x2f, segments.length] : segments.length === 2 ? [0x2e] : segments.length === 0 ? [0] : [];
  return [...[...prefix].map((c) => c.charCodeAt(0)), ...lead, ...segments.flat()];
}

export function integer(n: number): number[] {
  if (n === 0 || n === 1) return [n];
  if (n <= 0xff) return [0x0a, ...byte(n)];
  if (n <= 0xffff) return [0x0b, ...word(n)];
  if (n <= 0xffffffff) return [0x0c, ...dword(n)];
  return [0x0e, ...dword(n % 2 ** 32), ...dword(Math.floor(n / 2 ** 32))];
}

export const string = (s: string): number[] => [0x0d, ...[...s].map((c) => c.charCodeAt(0)), 0];
export const buffer = (bytes: Aml): number[] => [0x11, ...withLength([...integer(bytes.length), ...bytes])];
export const pkg = (...elements: Aml[]): number[] => [0x12, ...withLength([elements.length, ...flat(elements)])];
export const named = (path: string, value: Aml): number[] => [0x08, ...name(path), ...value];
export const scope = (path: string, ...terms: Aml[]): number[] => [0x10, ...withLength([...name(path), ...flat(terms)])];
export const device = (path: string, ...terms: Aml[]): number[] => [0x5b, 0x82, ...withLength([...name(path), ...flat(terms)])];
export const method = (path: string, args: number, serialized: boolean, ...terms: Aml[]): number[] => [
  0x14,
  ...withLength([...name(path), args | (serialized ? 8 : 0), ...flat(terms)]),
];
export const PCI_CONFIG_SPACE = 2;
export const region = (path: string, space: number, offset: number, bytes: number): number[] => [
  0x5b, 0x80, ...name(path), space, ...integer(offset), ...integer(bytes),
]; // prettier-ignore
/** Fields of `bits` each, byte access, no lock, preserve. */
export const fields = (regionPath: string, ...list: (readonly [field: string, bits: number])[]): number[] => [
  0x5b,
  0x81,
  ...withLength([...name(regionPath), 0x01, ...list.flatMap(([field, bits]) => [...name(field), bits])]),
];

export const arg = (n: number): number[] => [0x68 + n];
export const and = (a: Aml, b: Aml): number[] => [0x7b, ...a, ...b, 0];
export const or = (a: Aml, b: Aml, target: Aml): number[] => [0x7d, ...a, ...b, ...target];
export const store = (value: Aml, target: Aml): number[] => [0x70, ...value, ...target];
export const ret = (value: Aml): number[] => [0xa4, ...value];
export const when = (predicate: Aml, ...then: Aml[]): number[] => [0xa0, ...withLength([...predicate, ...flat(then)])];
export const createDwordField = (source: Aml, index: number, field: string): number[] => [
  0x8a,
  ...source,
  ...integer(index),
  ...name(field),
];

/** 'PNP0A03' as the compressed 32-bit ID. §19.3.4. */
export function eisaId(id: string): number[] {
  const [a, b, c] = [...id.slice(0, 3)].map((ch) => ch.charCodeAt(0) - 0x40) as [number, number, number];
  const vendor = (a << 10) | (b << 5) | c;
  const product = parseInt(id.slice(3), 16);
  return [0x0c, vendor >> 8, vendor & 0xff, product >> 8, product & 0xff];
}

/** A complete resource template; the end tag's checksum 0 means "not checked". */
export const resources = (...descriptors: Aml[]): number[] => buffer([...flat(descriptors), 0x79, 0]);
export const io = (port: number, count: number): number[] => [0x47, 1, ...word(port), ...word(port), 1, count];
/** Edge-triggered, active high, exclusive. */
export const irq = (n: number): number[] => [0x22, ...word(1 << n)];
/** A channel of the 8237: compatible timing, no bus mastering, bytes. */
export const dma = (channel: number): number[] => [0x2a, 1 << channel, 0x00];
/** Level-triggered, active high, shared: what the PIRQ wires are at the interrupt controllers' inputs. */
export const sharedInterrupts = (...list: number[]): number[] => [
  0x89, ...word(2 + 4 * list.length), 0x09, list.length, ...list.flatMap(dword),
]; // prettier-ignore
const addressFlags = 0x0c; // minimum and maximum are fixed, positive decode, producer
export const busNumbers = (first: number, last: number): number[] => [
  0x88, ...word(13), 2, addressFlags, 0, ...word(0), ...word(first), ...word(last), ...word(0), ...word(last - first + 1),
]; // prettier-ignore
export const ioWindow = (first: number, last: number): number[] => [
  0x88, ...word(13), 1, addressFlags, 3, ...word(0), ...word(first), ...word(last), ...word(0), ...word(last - first + 1),
]; // prettier-ignore
export const memoryWindow = (first: number, last: number, cacheable: boolean): number[] => [
  0x87, ...word(23), 0, addressFlags, cacheable ? 3 : 1, ...dword(0), ...dword(first), ...dword(last), ...dword(0), ...dword(last - first + 1),
]; // prettier-ignore
