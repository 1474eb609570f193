/** Code page 437 in the three cell heights every VGA BIOS carries, and what each code looks like as text. */
import fonts from '../../../../resources/fonts/cp437.json';

function decode(glyphs: readonly string[]): Uint8Array {
  return Uint8Array.from(glyphs.flatMap((hex) => hex.match(/../g) ?? []).map((byte) => parseInt(byte, 16)));
}

/** Glyph bitmaps by cell height; glyph n starts at n * height. */
export const ROM_FONTS: ReadonlyMap<8 | 14 | 16, Uint8Array> = new Map([
  [16, decode(fonts['8x16'])],
  [14, decode(fonts['8x14'])],
  [8, decode(fonts['8x8'])],
]);

/** What each code looks like as text, for text capture: control codes 0–31 and 127–255 as their CP437 pictures. */
export const CP437_TEXT: readonly string[] = [
  ...' ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼',
  ...Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i)),
  ...'⌂ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■ ',
];
