/**
 * The engine as TypeScript sees it: the shape of lodge.node (Node-API, one per platform).
 *
 * Guest-physical addresses and byte counts are JS numbers (safe integers); only CPU state uses bigint. No call here
 * hands out guest RAM itself: an external ArrayBuffer is not possible in Electron, so RAM is copied or moved natively.
 * Every call throws a plain Error whose message is one clear sentence when its arguments are wrong or the host fails;
 * what the guest does never throws.
 */

export interface NativeAddon {
  /** Bumped whenever anything in this file changes; the loader refuses another number. */
  readonly abiVersion: number;
  hostInfo(): HostInfo;
  /** Best first. `reason` is a sentence for the user when `available` is false. */
  probeAccelerators(): AcceleratorProbe[];
  /**
   * Machine code in Intel's syntax, all instructions that `code` holds whole; a byte that begins none is a line of its own. `address`: of
   * the first, as the instruction pointer has it.
   */
  disassemble(code: Uint8Array, bits: CodeBits, address: bigint): DisassembledLine[];
  createMachine(options: MachineOptions): NativeMachine;
}

export const ABI_VERSION = 8;

/** Of code: what addresses and operands are by default. */
export type CodeBits = 16 | 32 | 64;

export interface DisassembledLine {
  length: number;
  text: string;
}

export type AcceleratorKind = 'kvm' | 'software';
export type Tier = 'interpreter' | 'translator' | 'lockstep';

export interface HostInfo {
  cpuModel: string;
  cpuVendor: string;
  logicalCpus: number;
  memoryBytes: number;
  /** MemAvailable of /proc/meminfo. */
  availableBytes: number;
}

export interface AcceleratorProbe {
  kind: AcceleratorKind;
  available: boolean;
  /** Not available, and never what “auto” takes, but it runs some guests for those who ask for it by name; see `reason`. */
  onlyByName?: boolean;
  reason: string;
  tiers: Tier[];
}

export interface MachineOptions {
  accelerator: AcceleratorKind;
  /** Ignored by kvm. 'auto' is the fastest tier this build has. */
  tier: 'auto' | Tier;
  /** Processor model (see `CpuModel.name`); '' or absent: what this computer's processor has. */
  cpuModel?: string;
  /** The most that translated code may take, all processors together; absent: 256. */
  codeCacheMiB?: number;
  /** A file for the execution trace, written by `destroy`: the last instructions of each processor, 1,000,000 at most. Software only. */
  trace?: { path: string; last: number };
  cpus: number;
  /**
   * Exit records, allocated by JS and written by the vCPU threads: EXIT_STRIDE bytes a vCPU. See `Exit`.
   * Kept alive by the machine until `destroy`.
   */
  exitBuffer: ArrayBuffer;
  /**
   * Called on the JS thread when `serve` has something to report and no serve call is running. It must call `serve`
   * (in a loop) before the event loop goes idle again.
   */
  onWake: () => void;
}

/** Byte layout of one vCPU's exit record in `exitBuffer`. All little-endian, all written before `serve` returns. */
export const Exit = {
  STRIDE: 8192,
  /** u32: EXIT_KIND. */
  KIND: 0,
  /** u32: bytes an element, 1, 2, 4 or 8. */
  WIDTH: 4,
  /** u32: elements in DATA (string I/O is one exit; 1 otherwise). count * width <= DATA_BYTES. */
  COUNT: 8,
  /** u32: port number, or low half of the guest-physical address. */
  ADDRESS_LOW: 16,
  ADDRESS_HIGH: 20,
  /** In: the bytes the guest wrote. Out: the bytes to give it. `count` elements of `width` bytes, packed. */
  DATA: 4096,
  DATA_BYTES: 4096,
} as const;

/** In the first record: the writes of one Serve.POSTED, in their order. */
export const Posted = {
  /** u32. */
  COUNT: 1024,
  FIRST: 1032,
  /** u16 port, u16 width, u32 value. */
  BYTES: 8,
  MOST: 64,
} as const;

/**
 * In the first record, at any time: a u32 for each quick port, stored as one. Its reads give VALUE while READ is set; its writes of v are
 * posted while WRITE is set and (v & MASK) is MATCH. MASK and MATCH are of the low byte; only ports one byte wide can be read.
 */
