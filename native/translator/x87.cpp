#include "translator/x87.h"

namespace lodge::translator {

using namespace x86;

namespace {

/** What FNSAVE writes and FRSTOR reads in 64-bit and 32-bit mode (SDM vol. 1, figure 8-9). */
struct [[gnu::packed]] Image {
  uint16_t control, reserved0, status, reserved1, tags, reserved2;
  uint32_t instruction, selector, data, dataSelector;
  uint8_t st[8][10];
};
static_assert(sizeof(Image) == 108);

constexpr uint16_t kC1 = 1u << 9, kExceptions = 0x3f;

}  // namespace

[[gnu::target("general-regs-only")]] void loadX87(Core* c) {
  X87State& x = c->state.x87;
  Image image;
  uint16_t host;
  asm volatile("fnstsw %0" : "=a"(host));
  const auto status = static_cast<uint16_t>((x.status & ~kC1) | (x.lastStatus & kC1) | (host & kExceptions));
  image.control = x.control;
  image.status = status;
  image.reserved0 = image.reserved1 = image.reserved2 = 0;
  image.instruction = image.selector = image.data = image.dataSelector = 0;
  uint16_t tags = 0;
  for (unsigned n = 0; n < 8; ++n) tags = static_cast<uint16_t>(tags | (x.tagValid >> n & 1 ? 0 : 3) << 2 * n);
  image.tags = tags;
  const unsigned top = status >> 11 & 7;
  for (unsigned n = 0; n < 8; ++n) __builtin_memcpy(image.st[n], x.r[(top + n) & 7].bytes, 10);
  asm volatile("frstor %0" : : "m"(image));
  c->frame.x87Loaded = 1;
}

void storeX87(Core* c) {
  X87State& x = c->state.x87;
  Image image;
  asm volatile("fnsave %0" : "=m"(image));
  x.status = x.lastStatus = image.status;
  uint8_t valid = 0;
  for (unsigned n = 0; n < 8; ++n) valid = static_cast<uint8_t>(valid | ((image.tags >> 2 * n & 3) != 3) << n);
  x.tagValid = valid;
  const unsigned top = image.status >> 11 & 7;
  for (unsigned n = 0; n < 8; ++n) __builtin_memcpy(x.r[(top + n) & 7].bytes, image.st[n], 10);
  // The control word is kept up to date; FNSAVE has reset the host's.
  asm volatile("fldcw %0" : : "m"(x.control));
  c->frame.x87Loaded = 0;
}

}  // namespace lodge::translator
