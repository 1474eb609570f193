/**
 * The control contract: every call and every event of Lodge, for all transports (Electron IPC, WebSocket, unix socket).
 * A procedure is an input and an output schema; handlers and clients are typed from here, so a missing one fails `tsc`.
 */
import { z } from 'zod';
import {
  createDiskSchema,
  diskBytesSchema,
  diskCheckSchema,
  diskInfoSchema,
  diskVariantSchema,
  jobSchema,
  newDiskSchema,
} from './disks';
import { profileRequestSchema, profileSchema, vmCountersSchema } from './performance';
import {
  brokenVmSchema,
  diskBusSchema,
  diskFormatSchema,
  diskKindSchema,
  hostSchema,
  imageInfoSchema,
  preferencesSchema,
  vmConfigSchema,
  vmIdSchema,
  vmSchema,
} from './vm';
import { pointerInputSchema } from './viewer';

const procedure = <I extends z.ZodType, O extends z.ZodType>(input: I, output: O) => ({ input, output });
const none = z.void().or(z.null()).optional();
const byId = z.object({ id: vmIdSchema });

/** Keys to type: text, and named keys in angle brackets, e.g. 'ls<enter>' or '<ctrl+alt+delete>'; '\n' is Enter. */
export const keySequenceSchema = z.string().min(1).max(4096);

export const contract = {
  'app.snapshot': procedure(
    none,
    z.object({
      /** Sequence number of the last event this snapshot includes. */
      seq: z.int(),
      vms: z.array(vmSchema),
      broken: z.array(brokenVmSchema),
      host: hostSchema,
      preferences: preferencesSchema,
      /** Things the user should know since start-up (a settings file was set aside…). */
      notices: z.array(z.string()),
      /** Those that run, and those that ended lately. */
      jobs: z.array(jobSchema).optional(),
    }),
  ),
  'host.get': procedure(none, hostSchema),
  'preferences.set': procedure(preferencesSchema.partial(), preferencesSchema),

  'vm.list': procedure(none, z.array(vmSchema)),
  'vm.get': procedure(byId, vmSchema),
  'vm.create': procedure(z.object({ config: vmConfigSchema, newDisk: newDiskSchema.optional() }), vmSchema),
  'vm.update': procedure(byId.extend({ config: vmConfigSchema.partial() }), vmSchema),
  /** Moves the VM's folder to the trash folder beside the VMs; deleteFiles removes it for good. */
  'vm.remove': procedure(byId.extend({ deleteFiles: z.boolean() }), none),
  /**
   * `bootFirst`: id of the disk or disc to start from this once; the order of the settings stays, and counts from the first reset on.
   * `bootMenu`: firmware asks what to start from, this once.
   */
  'vm.start': procedure(
    byId.extend({ bootFirst: z.string().min(1).max(64).optional(), bootMenu: z.boolean().optional() }),
    vmSchema,
  ),
  'vm.pause': procedure(byId, vmSchema),
  'vm.resume': procedure(byId, vmSchema),
  /** ACPI power button: asks the guest. */
  'vm.shutdown': procedure(byId, vmSchema),
  'vm.reset': procedure(byId, vmSchema),
  /** Pulls the plug. */
  'vm.powerOff': procedure(byId, vmSchema),
  /** Without `kind` it is what the file's contents say; a floppy has to be named. While it runs: discs and floppies. */
  'vm.attach': procedure(
    byId.extend({ path: z.string(), bus: diskBusSchema.optional(), kind: diskKindSchema.optional() }),
    vmSchema,
  ),
  /** While it runs only discs and floppies. One that the guest locked in is the error mediumLocked, and goes with `force`. */
  'vm.detach': procedure(byId.extend({ diskId: z.string(), force: z.boolean().optional() }), vmSchema),
  /** PNG, base64. The full screen, or the small picture kept for the library (also of a stopped VM). */
  'vm.screenshot': procedure(byId.extend({ thumbnail: z.boolean().optional() }), z.object({ png: z.string() })),
  /** The text screen as lines; null when the guest is in a graphics mode. */
  'vm.text': procedure(byId, z.object({ lines: z.array(z.string()).nullable() })),
  /** What it did since it was started; two readings give rates. */
  'vm.stats': procedure(byId, vmCountersSchema),
  /** Answers after `seconds`, or when the machine ends. One at a time. */
  'vm.profile': procedure(byId.extend(profileRequestSchema.shape), profileSchema),
  'vm.keys': procedure(byId.extend({ keys: keySequenceSchema }), none),
  /** Moves the mouse and presses its buttons; the answer says which of the two kinds of motion the guest takes now. */
  'vm.pointer': procedure(byId.extend({ event: pointerInputSchema }), z.object({ absolute: z.boolean() })),
  /** Text for a serial port's input. */
  'vm.serialWrite': procedure(byId.extend({ port: z.int().min(0).max(3), data: z.string() }), none),

  /** The file must not exist yet. */
  'disk.create': procedure(createDiskSchema, diskInfoSchema),
  'disk.info': procedure(z.object({ path: z.string().min(1) }), diskInfoSchema),
  'disk.check': procedure(z.object({ path: z.string().min(1) }), diskCheckSchema),
  /** To a new file; begins a job, told by 'job' events. The target appears when it is complete and verified. */
  'disk.convert': procedure(
    z.object({
      path: z.string().min(1),
      target: z.string().min(1),
      format: diskFormatSchema,
      variant: diskVariantSchema.optional(),
    }),
    jobSchema,
  ),
  /** Grows it; begins a job. */
  'disk.resize': procedure(z.object({ path: z.string().min(1), bytes: diskBytesSchema }), jobSchema),
  /** The image and the files that are part of it. Refused while a machine has it in its settings. */
  'disk.delete': procedure(z.object({ path: z.string().min(1) }), none),
  'job.cancel': procedure(z.object({ id: z.string() }), none),

  'image.inspect': procedure(z.object({ path: z.string() }), imageInfoSchema),
  /** Directory listing for the file picker of the served app; only names, sizes and kinds. */
  'files.list': procedure(
    z.object({ path: z.string().optional() }),
    z.object({
      path: z.string(),
      parent: z.string().nullable(),
      entries: z.array(z.object({ name: z.string(), path: z.string(), directory: z.boolean(), bytes: z.number() })),
    }),
  ),
  /** Of the file system that holds the path, or would: of its nearest folder that exists. */
  'files.space': procedure(
    z.object({ path: z.string().min(1).max(4096) }),
    z.object({ freeBytes: z.number(), totalBytes: z.number() }),
  ),
} as const;