export const Quick = {
  WORDS: 2048,
  PORTS: 64,
  READ: 1,
  WRITE: 2,
  SOON: 4,
  VALUE_SHIFT: 8,
  MASK_SHIFT: 16,
  MATCH_SHIFT: 24,
} as const;

export const ExitKind = { PORT_IN: 1, PORT_OUT: 2, MMIO_READ: 3, MMIO_WRITE: 4 } as const;

/** Results of `serve` below zero. */
export const Serve = { IDLE: -1, EVENTS: -2, POSTED: -3 } as const;

export type RegionId = number;

export interface NativeMachine {
  // ---- guest-physical memory --------------------------------------------------------------------------------
  /**
   * Allocates a memfd-backed region, zero-filled lazily. 'ram' is what the guest gets; 'vram' is the same with dirty
   * tracking in pages of 4096 bytes; 'rom' ignores guest writes (`memWrite` still fills it); of 'flash'
   * guest writes are MMIO exits and reads are not.
   */
  addRegion(kind: 'ram' | 'rom' | 'vram' | 'flash', bytes: number): RegionId;
  /** Maps part of a region at a guest-physical address; page-granular; replaces what was mapped there. */
  mapRegion(region: RegionId, regionOffset: number, gpa: number, bytes: number): void;
  /** Accesses to unmapped addresses become MMIO exits. */
  unmap(gpa: number, bytes: number): void;

  /** DMA: false (and nothing copied) when any byte is not backed by RAM or ROM. Writes reach ROM too. */
  memRead(gpa: number, into: Uint8Array): boolean;
  memWrite(gpa: number, from: Uint8Array): boolean;
  /** One aligned or unaligned little-endian value; undefined when not backed. For rings and descriptors. */
  memReadU16(gpa: number): number | undefined;
  memReadU32(gpa: number): number | undefined;
  /** 64-bit as a number; addresses above 2^53 come back as Infinity, which no range check passes. */
  memReadU64(gpa: number): number | undefined;
  memWriteU16(gpa: number, value: number): boolean;
  memWriteU32(gpa: number, value: number): boolean;
  memFill(gpa: number, bytes: number, value: number): boolean;
  /** Region contents, whether mapped or not. */
  regionRead(region: RegionId, offset: number, into: Uint8Array): boolean;
  regionWrite(region: RegionId, offset: number, from: Uint8Array): boolean;

  /**
   * Moves pages dirtied since the last call into `bitmap` (bit n of byte n>>3 is page n of the region), true if any.
   * A page being written while this runs is reported now or by the next call, never lost.
   */
  takeDirty(region: RegionId, bitmap: Uint8Array): boolean;
  /** Pixels of a linear framebuffer inside a region → RGBA bytes (alpha 255), rows packed, into `out`. */
  convertPixels(options: PixelRect, out: Uint8Array): void;

  // ---- bulk I/O -----------------------------------------------------------------------------------------------
  /**
   * preadv into guest memory. `ranges` holds gpa, length pairs. The byte count (short only at end of file), at once if the
   * host had it cached or is quick to take it, else a Promise that a worker thread fulfils. Throws or rejects with `errno` set on a host fault;
   * with code 'EFAULT' if a range is not RAM.
   */
  fileRead(fd: number, fileOffset: number, ranges: Float64Array): number | Promise<number>;
  fileWrite(fd: number, fileOffset: number, ranges: Float64Array): number | Promise<number>;
  /**
   * Makes a range of a file read as zeroes without writing them. `giveBack`: its blocks are the host's again; else they stay the
   * file's. False: the host's file system cannot do this, and nothing was changed. Rejects with `errno` set.
   */
  fileZero(fd: number, fileOffset: number, bytes: number, giveBack: boolean): Promise<boolean>;

  // ---- interrupts ---------------------------------------------------------------------------------------------
  /** Level of a global system interrupt, 0–23. Lines below 16 drive the 8259s as well. */
  setIrq(gsi: number, level: boolean): void;
  /** MSI: a write of `data` to `address` in the LAPIC window. */
  sendMsi(address: number, data: number): void;
  nmi(): void;

