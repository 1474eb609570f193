export * from './entry-state';
export * from './plan';
export type { KernelFault, SetupHeader } from './setup-header';
