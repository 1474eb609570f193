export * from './config-space';
export * from './function';
export * from './msix';
export * from './pci-bus';
