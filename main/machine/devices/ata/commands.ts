/** ATA commands of a disk: registers → request, pure. ATA/ATAPI-7 vol. 1 §6; READ/WRITE FPDMA and DATA SET MANAGEMENT: ACS-2 §7. */
import { AtaError, DEVICE_LBA, type Taskfile } from './registers';
import type { Geometry } from './identify';

export type AtaRequest =
  | {
      readonly kind: 'transfer';
      readonly write: boolean;
      readonly dma: boolean;
      readonly sector: number;
      readonly sectors: number;
      /** READ/WRITE MULTIPLE: a data request moves as many sectors as SET MULTIPLE said. */
      readonly multiple: boolean;
      readonly through: boolean;
      readonly tag?: number;
    }
  | { readonly kind: 'setFeatures'; readonly feature: number; readonly value: number }
  | { readonly kind: 'setMultiple'; readonly sectors: number }
  | { readonly kind: 'initializeParameters'; readonly heads: number; readonly sectors: number }
  | { readonly kind: 'nativeMax'; readonly wide: boolean }
  | { readonly kind: 'smart'; readonly feature: number; readonly key: number }
  | { readonly kind: 'trim'; readonly blocks: number }
  | { readonly kind: 'readLog'; readonly log: number; readonly page: number; readonly blocks: number }
  | { readonly kind: 'flush' | 'identify' | 'checkPower' | 'diagnose' | 'nothing' }
  | { readonly kind: 'refused'; readonly error: number };

type Row =
  | {
      readonly transfer: 'read' | 'write';
      readonly wide?: true;
      readonly dma?: true;
      readonly multiple?: true;
      readonly through?: true;
    }
  | { readonly transfer: 'verify'; readonly wide?: true }
  | { readonly queued: 'read' | 'write' }
  | { readonly decode: (task: Taskfile) => AtaRequest };

const NOTHING: AtaRequest = { kind: 'nothing' };
const nothing: Row = { decode: () => NOTHING };
const refuse = (error: number): AtaRequest => ({ kind: 'refused', error });

/** Opcode, name, what it means. Retired opcodes that the same command had before are rows of their own. */
export const ATA_COMMANDS: readonly (readonly [opcode: number, name: string, row: Row])[] = [
  [0x06, 'DATA SET MANAGEMENT', { decode: (t) => (t.features & 0xff) === 1 ? { kind: 'trim', blocks: t.count } : refuse(AtaError.ABORT) }],
  ...Array.from({ length: 16 }, (_, i): readonly [number, string, Row] => [0x10 + i, 'RECALIBRATE', nothing]),
  [0x20, 'READ SECTORS', { transfer: 'read' }],
  [0x21, 'READ SECTORS', { transfer: 'read' }],
  [0x24, 'READ SECTORS EXT', { transfer: 'read', wide: true }],
  [0x25, 'READ DMA EXT', { transfer: 'read', wide: true, dma: true }],
  [0x27, 'READ NATIVE MAX ADDRESS EXT', { decode: () => ({ kind: 'nativeMax', wide: true }) }],
  [0x29, 'READ MULTIPLE EXT', { transfer: 'read', wide: true, multiple: true }],
  [0x2f, 'READ LOG EXT', { decode: (t) => ({ kind: 'readLog', log: t.low & 0xff, page: ((t.low >>> 8) & 0xff) | (((t.high >>> 8) & 0xff) << 8), blocks: t.count }) }],
  [0x30, 'WRITE SECTORS', { transfer: 'write' }],
  [0x31, 'WRITE SECTORS', { transfer: 'write' }],
  [0x34, 'WRITE SECTORS EXT', { transfer: 'write', wide: true }],
  [0x35, 'WRITE DMA EXT', { transfer: 'write', wide: true, dma: true }],
  [0x39, 'WRITE MULTIPLE EXT', { transfer: 'write', wide: true, multiple: true }],
  [0x3d, 'WRITE DMA FUA EXT', { transfer: 'write', wide: true, dma: true, through: true }],
  [0x40, 'READ VERIFY SECTORS', { transfer: 'verify' }],
  [0x41, 'READ VERIFY SECTORS', { transfer: 'verify' }],
  [0x42, 'READ VERIFY SECTORS EXT', { transfer: 'verify', wide: true }],
  [0x60, 'READ FPDMA QUEUED', { queued: 'read' }],
  [0x61, 'WRITE FPDMA QUEUED', { queued: 'write' }],
  [0x70, 'SEEK', nothing],
  [0x90, 'EXECUTE DEVICE DIAGNOSTIC', { decode: () => ({ kind: 'diagnose' }) }],
  [0x91, 'INITIALIZE DEVICE PARAMETERS', { decode: (t) => ({ kind: 'initializeParameters', heads: (t.device & 0x0f) + 1, sectors: t.count & 0xff }) }],
  ...[0x94, 0x95, 0x96, 0x97, 0x99, 0xe0, 0xe1, 0xe2, 0xe3, 0xe6].map((code): readonly [number, string, Row] => [code, 'STANDBY, IDLE, SLEEP', nothing]),
  [0x98, 'CHECK POWER MODE', { decode: () => ({ kind: 'checkPower' }) }],
  [0xb0, 'SMART', { decode: (t) => ({ kind: 'smart', feature: t.features & 0xff, key: (t.low >>> 8) & 0xffff }) }],
  [0xc4, 'READ MULTIPLE', { transfer: 'read', multiple: true }],
  [0xc5, 'WRITE MULTIPLE', { transfer: 'write', multiple: true }],
  [0xc6, 'SET MULTIPLE MODE', { decode: (t) => ({ kind: 'setMultiple', sectors: t.count & 0xff }) }],
  [0xc8, 'READ DMA', { transfer: 'read', dma: true }],
  [0xc9, 'READ DMA', { transfer: 'read', dma: true }],
  [0xca, 'WRITE DMA', { transfer: 'write', dma: true }],
  [0xcb, 'WRITE DMA', { transfer: 'write', dma: true }],
  [0xce, 'WRITE MULTIPLE FUA EXT', { transfer: 'write', wide: true, multiple: true, through: true }],
  [0xe5, 'CHECK POWER MODE', { decode: () => ({ kind: 'checkPower' }) }],
  [0xe7, 'FLUSH CACHE', { decode: () => ({ kind: 'flush' }) }],
  [0xea, 'FLUSH CACHE EXT', { decode: () => ({ kind: 'flush' }) }],
  [0xec, 'IDENTIFY DEVICE', { decode: () => ({ kind: 'identify' }) }],
  [0xef, 'SET FEATURES', { decode: (t) => ({ kind: 'setFeatures', feature: t.features & 0xff, value: t.count & 0xff }) }],
  [0xf8, 'READ NATIVE MAX ADDRESS', { decode: () => ({ kind: 'nativeMax', wide: false }) }],
]; // prettier-ignore

