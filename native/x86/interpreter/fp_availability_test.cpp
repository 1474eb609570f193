// Which FP instructions run while the operating system has not enabled SSE. iPXE saves its state with FXSAVE in real mode.
#include "testing/test.h"
#include "x86/interpreter/guest_fixture.h"

namespace lodge::x86 {
namespace {

using namespace testing;

constexpr Gpa kHandlers = 0x3000;

/** Real mode, CR4 = 0; every vector below 32 leads to a HLT of its own. Returns the vector taken, or -1. */
int vectorOf(std::initializer_list<unsigned> bytes, uint64_t cr0Bits = 0) {
  Guest g;
  for (unsigned v = 0; v < 32; ++v) {
    g.put<uint32_t>(v * 4, static_cast<uint32_t>(kHandlers + v));
    g.put<uint8_t>(kHandlers + v, 0xf4);
  }
  g.code(kFree, bytes);
  g.put<uint8_t>(kFree + bytes.size(), 0xf4);
  g.state().cr0 |= cr0Bits;
  g.enterReal(kFree >> 4, 0);
  g.run();
  const uint64_t at = g.state().seg[kCs].base + g.state().rip - 1;
  return at >= kHandlers && at < kHandlers + 32 ? static_cast<int>(at - kHandlers) : -1;
}

TEST(fxsave_runs_without_osfxsr) {
  CHECK_EQ(vectorOf({0x0f, 0xae, 0x06, 0x00, 0x20}), -1);        // fxsave [2000h]
  CHECK_EQ(vectorOf({0x0f, 0xae, 0x06, 0x08, 0x20}), 13);        // misaligned
  CHECK_EQ(vectorOf({0x0f, 0xae, 0x0e, 0x00, 0x20}), -1);        // fxrstor [2000h]
  CHECK_EQ(vectorOf({0x0f, 0xae, 0x16, 0x00, 0x20}), 6);         // ldmxcsr [2000h] needs it
  CHECK_EQ(vectorOf({0x0f, 0xae, 0x06, 0x00, 0x20}, 1 << 2), 7); // CR0.EM
  CHECK_EQ(vectorOf({0x0f, 0xae, 0x0e, 0x00, 0x20}, 1 << 3), 7); // CR0.TS
}

}  // namespace
}  // namespace lodge::x86
