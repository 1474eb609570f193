// When VEX-encoded instructions exist, what they leave behind, and the XSAVE family. What they compute is compared with the host
// by the conformance runs.
#include "testing/test.h"
#include "x86/cpuid.h"
#include "x86/interpreter/guest_fixture.h"

namespace lodge::x86 {
namespace {

using namespace testing;

constexpr Gpa kCode = 0x11000, kHandlers = 0x12000, kArea = 0x14000;
constexpr uint64_t kOsxsave = 1u << 18;

struct VexGuest : Guest {
  explicit VexGuest(uint64_t xcr0 = 7, uint64_t cr4 = kOsxsave) {
    enter64(kCode);
    for (unsigned v = 0; v < 32; ++v) {
      gate(v, kHandlers + v);
      put<uint8_t>(kHandlers + v, 0xf4);
    }
    state().cr4 |= cr4;
    state().xcr0 = xcr0;
    for (unsigned n = 0; n < 16; ++n)
      for (unsigned k = 0; k < 32; ++k) state().vec[n].bytes[k] = static_cast<uint8_t>(16 * n + k);
    cpu->stateChanged();
  }
  /** The vector it ends with; -1: it ran through. */
  int vectorOf(std::initializer_list<unsigned> bytes) {
    code(kCode, bytes);
    put<uint8_t>(kCode + bytes.size(), 0xf4);
    CHECK(run() == RunExit::Halted);
    const uint64_t at = state().rip - 1;
    return at >= kHandlers && at < kHandlers + 32 ? static_cast<int>(at - kHandlers) : -1;
  }
};

bool offered(Feature f) {
  if (offeredFeatures(defaultCpuModel()).has(f)) return true;
  std::fprintf(stderr, "skipped: the host has no %s\n", kFeatureRows[static_cast<unsigned>(f)].name);
  return false;
}

TEST(vexNeedsTheOperatingSystemsConsent) {
  if (!offered(Feature::Avx)) return;
  CHECK_EQ(VexGuest().vectorOf({0xc5, 0xfc, 0x28, 0xca}), -1);               // vmovaps ymm1, ymm2
  CHECK_EQ(VexGuest(7, 0).vectorOf({0xc5, 0xfc, 0x28, 0xca}), int{kUD});     // CR4.OSXSAVE
  CHECK_EQ(VexGuest(3).vectorOf({0xc5, 0xfc, 0x28, 0xca}), int{kUD});        // XCR0
  CHECK_EQ(VexGuest().vectorOf({0x66, 0xc5, 0xfc, 0x28, 0xca}), int{kUD});   // a prefix before
  CHECK_EQ(VexGuest().vectorOf({0x48, 0xc5, 0xfc, 0x28, 0xca}), int{kUD});   // REX before
  CHECK_EQ(VexGuest().vectorOf({0xf0, 0xc5, 0xfc, 0x29, 0x0f}), int{kUD});   // LOCK
  CHECK_EQ(VexGuest().vectorOf({0xc5, 0xf4, 0x28, 0xca}), int{kUD});         // vvvv in use where there is no operand
  VexGuest ts;
  ts.state().cr0 |= 8;
  ts.cpu->stateChanged();
  CHECK_EQ(ts.vectorOf({0xc5, 0xfc, 0x28, 0xca}), int{kNM});
  VexGuest aligned;
  aligned.state().gpr[kRdi] = kArea + 16;
  CHECK_EQ(aligned.vectorOf({0xc5, 0xfc, 0x29, 0x0f}), int{kGP});  // vmovaps [rdi], ymm1: 32 bytes
  VexGuest half;
  half.state().gpr[kRdi] = kArea + 16;
  CHECK_EQ(half.vectorOf({0xc5, 0xf8, 0x29, 0x0f}), -1);
}

TEST(vexResultsOf128BitsClearTheUpperHalf) {
  if (!offered(Feature::Avx2)) return;
  VexGuest g;
  // vpaddb xmm1, xmm2, xmm3; paddb xmm4, xmm5 (legacy: the upper half stays); vaddps ymm6, ymm7, [rdi]
  g.state().gpr[kRdi] = kArea;
  CHECK_EQ(g.vectorOf({0xc5, 0xe9, 0xfc, 0xcb, 0x66, 0x0f, 0xfc, 0xe5, 0xc5, 0xc4, 0x58, 0x37}), -1);
  CHECK_EQ(g.state().vec[1].bytes[0], 0x50);
  CHECK_EQ(g.state().vec[1].bytes[16], 0);
  CHECK_EQ(g.state().vec[4].bytes[16], 0x50);
  CHECK_EQ(g.state().vec[6].bytes[31], 0x8f);
  VexGuest z;
  CHECK_EQ(z.vectorOf({0xc5, 0xf8, 0x77}), -1);  // vzeroupper
  CHECK_EQ(z.state().vec[15].bytes[15], 0xff);
  CHECK_EQ(z.state().vec[15].bytes[16], 0);
}

TEST(aFaultInAGatherKeepsWhatWasLoaded) {
  if (!offered(Feature::Avx2)) return;
  VexGuest g;
  State& s = g.state();
  std::memset(s.vec[1].bytes, 0, 32);
  std::memset(s.vec[2].bytes, 0xff, 32);
  std::memset(s.vec[3].bytes, 0, 32);
  const uint32_t far = 0x1000000;  // beyond what is mapped
  std::memcpy(s.vec[3].bytes + 8, &far, 4);
  g.put<uint32_t>(kArea, 0x1234);
  s.gpr[kRdi] = kArea;
  CHECK_EQ(g.vectorOf({0xc4, 0xe2, 0x69, 0x90, 0x0c, 0x1f}), int{kPF});  // vpgatherdd xmm1, [rdi+xmm3], xmm2
  uint32_t element[4], mask[4];
  std::memcpy(element, s.vec[1].bytes, 16);
  std::memcpy(mask, s.vec[2].bytes, 16);
  CHECK_EQ(element[0], 0x1234u);
  CHECK_EQ(element[1], 0x1234u);
  CHECK_EQ(element[2], 0u);
  CHECK_EQ(mask[1], 0u);
  CHECK_EQ(mask[2], 0xffffffffu);
  CHECK_EQ(mask[3], 0xffffffffu);
  CHECK_EQ(s.cr2, kArea + far);
}

TEST(xsaveAndXrstorMoveTheComponentsAskedFor) {
  if (!offered(Feature::Avx)) return;
  VexGuest g;
  State& s = g.state();
  s.gpr[kRax] = 7;
  s.gpr[kRdx] = 0;
  s.gpr[kRdi] = kArea;
  // xsave [rdi]; vzeroall; mov eax,4; xrstor [rdi]
  CHECK_EQ(g.vectorOf({0x0f, 0xae, 0x27, 0xc5, 0xfc, 0x77, 0xb8, 4, 0, 0, 0, 0x0f, 0xae, 0x2f}), -1);
  CHECK_EQ(g.get<uint64_t>(kArea + 512), 7u);
  CHECK_EQ(g.get<uint8_t>(kArea + 160), 0);
  CHECK_EQ(g.get<uint8_t>(kArea + 160 + 16 * 3 + 2), 0x32);
  CHECK_EQ(g.get<uint8_t>(kArea + 576 + 16 * 3 + 2), 0x42);
  CHECK_EQ(s.vec[3].bytes[2], 0);         // not asked for
  CHECK_EQ(s.vec[3].bytes[16 + 2], 0x42);
  VexGuest bad;
  bad.put<uint64_t>(kArea + 512, 8);
  bad.state().gpr[kRax] = 7;
  bad.state().gpr[kRdi] = kArea;
  CHECK_EQ(bad.vectorOf({0x0f, 0xae, 0x2f}), int{kGP});  // a component that XCR0 does not have
  VexGuest off(7, 0);
  CHECK_EQ(off.vectorOf({0x0f, 0xae, 0x27}), int{kUD});
  VexGuest misaligned;
  misaligned.state().gpr[kRdi] = kArea + 16;
  CHECK_EQ(misaligned.vectorOf({0x0f, 0xae, 0x27}), int{kGP});
}

TEST(xsavecWritesTheCompactedHeaderAndSkipsWhatIsNotInUse) {
  if (!offered(Feature::Avx)) return;
  VexGuest g;
  g.state().gpr[kRax] = 7;
  g.state().gpr[kRdx] = 0;
  g.state().gpr[kRdi] = kArea;
  g.put<uint64_t>(kArea + 576, 0x5eed);
  CHECK_EQ(g.vectorOf({0xc5, 0xf8, 0x77, 0x0f, 0xc7, 0x27}), -1);  // vzeroupper; xsavec [rdi]
  CHECK_EQ(g.get<uint64_t>(kArea + 512), 3u);
  CHECK_EQ(g.get<uint64_t>(kArea + 520), 1ull << 63 | 7);
  CHECK_EQ(g.get<uint64_t>(kArea + 576), 0x5eedu);
}

TEST(xsavesAndXrstorsAreTheSystemsCompactedForms) {
  if (!offered(Feature::Avx)) return;
  const auto everything = [](State& s) { s.gpr[kRax] = 7, s.gpr[kRdx] = 0, s.gpr[kRdi] = kArea; };
  VexGuest g;
  State& s = g.state();
  everything(s);
  // xsaves64 [rdi]; vzeroall; mov eax,4; xrstors64 [rdi]
  CHECK_EQ(g.vectorOf({0x48, 0x0f, 0xc7, 0x2f, 0xc5, 0xfc, 0x77, 0xb8, 4, 0, 0, 0, 0x48, 0x0f, 0xc7, 0x1f}), -1);
  CHECK_EQ(g.get<uint64_t>(kArea + 512), 7u);
  CHECK_EQ(g.get<uint64_t>(kArea + 520), 1ull << 63 | 7);
  CHECK_EQ(g.get<uint8_t>(kArea + 160 + 16 * 3 + 2), 0x32);
  CHECK_EQ(s.vec[3].bytes[2], 0);  // not asked for
  CHECK_EQ(s.vec[3].bytes[16 + 2], 0x42);

  struct Header {
    uint64_t inUse, format, reserved;
    int vector;
  };
  constexpr uint64_t kCompacted = 1ull << 63;
  for (const Header& h : {Header{7, 0, 0, kGP}, Header{4, kCompacted | 7, 0, -1}, Header{4, kCompacted | 3, 0, kGP}, Header{0, kCompacted | 8, 0, kGP},
                          Header{0, kCompacted | 7, 1, kGP}}) {
    VexGuest r;
    everything(r.state());
    r.put<uint64_t>(kArea + 512, h.inUse);
    r.put<uint64_t>(kArea + 520, h.format);
    r.put<uint64_t>(kArea + 528, h.reserved);
    CHECK_EQ(r.vectorOf({0x0f, 0xc7, 0x1f}), h.vector);
  }
  VexGuest off(7, 0);
  CHECK_EQ(off.vectorOf({0x0f, 0xc7, 0x2f}), int{kUD});
  for (const unsigned prefix : {0x66u, 0xf2u, 0xf3u}) {
    CHECK_EQ(VexGuest().vectorOf({prefix, 0x0f, 0xc7, 0x2f}), int{kUD});
    CHECK_EQ(VexGuest().vectorOf({prefix, 0x0f, 0xc7, 0x27}), int{kUD});  // XSAVEC as well
  }

  // There are no supervisor components to enable.
  uint64_t xss = 1;
  CHECK(g.cpu->readMsr(0xda0, xss) && xss == 0);
  CHECK(g.cpu->writeMsr(0xda0, 0));
  CHECK(!g.cpu->writeMsr(0xda0, 1 << 8));
}

TEST(xsetbvRefusesWhatNoProcessorTakes) {
  const struct { uint32_t value; int vector; } cases[] = {{3, -1}, {7, -1}, {0, kGP}, {6, kGP}, {5, kGP}, {1, -1}, {0x10007, kGP}};
  if (!offered(Feature::Avx)) return;
  for (const auto& t : cases) {
    VexGuest g(1);
    g.state().gpr[kRax] = t.value;
    g.state().gpr[kRcx] = g.state().gpr[kRdx] = 0;
    CHECK_EQ(g.vectorOf({0x0f, 0x01, 0xd1}), t.vector);
    CHECK_EQ(g.state().xcr0, t.vector < 0 ? uint64_t{t.value} : 1u);
  }
}

}  // namespace
}  // namespace lodge::x86
