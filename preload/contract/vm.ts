/** The nouns: a VM's definition (what is stored), its state (what is true now), the host, preferences. */
import { z } from 'zod';
import { crashedCpuSchema } from './cpu';
import { boundedTextSchema, lodgeErrorSchema } from './errors';

export const vmIdSchema = z.uuid();
export type VmId = z.infer<typeof vmIdSchema>;

const absolutePath = z.string().min(1).max(4096);

/** Disk image formats, read and written. */
export const DISK_FORMATS = ['raw', 'qcow2', 'vdi', 'vmdk', 'vhd', 'vhdx'] as const;
export const diskFormatSchema = z.enum(DISK_FORMATS);
export type DiskFormat = z.infer<typeof diskFormatSchema>;

export const diskBusSchema = z.enum(['virtio', 'ide', 'ahci']);
export type DiskBus = z.infer<typeof diskBusSchema>;
/** 'disc': an ISO image, always read-only, ejectable unless on virtio. 'floppy': ejectable, its bus does not matter. */
export const diskKindSchema = z.enum(['disk', 'disc', 'floppy']);
export type DiskKind = z.infer<typeof diskKindSchema>;
export const diskSchema = z.object({
  id: z.string().min(1).max(64),
  path: absolutePath,
  bus: diskBusSchema,
  /** 'auto': told from the content at each start; attaching stores what was found. */
  format: z.enum(['auto', ...DISK_FORMATS]),
  readOnly: z.boolean(),
  kind: diskKindSchema,
});
export type Disk = z.infer<typeof diskSchema>;

/** What the VM starts from. */
export const bootSchema = z.discriminatedUnion('kind', [
  /** A kernel is loaded directly: a Linux bzImage, or one that follows multiboot, multiboot2 or PVH. */
  z.object({
    kind: z.literal('linux'),
    kernel: absolutePath,
    initrd: absolutePath.optional(),
    commandLine: z.string().max(2047),
    /** For kernels that take more files than one, in order. */
    modules: z
      .array(z.object({ path: absolutePath, commandLine: z.string().max(2047) }))
      .max(32)
      .optional(),
    /** A firmware image (SeaBIOS, OVMF) that starts it, a Linux kernel then, instead of Lodge itself. */
    firmware: z.object({ image: absolutePath, variables: absolutePath.optional() }).optional(),
  }),
  /** The guest that ships with Lodge. */
  z.object({ kind: z.literal('builtin') }),
  /** Disks and discs in order, by the built-in BIOS, or by a firmware image (SeaBIOS, OVMF). */
  z.object({
    kind: z.literal('firmware'),
    image: absolutePath.optional(),
    /** Where a UEFI image keeps its settings; made when it is not there. Without it they are kept in the machine's folder. */
    variables: absolutePath.optional(),
  }),
]);
export type Boot = z.infer<typeof bootSchema>;

export const acceleratorChoiceSchema = z.enum(['auto', 'kvm', 'software']);
/** What the guest's processor shows and has; oldest first. 'host': all that Lodge and this computer's processor have. */
export const CPU_MODELS = ['486', 'pentium', 'pentium3', 'x86-64', 'x86-64-v2', 'x86-64-v3', 'host'] as const;
export const cpuModelSchema = z.enum(CPU_MODELS);
export type CpuModel = z.infer<typeof cpuModelSchema>;
/** 'lockstep': translator and interpreter, compared with each other. Slow, one processor, never what 'auto' takes. */
export const TIERS = ['interpreter', 'translator', 'lockstep'] as const;
export const tierChoiceSchema = z.enum(['auto', ...TIERS]);

export const CODE_CACHE_MIB = 256;
export const codeCacheSchema = z.int().min(4).max(2048);

/** The display adapter: 'virtio' is a VGA too, and lets a driver follow the size of the window. */
export const videoSchema = z.enum(['vga', 'virtio']);
export type Video = z.infer<typeof videoSchema>;

/** 2: disks may have any of DISK_FORMATS. */
export const CONFIG_SCHEMA_VERSION = 2;
export const MEMORY_MIN_MIB = 16;
export const MEMORY_MAX_MIB = 1024 * 1024;
export const CPUS_MAX = 64;
export const CPU_SHARES_MAX = 1000;

/** Ports that any user may open. */
export const gdbPortSchema = z.int().min(1024).max(65535);

/** The user's part of a definition: what the wizard and the settings edit. */
export const vmConfigSchema = z.object({
  name: z.string().trim().min(1, 'A machine needs a name').max(80),
  /** An id of resources/catalogue/os.json ('other' when unknown). */
  os: z.string().min(1).max(64),
  notes: z.string().max(10_000),
  cpus: z.int().min(1).max(CPUS_MAX),
  memoryMiB: z.int().min(MEMORY_MIN_MIB).max(MEMORY_MAX_MIB),
  boot: bootSchema,
  disks: z.array(diskSchema).max(24),
  /** One entry a serial port, COM1 first. All are shown as terminal tabs. */
  serialPorts: z.int().min(0).max(2),
  accelerator: acceleratorChoiceSchema,
  tier: tierChoiceSchema,
  /** The most memory that translated code may take; absent: CODE_CACHE_MIB. */
  codeCacheMiB: codeCacheSchema.optional(),
  /** Absent: 'host'. */
  cpuModel: cpuModelSchema.optional(),
  /** Percent of a host processor that each of the machine's may use; absent or 100: all of it. Changes while it runs. */
  cpuCap: z.int().min(1).max(100).optional(),
  /**
   * When machines want more of the host's processors than there is, each gets them by its shares, for each of its processors; absent:
   * 100. Changes while it runs. Only among the machines of one Lodge.
   */
  cpuShares: z.int().min(1).max(CPU_SHARES_MAX).optional(),
  /** Where gdb can attach while the machine runs, on the loopback interface; null: nowhere. */
  gdbPort: gdbPortSchema.nullable().optional(),
  /** Absent: 'vga'. */
  video: videoSchema.optional(),
});
export type VmConfig = z.infer<typeof vmConfigSchema>;

