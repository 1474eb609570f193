export * from './entry-state';
export * from './fw-cfg-kernel';
export * from './plan';
export type { KernelFault, SetupHeader } from './setup-header';
