/**
 * Messages between the main process (or the headless server, or the CLI) and one VM process. JSON over the fork channel
 * (child_process) or parentPort (Electron utilityProcess). The VM process is not trusted: everything it says is validated.
 */
import { z } from 'zod';
import {
  acceleratorChoiceSchema,
  codeCacheSchema,
  cpuModelSchema,
  diskSchema,
  engineInfoSchema,
  gdbPortSchema,
  pointerInputSchema,
  lodgeErrorSchema,
  profileRequestSchema,
  profileSchema,
  stopReasonSchema,
  tierChoiceSchema,
  videoSchema,
  vmCountersSchema,
  boundedTextSchema,
} from '../../preload/contract';

const cpuCapSchema = z.int().min(1).max(100);

/** What the VM process needs to build the machine: resolved paths, nothing from the inventory. */
/** Of a processor: the engine keeps 32 bytes for each. */
export const TRACE_INSTRUCTIONS_MAX = 1_000_000;

export const machineSpecSchema = z.object({
  name: z.string(),
  cpus: z.int().min(1),
  memoryBytes: z.int().min(1 << 20),
  accelerator: acceleratorChoiceSchema,
  tier: tierChoiceSchema,
  codeCacheMiB: codeCacheSchema.optional(),
  cpuModel: cpuModelSchema.optional(),
  boot: z.discriminatedUnion('kind', [
    z.object({
      kind: z.literal('linux'),
      kernel: z.string(),
      initrd: z.string().optional(),
      commandLine: z.string(),
      modules: z.array(z.object({ path: z.string(), commandLine: z.string() })).optional(),
      /** What starts it, instead of Lodge itself. */
      firmware: z.object({ image: z.string(), variables: z.string().optional() }).optional(),
    }),
    /** Without `image`, the built-in BIOS. `variables`: the file of UEFI's settings; without it they are forgotten. */
    z.object({ kind: z.literal('firmware'), image: z.string().optional(), variables: z.string().optional() }),
  ]),
  disks: z.array(
    z.object({
      id: z.string(),
      path: z.string(),
      bus: diskSchema.shape.bus,
      format: diskSchema.shape.format,
      readOnly: z.boolean(),
      kind: diskSchema.shape.kind,
    }),
  ),
  serial: z.array(
    z.discriminatedUnion('kind', [
      /** Shown in viewers; the last 64 KiB are kept for those that attach later. */
      z.object({ kind: z.literal('terminal') }),
      /** The VM process's own stdin and stdout. */
      z.object({ kind: z.literal('stdio') }),
      z.object({ kind: z.literal('file'), path: z.string() }),
      z.object({ kind: z.literal('none') }),
    ]),
  ),
  /** How long firmware waits for the key that opens its boot menu. */
  menuSeconds: z.number().min(0).max(60).optional(),
  /** Absent: 'vga'. */
  video: videoSchema.optional(),
  /** The boot menu comes without its key, where firmware can do that, until the first reset. */
  openMenu: z.boolean().optional(),
  /** Id of the disk or disc to start from first, until the first reset. */
  bootFirst: z.string().optional(),
  /** isa-debug-exit at port 0xf4. */
  debugExit: z.boolean(),
  /** Percent of a host processor a virtual one may use. */
  cpuCap: cpuCapSchema.optional(),
  /** A port on the loopback interface for gdb. `wait`: the guest does not begin before gdb says so. */
  gdb: z.object({ port: gdbPortSchema, wait: z.boolean() }).optional(),
  /** Where the last instructions of each processor are written at the end. */
  trace: z.object({ path: z.string().min(1), last: z.int().min(1).max(TRACE_INSTRUCTIONS_MAX) }).optional(),
  /** Addon file; the VM process never guesses. */
  addonPath: z.string(),
  /** Asks for the picture at the machine's end in 'stopped' (after a power-off there is no screen left to ask for). */
  lastScreen: z.object({ maxWidth: z.int().optional() }).optional(),
});
export type MachineSpec = z.infer<typeof machineSpecSchema>;

