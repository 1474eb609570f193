// What CPUID shows: a table, so that it can be read, tested and compared. SDM vol. 2, CPUID; AMD APM vol. 3, appendix E.
#pragma once

#include <cstdint>
#include <string_view>

#include "x86/features.h"

namespace lodge::x86 {

/** A processor a guest may be shown. What the host or the accelerator cannot do is taken away from it. */
struct CpuModel {
  const char* name;         ///< what users write
  const char* label;        ///< what they read
  const char* vendor;       ///< null: the host's, because guests choose errata work-arounds and code paths by it
  uint32_t signature;       ///< CPUID.1:EAX; 0: a recent one of the vendor's
  uint32_t maxBasic, maxExtended;
  FeatureSet features;
};
/** Oldest first; the last one is everything Lodge and the host have. */
extern const CpuModel kCpuModels[];
extern const unsigned kCpuModelCount;
/** Null when there is no such model. An empty name is the default. */
const CpuModel* findCpuModel(std::string_view name);
inline const CpuModel& defaultCpuModel() { return *findCpuModel({}); }
/** "GenuineIntel" or "AuthenticAMD". */
const char* cpuVendor(const CpuModel& model) noexcept;
/** What a model has on this host. */
FeatureSet offeredFeatures(const CpuModel& model) noexcept;

struct CpuidQuery {
  uint32_t leaf, subleaf;
  unsigned index, count;     ///< APIC id and number of processors
  const CpuModel* model;
  FeatureSet features;       ///< those of the model that are offered
  uint64_t tscHz;
  bool osxsave;              ///< CR4.OSXSAVE
  bool apicEnabled;
  uint64_t xcr0 = 1;
};
void cpuidLookup(const CpuidQuery& query, uint32_t out[4]);

/**
 * CR4 bits and EFER bits that may be set: what the features promise, nothing else. PCE has no CPUID bit of its own.
 */
uint64_t cr4Allowed(const FeatureSet& features) noexcept;
uint64_t eferAllowed(const FeatureSet& features) noexcept;
/** XCR0 bits, and the size of an XSAVE area in the standard format that holds them. */
uint64_t xcr0Allowed(const FeatureSet& features) noexcept;
constexpr unsigned kXsaveHeader = 512, kXsaveYmm = 576, kXsaveBytes = 832;
constexpr unsigned xsaveBytes(uint64_t xcr0) { return xcr0 & 4 ? kXsaveBytes : kXsaveYmm; }

}  // namespace lodge::x86
