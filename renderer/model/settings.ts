/** The settings dialog as data: what may change in which state, what changed, what is wrong. */
import { gdbPortSchema } from '../../preload/contract';
import { CPUS_MAX, MEMORY_MIN_MIB, type Host, type VmConfig, type VmDefinition } from './types';
import { formatMiB } from './format';

export const configOf = ({ schema: _schema, id: _id, createdAt: _createdAt, ...config }: VmDefinition): VmConfig => config;

/** Only what differs: two windows that edit different fields of one machine do not undo each other. */
export function changedFields(before: VmConfig, after: VmConfig): Partial<VmConfig> {
  const patch: Record<string, unknown> = {};
  for (const key of Object.keys(after) as (keyof VmConfig)[])
    if (JSON.stringify(before[key]) !== JSON.stringify(after[key])) patch[key] = after[key];
  return patch;
}

export type SettingsErrors = Partial<Record<'name' | 'cpus' | 'memoryMiB' | 'kernel' | 'firmware' | 'gdbPort', string>>;

export function validateSettings(config: VmConfig, host: Host, otherNames: readonly string[]): SettingsErrors {
  const errors: SettingsErrors = {};
  const name = config.name.trim();
  if (name === '') errors.name = 'A machine needs a name.';
  else if (otherNames.some((n) => n.toLowerCase() === name.toLowerCase())) errors.name = 'Another machine has this name.';
  if (!Number.isInteger(config.cpus) || config.cpus < 1 || config.cpus > CPUS_MAX) errors.cpus = `From 1 to ${CPUS_MAX}.`;
  if (!Number.isInteger(config.memoryMiB) || config.memoryMiB < MEMORY_MIN_MIB)
    errors.memoryMiB = `At least ${MEMORY_MIN_MIB} MiB.`;
  else if (config.memoryMiB > host.memoryMiB) errors.memoryMiB = `This host has ${formatMiB(host.memoryMiB)}.`;
  if (config.boot.kind === 'linux' && config.boot.kernel.trim() === '') errors.kernel = 'Choose a kernel file.';
  const firmware =
    config.boot.kind === 'firmware' ? config.boot.image : config.boot.kind === 'linux' ? config.boot.firmware?.image : undefined;
  if (firmware?.trim() === '') errors.firmware = 'Choose a firmware image.';
  if (typeof config.gdbPort === 'number' && !gdbPortSchema.safeParse(config.gdbPort).success)
    errors.gdbPort = 'A port from 1024 to 65535, or none.';
  return errors;
}
