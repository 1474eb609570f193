#include "x86/features.h"

#include <cpuid.h>

namespace lodge::x86 {
namespace {

constexpr bool Host = true, Own = false;

/** The operating system saves YMM state: without that its AVX instructions are #UD whatever CPUID says. */
bool hostHasYmm() {
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c >> 27 & 1)) return false;
  uint32_t low, high;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (low & 6) == 6;
}

FeatureSet probe() {
  FeatureSet features;
  const bool ymm = hostHasYmm();
  for (unsigned i = 0; i < kFeatureCount; ++i) {
    const FeatureRow& row = kFeatureRows[i];
    const auto feature = static_cast<Feature>(i);
    if (row.host) {
      unsigned r[4] = {};
      if (!__get_cpuid_count(row.leaf, row.subleaf, &r[0], &r[1], &r[2], &r[3]) || !(r[row.reg] >> row.bit & 1)) continue;
      const bool vex = feature == Feature::Avx || feature == Feature::Avx2 || feature == Feature::Fma || feature == Feature::F16c ||
                       feature == Feature::Vaes || feature == Feature::Vpclmulqdq;
      if (vex && !ymm) continue;
    }
    features.add(feature);
  }
  return features;
}

}  // namespace

extern constexpr FeatureRow kFeatureRows[kFeatureCount] = {
#define FEATURE(name, leaf, subleaf, reg, bit, from) {#name, leaf, subleaf, reg, bit, from},
#include "x86/tables/features.inc"
#undef FEATURE
};

FeatureSet implementedFeatures() noexcept {
  static const FeatureSet features = probe();
  return features;
}

}  // namespace lodge::x86
