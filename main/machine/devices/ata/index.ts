export { AtaDisk, type AtaDiskDeps } from './disk';
export { AtapiDisc, type AtapiDiscDeps } from './disc';
export { MediaSlot, type Medium } from './media';
export * from './registers';
