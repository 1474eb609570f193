export { IDE_CHANNELS, Piix3Ide, type Piix3IdeDeps } from './piix3-ide';
