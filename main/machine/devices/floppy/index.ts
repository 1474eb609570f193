export { FLOPPY_DMA, FLOPPY_DRIVES, FLOPPY_IRQ, FLOPPY_PORTS, FloppyController, type FloppyDeps } from './floppy';
