export interface CpioItem {
  name: string;
  kind: 'folder' | 'file' | 'link' | 'device';
  mode?: number;
  data?: Buffer | string;
  major?: number;
  minor?: number;
}
export function cpio(items: CpioItem[]): Buffer;
