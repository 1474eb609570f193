#include "x86/cpuid.h"

#include <cpuid.h>

#include <cstring>

#include "memory/physical_memory.h"
#include "x86/fp_ops.h"

namespace lodge::x86 {
namespace {

constexpr FeatureSet k486 = {Feature::Fpu};
constexpr FeatureSet kPentium = k486 | FeatureSet{Feature::Vme, Feature::De, Feature::Pse, Feature::Tsc, Feature::Msr, Feature::Mce,
                                                  Feature::Cx8, Feature::Apic};
constexpr FeatureSet kPentium3 = kPentium | FeatureSet{Feature::Pae, Feature::Sep, Feature::Mtrr, Feature::Pge, Feature::Mca,
                                                       Feature::Cmov, Feature::Pat, Feature::Pse36, Feature::Mmx, Feature::Fxsr,
                                                       Feature::Sse};
constexpr FeatureSet kV1 = kPentium3 | FeatureSet{Feature::Clfsh, Feature::Sse2, Feature::Syscall, Feature::Nx, Feature::Lm,
                                                  Feature::Hypervisor};
constexpr FeatureSet kV2 = kV1 | FeatureSet{Feature::Sse3, Feature::Ssse3, Feature::Cx16, Feature::Sse41, Feature::Sse42,
                                            Feature::Popcnt, Feature::LahfLm, Feature::X2apic, Feature::TscDeadline,
                                            Feature::Rdtscp, Feature::Page1G, Feature::InvariantTsc};
constexpr FeatureSet kV3 = kV2 | FeatureSet{Feature::Xsave, Feature::Xsaveopt, Feature::Avx, Feature::Avx2, Feature::Bmi1,
                                            Feature::Bmi2, Feature::F16c, Feature::Fma, Feature::Lzcnt, Feature::Movbe,
                                            Feature::Pcid, Feature::Invpcid, Feature::Pclmulqdq, Feature::Aes, Feature::Rdrand,
                                            Feature::Rdseed, Feature::Adx, Feature::Fsgsbase, Feature::TscAdjust, Feature::Smep,
                                            Feature::Smap, Feature::Erms, Feature::Prefetchw};
constexpr FeatureSet everything() {
  FeatureSet all;
  for (unsigned i = 0; i < kFeatureCount; ++i) all.add(static_cast<Feature>(i));
  return all;
}
constexpr FeatureSet kEverything = everything();

/** Guests choose errata work-arounds and kernel code paths by vendor, so the host's own is shown. */
const char* hostVendor() {
  static char name[13] = "";
  if (!name[0]) {
    uint32_t a, b, c, d;
    if (__get_cpuid(0, &a, &b, &c, &d)) {
      char text[13] = {};
      std::memcpy(text, &b, 4);
      std::memcpy(text + 4, &d, 4);
      std::memcpy(text + 8, &c, 4);
      std::memcpy(name, std::strcmp(text, "GenuineIntel") == 0 ? "GenuineIntel" : "AuthenticAMD", 13);
    } else {
      std::memcpy(name, "AuthenticAMD", 13);
    }
  }
  return name;
}

/** The bits of one register that features have. */
uint32_t featureBits(const CpuidQuery& q, uint32_t leaf, unsigned subleaf, CpuidRegister reg) {
  uint32_t bits = 0;
  for (unsigned i = 0; i < kFeatureCount; ++i) {
    const FeatureRow& row = kFeatureRows[i];
    if (row.leaf == leaf && row.subleaf == subleaf && row.reg == reg && q.features.has(static_cast<Feature>(i)))
      bits |= 1u << row.bit;
  }
  return bits;
}

void putText(uint32_t out[4], const char* text) { std::memcpy(out, text, 16); }

unsigned log2Ceil(unsigned n) {
  unsigned bits = 0;
  while ((1u << bits) < n) ++bits;
  return bits;
}

}  // namespace

extern const CpuModel kCpuModels[] = {
#define MODEL(name, label, vendor, signature, basic, extended, features) {name, label, vendor, signature, basic, extended, features},
#include "x86/tables/models.inc"
#undef MODEL
};
extern const unsigned kCpuModelCount = sizeof kCpuModels / sizeof kCpuModels[0];

const CpuModel* findCpuModel(std::string_view name) {
  if (name.empty()) return &kCpuModels[kCpuModelCount - 1];
  for (const CpuModel& model : kCpuModels) {
    if (name == model.name) return &model;
  }
  return nullptr;
}

const char* cpuVendor(const CpuModel& model) noexcept { return model.vendor ? model.vendor : hostVendor(); }
FeatureSet offeredFeatures(const CpuModel& model) noexcept {
  FeatureSet offered = model.features & implementedFeatures();
  if (cpuVendor(model)[0] == 'G') {
    offered.remove(Feature::Cr8Legacy);
    offered.remove(Feature::Sse4a);
  }
  return offered;
}

uint64_t cr4Allowed(const FeatureSet& f) noexcept {
  struct Bit {
    Feature feature;
    uint64_t bits;
  };
  static constexpr Bit kBits[] = {
      {Feature::Vme, 1 << 0 | 1 << 1}, {Feature::Tsc, 1 << 2},         {Feature::De, 1 << 3},       {Feature::Pse, 1 << 4},       {Feature::Pae, 1 << 5},
      {Feature::Mce, 1 << 6},         {Feature::Pge, 1 << 7},      {Feature::Mmx, 1 << 8},       {Feature::Fxsr, 1 << 9},
      {Feature::Sse, 1 << 10},        {Feature::Umip, 1 << 11},    {Feature::Fsgsbase, 1 << 16}, {Feature::Pcid, 1 << 17},
      {Feature::Xsave, 1 << 18},      {Feature::Smep, 1 << 20},    {Feature::Smap, 1 << 21},
  };
  uint64_t allowed = 0;
  for (const Bit& b : kBits) {
    if (f.has(b.feature)) allowed |= b.bits;
  }
  return allowed;
}

uint64_t eferAllowed(const FeatureSet& f) noexcept {
  // 21 is automatic IBRS: kept, as there is no speculation across guests' privileges to restrict.
  return (f.has(Feature::Syscall) ? 1u : 0) | (f.has(Feature::Lm) ? 1u << 8 | 1u << 10 : 0) | (f.has(Feature::Nx) ? 1u << 11 : 0) |
         (f.has(Feature::Lm) ? 1u << 21 : 0);
}

uint64_t xcr0Allowed(const FeatureSet& f) noexcept { return f.has(Feature::Avx) ? 7 : 3; }

void cpuidLookup(const CpuidQuery& q, uint32_t out[4]) {
  static constexpr char kBrand[49] = "Lodge Virtual CPU                               ";
  uint32_t &a = out[0], &b = out[1], &c = out[2], &d = out[3];
  a = b = c = d = 0;
  const CpuModel& model = *q.model;
  const char* const vendor = cpuVendor(model);
  const bool intel = vendor[0] == 'G';
  const uint32_t maxBasic = model.maxBasic, maxExtended = model.maxExtended, maxHypervisor = 0x40000010, maxKvm = 0x40000101;
  // Only these leaves look at ECX; elsewhere it may hold anything.
  const unsigned subleaf = q.leaf == 7 || q.leaf == 0xd ? q.subleaf : 0;
  const auto bits = [&](CpuidRegister reg) { return featureBits(q, q.leaf, subleaf, reg); };
  const auto vendorText = [&] {
    std::memcpy(&b, vendor, 4);
    std::memcpy(&d, vendor + 4, 4);
    std::memcpy(&c, vendor + 8, 4);
  };
  uint32_t leaf = q.leaf;
  if (leaf < 0x40000000 && leaf > maxBasic) return;
  if (leaf >= 0x40000000 && leaf < 0x80000000 && !q.features.has(Feature::Hypervisor)) return;
  if (leaf >= 0x80000000 && leaf > maxExtended) return;
  switch (leaf) {
    case 0:
      a = maxBasic;
      vendorText();
      return;
    case 1:
      // Intel: family 6, model 55h. AMD: family 19h, model 1: recent enough that guests apply few work-arounds.
      a = model.signature ? model.signature : intel ? 0x00050657 : 0x00a00f11;
      b = q.index << 24 | (q.count & 0xff) << 16 | (q.features.has(Feature::Clfsh) ? 8u << 8 : 0);  // CLFLUSH line: 64 bytes
      c = bits(kEcx) | (q.osxsave && q.features.has(Feature::Xsave) ? 1u << 27 : 0);
      d = bits(kEdx) & ~(q.apicEnabled ? 0u : 1u << 9);
      if (q.count > 1 && q.features.has(Feature::Sse)) d |= 1u << 28;  // HTT: the count is valid
      return;
    case 2:
      if (intel) {
        a = 0x00feff01;
        d = 0x000000f0;
      }
      return;
    case 4: {
      // Deterministic cache parameters: L1d, L1i, L2, one core a package sharing them.
      static constexpr uint32_t kCaches[3][3] = {
          {0x121, 7 << 22 | 63, 63}, {0x122, 7 << 22 | 63, 63}, {0x143, 7 << 22 | 63, 1023}};
      if (!intel || q.subleaf > 2) return;
      a = kCaches[q.subleaf][0] | ((1u << log2Ceil(q.count)) - 1) << 26;
      b = kCaches[q.subleaf][1];
      c = kCaches[q.subleaf][2];
      return;
    }
    case 7:
      if (q.subleaf != 0) return;
      b = bits(kEbx);
      c = bits(kEcx);
      d = bits(kEdx);
      if (intel) d |= 1 << 29;  // ARCH_CAPABILITIES
      return;
    case 0xb: {
      const unsigned bits = log2Ceil(q.count);
      d = q.index;
      c = q.subleaf & 0xff;
      if (q.subleaf == 0) {
        a = 0;
        b = 1;
        c |= 1 << 8;
      } else if (q.subleaf == 1) {
        a = bits;
        b = q.count;
        c |= 2 << 8;
      }
      return;
    }
    case 0xd: {
      // SDM vol. 1 §13.2. State components: 0 x87, 1 SSE, 2 the upper halves of YMM registers.
      if (!q.features.has(Feature::Xsave)) return;
      const uint64_t allowed = xcr0Allowed(q.features);
      if (q.subleaf == 0) {
        a = static_cast<uint32_t>(allowed);
        b = xsaveBytes(q.xcr0);
        c = xsaveBytes(allowed);
      } else if (q.subleaf == 1) {
        a = bits(kEax);
        b = xsaveBytes(q.xcr0);
      } else if (q.subleaf == 2 && (allowed & 4)) {
        a = kXsaveBytes - kXsaveYmm;
        b = kXsaveYmm;
      }
      return;
    }
    case 0x40000000:
      a = maxHypervisor;
      std::memcpy(&b, "Lodg", 4);
      std::memcpy(&c, "eLod", 4);
      std::memcpy(&d, "ge\0\0", 4);
      return;
    case 0x40000010:
      a = static_cast<uint32_t>(q.tscHz / 1000);  // kHz
      b = 1'000'000;                              // APIC timer, kHz
      return;
    case 0x40000100:
      a = maxKvm;
      std::memcpy(&b, "KVMK", 4);
      std::memcpy(&c, "VMKV", 4);
      std::memcpy(&d, "M\0\0\0", 4);
      return;
    case 0x40000101:
      // What paravirt.cpp has: no delay after port accesses, clock, steal time, PV EOI, kick, TLB flush; the clock is stable.
      a = 1 << 1 | 1 << 3 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 9 | 1 << 24;
      return;
    case 0x80000000:
      a = maxExtended;
      if (!intel) vendorText();
      return;
    case 0x80000001: {
      CpuidQuery first = q;
      first.leaf = 1;
      uint32_t r[4];
      cpuidLookup(first, r);
      a = r[0];
      c = bits(kEcx);
      d = bits(kEdx);
      if (!intel) {
        if (q.count > 1) c |= 1 << 1;  // CMP_LEGACY
        d |= r[3] & 0x0183f3ff;        // AMD repeats the basic features that both share
      }
      return;
    }
    case 0x80000002:
      putText(out, kBrand);
      return;
    case 0x80000003:
      putText(out, kBrand + 16);
      return;
    case 0x80000004:
      putText(out, kBrand + 32);
      return;
    case 0x80000005:
      if (!intel) {
        a = 0xff40ff40;
        b = 0xff40ff40;
        c = 0x40020140;
        d = 0x40020140;
      }
      return;
    case 0x80000006:
      c = 0x02006140;
      return;
    case 0x80000007:
      d = bits(kEdx);
      return;
    case 0x80000008:
      a = kPhysicalAddressBits | 48 << 8;
      if (intel) return;
      b = 1 << 26;  // SSB_NO
      if (q.count > 1) c = log2Ceil(q.count) << 12 | (q.count - 1);
      return;
    case 0x80000021:
      // LFENCE serialises, null selectors clear bases, automatic IBRS (spares guests their retpolines), SRSO_NO; TSA_*_NO.
      if (intel) return;
      a = 1 << 2 | 1 << 6 | 1 << 8 | 1 << 29;
      c = 1 << 1 | 1 << 2;
      return;
    default:
      return;
  }
}

}  // namespace lodge::x86
