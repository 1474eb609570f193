/** What TypeScript sees of common.mjs. */
export const CACHE: string;
