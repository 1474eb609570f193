// The host's floating-point registers as the guest's: access to MXCSR and the sticky flags that gather there.
#pragma once

#include <cstdint>

#include "x86/fp_ops.h"

namespace lodge::x86 {

/** MXCSR: flags 0-5, DAZ 6, masks 7-12, rounding 13-14, FTZ 15. Everything else is reserved (#GP). */
constexpr uint32_t kMxcsrFlags = 0x3f;
constexpr uint32_t kMxcsrMasks = 0x1f80;
constexpr uint32_t kMxcsrFlushToZero = 1u << 15;
constexpr uint32_t kMxcsrWritable = 0xffff;

/** x87 status and control words (SDM vol. 1 §8.1.3, §8.1.5). */
namespace fpbits {
enum : uint16_t {
  kIe = 1u << 0, kDe = 1u << 1, kZe = 1u << 2, kOe = 1u << 3, kUe = 1u << 4, kPe = 1u << 5, kExceptions = 0x3f,
  kStackFault = 1u << 6, kErrorSummary = 1u << 7, kC0 = 1u << 8, kC1 = 1u << 9, kC2 = 1u << 10, kTop = 7u << 11,
  kC3 = 1u << 14, kConditions = kC0 | kC1 | kC2 | kC3, kBusy = 1u << 15,
};
}  // namespace fpbits

inline uint32_t hostMxcsr() {
  uint32_t value;
  asm volatile("stmxcsr %0" : "=m"(value));
  return value;
}
inline void setHostMxcsr(uint32_t value) { asm volatile("ldmxcsr %0" : : "m"(value)); }

/** The guest's MXCSR inside a HostFpScope. */
inline uint32_t guestMxcsr(const State& state) { return (state.mxcsr & ~kMxcsrFlags) | (hostMxcsr() & kMxcsrFlags); }
inline void setGuestMxcsr(State& state, uint32_t value) {
  state.mxcsr = value;
  setHostMxcsr(value | kMxcsrMasks);
}

/**
 * The guest's x87 status word inside a HostFpScope. Exception flags gather in the host, and C1 stays in lastStatus, so that TOP
 * does not wait for the result of each operation.
 */
inline uint16_t wholeStatus(X87State& x87) {
  uint16_t host;
  asm volatile("fnstsw %0" : "=a"(host));
  x87.status = static_cast<uint16_t>((x87.status & ~fpbits::kC1) | (x87.lastStatus & fpbits::kC1) | (host & fpbits::kExceptions));
  return x87.status;
}

/**
 * Follows every change of x87.control or of the exception flags: recomputes ES and B, and brings the host in line.
 * Exception flags that gathered in the host are gone afterwards: wholeStatus() first, unless they are replaced.
 */
void x87ControlChanged(X87State&) noexcept;

/** Any MMX instruction: TOP = 0 and every register valid (SDM vol. 1 §9.5.1). */
inline void enterMmx(State& state) {
  state.x87.status &= static_cast<uint16_t>(~fpbits::kTop);
  state.x87.tagValid = 0xff;
}

}  // namespace lodge::x86
