export interface GuestFixture {
  kernel: string;
  initrd: string;
  release: string;
}
export const KERNELS: string[];
export const FIXTURES: string;
export function ensureFixtures(): Record<string, GuestFixture | { problem: string }>;
