/** What TypeScript sees of common.mjs. */
export const CACHE: string;
/** SHA-256 over files, by their paths in the repository, and texts. */
export function hashOf(files: readonly string[], ...extra: string[]): string;
