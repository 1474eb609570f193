#include "testing/conformance/differential.h"

#include <sys/mman.h>

#include <cstdio>
#include <cstring>
#include <memory>

#include "testing/conformance/generator.h"
#include "testing/conformance/guest_cpu.h"
#include "testing/conformance/host_cpu.h"
#include "testing/conformance/sandbox.h"
#include "x86/fp/host_fp.h"

namespace lodge::x86::conformance {
namespace {

/** What parent and child share. */
struct Shared {
  uint64_t cases, ran, faulted;
  uint32_t row;            ///< of the case at hand
  bool narrow;
  uint8_t bytes[16];
  bool finished;
  uint32_t reports;
  char report[64][640];
  uint32_t hits[2][2048];  ///< by code size and row: how often it ran through
  uint32_t faults[2][2048];
};

uint32_t undefinedFlags(const Case& c) {
  const Decoded& d = c.decoded;
  if (!d.row) return 0;
  uint32_t mask = d.op == Op::Simd || d.op == Op::Vex || d.op == Op::X87 ? 0 : d.row->undefined;
  const uint64_t cl = c.before.gpr[kRcx] & 0xff;
  const unsigned limit = d.operandSize == 8 ? 63 : 31;
  switch (d.op) {
    case Op::Rol: case Op::Ror: case Op::Rcl: case Op::Rcr: case Op::Shl: case Op::Shr: case Op::Sar: {
      const unsigned count = static_cast<unsigned>(d.opcode >= 0xd2 ? cl : d.opcode >= 0xd0 ? 1 : d.immediate & 0xff) & limit;
      if (count == 0) mask = 0;
      if (count == 1) mask &= ~uint32_t{kOf | kCf};
      if (count <= d.operandSize * 8u) mask &= ~uint32_t{kCf};
      return mask;
    }
    case Op::Shld: case Op::Shrd: {
      const unsigned count = static_cast<unsigned>(d.row->form == Form::MRC ? cl : d.immediate & 0xff) & limit;
      if (count == 0) mask = 0;
      if (count > d.operandSize * 8u) mask = kArith;
      return mask;
    }
    case Op::MovFromCr: case Op::MovFromDr: case Op::MovToCr: case Op::MovToDr:
      return 0;
    default:
      return mask;
  }
}
}  // namespace

bool undefinedResult(const Case& c) {
  const Decoded& d = c.decoded;
  if (d.op != Op::Shld && d.op != Op::Shrd) return false;
  const unsigned count = static_cast<unsigned>(d.row->form == Form::MRC ? c.before.gpr[kRcx] & 0xff : d.immediate & 0xff) & 31;
  return d.operandSize == 2 && count > 16;
}

namespace {

uint32_t get32(const uint8_t* at) {
  uint32_t v;
  std::memcpy(&v, at, 4);
  return v;
}

}  // namespace

std::string difference(const Encoding& e, const Case& c, Result& host, Result& guest) {
  char text[420];
  if (guest.lost) return "the guest was lost";
  // A masked store that faults names its page, and which of its bytes differs among processors.
  const bool masked = (e.simd && (e.simd->form == FpForm::XmmMaskStore || e.simd->form == FpForm::MmxMaskStore)) ||
                      (e.vex && (e.vex->form == VexForm::MaskStore || e.vex->form == VexForm::MaskStoreDi || e.vex->form == VexForm::MaskLoad));
  // So does one that loads in several parts.
  const bool parts = e.name == "fxrstor" || e.op == Op::RetFar || e.op == Op::Iret || (e.x87 && (e.x87->memoryBytes == kX87Image || e.x87->memoryBytes == kX87Environment));
  if (parts && host.vector == kPF && guest.vector == kPF) host.address = guest.address;
  // Which comes first, the push or the check of the target, differs as well.
  if (e.op == Op::Call && guest.vector == kGP && (host.vector == kPF || host.vector == kSS)) return {};
  if (masked) host.address &= ~uint64_t{4095}, guest.address &= ~uint64_t{4095};
  // The upper half of the address space, and the page below it, are the kernel's own on either side: present there or not.
  if (host.vector == kPF && guest.vector == kPF && host.address >= 0x7fffffff0000) host.error &= ~1u, guest.error &= ~1u;
  // AMD's processors let SHA instructions have misaligned operands.
  if (e.simd && e.simd->feature == Feature::Sha && guest.vector == kGP && host.vector != kGP) return {};
  if (host.vector != guest.vector || host.error != guest.error || host.address != guest.address || host.rip != guest.rip) {
    std::snprintf(text, sizeof text, "host vector %d error %x address %llx rip %llx, ours %d %x %llx %llx", host.vector, host.error,
                  static_cast<unsigned long long>(host.address), static_cast<unsigned long long>(host.rip), guest.vector, guest.error,
                  static_cast<unsigned long long>(guest.address), static_cast<unsigned long long>(guest.rip));
    return text;
  }
  const Image &a = host.after, &b = guest.after;
  const unsigned registers = c.size == CodeSize::k64 ? 16 : 8;
  // POPA that faults half-way has loaded some registers, or none.
  if (!undefinedResult(c) && !(e.op == Op::Popa && host.vector >= 0)) {
    for (unsigned r = 0; r < registers; ++r) {
      if (a.gpr[r] == b.gpr[r]) continue;
      std::snprintf(text, sizeof text, "r%u in %llx host %llx ours %llx", r, static_cast<unsigned long long>(c.before.gpr[r]),
                    static_cast<unsigned long long>(a.gpr[r]), static_cast<unsigned long long>(b.gpr[r]));
      return text;
    }
  }
  const uint64_t mask = (kArith | kDf | kTf | kIf | kNt | kIopl | kAc | kId) & ~uint64_t{host.vector < 0 ? undefinedFlags(c) : 0u};
  if ((a.flags ^ b.flags) & mask) {
    std::snprintf(text, sizeof text, "flags in %llx host %llx ours %llx", static_cast<unsigned long long>(c.before.flags),
                  static_cast<unsigned long long>(a.flags & mask), static_cast<unsigned long long>(b.flags & mask));
    return text;
  }
  uint32_t hostMx = get32(a.xsave + 24), ourMx = get32(b.xsave + 24);
  // With an unmasked overflow or underflow, #P reports a rounding with unbounded exponent, which is not modelled.
  if (host.vector == kXM && (hostMx & ~(hostMx >> 7) & (fpbits::kOe | fpbits::kUe))) hostMx &= ~0x20u, ourMx &= ~0x20u;
  if (hostMx != ourMx) {
    std::snprintf(text, sizeof text, "mxcsr in %x host %x ours %x", get32(c.before.xsave + 24), hostMx, ourMx);
    return text;
  }
  const auto bytes = [&](const char* what, unsigned n, unsigned offset, unsigned count) {
    const uint8_t *x = a.xsave + offset, *y = b.xsave + offset;
    if (!std::memcmp(x, y, count)) return false;
    int at = std::snprintf(text, sizeof text, "%s%u in ", what, n);
    for (const uint8_t* p : {static_cast<const uint8_t*>(c.before.xsave) + offset, x, y}) {
      for (unsigned k = count; k--;) at += std::snprintf(text + at, sizeof text - static_cast<unsigned>(at), "%02x", p[k]);
      at += std::snprintf(text + at, sizeof text - static_cast<unsigned>(at), "%s", p == y ? "" : p == x ? " ours " : " host ");
    }
    return true;
  };
  for (unsigned n = 0; n < registers; ++n)
    if (bytes("xmm", n, 160 + 16 * n, 16) || bytes("ymm high ", n, 576 + 16 * n, 16)) return text;
  uint16_t hostStatus, ourStatus;
  std::memcpy(&hostStatus, a.xsave + 2, 2);
  std::memcpy(&ourStatus, b.xsave + 2, 2);
  uint16_t ignored = 0;
  // C1 after FCOMI is the processor's own; MMX state after CVTPI2PS from memory as well.
  if (e.name.find("comi") != std::string::npos && e.x87) ignored = fpbits::kC1;
  const bool cvtpi = (e.name == "cvtpi2ps" || e.name == "cvtpi2pd") && c.decoded.memory;
  if (cvtpi) ignored = fpbits::kTop;
  if ((hostStatus ^ ourStatus) & ~ignored) {
    std::snprintf(text, sizeof text, "x87 status host %x ours %x", hostStatus, ourStatus);
    return text;
  }
  if (bytes("x87 control ", 0, 0, 2) || (!cvtpi && bytes("x87 tags ", 0, 4, 1))) return text;
  if (!cvtpi) {
    for (unsigned n = 0; n < 8; ++n)
      if (bytes("st", n, 32 + 16 * n, 10)) return text;
  }
  return {};
}

namespace {

void report(Shared& shared, const Encoding& e, const Case& c, uint64_t seed, const std::string& what) {
  if (shared.reports >= 64) return;
  char bytes[64];
  int at = 0;
  for (unsigned n = 0; n < c.length; ++n) at += std::snprintf(bytes + at, sizeof bytes - static_cast<unsigned>(at), "%02x ", c.bytes[n]);
  std::snprintf(shared.report[shared.reports++], sizeof shared.report[0], "%s (%s) %s: %s[seed %llu case %llu]", e.name.c_str(), e.table,
                c.size == CodeSize::k64 ? "64" : "32", (std::string(bytes) + ": " + what + " ").c_str(), static_cast<unsigned long long>(seed),
                static_cast<unsigned long long>(shared.cases));
}

bool wanted(const Encoding& e, const std::string& only) { return only.empty() || e.name.find(only) != std::string::npos; }

void child(const Options& options, Shared& shared) {
  HostCpu host;
  GuestCpu guest(options.factory);
  Generator generator(options.seed);
  enterSandbox();
  const FeatureSet features = implementedFeatures();
  const std::vector<Encoding>& all = encodings();
  static uint8_t pristine[kReadableBytes], planted[kReadableBytes];
  static Case c;
  static Result ours, theirs;
  uint64_t attempts = 0;
  while (shared.cases < options.cases && shared.reports < options.maxReports) {
    for (uint32_t row = 0; row < all.size() && shared.cases < options.cases && shared.reports < options.maxReports; ++row) {
      const Encoding& e = all[row];
      if (e.excluded || !wanted(e, options.only)) continue;
      const CodeSize size = generator.below(3) ? CodeSize::k64 : CodeSize::k32;
      if (!e.exists(size)) continue;
      if (attempts++ % 256 == 0) {
        generator.fill(pristine);
        // The page nobody writes is filled once, through another mapping of the protection.
        ::mprotect(host.data(), kReadableBytes, PROT_READ | PROT_WRITE);
        std::memcpy(host.data() + kWritableBytes, pristine + kWritableBytes, kReadableBytes - kWritableBytes);
        ::mprotect(host.data() + kWritableBytes, kReadableBytes - kWritableBytes, PROT_READ);
        std::memcpy(guest.data() + kWritableBytes, pristine + kWritableBytes, kReadableBytes - kWritableBytes);
      }
      bool made = false;
      for (unsigned tries = 0; tries < 20 && !made; ++tries) {
        made = generator.make(e, size, c);
        if (made) {
          Decoded d = c.decoded;
          made = admit(d, features);
        }
      }
      if (!made) continue;
      std::memcpy(planted, pristine, kWritableBytes);
      std::memcpy(planted + kWritableBytes, pristine + kWritableBytes, kReadableBytes - kWritableBytes);
      generator.plant(e, c, planted);
      std::memcpy(planted + kWritableBytes, pristine + kWritableBytes, kReadableBytes - kWritableBytes);
      std::memcpy(host.data(), planted, kWritableBytes);
      std::memcpy(guest.data(), planted, kWritableBytes);
      shared.row = row;
      shared.narrow = size == CodeSize::k32;
      std::memcpy(shared.bytes, c.bytes, 16);
      host.run(c, theirs);
      guest.run(c, ours);
      ++shared.cases;
      std::string what = difference(e, c, theirs, ours);
      if (what.empty() && std::memcmp(host.data(), guest.data(), kWritableBytes) != 0 && !undefinedResult(c)) {
        unsigned at = 0;
        while (host.data()[at] == guest.data()[at]) ++at;
        char text[96];
        std::snprintf(text, sizeof text, "memory at %llx: was %02x host %02x ours %02x", static_cast<unsigned long long>(kDataAt + at),
                      planted[at], host.data()[at], guest.data()[at]);
        what = text;
      }
      if (!what.empty()) report(shared, e, c, options.seed, what);
      ++(theirs.vector < 0 ? shared.ran : shared.faulted);
      ++(theirs.vector < 0 ? shared.hits : shared.faults)[shared.narrow][row];
    }
    if (attempts > 1000 && shared.cases == 0) break;
  }
  shared.finished = true;
}

}  // namespace

Summary runDifferential(const Options& options) {
  Summary summary;
  void* const p = sharedMemory(sizeof(Shared));
  if (!p) {
    summary.differences.push_back("no shared memory");
    return summary;
  }
  auto& shared = *new (p) Shared{};
  const std::vector<Encoding>& all = encodings();
  struct Job {
    const Options& options;
    Shared& shared;
  } job{options, shared};
  const auto body = [](void* context) {
    auto& j = *static_cast<Job*>(context);
    child(j.options, j.shared);
  };
  const int status = runInChild(body, &job, &shared.cases);
  if (!shared.finished) {
    char text[200];
    int at = std::snprintf(text, sizeof text, "the child ended with status %x at %s in %s-bit code:", static_cast<unsigned>(status),
                           all[shared.row].name.c_str(), shared.narrow ? "32" : "64");
    for (unsigned n = 0; n < 15; ++n) at += std::snprintf(text + at, sizeof text - static_cast<unsigned>(at), " %02x", shared.bytes[n]);
    summary.differences.push_back(text);
  }
  summary.cases = shared.cases;
  summary.ran = shared.ran;
  summary.faulted = shared.faulted;
  for (unsigned n = 0; n < shared.reports; ++n) summary.differences.push_back(shared.report[n]);
  const FeatureSet features = implementedFeatures();
  for (uint32_t row = 0; row < all.size(); ++row) {
    const Encoding& e = all[row];
    if (!wanted(e, options.only)) continue;
    ++summary.rows;
    const Feature feature = e.simd ? e.simd->feature : e.vex ? e.vex->feature[e.vex->l == VexL::L1] : featureOf(e.op);
    const char* const reason = e.excluded ? e.excluded : features.has(feature) ? nullptr : "the host does not execute it";
    const uint32_t* const hits[2] = {&shared.hits[0][row], &shared.hits[1][row]};
    const uint32_t* const faults[2] = {&shared.faults[0][row], &shared.faults[1][row]};
    const bool covered = *hits[0] + *hits[1] + *faults[0] + *faults[1] > 0;
    if (reason) ++summary.excluded;
    else if (covered) ++summary.covered;
    else summary.uncovered.push_back(e.name + " (" + e.table + ")");
    if (!options.printCoverage) continue;
    std::printf("%-16s %-18s map %u opcode %02x prefix %02x reg %2d  64: %7u ran %7u faulted  32: %7u ran %7u faulted  %s\n", e.table, e.name.c_str(),
                e.map, e.opcode, e.prefix, e.extension, *hits[0], *faults[0], *hits[1], *faults[1], reason ? reason : covered ? "" : "NOT COVERED");
  }
  freeShared(p, sizeof(Shared));
  return summary;
}

}  // namespace lodge::x86::conformance
