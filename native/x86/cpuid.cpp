#include "x86/cpuid.h"

#include <cpuid.h>

#include <cstring>

#include "memory/physical_memory.h"
#include "x86/fp_ops.h"

namespace lodge::x86 {
namespace {

enum Feature1Edx : uint32_t {
  kFpu = 1,
  kDe = 1 << 2,
  kPse = 1 << 3,
  kTsc = 1 << 4,
  kMsr = 1 << 5,
  kPae = 1 << 6,
  kMce = 1 << 7,
  kCx8 = 1 << 8,
  kApic = 1 << 9,
  kSep = 1 << 11,
  kMtrr = 1 << 12,
  kPge = 1 << 13,
  kMca = 1 << 14,
  kCmov = 1 << 15,
  kPat = 1 << 16,
  kPse36 = 1 << 17,
  kClfsh = 1 << 19,
  kMmx = 1 << 23,
  kFxsr = 1 << 24,
  kSse = 1 << 25,
  kSse2 = 1 << 26,
  kHtt = 1 << 28
};
enum Feature1Ecx : uint32_t {
  kSse3 = 1,
  kPclmulqdq = 1 << 1,
  kSsse3 = 1 << 9,
  kCx16 = 1 << 13,
  kSse41 = 1 << 19,
  kSse42 = 1 << 20,
  kX2apic = 1 << 21,
  kMovbe = 1 << 22,
  kPopcnt = 1 << 23,
  kTscDeadline = 1 << 24,
  kAes = 1 << 25,
  kRdrand = 1 << 30,
  kHypervisor = 1u << 31
};
enum Feature7Ebx : uint32_t {
  kFsgsbase = 1,
  kTscAdjust = 2,
  kSmep = 1 << 7,
  kErms = 1 << 9,
  kRdseed = 1 << 18,
  kSmap = 1 << 20,
  kSha = 1 << 29
};
enum Extended1Edx : uint32_t { kSyscall = 1 << 11, kNx = 1 << 20, kPage1G = 1 << 26, kRdtscp = 1 << 27, kLm = 1 << 29 };
enum Extended1Ecx : uint32_t { kLahf = 1, kCmpLegacy = 1 << 1, kCr8Legacy = 1 << 4, kAbm = 1 << 5, kPrefetchw = 1 << 8 };

uint32_t featureIf(const CpuidQuery& q, FpFeature f, uint32_t bit) {
  return q.fpFeatures >> static_cast<unsigned>(f) & 1 ? bit : 0;
}

/** Guests choose errata work-arounds and kernel code paths by vendor, so the host's own is shown. */
const char* vendor() {
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
bool isIntel() { return vendor()[0] == 'G'; }

void putText(uint32_t out[4], const char* text) { std::memcpy(out, text, 16); }

unsigned log2Ceil(unsigned n) {
  unsigned bits = 0;
  while ((1u << bits) < n) ++bits;
  return bits;
}

}  // namespace

void cpuidLookup(const CpuidQuery& q, uint32_t out[4]) {
  static constexpr char kBrand[49] = "Lodge Virtual CPU                               ";
  uint32_t &a = out[0], &b = out[1], &c = out[2], &d = out[3];
  a = b = c = d = 0;
  const uint32_t maxBasic = 0xd, maxExtended = 0x80000021, maxHypervisor = 0x40000010, maxKvm = 0x40000101;
  uint32_t leaf = q.leaf;
  if (leaf < 0x40000000 && leaf > maxBasic) return;
  switch (leaf) {
    case 0:
      a = maxBasic;
      std::memcpy(&b, vendor(), 4);
      std::memcpy(&d, vendor() + 4, 4);
      std::memcpy(&c, vendor() + 8, 4);
      return;
    case 1:
      // Intel: family 6, model 55h. AMD: family 19h, model 1: recent enough that guests apply few work-arounds.
      a = isIntel() ? 0x00050657 : 0x00a00f11;
      b = q.index << 24 | (q.count & 0xff) << 16 | 8 << 8;  // CLFLUSH line: 64 bytes
      c = kCx16 | kMovbe | kPopcnt | kTscDeadline | kRdrand | kHypervisor | featureIf(q, FpFeature::Sse3, kSse3) |
          featureIf(q, FpFeature::Pclmulqdq, kPclmulqdq) | featureIf(q, FpFeature::Ssse3, kSsse3) |
          featureIf(q, FpFeature::Sse41, kSse41) | featureIf(q, FpFeature::Sse42, kSse42) | featureIf(q, FpFeature::Aes, kAes) |
          kX2apic;
      d = kFpu | kDe | kPse | kTsc | kMsr | kPae | kMce | kCx8 | (q.apicEnabled ? +kApic : 0) | kSep | kMtrr | kPge | kMca |
          kCmov | kPat | kPse36 | kClfsh | featureIf(q, FpFeature::Mmx, kMmx) | featureIf(q, FpFeature::Fxsr, kFxsr) |
          featureIf(q, FpFeature::Sse, kSse) | featureIf(q, FpFeature::Sse2, kSse2) | (q.count > 1 ? +kHtt : 0);
      return;
    case 2:
      if (isIntel()) {
        a = 0x00feff01;
        d = 0x000000f0;
      }
      return;
    case 4: {
      // Deterministic cache parameters: L1d, L1i, L2, one core a package sharing them.
      static constexpr uint32_t kCaches[3][3] = {
          {0x121, 7 << 22 | 63, 63}, {0x122, 7 << 22 | 63, 63}, {0x143, 7 << 22 | 63, 1023}};
      if (!isIntel() || q.subleaf > 2) return;
      a = kCaches[q.subleaf][0] | ((1u << log2Ceil(q.count)) - 1) << 26;
      b = kCaches[q.subleaf][1];
      c = kCaches[q.subleaf][2];
      return;
    }
    case 7:
      if (q.subleaf != 0) return;
      b = kFsgsbase | kTscAdjust | kSmep | kErms | kRdseed | kSmap | featureIf(q, FpFeature::Sha, kSha);
      if (isIntel()) d = 1 << 29;  // ARCH_CAPABILITIES
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
      a = 1 << 3 | 1 << 24;
      return;  // clock by the MSRs at 4B564D00h, stable
    case 0x80000000:
      a = maxExtended;
      if (!isIntel()) {
        std::memcpy(&b, vendor(), 4);
        std::memcpy(&d, vendor() + 4, 4);
        std::memcpy(&c, vendor() + 8, 4);
      }
      return;
    case 0x80000001: {
      CpuidQuery first = q;
      first.leaf = 1;
      uint32_t r[4];
      cpuidLookup(first, r);
      a = r[0];
      c = kLahf | kAbm | kPrefetchw | (isIntel() ? 0 : kCr8Legacy | (q.count > 1 ? +kCmpLegacy : 0));
      d = kSyscall | kNx | kPage1G | kRdtscp | kLm;
      // AMD repeats the basic features that both share.
      if (!isIntel()) d |= r[3] & 0x0183f3ff;
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
      if (!isIntel()) {
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
      d = 1 << 8;
      return;  // invariant TSC
    case 0x80000008:
      a = kPhysicalAddressBits | 48 << 8;
      if (isIntel()) return;
      b = 1 << 26;  // SSB_NO
      if (q.count > 1) c = log2Ceil(q.count) << 12 | (q.count - 1);
      return;
    case 0x80000021:
      // LFENCE serialises, null selectors clear bases, automatic IBRS (spares guests their retpolines), SRSO_NO; TSA_*_NO.
      if (isIntel()) return;
      a = 1 << 2 | 1 << 6 | 1 << 8 | 1 << 29;
      c = 1 << 1 | 1 << 2;
      return;
    default:
      return;
  }
}

}  // namespace lodge::x86
