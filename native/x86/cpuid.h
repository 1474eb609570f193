// What CPUID shows: a table, so that it can be read, tested and compared. SDM vol. 2, CPUID; AMD APM vol. 3, appendix E.
#pragma once

#include <cstdint>

namespace lodge::x86 {

struct CpuidQuery {
  uint32_t leaf, subleaf;
  unsigned index, count;     ///< APIC id and number of processors
  uint32_t fpFeatures;       ///< FpFeature bits offered
  uint64_t tscHz;
  bool osxsave;              ///< CR4.OSXSAVE
  bool apicEnabled;
};
void cpuidLookup(const CpuidQuery& query, uint32_t out[4]);

/**
 * CR4 bits that may be set, EFER bits that may be set: what the table promises, nothing else. VME and PVI are not promised.
 * PCE has no CPUID bit of its own; there is no counter that it could open to user mode, and RDPMC is refused with it as well.
 */
constexpr uint64_t kCr4Allowed = 0x4 | 0x8 | 0x10 | 0x20 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 1u << 16 | 1u << 20 | 1u << 21;
constexpr uint64_t kEferAllowed = 1 | 1u << 8 | 1u << 10 | 1u << 11 | 1u << 21;

}  // namespace lodge::x86
