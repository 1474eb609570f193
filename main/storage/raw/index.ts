export { RawDisk, createRawDisk, type BulkIo, type RawDiskOptions } from './raw-disk';
