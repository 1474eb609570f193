#include "x86/fp/host_fp.h"

namespace lodge::x86 {

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