  /**
   * Guest writes that do not wait for JS: matching writes become a 'doorbell' event and the vCPU goes on. Reads of the same
   * address are ordinary exits.
   */
  addDoorbell(kind: 'mmio' | 'port', address: number, width: 1 | 2 | 4, id: number): void;
  removeDoorbell(id: number): void;

  /**
   * Accesses of this port that need not wait: see Quick. A posted write arrives as a Serve.POSTED before any exit or event that comes after
   * it, of whichever vCPU; until it was delivered, reads of the same port wait. `number` is that of its word, below Quick.PORTS.
   */
  addQuickPort(port: number, width: 1 | 2 | 4, number: number): void;
  removeQuickPort(number: number): void;

  // ---- run control --------------------------------------------------------------------------------------------
  /** Spawns the vCPU threads; all start parked as after `pause`. */
  start(): void;
  /** Asks every vCPU to park at an instruction boundary; a 'paused' event follows. Idempotent. */
  pause(): void;
  /**
   * Lets parked vCPUs run. Guest TSC and timers continue from where they were paused. `how` (a vCPU each; the rest run) is for
   * debuggers, and only after a 'paused', 'debug' or 'stopped' event: 'step' executes one instruction and then gives a 'debug'
   * event, with interrupts held back unless the vCPU is halted; 'hold' leaves a vCPU parked.
   */
  resume(how?: Go[]): void;
  /** Only while paused or before start: every vCPU and native device back to its reset state. RAM is untouched. */
  reset(): void;
  /** Ends the threads (waits for them, at most milliseconds; a vCPU waiting on an exit is abandoned) and frees all. */
  destroy(): void;

  /**
   * Each vCPU may use so many percent of a host processor, 1–100 (100: no cap), from now on; at any time. Guest time is not slowed
   * down: what is withheld is told to guests that ask as steal time.
   */
  setCpuCap(percent: number): void;
  /** All vCPUs together may use so many of the host's processors, also a fraction, within the cap; 0: no limit. */
  setCpuQuota(processors: number): void;

  /** Only while paused; replaces all that were set before. Throws when the accelerator cannot watch for so many, and then watches for none. */
  setDebugPoints(points: DebugPoints): void;

  /** Only while paused. Unknown or impossible values throw and change nothing. */
  getCpuState(vcpu: number): CpuState;
  setCpuState(vcpu: number, state: CpuState): void;

  /**
   * Says that the exit of vCPU `completed` has been answered in its record (-1: none), then waits up to `spinMicros` for
   * the next thing to do. Returns a vCPU number whose exit record waits, Serve.EVENTS, Serve.POSTED (the
   * writes of Posted have to be performed before the next call), or Serve.IDLE.
   */
  serve(completed: number, spinMicros: number): number;
  takeEvents(): NativeEvent[];
  stats(): MachineStats;

  /**
   * Begins to note where the vCPUs are, `hertz` (50–10 000) times a second. Has to be read every few seconds, or samples are lost.
   * A vCPU that halts or waits costs nothing, one that runs a few hundred nanoseconds a sample.
   */
  startSampling(hertz: number): void;
  stopSampling(): void;
  /** What was noted since the last call. */
  takeSamples(): SampleBatch;
}

/** Bits of SampleBatch.what. `TICKS` (16 bits from its shift): sampling periods that the sample stands for. */
export const SampleWhat = { USER: 1, DEVICE: 2, TRANSLATED: 4, VCPU_SHIFT: 8, VCPU_MASK: 0xff, TICKS_SHIFT: 16 } as const;

export interface SampleBatch {
  /** Linear address of the block of instructions, one a sample. */
  addresses: BigUint64Array;
  /** SampleWhat, one a sample: at privilege level 3; waiting for a device's answer; in translated code; which vCPU. */
  what: Uint32Array;
  /** Sampling periods that each vCPU spent halted. */
  halted: number[];
  /** Sampling periods whose samples found no room. */
  lost: number;
}

export type Go = 'run' | 'step' | 'hold';

/** Linear addresses. A vCPU stops before the instruction at a breakpoint, and behind the one that touched a watchpoint. */
export interface DebugPoints {
  breakpoints: bigint[];
  watchpoints: { address: bigint; bytes: number; onRead: boolean; onWrite: boolean }[];
}

