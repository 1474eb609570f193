export { Ahci, AHCI_PORTS, type AhciDeps } from './ahci';
