export { Dma8237, type DmaChannel } from './dma8237';
