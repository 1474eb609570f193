/** The setup header of a bzImage. Linux Documentation/arch/x86/boot.rst ("The Linux/x86 boot protocol"), 2.06 and later. Pure. */
import { err, ok, type Result } from '../../../lib/result';

/** The first bytes of the file that hold everything parsed here. */
export const HEADER_PROBE_BYTES = 0x268;
export const SETUP_HEADER_START = 0x1f1;
const MAGIC = 0x53726448; // 'HdrS'
const BOOT_FLAG = 0xaa55;
const OLDEST_VERSION = 0x0206;
const LOADED_HIGH = 1;
const XLF_KERNEL_64 = 1;

export interface SetupHeader {
  readonly version: number;
  /** Of the real-mode part: the protected-mode kernel starts here in the file. */
  readonly setupBytes: number;
  readonly headerEnd: number;
  readonly relocatable: boolean;
  readonly alignment: number;
  readonly preferredAddress: number;
  /** Memory the kernel needs from its load address on, before it can look at the memory map. */
  readonly initBytes: number;
  readonly initrdLimit: number;
  readonly commandLineLimit: number;
  readonly entry64: boolean;
}

export type KernelFault =
  | { readonly kind: 'tooShort' }
  | { readonly kind: 'notKernel' }
  | { readonly kind: 'tooOld'; readonly version: number }
  | { readonly kind: 'zImage' }
  | { readonly kind: 'truncated'; readonly expected: number };

/** `head`: the file's first HEADER_PROBE_BYTES (or all of it); `fileBytes`: its size. */
export function parseSetupHeader(head: Uint8Array, fileBytes: number): Result<SetupHeader, KernelFault> {
  if (fileBytes < HEADER_PROBE_BYTES || head.length < HEADER_PROBE_BYTES) return err({ kind: 'tooShort' });
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  if (view.getUint16(0x1fe, true) !== BOOT_FLAG || view.getUint32(0x202, true) !== MAGIC) return err({ kind: 'notKernel' });
  const version = view.getUint16(0x206, true);
  if (version < OLDEST_VERSION) return err({ kind: 'tooOld', version });
  if (!(view.getUint8(0x211) & LOADED_HIGH)) return err({ kind: 'zImage' });
  const setupBytes = ((view.getUint8(0x1f1) || 4) + 1) * 512;
  const expected = setupBytes + view.getUint32(0x1f4, true) * 16;
  // The size counts 16-byte paragraphs; tools pad less than a page.
  if (fileBytes <= setupBytes || fileBytes + 4096 < expected) return err({ kind: 'truncated', expected });
  const alignment = view.getUint32(0x230, true);
  const has210 = version >= 0x020a;
  return ok({
    version,
    setupBytes,
    headerEnd: Math.min(0x202 + view.getUint8(0x201), HEADER_PROBE_BYTES),
    relocatable: view.getUint8(0x234) !== 0,
    alignment: alignment > 0 && Number.isInteger(Math.log2(alignment)) ? alignment : 0x100000,
    preferredAddress: has210 ? view.getUint32(0x258, true) + view.getUint32(0x25c, true) * 2 ** 32 : 0x100000,
    initBytes: has210 ? view.getUint32(0x260, true) : (fileBytes - setupBytes) * 4,
    initrdLimit: view.getUint32(0x22c, true) || 0x37ffffff,
    commandLineLimit: view.getUint32(0x238, true) || 255,
    entry64: version >= 0x020c && (view.getUint16(0x236, true) & XLF_KERNEL_64) !== 0,
  });
}
