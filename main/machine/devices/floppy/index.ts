export { FloppyController, type FloppyDeps } from './floppy';
export { FLOPPY_DMA, FLOPPY_DRIVES, FLOPPY_IRQ, FLOPPY_PORTS } from './registers';