const ROWS = new Map(ATA_COMMANDS.map(([opcode, , row]) => [opcode, row]));

export interface DecodeContext {
  readonly sectors: number;
  readonly geometry: Geometry;
  /** Native command queuing is there. */
  readonly queued: boolean;
}

export function decodeAta(task: Taskfile, context: DecodeContext): AtaRequest {
  const row = ROWS.get(task.command);
  if (!row) return refuse(AtaError.ABORT);
  if ('decode' in row) return row.decode(task);
  if ('queued' in row) {
    if (!context.queued) return refuse(AtaError.ABORT);
    const sector = task.high * 2 ** 24 + task.low;
    const sectors = task.features === 0 ? 65536 : task.features;
    if (sector + sectors > context.sectors) return refuse(AtaError.NOT_FOUND);
    const write = row.queued === 'write';
    return {
      kind: 'transfer',
      write,
      dma: true,
      sector,
      sectors,
      multiple: false,
      through: write && (task.device & 0x80) !== 0,
      tag: (task.count >>> 3) & 31,
    };
  }
  const wide = row.wide === true;
  const sector = address(task, wide, context.geometry);
  const most = wide ? 65536 : 256;
  const sectors = task.count % most || most;
  if (sector === undefined || sector + sectors > context.sectors) return refuse(AtaError.NOT_FOUND);
  if (row.transfer === 'verify') return NOTHING;
  return {
    kind: 'transfer',
    write: row.transfer === 'write',
    dma: row.dma === true,
    sector,
    sectors,
    multiple: row.multiple === true,
    through: row.through === true,
  };
}

function address(task: Taskfile, wide: boolean, geometry: Geometry): number | undefined {
  if (wide) return task.high * 2 ** 24 + task.low;
  if (task.device & DEVICE_LBA) return (task.device & 0x0f) * 2 ** 24 + task.low;
  const sector = task.low & 0xff;
  const head = task.device & 0x0f;
  if (sector === 0 || sector > geometry.sectors || head >= geometry.heads) return undefined;
  return ((task.low >>> 8) * geometry.heads + head) * geometry.sectors + sector - 1;
}