export const toVmSchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('start'), spec: machineSpecSchema }),
  z.object({
    type: z.literal('request'),
    id: z.int(),
    call: z.discriminatedUnion('name', [
      z.object({ name: z.literal('pause') }),
      z.object({ name: z.literal('resume') }),
      z.object({ name: z.literal('powerButton') }),
      z.object({ name: z.literal('reset') }),
      /** PNG of the screen, base64; with `maxWidth`, scaled down to a thumbnail. null: the screen is off. */
      z.object({ name: z.literal('screenshot'), maxWidth: z.int().optional() }),
      z.object({ name: z.literal('text') }),
      z.object({ name: z.literal('cpuCap'), percent: cpuCapSchema }),
      /** Of the host's processors all of the guest's together may use so many; 0: no limit. */
      z.object({ name: z.literal('cpuQuota'), processors: z.number().min(0) }),
      z.object({ name: z.literal('counters') }),
      profileRequestSchema.required().extend({ name: z.literal('profile') }),
      z.object({ name: z.literal('keys'), keys: z.string() }),
      /** Answers whether the guest takes absolute positions. */
      z.object({ name: z.literal('pointer'), event: pointerInputSchema }),
      z.object({ name: z.literal('serialWrite'), port: z.int(), data: z.string() }),
      z.object({ name: z.literal('attachDisk'), disk: machineSpecSchema.shape.disks.element }),
      /** `force`: also a disc that the guest has locked in; without, that is the error mediumLocked and the guest is asked. */
      z.object({ name: z.literal('detachDisk'), diskId: z.string(), force: z.boolean().optional() }),
    ]),
  }),
  /** A viewer: in Electron with a MessagePort, in Node with the upgraded socket as handle (ws completes the handshake here;
   *  `head`: what followed the request already, base64). */
  z.object({
    type: z.literal('viewer'),
    request: z.object({ headers: z.record(z.string(), z.string()), head: z.string() }).optional(),
  }),
  /** The socket of the viewer before is this process's alone now: until then the sender may still take bytes from it. */
  z.object({ type: z.literal('viewerReleased') }),
  /** Flush disks and end. */
  z.object({ type: z.literal('stop') }),
]);
export type ToVm = z.infer<typeof toVmSchema>;
export type VmCall = Extract<ToVm, { type: 'request' }>['call'];

export const fromVmSchema = z.discriminatedUnion('type', [
  /** Sent once when the process is up and waits for 'start'. */
  z.object({ type: z.literal('ready') }),
  /** The guest runs. */
  z.object({ type: z.literal('started'), engine: engineInfoSchema }),
  z.object({
    type: z.literal('reply'),
    id: z.int(),
    result: z.union([
      z.object({ ok: z.literal(true), value: z.unknown().optional() }),
      z.object({ ok: z.literal(false), error: lodgeErrorSchema }),
    ]),
  }),
  /** Once a second while something changes. */
  z.object({
    type: z.literal('stats'),
    stats: z.object({
      cpuPercent: z.number(),
      residentBytes: z.number(),
      diskReadBytes: z.number(),
      diskWrittenBytes: z.number(),
      netReceivedBytes: z.number(),
      netSentBytes: z.number(),
      uptimeSeconds: z.number(),
    }),
    /** Of the guest's processors, in processors of the host: running, and ready while the host ran something else. */
    load: z.object({ used: z.number().min(0), waited: z.number().min(0) }),
  }),
  /** The picture changed since the last request for a thumbnail (at most once in two seconds). */
  z.object({ type: z.literal('screenChanged') }),
  /** The guest took a disc or floppy out of its drive. */
  z.object({ type: z.literal('ejected'), diskId: z.string() }),
  z.object({ type: z.literal('notice'), level: z.enum(['info', 'warning', 'error']), message: boundedTextSchema }),
  /** The machine ended; disks are closed; the process exits with 0 after this. */
  z.object({
    type: z.literal('stopped'),
    reason: stopReasonSchema,
    /** PNG, base64, when spec.lastScreen asked for it; null: the screen was off. */
    screen: z.string().nullable().optional(),
  }),
]);
export type FromVm = z.infer<typeof fromVmSchema>;

/** What the `value` of a successful reply must be. Calls without a row answer nothing that is looked at. */
export const vmReplySchemas = {
  screenshot: z
    .string()
    .max(64 << 20)
    .nullable(),
  /** null: the guest is in a graphics mode. */
  text: z.array(z.string().max(1024)).max(512).nullable(),
  pointer: z.boolean(),
  counters: vmCountersSchema,
  profile: profileSchema,
} as const;