export type Contract = typeof contract;
export type ProcedureName = keyof Contract;
export type Input<N extends ProcedureName> = z.input<Contract[N]['input']>;
export type Output<N extends ProcedureName> = z.output<Contract[N]['output']>;
export type Handlers = {
  [N in ProcedureName]: (input: z.output<Contract[N]['input']>) => Promise<z.input<Contract[N]['output']>>;
};

/** Events: one ordered stream. A gap in `seq` means refetch app.snapshot once. */
export const eventSchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('vm'), seq: z.int(), vm: vmSchema }),
  z.object({ type: z.literal('vmRemoved'), seq: z.int(), id: vmIdSchema }),
  z.object({ type: z.literal('host'), seq: z.int(), host: hostSchema }),
  z.object({ type: z.literal('preferences'), seq: z.int(), preferences: preferencesSchema }),
  z.object({ type: z.literal('job'), seq: z.int(), job: jobSchema }),
  /** Something to tell the user once. */
  z.object({
    type: z.literal('notice'),
    seq: z.int(),
    level: z.enum(['info', 'warning', 'error']),
    message: z.string(),
    vmId: vmIdSchema.optional(),
  }),
]);
export type LodgeEvent = z.infer<typeof eventSchema>;

/** Reply to any call on any transport. */
export type CallResult<T> = { ok: true; value: T } | { ok: false; error: import('./errors').LodgeErrorData };
