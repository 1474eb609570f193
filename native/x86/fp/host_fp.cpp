#include "x86/fp/host_fp.h"

#include <cpuid.h>

namespace lodge::x86 {

uint32_t hostFpFeatures() noexcept {
  unsigned a = 0, b = 0, c = 0, d = 0;
  uint32_t features = 0;
  const auto add = [&](uint32_t reg, unsigned bit, FpFeature feature) {
    if (reg >> bit & 1) features |= 1u << static_cast<unsigned>(feature);
  };
  if (__get_cpuid(1, &a, &b, &c, &d)) {
    add(d, 23, FpFeature::Mmx);
    add(d, 24, FpFeature::Fxsr);
    add(d, 25, FpFeature::Sse);
    add(d, 26, FpFeature::Sse2);
    add(c, 0, FpFeature::Sse3);
    add(c, 1, FpFeature::Pclmulqdq);
    add(c, 9, FpFeature::Ssse3);
    add(c, 19, FpFeature::Sse41);
    add(c, 20, FpFeature::Sse42);
    add(c, 25, FpFeature::Aes);
  }
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) add(b, 29, FpFeature::Sha);
  return features;
}

void x87ControlChanged(X87State& x87) noexcept {
  const bool pending = x87.status & ~x87.control & fpbits::kExceptions;
  constexpr uint16_t kPending = fpbits::kErrorSummary | fpbits::kBusy;
  x87.status = static_cast<uint16_t>((x87.status & ~kPending) | (pending ? kPending : 0));
  // Flags that linger in the host would become a pending exception there once unmasked.
  asm volatile("fnclex\n\tfldcw %0" : : "m"(x87.control));
}

HostFpScope::HostFpScope(State& state) noexcept : state_(state), saved_(hostMxcsr()) {
  asm volatile("fnstcw %0" : "=m"(savedControl_));
  setHostMxcsr((state.mxcsr & kMxcsrWritable) | kMxcsrMasks);
  asm volatile("fninit\n\tfldcw %0" : : "m"(state.x87.control));
  state.x87.lastStatus = state.x87.status;
}

HostFpScope::~HostFpScope() {
  state_.mxcsr = guestMxcsr(state_);
  wholeStatus(state_.x87);
  asm volatile("fninit\n\tfldcw %0" : : "m"(savedControl_));
  setHostMxcsr(saved_);
}

}  // namespace lodge::x86
