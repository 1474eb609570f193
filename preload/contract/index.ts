export * from './bridge';
export * from './contract';
export * from './disks';
export * from './errors';
export * from './performance';
export * from './rates';
export * from './viewer';
export * from './vm';
