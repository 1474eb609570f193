export { ImageError } from './image-error';
export { inspectImage } from './inspect';
export { createRawDisk, RawDisk, type BulkIo, type RawDiskOptions } from './raw';
