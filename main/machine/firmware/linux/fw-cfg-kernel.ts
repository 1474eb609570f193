/**
 * A Linux kernel for external firmware to start: the numbered items of fw_cfg (as QEMU fills them; OVMF reads them by itself), and a
 * small option ROM for a BIOS, which can boot from any option ROM that has a bootstrap entry vector (Plug and Play BIOS 1.0a §3.2). The
 * ROM lets fw_cfg's DMA move everything to its place and enters the kernel at its real-mode start (boot.rst), so that the kernel asks
 * the firmware itself for memory, disks and video. Pure.
 */
import { ok, type Result } from '../../../lib/result';
import { bytesItem, type FwCfgItem, FwCfgKey, numberItem } from '../../bus/fw-cfg-items';
import { type LinuxBootFault, type LinuxBootInput, planLinuxBoot } from './plan';

export interface FirmwareKernel {
  readonly items: ReadonlyMap<number, FwCfgItem>;
  readonly optionRom: Uint8Array;
}

export interface FirmwareKernelInput extends Omit<LinuxBootInput, 'rsdp'> {
  /** The kernel file up to its protected-mode part, or more of it. */
  readonly kernelHead: Uint8Array;
  /** Part of the kernel file, as an item. */
  readonly kernelPart: (from: number, bytes: number) => FwCfgItem;
  readonly initrd?: FwCfgItem;
}

/** As much of the file as its setup sectors can take: their count is a byte. */
export const MAX_SETUP_BYTES = 256 * 512;

const SETUP_SEGMENT = 0x1000;
const COMMAND_LINE_AT = 0x20000;
const KERNEL_AT = 0x100000;
/** Below the command line's segment, as boot.rst has it. */
const HEAP_END = 0xfe00;
const STACK_TOP = 0xfff0;
const CAN_USE_HEAP = 0x80;
const LOADER_UNDEFINED = 0xff;
/** Firmware keeps its own tables at the top of the memory below 4 GiB. */
const FIRMWARE_BYTES = 4 << 20;

export function planFirmwareKernel(input: FirmwareKernelInput): Result<FirmwareKernel, LinuxBootFault> {
  const ram = { ...input.ram, low: Math.max(0, input.ram.low - FIRMWARE_BYTES) };
  const plan = planLinuxBoot({ ...input, ram, rsdp: 0 });
  if (!plan.ok) return plan;
  const { header, initrdAt } = plan.value;
  const { kernelBytes, initrdBytes } = input;
  const setup = input.kernelHead.slice(0, header.setupBytes);
  const view = new DataView(setup.buffer);
  view.setUint8(0x210, LOADER_UNDEFINED);
  view.setUint8(0x211, view.getUint8(0x211) | CAN_USE_HEAP);
  view.setUint32(0x218, initrdAt, true);
  view.setUint32(0x21c, initrdBytes, true);
  view.setUint16(0x224, HEAP_END, true);
  view.setUint32(0x228, COMMAND_LINE_AT, true);
  const commandLine = new Uint8Array(input.commandLine.length + 1);
  commandLine.set(input.commandLine);
  const payload = kernelBytes - header.setupBytes;
  const items = new Map<number, FwCfgItem>([
    [FwCfgKey.SETUP_SIZE, numberItem(setup.length, 4)],
    [FwCfgKey.SETUP_DATA, bytesItem(setup)],
    [FwCfgKey.KERNEL_SIZE, numberItem(payload, 4)],
    [FwCfgKey.KERNEL_DATA, input.kernelPart(header.setupBytes, payload)],
    [FwCfgKey.COMMAND_LINE_SIZE, numberItem(commandLine.length, 4)],
    [FwCfgKey.COMMAND_LINE_DATA, bytesItem(commandLine)],
    [FwCfgKey.INITRD_SIZE, numberItem(initrdBytes, 4)],
  ]);
  const moves: Move[] = [
    { key: FwCfgKey.SETUP_DATA, bytes: setup.length, to: SETUP_SEGMENT * 16 },
    { key: FwCfgKey.COMMAND_LINE_DATA, bytes: commandLine.length, to: COMMAND_LINE_AT },
    { key: FwCfgKey.KERNEL_DATA, bytes: payload, to: KERNEL_AT },
  ];
  if (input.initrd) {
    items.set(FwCfgKey.INITRD_DATA, input.initrd);
    moves.push({ key: FwCfgKey.INITRD_DATA, bytes: initrdBytes, to: initrdAt });
  }
  return ok({ items, optionRom: optionRom(moves) });
}

