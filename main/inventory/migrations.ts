/**
 * machine.json from any version of Lodge → the current schema. Each step lifts one version and knows nothing of later ones;
 * the result is validated as hostile input, since people edit these files and copy them between machines.
 */
import { z } from 'zod';
import { CONFIG_SCHEMA_VERSION, vmDefinitionSchema, type VmDefinition } from '../../preload/contract';
import { err, ok, type Result } from '../lib/result';

type Json = Record<string, unknown>;

/** `MIGRATIONS[n]` makes version n + 1 out of version n. */
export type Migrations = Readonly<Record<number, (old: Json) => Json>>;
export const MIGRATIONS: Migrations = {
  // 2 widened what a disk's format may be; the number keeps an older Lodge from taking such a file for a broken one.
  1: (old) => old,
};

export type DefinitionProblem = { kind: 'newer' | 'invalid'; message: string };

export function migrate(stored: Json, current: number, migrations: Migrations): Result<Json, DefinitionProblem> {
  const version = stored['schema'];
  if (typeof version !== 'number' || !Number.isSafeInteger(version) || version < 1) {
    return err({ kind: 'invalid', message: 'it does not say which version of the format it has' });
  }
  if (version > current) {
    return err({
      kind: 'newer',
      message: `it was written by a newer Lodge (format ${version}, this one reads up to ${current})`,
    });
  }
  let value = stored;
  for (let v = version; v < current; v++) {
    const step = migrations[v];
    if (!step) return err({ kind: 'invalid', message: `format ${v} cannot be read any more` });
    try {
      value = { ...step(value), schema: v + 1 };
    } catch (e) {
      return err({ kind: 'invalid', message: `it could not be converted from format ${v}: ${(e as Error).message}` });
    }
  }
  return ok(value);
}

export function parseDefinition(stored: unknown): Result<VmDefinition, DefinitionProblem> {
  if (typeof stored !== 'object' || stored === null || Array.isArray(stored)) {
    return err({ kind: 'invalid', message: 'it does not hold a machine definition' });
  }
  const migrated = migrate(stored as Json, CONFIG_SCHEMA_VERSION, MIGRATIONS);
  if (!migrated.ok) return migrated;
  const parsed = vmDefinitionSchema.safeParse(migrated.value);
  if (!parsed.success) return err({ kind: 'invalid', message: z.prettifyError(parsed.error).replaceAll(/\s*\n\s*/g, ' ') });
  return ok(parsed.data);
}
