/** The user's preferences: one versioned JSON file. A broken one is set aside; what could be read of it is kept. */
import { preferencesSchema, type Preferences } from '../../preload/contract';
import { refuse } from './inventory';
import { readJsonFile, setAside, writeJsonAtomic } from './json-file';

const SCHEMA = 1;

export const defaultPreferences = (vmFolder: string): Preferences => ({
  theme: 'auto',
  hostKey: 'ControlRight',
  vmFolder,
  libraryView: 'grid',
  closeAction: 'ask',
});

export class PreferencesFile {
  private constructor(
    private readonly file: string,
    private current: Preferences,
  ) {}

  /** Always gives preferences; `notices` are for the user. */
  static async load(file: string, defaults: Preferences): Promise<{ preferences: PreferencesFile; notices: string[] }> {
    const read = await readJsonFile(file);
    if (read.kind === 'absent') return { preferences: new PreferencesFile(file, defaults), notices: [] };

    let problem: string | undefined;
    let values = defaults;
    if (read.kind === 'broken') problem = read.message;
    else {
      const stored = read.value as Record<string, unknown> | null;
      const parsed = preferencesSchema.safeParse(stored);
      if (parsed.success && stored?.['schema'] === SCHEMA) values = parsed.data;
      else {
        const salvaged = salvage(stored);
        values = { ...defaults, ...salvaged };
        const lost = Object.keys(defaults).filter((key) => !(key in salvaged));
        problem =
          lost.length > 0 ? `unusable: ${lost.join(', ')}` : `unknown format version ${JSON.stringify(stored?.['schema'])}`;
      }
    }
    const preferences = new PreferencesFile(file, values);
    if (problem === undefined) return { preferences, notices: [] };
    const aside = await setAside(file);
    const kept = aside === undefined ? 'It could not be moved aside and is left as it is.' : `It was kept as ${aside}.`;
    return {
      preferences,
      notices: [
        `The settings file ${file} could not be used as it is (${problem}). ${kept} What could not be read has its default now.`,
      ],
    };
  }

  get value(): Preferences {
    return this.current;
  }

  async set(change: Partial<Preferences>): Promise<Preferences> {
    const next = preferencesSchema.parse({ ...this.current, ...change });
    await writeJsonAtomic(this.file, { schema: SCHEMA, ...next }).catch(
      refuse(`The preferences could not be saved: ${this.file}`),
    );
    this.current = next;
    return next;
  }
}

/** Field by field, so that one bad value does not cost the others. */
function salvage(stored: unknown): Partial<Preferences> {
  if (typeof stored !== 'object' || stored === null) return {};
  const result: Record<string, unknown> = {};
  for (const [key, schema] of Object.entries(preferencesSchema.shape)) {
    const parsed = schema.safeParse((stored as Record<string, unknown>)[key]);
    if (parsed.success) result[key] = parsed.data;
  }
  return result as Partial<Preferences>;
}
