/** Diskettes: what image sizes mean. Shared by the controller, the BIOS and the CMOS memory. */

export interface FloppyFormat {
  readonly cylinders: number;
  readonly heads: number;
  readonly sectors: number;
  /** Drive that takes it, as CMOS register 10h and INT 13h/08h number them: 1 360K, 2 1.2M, 3 720K, 4 1.44M, 5 2.88M. */
  readonly type: number;
  /** Data rate of the controller's rate select bits: 0 500, 1 300, 2 250, 3 1000 kbit/s. */
  readonly rate: number;
}

const FORMATS: readonly (readonly [bytes: number, format: FloppyFormat])[] = [
  [163840, { cylinders: 40, heads: 1, sectors: 8, type: 1, rate: 2 }],
  [184320, { cylinders: 40, heads: 1, sectors: 9, type: 1, rate: 2 }],
  [327680, { cylinders: 40, heads: 2, sectors: 8, type: 1, rate: 2 }],
  [368640, { cylinders: 40, heads: 2, sectors: 9, type: 1, rate: 2 }],
  [737280, { cylinders: 80, heads: 2, sectors: 9, type: 3, rate: 2 }],
  [1228800, { cylinders: 80, heads: 2, sectors: 15, type: 2, rate: 0 }],
  [1474560, { cylinders: 80, heads: 2, sectors: 18, type: 4, rate: 0 }],
  [1720320, { cylinders: 80, heads: 2, sectors: 21, type: 4, rate: 0 }],
  [2949120, { cylinders: 80, heads: 2, sectors: 36, type: 5, rate: 3 }],
];

/** An image of another size is addressed as the smallest diskette that holds it. */
export function floppyFormat(bytes: number): FloppyFormat {
  return (FORMATS.find(([size]) => bytes <= size) ?? FORMATS[FORMATS.length - 1]!)[1];
}
