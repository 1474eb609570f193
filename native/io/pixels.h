// Linear framebuffer → RGBA bytes for a canvas.
#pragma once

#include <cstdint>

namespace lodge {

enum class PixelFormat : uint8_t { Pal8, Rgb555, Rgb565, Rgb888, Xrgb8888 };

struct PixelRect {
  uint64_t offset;  ///< of pixel (0, 0) of the framebuffer in the region
  uint64_t stride;  ///< bytes from line to line
  PixelFormat format;
  uint32_t x, y, width, height;
};

uint32_t bytesPerPixel(PixelFormat format) noexcept;
/** True when every byte the rectangle reads lies in a region of `regionBytes`. */
bool fits(const PixelRect& rect, uint64_t regionBytes) noexcept;
/** `out`: width × height × 4 bytes R, G, B, 255. `palette`: 256 entries 00RRGGBBh, for Pal8. The rectangle must fit. */
void convertPixels(const PixelRect& rect, const uint8_t* region, const uint32_t* palette, uint8_t* out) noexcept;

}  // namespace lodge
