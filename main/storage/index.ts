export { ImageDisk } from './core/image-disk';
export type { BulkIo } from './core/transfer';
export * from './disk';
export { ImageError } from './image-error';
export { inspectImage } from './inspect';
