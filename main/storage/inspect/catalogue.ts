/** Guesses from volume ids and file names which system an image holds. The list is resources/catalogue/os.json. */
import data from '../../../resources/catalogue/os.json';

export interface OsGuess {
  readonly id: string;
  readonly name: string;
}

const RULES = data.systems.flatMap(({ id, name, volumeIds }) =>
  (volumeIds as string[]).map((pattern) => ({ id, name, pattern: new RegExp(pattern, 'i') })),
);

/** The first rule that fits the label, else the first that fits the file's name; with a version where one is written. */
export function guessOs(label: string | undefined, fileName: string): OsGuess | undefined {
  for (const text of [label, fileName]) {
    if (text === undefined || text === '') continue;
    const rule = RULES.find(({ pattern }) => pattern.test(text));
    if (!rule) continue;
    const version = /(?<![\w.])v?(\d{1,8}(?:\.\d{1,6}){0,3})(?![\w]|\.\d)/.exec(
      text.replaceAll('_', ' ').replaceAll('-', ' '),
    )?.[1];
    return { id: rule.id, name: version !== undefined && !/\d/.test(rule.name) ? `${rule.name} ${version}` : rule.name };
  }
  return undefined;
}