/** Stored as machine.json in the VM's folder. */
export const vmDefinitionSchema = vmConfigSchema.extend({
  schema: z.literal(CONFIG_SCHEMA_VERSION),
  id: vmIdSchema,
  createdAt: z.iso.datetime(),
});
export type VmDefinition = z.infer<typeof vmDefinitionSchema>;

export const VM_STATES = ['stopped', 'starting', 'running', 'pausing', 'paused', 'resuming', 'stopping'] as const;
export const vmStateSchema = z.enum(VM_STATES);
export type VmState = z.infer<typeof vmStateSchema>;

/** Why a VM is stopped. Shown in the details pane; 'crashed' and 'failed' as alerts. */
export const stopReasonSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('powerOff') }), // the guest powered itself off
  z.object({ kind: z.literal('stopped') }), // the user pulled the plug
  z.object({ kind: z.literal('debugExit'), code: z.int() }), // isa-debug-exit was written
  /** Triple fault. `report`: the processor's state as text; `cpu`: the same for looking at. */
  z.object({
    kind: z.literal('guestFault'),
    message: boundedTextSchema,
    report: boundedTextSchema,
    cpu: crashedCpuSchema.optional(),
  }),
  z.object({ kind: z.literal('failed'), error: lodgeErrorSchema }), // could not start, or a host error ended it
  z.object({ kind: z.literal('crashed'), message: boundedTextSchema, detail: boundedTextSchema }), // the VM process died
]);
export type StopReason = z.infer<typeof stopReasonSchema>;

/** What the engine chose for a running VM, in one sentence too. */
export const engineInfoSchema = z.object({
  accelerator: z.enum(['kvm', 'software']),
  tier: z.enum(TIERS).optional(),
  reason: z.string(),
});
export type EngineInfo = z.infer<typeof engineInfoSchema>;

export const vmStatsSchema = z.object({
  /** Host CPU used by the VM process, percent of one core. */
  cpuPercent: z.number(),
  residentBytes: z.number(),
  diskReadBytes: z.number(),
  diskWrittenBytes: z.number(),
  netReceivedBytes: z.number(),
  netSentBytes: z.number(),
  uptimeSeconds: z.number(),
});
export type VmStats = z.infer<typeof vmStatsSchema>;

export const vmSchema = z.object({
  definition: vmDefinitionSchema,
  state: vmStateSchema,
  /** Only when stopped and it ran before in this session. */
  lastStop: stopReasonSchema.optional(),
  engine: engineInfoSchema.optional(),
  stats: vmStatsSchema.optional(),
  /** Increases when a new thumbnail can be fetched; 0: none. */
  thumbnail: z.int(),
  /** Not in the inventory; gone when it stops (lodge run). */
  ephemeral: z.boolean(),
  /** Where its definition and the disks made for it are; absent when ephemeral. */
  folder: z.string().optional(),
});
export type Vm = z.infer<typeof vmSchema>;

/** A VM folder whose definition could not be read; the file was set aside, not deleted. */
export const brokenVmSchema = z.object({ folder: z.string(), setAside: z.string(), message: z.string() });
export type BrokenVm = z.infer<typeof brokenVmSchema>;

export const hostSchema = z.object({
  cpuModel: z.string(),
  logicalCpus: z.int(),
  memoryMiB: z.int(),
  /** Free now, without swapping others out. */
  availableMiB: z.int(),
  accelerators: z.array(
    z.object({
      kind: z.enum(['kvm', 'software']),
      available: z.boolean(),
      /** Not available, and never what “auto” takes, but it runs some guests for those who ask for it by name. */
      onlyByName: z.boolean().optional(),
      reason: z.string(),
      tiers: z.array(z.enum(TIERS)),
    }),
  ),
  /** How this Lodge runs; the browser has no native file dialogs. */
  mode: z.enum(['electron', 'server']),
  version: z.string(),
  /** Firmware images that are installed here, by the names people know. */
  firmware: z.array(z.object({ name: z.string(), path: absolutePath })).optional(),
});
export type Host = z.infer<typeof hostSchema>;

export const preferencesSchema = z.object({
  theme: z.enum(['auto', 'light', 'dark']),
  /** Held to leave the guest: a KeyboardEvent.code. */
  hostKey: z.enum(['ControlRight', 'AltRight', 'MetaRight', 'ShiftRight', 'ScrollLock', 'Pause', 'F12']),
  vmFolder: absolutePath,
  libraryView: z.enum(['list', 'grid']),
  /** What closing a running VM's window does. */
  closeAction: z.enum(['ask', 'keepRunning', 'shutdown', 'powerOff']),
});
export type Preferences = z.infer<typeof preferencesSchema>;

/** What an image file on the host is, as far as its first bytes tell. */
export const imageInfoSchema = z.object({
  path: absolutePath,
  kind: z.enum(['disk', 'disc', 'linuxKernel', 'archive', 'unknown']),
  format: z.string(),
  bytes: z.number(),
  /** ISO volume id, kernel version string… */
  label: z.string().optional(),
  /** Guess for the wizard: name and catalogue id. */
  suggestedName: z.string(),
  suggestedOs: z.string(),
  bootable: z.boolean(),
  /** Why it cannot be used, when it cannot. */
  problem: z.string().optional(),
});
export type ImageInfo = z.infer<typeof imageInfoSchema>;
