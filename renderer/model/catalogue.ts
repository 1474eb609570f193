/**
 * Guest operating systems the wizard knows. The list is data (resources/catalogue/os.json), checked here field by field: an
 * entry that does not fit is left out, and "Other" is always there, so that a bad list never keeps a machine from being made.
 */
import { z } from 'zod';

const osSchema = z.object({
  id: z.string().min(1).max(64),
  name: z.string().min(1),
  family: z.string(),
  icon: z.string().optional(),
  recommended: z.object({
    memoryMiB: z.number().positive(),
    cpus: z.number().int().positive(),
    diskGiB: z.number().nonnegative(),
  }),
  minimum: z.object({
    memoryMiB: z.number().positive(),
    cpus: z.number().int().positive().default(1),
    diskGiB: z.number().nonnegative().default(0),
  }),
});
export type OsEntry = z.infer<typeof osSchema>;

export const OTHER_OS: OsEntry = {
  id: 'other',
  name: 'Other',
  family: 'other',
  recommended: { memoryMiB: 1024, cpus: 1, diskGiB: 16 },
  minimum: { memoryMiB: 64, cpus: 1, diskGiB: 0 },
};

const LINUX: OsEntry = {
  id: 'linux',
  name: 'Linux',
  family: 'linux',
  recommended: { memoryMiB: 1024, cpus: 2, diskGiB: 20 },
  minimum: { memoryMiB: 128, cpus: 1, diskGiB: 0 },
};

export function parseCatalogue(data: unknown): OsEntry[] {
  const list = Array.isArray(data)
    ? data
    : typeof data === 'object' && data !== null
      ? ((Object.values(data).find(Array.isArray) as unknown[] | undefined) ?? [])
      : [];
  const entries: OsEntry[] = [];
  const seen = new Set<string>();
  for (const item of list) {
    const parsed = osSchema.safeParse(item);
    if (!parsed.success || seen.has(parsed.data.id)) continue;
    seen.add(parsed.data.id);
    entries.push(parsed.data);
  }
  if (entries.length === 0) entries.push(LINUX);
  if (!entries.some((e) => e.id === OTHER_OS.id)) entries.push(OTHER_OS);
  return entries;
}

export const findOs = (catalogue: readonly OsEntry[], id: string): OsEntry =>
  catalogue.find((e) => e.id === id) ?? catalogue.find((e) => e.id === OTHER_OS.id) ?? OTHER_OS;
