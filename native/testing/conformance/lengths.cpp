#include "testing/conformance/lengths.h"

#include <cstdio>
#include <cstring>

#include "testing/conformance/host_cpu.h"
#include "testing/conformance/sandbox.h"
#include "testing/host_oracle.h"

namespace lodge::x86::conformance {
namespace {

struct Shared {
  uint64_t done, compared;
  uint64_t wanted, seed;
  uint8_t bytes[16];
  bool narrow, finished;
  uint32_t reports;
  char report[20][160];
};

/** What may not be run to its end: it leaves the process, loops, or takes away what the test stands on. */
bool harmful(const Decoded& d) {
  if (d.segment == kFs) return true;
  if (d.row && (d.row->attributes & (kEnds | kBranch)) && d.op != Op::Ud) return true;
  switch (d.op) {
    case Op::Syscall: case Op::Sysenter: case Op::IntN: case Op::Int3: case Op::Icebp: case Op::Vmcall: case Op::Popf:
    case Op::MovSegTo: case Op::PopSeg: case Op::Lds: case Op::Wrfsbase: case Op::Wrgsbase:
      return true;
    default:
      return false;
  }
}

void child(void* context) {
  auto& shared = *static_cast<Shared*>(context);
  HostCpu host;
  enterSandbox();
  oracle::Random random(shared.seed);
  static Case c;
  static Result out;
  constexpr uint32_t kFetch = 0x10;
  constexpr uint64_t kEnd = kCodePage + 4096;
  const auto outside = [&](unsigned length) { return out.vector == kPF && (out.error & kFetch) && out.address == kEnd && out.rip != length; };
  static const uint8_t kOften[] = {0x0f, 0x66, 0xf2, 0xf3, 0xc4, 0xc5, 0x48, 0x41, 0x67, 0xf0, 0x2e};
  while (shared.done < shared.wanted && shared.reports < 20) {
    for (uint8_t& b : c.bytes) b = static_cast<uint8_t>(random.bits());
    for (unsigned n = 0; n < 3 && random.oneIn(2); ++n) c.bytes[n] = kOften[random.below(sizeof kOften)];
    c.size = random.oneIn(3) ? CodeSize::k32 : CodeSize::k64;
    ++shared.done;
    const DecodeStatus status = decode(c.bytes, 15, c.size, c.decoded);
    Decoded d = c.decoded;
    if (status != DecodeStatus::Ok || !admit(d, implementedFeatures())) continue;
    const bool wide = c.size == CodeSize::k64;
    // Vendors differ: 66h on near branches in 64-bit code, and whether UD0 and UD1 have a ModRM byte.
    if ((wide && d.row->width == Width::F64 && d.operandSizePrefix) || (d.op == Op::Ud && d.hasModRm)) continue;
    for (unsigned r = 0; r < 16; ++r) c.before.gpr[r] = wide || r < 8 ? kDataAt + 4096 + 64 * r : 0;
    c.before.gpr[kRcx] = 1;
    c.before.flags = 0x202;
    std::memset(c.before.xsave, 0, sizeof c.before.xsave);
    c.before.xsave[0] = 0x7f, c.before.xsave[1] = 0x03, c.before.xsave[24] = 0x80, c.before.xsave[25] = 0x1f, c.before.xsave[512] = 7;
    std::memcpy(shared.bytes, c.bytes, 16);
    shared.narrow = !wide;
    ++shared.compared;
    const char* what = nullptr;
    // One byte less is not the whole of it …
    if (d.length > 1) {
      host.runAtPageEnd(c, d.length - 1u, out);
      if (!outside(99)) what = "the host's is shorter";
    }
    // … and all its bytes are.
    if (!what && !harmful(d)) {
      host.runAtPageEnd(c, d.length, out);
      if (outside(d.length)) what = "the host's is longer";
    }
    if (!what) continue;
    char* const text = shared.report[shared.reports++];
    int at = std::snprintf(text, sizeof shared.report[0], "%s-bit, %u bytes, but %s (vector %d at %llx):", wide ? "64" : "32", d.length, what, out.vector,
                           static_cast<unsigned long long>(out.rip));
    for (unsigned n = 0; n < d.length; ++n) at += std::snprintf(text + at, sizeof shared.report[0] - static_cast<unsigned>(at), " %02x", c.bytes[n]);
  }
  shared.finished = true;
}

}  // namespace

LengthSummary compareLengths(uint64_t instructions, uint64_t seed) {
  LengthSummary summary;
  void* const p = sharedMemory(sizeof(Shared));
  if (!p) {
    summary.differences.push_back("no shared memory");
    return summary;
  }
  auto& shared = *new (p) Shared{};
  shared.wanted = instructions;
  shared.seed = seed;
  const int status = runInChild(child, &shared, &shared.done);
  for (unsigned n = 0; n < shared.reports; ++n) summary.differences.push_back(shared.report[n]);
  if (!shared.finished) {
    char text[160];
    int at = std::snprintf(text, sizeof text, "the child ended with status %x at (%s-bit)", static_cast<unsigned>(status), shared.narrow ? "32" : "64");
    for (unsigned n = 0; n < 15; ++n) at += std::snprintf(text + at, sizeof text - static_cast<unsigned>(at), " %02x", shared.bytes[n]);
    summary.differences.push_back(text);
  }
  summary.instructions = shared.done;
  summary.compared = shared.compared;
  freeShared(p, sizeof(Shared));
  return summary;
}

}  // namespace lodge::x86::conformance