export interface PixelRect {
  region: RegionId;
  /** Byte offset of pixel (0, 0) of the whole framebuffer. */
  offset: number;
  /** Bytes from one line to the next. */
  stride: number;
  format: 'pal8' | 'rgb555' | 'rgb565' | 'rgb888' | 'xrgb8888';
  x: number;
  y: number;
  width: number;
  height: number;
  /** 256 entries 0x00RRGGBB; only for pal8. */
  palette?: Uint32Array;
}

export type NativeEvent =
  | { type: 'doorbell'; id: number; value: number }
  | { type: 'paused' }
  /** A debugger's point was met, or a step is done; all vCPUs are parked. `address`: of the breakpoint or watchpoint. */
  | { type: 'debug'; vcpu: number; cause: 'breakpoint' | 'watchpoint' | 'step'; address: bigint }
  /** A vCPU cannot go on; all vCPUs are parked. Triple fault: `state` is the state at the fault. */
  | { type: 'stopped'; vcpu: number; reason: 'tripleFault' | 'internalError'; message: string; state: CpuState };

/** All counts are since the machine was made, and only grow (but for blocksCached). What an accelerator cannot tell is absent. */
export interface MachineStats {
  vcpus: {
    /** CPU time of the thread, seconds. */
    cpuSeconds: number;
    /** Kept from running by the cap or the quota. */
    withheldSeconds?: number;
    /** Ready to run, while the host ran something else; absent where the host does not tell. */
    waitedSeconds?: number;
    halted: boolean;
    haltedSeconds?: number;
    /** Guest instructions retired, where the tier counts them. */
    instructions?: number;
    /** Accesses that waited for a device in JS. */
    exits: { portIn: number; portOut: number; mmioRead: number; mmioWrite: number };
    /** Notifications of devices that did not wait. */
    doorbells: number;
    /** Accesses of quick ports. */
    quick: number;
    /** Lodge's own processor only. */
    counters?: CpuCounters;
    /** Only where there is a translator. */
    translator?: TranslatorCounters;
  }[];
}

/** x86/counters.h has the same names and says what each is. */
export interface TranslatorCounters {
  units: number;
  tierUps: number;
  /** Paths through calls and returns that were translated as one unit. */
  traces: number;
  invalidations: number;
  flushes: number;
  codeBytes: number;
  codeLimit: number;
  translatedNs: number;
  interpretedNs: number;
  checks: number;
}

/** x86/counters.h has the same names and says what each is. */
export interface CpuCounters {
  interrupts: number;
  exceptions: number;
  blocksDecoded: number;
  blocksCached: number;
  blocksInvalidated: number;
  cacheFlushes: number;
  tlbMisses: number;
  pageWalks: number;
}

export interface SegmentState {
  selector: number;
  base: bigint;
  limit: number;
  /** Bits 8–23 of the descriptor's second dword shifted right by 8: type, S, DPL, P, AVL, L, D/B, G. */
  attributes: number;
}

/** Architectural state of one vCPU; the same schema for every accelerator. */
export interface CpuState {
  rip: bigint;
  rflags: bigint;
  /** rax rcx rdx rbx rsp rbp rsi rdi r8 … r15 */
  gpr: bigint[];
  segments: Record<'es' | 'cs' | 'ss' | 'ds' | 'fs' | 'gs' | 'ldtr' | 'tr', SegmentState>;
  gdtr: { base: bigint; limit: number };
  idtr: { base: bigint; limit: number };
  cr0: bigint;
  cr2: bigint;
  cr3: bigint;
  cr4: bigint;
  cr8: bigint;
  /** dr0–dr3, dr6, dr7 */
  dr: bigint[];
  efer: bigint;
  /** x87, MMX and SSE: the 512-byte FXSAVE64 image. */
  fxsave: Uint8Array;
  /** Upper halves of YMM0–15, 16 bytes each. */
  ymmHigh: Uint8Array;
  xcr0: bigint;
  /** Every other MSR the engine stores, by decimal index. */
  msrs: Record<string, bigint>;
  /** 'runnable', 'halted', or an AP still waiting for SIPI. */
  activity: 'runnable' | 'halted' | 'waitForSipi';
}
