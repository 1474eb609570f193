export { openDisk, type OpenDiskOptions } from './open';
export { deleteDisk } from './delete';
export { checkDisk, convertDisk, createDisk, diskInfo, resizeDisk, type ConvertOptions, type CreateDiskOptions } from './manage';
export type { RelatedFiles } from './related';
