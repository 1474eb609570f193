/** Disk images as the user handles them: made, looked at, converted, grown. */
import { z } from 'zod';
import { lodgeErrorSchema } from './errors';
import { diskFormatSchema } from './vm';

const absolutePath = z.string().min(1).max(4096);

/** 'dynamic' grows as the guest writes; 'fixed' has its full length from the start; the split ones are VMDK in files of 2 GB. */
export const diskVariantSchema = z.enum(['dynamic', 'fixed', 'split', 'splitFixed']);
export type DiskVariant = z.infer<typeof diskVariantSchema>;

export const DISK_BYTES_MIN = 1 << 20;
export const DISK_BYTES_MAX = 64 * 2 ** 40;
export const diskBytesSchema = z
  .int()
  .min(DISK_BYTES_MIN, 'A disk has at least 1 MiB')
  .max(DISK_BYTES_MAX, 'A disk has at most 64 TiB');

export const newDiskSchema = z.object({
  bytes: diskBytesSchema,
  /** raw when absent. */
  format: diskFormatSchema.optional(),
  variant: diskVariantSchema.optional(),
});
export type NewDisk = z.infer<typeof newDiskSchema>;

export const createDiskSchema = newDiskSchema.extend({
  path: absolutePath,
  /** The new image holds only what differs from this one (qcow2, VDI, VHD); `bytes` is then at least its size. */
  parent: absolutePath.optional(),
});

export const diskInfoSchema = z.object({
  path: absolutePath,
  format: diskFormatSchema,
  /** The format's own name of its kind, e.g. 'dynamic', 'monolithicSparse', 'version 3'. */
  variant: z.string(),
  /** What the guest sees. */
  bytes: z.number(),
  /** What it takes up on the host, all its files together. */
  hostBytes: z.number(),
  /** Unit of allocation; absent when the image has no such thing. */
  clusterBytes: z.number().optional(),
  /** What it is built on, nearest first. */
  parents: z.array(z.object({ path: z.string(), format: diskFormatSchema })),
  snapshots: z.int(),
  /** Why it can only be read, when that is so. */
  readOnlyReason: z.string().optional(),
});
export type DiskInfo = z.infer<typeof diskInfoSchema>;

export const diskCheckSchema = z.object({
  path: absolutePath,
  format: diskFormatSchema,
  /** False when the contents may be damaged. */
  ok: z.boolean(),
  /** At most 100. */
  errors: z.array(z.string()),
  /** Space in the file that nothing refers to; harmless. */
  leakedBytes: z.number(),
  allocatedBytes: z.number(),
});
export type DiskCheck = z.infer<typeof diskCheckSchema>;

/** Long work of the control plane. It ends in one of the last three states and is told once more then. */
export const jobSchema = z.object({
  id: z.string(),
  kind: z.enum(['convert', 'resize']),
  path: absolutePath,
  target: absolutePath,
  /** 0 to 1. */
  progress: z.number().min(0).max(1),
  state: z.enum(['running', 'done', 'failed', 'cancelled']),
  error: lodgeErrorSchema.optional(),
});
export type Job = z.infer<typeof jobSchema>;
