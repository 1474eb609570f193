// Loops the compiler turns into SSE2: one format each, no branch inside.
#pragma GCC optimize("O3")

#include "io/pixels.h"

#include <cstring>

namespace lodge {
namespace {

// Guest and canvas buffers have no alignment to speak of.
using U16 [[gnu::aligned(1), gnu::may_alias]] = uint16_t;
using U32 [[gnu::aligned(1), gnu::may_alias]] = uint32_t;

constexpr uint32_t kOpaque = 0xff000000;

uint32_t swapRedBlue(uint32_t rgb) { return (rgb >> 16 & 0xff) | (rgb & 0xff00) | (rgb & 0xff) << 16 | kOpaque; }

// A channel of n bits fills 8 by repeating its upper bits, so that all ones become 255.
uint32_t from555(uint32_t v) {
  const uint32_t r = v >> 10 & 31, g = v >> 5 & 31, b = v & 31;
  return (r << 3 | r >> 2) | (g << 3 | g >> 2) << 8 | (b << 3 | b >> 2) << 16 | kOpaque;
}
uint32_t from565(uint32_t v) {
  const uint32_t r = v >> 11 & 31, g = v >> 5 & 63, b = v & 31;
  return (r << 3 | r >> 2) | (g << 2 | g >> 4) << 8 | (b << 3 | b >> 2) << 16 | kOpaque;
}

}  // namespace

uint32_t bytesPerPixel(PixelFormat format) noexcept {
  switch (format) {
    case PixelFormat::Pal8: return 1;
    case PixelFormat::Rgb555:
    case PixelFormat::Rgb565: return 2;
    case PixelFormat::Rgb888: return 3;
    case PixelFormat::Xrgb8888: return 4;
  }
  return 4;
}

bool fits(const PixelRect& rect, uint64_t regionBytes) noexcept {
  if (rect.width == 0 || rect.height == 0) return true;
  using Wide = unsigned __int128;
  const Wide lastLine = static_cast<Wide>(rect.y) + rect.height - 1;
  const Wide end = rect.offset + lastLine * rect.stride + (static_cast<Wide>(rect.x) + rect.width) * bytesPerPixel(rect.format);
  return end <= regionBytes;
}

void convertPixels(const PixelRect& rect, const uint8_t* region, const uint32_t* palette, uint8_t* out) noexcept {
  const uint32_t width = rect.width;
  uint32_t colours[256];
  if (rect.format == PixelFormat::Pal8) {
    for (unsigned i = 0; i < 256; ++i) colours[i] = swapRedBlue(palette[i]);
  }
  for (uint32_t line = 0; line < rect.height; ++line) {
    const uint8_t* const from =
        region + rect.offset + (static_cast<uint64_t>(rect.y) + line) * rect.stride + static_cast<uint64_t>(rect.x) * bytesPerPixel(rect.format);
    U32* const to = reinterpret_cast<U32*>(out + static_cast<uint64_t>(line) * width * 4);
    switch (rect.format) {
      case PixelFormat::Pal8:
        for (uint32_t i = 0; i < width; ++i) to[i] = colours[from[i]];
        break;
      case PixelFormat::Rgb555: {
        const U16* const pixels = reinterpret_cast<const U16*>(from);
        for (uint32_t i = 0; i < width; ++i) to[i] = from555(pixels[i]);
        break;
      }
      case PixelFormat::Rgb565: {
        const U16* const pixels = reinterpret_cast<const U16*>(from);
        for (uint32_t i = 0; i < width; ++i) to[i] = from565(pixels[i]);
        break;
      }
      case PixelFormat::Rgb888:
        for (uint32_t i = 0; i < width; ++i) {
          to[i] = static_cast<uint32_t>(from[i * 3ull + 2]) | static_cast<uint32_t>(from[i * 3ull + 1]) << 8 |
                  static_cast<uint32_t>(from[i * 3ull]) << 16 | kOpaque;
        }
        break;
      case PixelFormat::Xrgb8888: {
        const U32* const pixels = reinterpret_cast<const U32*>(from);
        for (uint32_t i = 0; i < width; ++i) to[i] = swapRedBlue(pixels[i]);
        break;
      }
    }
  }
}

}  // namespace lodge
