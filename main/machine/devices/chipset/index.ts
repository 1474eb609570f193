export * from './i440fx';
export * from './piix3';
export * from './piix4-pm';
export * from './reset-control';
