export { openDisk, type OpenDiskOptions } from './open';
export { checkDisk, convertDisk, createDisk, diskInfo, resizeDisk, type ConvertOptions, type CreateDiskOptions } from './manage';
export type { RelatedFiles } from './related';
