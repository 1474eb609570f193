export * from './vga';
export * from './pci';
