/** The contents of the firmware configuration device: what those who fill it and the device itself agree on. */

export const FwCfgKey = {
  SIGNATURE: 0x00, ID: 0x01, UUID: 0x02, RAM_SIZE: 0x03, NO_GRAPHICS: 0x04, CPUS: 0x05, BOOT_MENU: 0x0e, MAX_CPUS: 0x0f,
  KERNEL_SIZE: 0x08, INITRD_SIZE: 0x0b, KERNEL_DATA: 0x11, INITRD_DATA: 0x12, COMMAND_LINE_SIZE: 0x14, COMMAND_LINE_DATA: 0x15,
  SETUP_SIZE: 0x17, SETUP_DATA: 0x18, FILE_DIRECTORY: 0x19, FILE_FIRST: 0x20,
} as const; // prettier-ignore

/** Where an item's bytes come from. Reads past its end give zeroes. */
export interface FwCfgItem {
  readonly bytes: number;
  /** `into.length` bytes from `offset`, all inside the item. */
  read(offset: number, into: Uint8Array): void;
}

export interface FwCfgFile {
  readonly name: string;
  readonly item: FwCfgItem;
}

export const ascii = (text: string): Uint8Array => Uint8Array.from(text, (c) => c.charCodeAt(0));
export const bytesItem = (bytes: Uint8Array): FwCfgItem => ({
  bytes: bytes.length,
  read: (offset, into) => into.set(bytes.subarray(offset, offset + into.length)),
});
export function numberItem(value: number, width: 2 | 4 | 8): FwCfgItem {
  const view = new DataView(new ArrayBuffer(8));
  view.setBigUint64(0, BigInt(value), true);
  return bytesItem(new Uint8Array(view.buffer, 0, width));
}
export const textItem = (text: string): FwCfgItem => bytesItem(ascii(`${text}\0`));

export interface FwCfgContents {
  readonly items: ReadonlyMap<number, FwCfgItem>;
  readonly files: readonly FwCfgFile[];
}
