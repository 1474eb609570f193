// Model-specific registers. SDM vol. 4; AMD APM vol. 2, appendix A. An address not listed raises #GP in the guest.
#include "x86/cpuid.h"
#include "x86/interpreter/core.h"

namespace lodge::x86 {
namespace {

enum Msr : uint32_t {
  kP5McAddr = 0x0,
  kP5McType = 0x1,
  kTsc = 0x10,
  kPlatformId = 0x17,
  kApicBase = 0x1b,
  kFeatureControl = 0x3a,
  kTscAdjust = 0x3b,
  kSpecCtrl = 0x48,
  kPredCmd = 0x49,
  kUcodeRev = 0x8b,
  kMtrrCap = 0xfe,
  kArchCapabilities = 0x10a,
  kSysenterCs = 0x174,
  kSysenterEsp = 0x175,
  kSysenterEip = 0x176,
  kMcgCap = 0x179,
  kMcgStatus = 0x17a,
  kMcgCtl = 0x17b,
  kMiscEnable = 0x1a0,
  kDebugCtlMsr = 0x1d9,
  kPat = 0x277,
  kMtrrDefType = 0x2ff,
  kTscDeadline = 0x6e0,
  kXss = 0xda0,
  kEferMsr = 0xc0000080,
  kStar = 0xc0000081,
  kLstar = 0xc0000082,
  kCstar = 0xc0000083,
  kSfmask = 0xc0000084,
  kFsBase = 0xc0000100,
  kGsBase = 0xc0000101,
  kKernelGsBase = 0xc0000102,
  kTscAuxMsr = 0xc0000103,
};

/** Ranges that are stored and read back and do nothing: MTRRs (caches are coherent), microcode, AMD's configuration. */
enum class Write : uint8_t { Refused, Kept, Ignored };
struct Stored {
  uint32_t first, last;
  uint64_t reset;
  Write write;
};
constexpr Stored kStored[] = {
    {0x0, 0x1, 0, Write::Kept},  // P5 machine check
    {kPlatformId, kPlatformId, 0, Write::Refused},
    {0x2a, 0x2a, 0, Write::Kept},                           // EBL_CR_POWERON
    {kFeatureControl, kFeatureControl, 1, Write::Refused},  // locked, VMX off
    {0x79, 0x79, 0, Write::Kept},                           // microcode update trigger
    {kUcodeRev, kUcodeRev, 0x01000065, Write::Kept},
    {0xce, 0xce, 0, Write::Refused},      // platform info
    {0xfe, 0xfe, 0x508, Write::Refused},  // MTRRcap: 8 variable, fixed, write-combining
    {kArchCapabilities, kArchCapabilities, 0x1 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 8 | 1 << 13 | 1 << 14 | 1 << 15,
     Write::Refused},                       // nothing leaks
    {0x11e, 0x11e, 0, Write::Kept},         // BBL_CR_CTL3
    {0x140, 0x140, 0, Write::Kept},         // MISC_FEATURES_ENABLES
    {0x17a, 0x17b, 0, Write::Kept},         // MCG_STATUS, MCG_CTL
    {kMcgCap, kMcgCap, 0, Write::Refused},  // no banks
    {0x198, 0x199, 0, Write::Kept},         // PERF_STATUS, PERF_CTL
    {0x19a, 0x19c, 0, Write::Kept},         // clock modulation, thermal
    {0x1a4, 0x1a4, 0, Write::Kept},
    {0x1db, 0x1de, 0, Write::Kept},  // last branch
    {0x1fc, 0x1fc, 0, Write::Kept},
    {0x200, 0x20f, 0, Write::Kept},  // variable MTRRs
    {0x250, 0x250, 0, Write::Kept},
    {0x258, 0x259, 0, Write::Kept},
    {0x268, 0x26f, 0, Write::Kept},                     // fixed MTRRs
    {kMtrrDefType, kMtrrDefType, 0x806, Write::Kept},   // enabled, default write-back
    {0xc0000104, 0xc0000104, 1ull << 32, Write::Kept},  // AMD TSC ratio
    {0xc0010000, 0xc0010007, 0, Write::Ignored},  // AMD performance counters: there are none, which guests find out by writing
    {0xc0010010, 0xc0010010, 0, Write::Kept},     // SYSCFG
    {0xc0010015, 0xc0010015, 1u << 24, Write::Kept},  // HWCR, TscFreqSel
    {0xc0010016, 0xc0010019, 0, Write::Kept},         // IORR
    {0xc001001a, 0xc001001d, 0, Write::Kept},         // TOP_MEM
    {0xc001001f, 0xc001001f, 0, Write::Kept},         // NB_CFG
    {0xc0010020, 0xc0010020, 0, Write::Kept},         // patch loader
    {0xc0010055, 0xc0010055, 0, Write::Kept},         // interrupt pending message
    {0xc0010061, 0xc0010071, 0, Write::Kept},         // P-states
    {0xc0010111, 0xc0010119, 0, Write::Kept},         // SMM, SVM controls
    {0xc0010140, 0xc0010141, 0, Write::Kept},         // OS-visible work-arounds
    {0xc0011004, 0xc0011005, 0, Write::Kept},
    {0xc0011020, 0xc0011030, 0, Write::Kept},  // LS_CFG … DE_CFG and IBS control
};
const Stored* storedAt(uint32_t index) {
  for (const Stored& s : kStored) {
    if (index >= s.first && index <= s.last) return &s;
  }
  return nullptr;
}

bool patValid(uint64_t value) {
  for (unsigned n = 0; n < 8; ++n) {
    const unsigned type = value >> (8 * n) & 0xff;
    if (type > 7 || type == 2 || type == 3) return false;
  }
  return true;
}
bool apicMsr(uint32_t index) { return index == kApicBase || index == kTscDeadline || (index >= 0x800 && index <= 0x8ff); }

}  // namespace

bool Core::msrOffered(uint32_t index) const {
  struct Owner {
    uint32_t first, last;
    Feature feature, other;  // either will do
  };
  static constexpr Owner kOwners[] = {
      {kTsc, kTsc, Feature::Tsc, Feature::Tsc},
      {kApicBase, kApicBase, Feature::Apic, Feature::Apic},
      {kTscAdjust, kTscAdjust, Feature::TscAdjust, Feature::TscAdjust},
      {kMtrrCap, kMtrrCap, Feature::Mtrr, Feature::Mtrr},
      {kSysenterCs, kSysenterEip, Feature::Sep, Feature::Sep},
      {kMcgCap, kMcgCtl, Feature::Mca, Feature::Mca},
      {0x200, 0x26f, Feature::Mtrr, Feature::Mtrr},
      {kPat, kPat, Feature::Pat, Feature::Pat},
      {kMtrrDefType, kMtrrDefType, Feature::Mtrr, Feature::Mtrr},
      {kTscDeadline, kTscDeadline, Feature::TscDeadline, Feature::TscDeadline},
      {0x800, 0x8ff, Feature::X2apic, Feature::X2apic},
      {0x4b564d00, 0x4b564dff, Feature::Hypervisor, Feature::Hypervisor},
      {kXss, kXss, Feature::Xsaves, Feature::Xsaves},
      {kEferMsr, kStar, Feature::Syscall, Feature::Nx},
      {kLstar, kSfmask, Feature::Lm, Feature::Lm},
      {kFsBase, kKernelGsBase, Feature::Lm, Feature::Lm},
      {kTscAuxMsr, kTscAuxMsr, Feature::Rdtscp, Feature::Rdpid},
  };
  for (const Owner& o : kOwners) {
    if (index >= o.first && index <= o.last) return features.has(o.feature) || features.has(o.other);
  }
  return true;
}

bool Core::readMsr(uint32_t index, uint64_t& value) {
  if (apicMsr(index)) return env.readApicMsr(index, value);
  if (index >> 8 == 0x4b564d) return readKvmMsr(index, value);
  switch (index) {
    case kTsc:
      value = env.readTsc();
      return true;
    case kTscAdjust:
      value = tscAdjust;
      return true;
    case kSysenterCs:
      value = state.sysenterCs;
      return true;
    case kSysenterEsp:
      value = state.sysenterEsp;
      return true;
    case kSysenterEip:
      value = state.sysenterEip;
      return true;
    case kMiscEnable:
      value = state.miscEnable;
      return true;
    case kDebugCtlMsr:
      value = debugCtl;
      return true;
    case kPat:
      value = state.pat;
      return true;
    case kXss:
      value = 0;
      return true;
    case kEferMsr:
      value = state.efer;
      return true;
    case kStar:
      value = state.star;
      return true;
    case kLstar:
      value = state.lstar;
      return true;
    case kCstar:
      value = state.cstar;
      return true;
    case kSfmask:
      value = state.sfmask;
      return true;
    case kFsBase:
      value = state.seg[kFs].base;
      return true;
    case kGsBase:
      value = state.seg[kGs].base;
      return true;
    case kKernelGsBase:
      value = state.kernelGsBase;
      return true;
    case kTscAuxMsr:
      value = state.tscAux;
      return true;
    default:
      break;
  }
  const Stored* s = storedAt(index);
  if (!s) return false;
  const auto found = storedMsrs.find(index);
  value = found != storedMsrs.end() ? found->second : s->reset;
  return true;
}

bool Core::writeMsr(uint32_t index, uint64_t value) {
  if (apicMsr(index)) {
    post(kRequestInterrupt);
    beforeSignal();
    return env.writeApicMsr(index, value);
  }
  if (index >> 8 == 0x4b564d) return writeKvmMsr(index, value);
  switch (index) {
    case kTsc: {
      tscAdjust += value - env.readTsc();
      tscJumps(value);
      env.writeTsc(value);
      return true;
    }
    case kTscAdjust:
      tscJumps(env.readTsc() + (value - tscAdjust));
      env.writeTsc(env.readTsc() + (value - tscAdjust));
      tscAdjust = value;
      return true;
    case kSysenterCs:
      state.sysenterCs = value & 0xffff;
      return true;
    case kSysenterEsp:
      if (!canonical(value)) return false;
      state.sysenterEsp = value;
      return true;
    case kSysenterEip:
      if (!canonical(value)) return false;
      state.sysenterEip = value;
      return true;
    case kMiscEnable:
      state.miscEnable = value;
      return true;
    case kDebugCtlMsr:
      debugCtl = value;
      return true;
    case kPat:
      if (!patValid(value)) return false;
      state.pat = value;
      return true;
    case kXss:
      return value == 0;  // no supervisor state components
    case kEferMsr: {
      if (value & ~eferAllowed(features)) return false;
      if ((state.cr0 & kCr0Pg) && ((value ^ state.efer) & kEferLme)) return false;
      state.efer = (value & ~uint64_t{kEferLma}) | (state.efer & kEferLma);
      flushTlb(true);
      return true;
    }
    case kStar:
      state.star = value;
      return true;
    case kLstar:
      if (!canonical(value)) return false;
      state.lstar = value;
      return true;
    case kCstar:
      if (!canonical(value)) return false;
      state.cstar = value;
      return true;
    case kSfmask:
      state.sfmask = static_cast<uint32_t>(value);
      return true;
    case kFsBase:
      if (!canonical(value)) return false;
      state.seg[kFs].base = value;
      return true;
    case kGsBase:
      if (!canonical(value)) return false;
      state.seg[kGs].base = value;
      return true;
    case kKernelGsBase:
      if (!canonical(value)) return false;
      state.kernelGsBase = value;
      return true;
    case kTscAuxMsr:
      state.tscAux = static_cast<uint32_t>(value);
      return true;
    default:
      break;
  }
  const Stored* s = storedAt(index);
  if (!s || s->write == Write::Refused) return false;
  if (s->write == Write::Kept) storedMsrs[index] = value;
  return true;
}

}  // namespace lodge::x86
