import type { GuestFixture } from './fixtures.mjs';

export const MEDIA: string;
export function ensureMedia(
  kernels: Record<string, GuestFixture | { problem: string }>,
): Record<string, { path: string } | { problem: string }>;
