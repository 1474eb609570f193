export { Api } from './client';
export { Feed, type FeedSink, type Snapshot } from './feed';
export { decodeBinary, type FrameRect } from './frame';
export type { LinkState, Transport, UploadOptions, ViewerHandlers, ViewerSocket } from './transport';
