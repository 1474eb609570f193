/** Pixels → PNG, and shrinking for thumbnails. */
import { encode } from 'fast-png';

export interface Picture {
  readonly width: number;
  readonly height: number;
  /** RGBA, rows packed. */
  readonly rgba: Uint8Array;
}

export function encodePng({ width, height, rgba }: Picture): Uint8Array {
  // The alpha channel says nothing here: three channels make a quarter less to compress.
  const rgb = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; to < rgb.length; from += 4, to += 3) {
    rgb[to] = rgba[from]!;
    rgb[to + 1] = rgba[from + 1]!;
    rgb[to + 2] = rgba[from + 2]!;
  }
  return encode({ width, height, data: rgb, channels: 3, depth: 8 });
}

/** At most `maxWidth` wide, same shape: each pixel is the mean of the area it stands for. Never enlarges. */
export function shrink(picture: Picture, maxWidth: number): Picture {
  const { width, height, rgba } = picture;
  const toWidth = Math.max(1, Math.min(width, Math.floor(maxWidth)));
  if (toWidth === width) return picture;
  const toHeight = Math.max(1, Math.round((height * toWidth) / width));
  const out = new Uint8Array(toWidth * toHeight * 4);
  for (let y = 0; y < toHeight; y++) {
    const top = Math.floor((y * height) / toHeight);
    const bottom = Math.max(top + 1, Math.floor(((y + 1) * height) / toHeight));
    for (let x = 0; x < toWidth; x++) {
      const left = Math.floor((x * width) / toWidth);
      const right = Math.max(left + 1, Math.floor(((x + 1) * width) / toWidth));
      let red = 0;
      let green = 0;
      let blue = 0;
      for (let sy = top; sy < bottom; sy++) {
        for (let at = (sy * width + left) * 4; at < (sy * width + right) * 4; at += 4) {
          red += rgba[at]!;
          green += rgba[at + 1]!;
          blue += rgba[at + 2]!;
        }
      }
      const area = (bottom - top) * (right - left);
      const to = (y * toWidth + x) * 4;
      out[to] = red / area;
      out[to + 1] = green / area;
      out[to + 2] = blue / area;
      out[to + 3] = 255;
    }
  }
  return { width: toWidth, height: toHeight, rgba: out };
}