interface Move {
  readonly key: number;
  readonly bytes: number;
  readonly to: number;
}

const ROM_BYTES = 512;
const PNP_AT = 0x20;
const NAME_AT = 0x40;
const CODE_AT = 0x60;
const REQUESTS_AT = 0x100;
const REQUEST_BYTES = 16;
/** FWCfgDmaAccess.control: select the item in the high half, read it. */
const SELECT_AND_READ = 0x0a;
/** Where the requests are copied to: fw_cfg answers in them, and the ROM's own memory may be write-protected. */
const REQUESTS_COPY = 0x7000;

function optionRom(moves: readonly Move[]): Uint8Array {
  const rom = new Uint8Array(ROM_BYTES);
  const view = new DataView(rom.buffer);
  const low = (value: number): number => value & 0xff;
  const high = (value: number): number => (value >> 8) & 0xff;
  rom.set([0x55, 0xaa, ROM_BYTES / 512, 0xcb]); // there is nothing to initialize: RETF
  view.setUint16(0x1a, PNP_AT, true);
  rom.set([...'$PnP'].map((c) => c.charCodeAt(0)), PNP_AT); // prettier-ignore
  rom.set([1, 2], PNP_AT + 4); // revision, length in 16 bytes
  view.setUint16(PNP_AT + 0x10, NAME_AT, true);
  rom[PNP_AT + 0x15] = 0x04; // it starts a system
  view.setUint16(PNP_AT + 0x1a, CODE_AT, true);
  rom.set([...'Linux kernel\0'].map((c) => c.charCodeAt(0)), NAME_AT); // prettier-ignore
  const requestBytes = moves.length * REQUEST_BYTES;
  const code = [
    0xfa, 0xfc, // cli; cld
    0x0e, 0x1f, // push cs; pop ds
    0x31, 0xc0, 0x8e, 0xc0, // es = 0
    0xbe, low(REQUESTS_AT), high(REQUESTS_AT), // mov si, the requests
    0xbf, low(REQUESTS_COPY), high(REQUESTS_COPY), // mov di, their copy
    0xb9, requestBytes, 0, 0xf3, 0xa4, // mov cx, bytes; rep movsb
    0x8e, 0xd8, // ds = 0
    0x66, 0xbb, low(REQUESTS_COPY), high(REQUESTS_COPY), 0, 0, // mov ebx, the copy
    0xb9, moves.length, 0, // mov cx, requests
    // next:
    0xba, 0x14, 0x05, 0x66, 0x31, 0xc0, 0x66, 0xef, // the high half of the request's address: out 514h, 0
    0xba, 0x18, 0x05, 0x66, 0x89, 0xd8, 0x66, 0x0f, 0xc8, 0x66, 0xef, // the low one, which starts it: out 518h, bswap(ebx)
    0x66, 0x83, 0x3f, 0x00, 0x75, 0x1d, // cmp dword [bx], 0; jne failed
    0x83, 0xc3, 0x10, 0xe2, 0xe2, // add bx, 16; loop next
    0xb8, low(SETUP_SEGMENT), high(SETUP_SEGMENT), // mov ax, the setup's segment
    0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xe0, 0x8e, 0xe8, 0x8e, 0xd0, // ds = es = fs = gs = ss = ax
    0x66, 0xbc, low(STACK_TOP), high(STACK_TOP), 0, 0, // mov esp, the top of the segment
    0xea, 0, 0, low(SETUP_SEGMENT + 0x20), high(SETUP_SEGMENT + 0x20), // jmp far to the second sector
    // failed:
    0xcd, 0x18, 0xeb, 0xfe, // int 18h: try what else there is
  ]; // prettier-ignore
  rom.set(code, CODE_AT);
  moves.forEach(({ key, bytes, to }, i) => {
    const at = REQUESTS_AT + i * REQUEST_BYTES;
    view.setUint32(at, (key << 16) | SELECT_AND_READ);
    view.setUint32(at + 4, bytes);
    view.setUint32(at + 12, to);
  });
  const sum = (from: number, to: number): number => rom.subarray(from, to).reduce((total, byte) => total + byte, 0);
  rom[PNP_AT + 9] = -sum(PNP_AT, PNP_AT + 32);
  rom[ROM_BYTES - 1] = -sum(0, ROM_BYTES);
  return rom;
}
