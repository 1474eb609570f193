// What a processor can do, as data: the names that instruction rows, CPUID and control registers share.
#pragma once

#include <cstdint>
#include <initializer_list>

namespace lodge::x86 {

enum class Feature : uint8_t {
#define FEATURE(name, leaf, subleaf, reg, bit, from) name,
#include "x86/tables/features.inc"
#undef FEATURE
  kCount,
  Base = 0xff,  ///< of rows: every processor since the 486 has it
};
constexpr unsigned kFeatureCount = static_cast<unsigned>(Feature::kCount);

class FeatureSet {
 public:
  constexpr FeatureSet() = default;
  constexpr FeatureSet(std::initializer_list<Feature> features) {
    for (Feature f : features) add(f);
  }
  constexpr bool has(Feature f) const { return f == Feature::Base || (bits_[index(f)] & bit(f)) != 0; }
  constexpr void add(Feature f) { bits_[index(f)] |= bit(f); }
  constexpr void remove(Feature f) { bits_[index(f)] &= ~bit(f); }
  constexpr FeatureSet operator|(const FeatureSet& o) const { return FeatureSet(bits_[0] | o.bits_[0], bits_[1] | o.bits_[1]); }
  constexpr FeatureSet operator&(const FeatureSet& o) const { return FeatureSet(bits_[0] & o.bits_[0], bits_[1] & o.bits_[1]); }
  constexpr bool operator==(const FeatureSet&) const = default;

 private:
  constexpr FeatureSet(uint64_t low, uint64_t high) : bits_{low, high} {}
  static constexpr unsigned index(Feature f) { return static_cast<unsigned>(f) >> 6; }
  static constexpr uint64_t bit(Feature f) { return uint64_t{1} << (static_cast<unsigned>(f) & 63); }
  uint64_t bits_[2] = {};
};
static_assert(kFeatureCount <= 128);

enum CpuidRegister : uint8_t { kEax, kEbx, kEcx, kEdx };

struct FeatureRow {
  const char* name;
  uint32_t leaf;
  uint8_t subleaf;
  CpuidRegister reg;
  uint8_t bit;
  bool host;  ///< needs the host's own
};
extern const FeatureRow kFeatureRows[kFeatureCount];

/** All that this host lets Lodge offer. */
FeatureSet implementedFeatures() noexcept;

}  // namespace lodge::x86
