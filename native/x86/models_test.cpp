// Processor models: for each of their feature bits, what CPUID offers works and what it does not offer faults. Every row of the
// instruction tables is executed on every model; control-register bits, MSRs and page-table bits have a list of their own.
#include <cstdio>
#include <cstring>
#include <set>
#include <string>

#include "testing/conformance/encodings.h"
#include "testing/conformance/generator.h"
#include "testing/conformance/guest_cpu.h"
#include "testing/test.h"
#include "x86/cpuid.h"
#include "x86/interpreter/guest_fixture.h"

namespace lodge::x86 {
namespace {

using namespace testing;
using conformance::Encoding;

constexpr Gpa kCode = 0x11000, kHandlers = 0x12000;

/** What a guest learns from CPUID: the features themselves are not looked at. */
bool shown(const CpuModel& model, Feature f) {
  if (f == Feature::Base) return true;
  const FeatureRow& row = kFeatureRows[static_cast<unsigned>(f)];
  uint32_t r[4];
  cpuidLookup({row.leaf, row.subleaf, 0, 1, &model, offeredFeatures(model), 2'000'000'000, false, true}, r);
  return r[row.reg] >> row.bit & 1;
}
std::string failure(const CpuModel& model, const std::string& what, bool offered) {
  return std::string(model.name) + ": " + what + (offered ? " is offered and faults" : " is not offered and works");
}

/** The features a row needs, all of them; false where decoding makes something else of it instead. */
bool needs(const Encoding& e, const Decoded& d, std::vector<Feature>& all) {
  if (e.simd) {
    all = {e.simd->feature};
  } else if (e.vex) {
    all = {Feature::Avx, e.vex->feature[d.vexL && e.vex->l != VexL::Ignored]};
  } else if (e.x87) {
    all = {Feature::Fpu};
  } else if (d.op == Op::Lzcnt || d.op == Op::Tzcnt) {
    return false;
  } else if (d.op == Op::Cmpxchg8b) {
    all = {d.operandSize == 8 ? Feature::Cx16 : Feature::Cx8};
  } else if ((d.op == Op::Lahf || d.op == Op::Sahf) && d.mode == CodeSize::k64) {
    all = {Feature::LahfLm};
  } else {
    all = {featureOf(d.op)};
  }
  return true;
}

TEST(instructionsOfEveryModelFollowItsCpuid) {
  conformance::GuestCpu host;
  conformance::Generator generator(7);
  struct Sample { const Encoding* encoding; conformance::Case c; std::vector<Feature> needs; };
  std::vector<Sample> samples;
  unsigned rows = 0, missing = 0;
  generator.fill(host.data());
  for (const Encoding& e : conformance::encodings()) {
    if (e.excluded) continue;
    ++rows;
    bool any = false;
    for (const CodeSize size : {CodeSize::k64, CodeSize::k32}) {
      if (!e.exists(size)) continue;
      for (unsigned tries = 0; tries < 200; ++tries) {
        Sample s{&e, {}, {}};
        conformance::Result result;
        if (!generator.make(e, size, s.c) || s.c.decoded.lock) continue;
        if (!needs(e, s.c.decoded, s.needs)) break;
        host.run(s.c, result);
        if (result.lost || result.vector == kUD) continue;
        samples.push_back(std::move(s));
        any = true;
        break;
      }
    }
    missing += !any;
  }
  for (unsigned n = 0; n < kCpuModelCount; ++n) {
    const CpuModel& model = kCpuModels[n];
    conformance::GuestCpu guest(makeTestCpu, &model);
    unsigned known = 0, wrong = 0;
    for (const Sample& s : samples) {
      if (s.c.size == CodeSize::k64 && !shown(model, Feature::Lm)) continue;
      bool offered = true;
      for (const Feature f : s.needs) offered = offered && shown(model, f);
      conformance::Result result;
      guest.run(s.c, result);
      known += offered;
      if ((result.vector == kUD) != offered && !result.lost) continue;
      if (++wrong <= 10) ::lodge::testing::fail(__FILE__, __LINE__, failure(model, s.encoding->name + " (" + s.encoding->table + ")", offered));
    }
    std::printf("models: %-10s %u of %zu samples are its own\n", model.name, known, samples.size());
  }
  // Instructions that only other models have, and those that are never #UD.
  std::printf("models: %u rows, %u without a sample on this host\n", rows, missing);
  CHECK(samples.size() > 1500);
}

/** Ring 0 of a model, in 64-bit code (which a model without long mode could not have entered by itself). */
struct ModelGuest : Guest {
  explicit ModelGuest(const CpuModel& model) : Guest(kRamBytes, makeTestCpu, &model) {
    enter64(kCode);
    for (uint64_t p = 0; p < 0x80000; p += 4096) mapPage(p, p, 3);
    for (unsigned v = 0; v < 32; ++v) {
      gate(v, kHandlers + v);
      put<uint8_t>(kHandlers + v, 0xf4);
    }
    // Not through enter64(): what CR4 holds must be the model's.
    state().cr4 = 0x20 | (cr4Allowed(offeredFeatures(model)) & 0x600);
    cpu->stateChanged();
  }
  /** The vector that ends it; -1: HLT behind it. */
  int vectorOf(std::initializer_list<unsigned> bytes) {
    code(kCode, bytes);
    put<uint8_t>(kCode + bytes.size(), 0xf4);
    if (run() != RunExit::Halted) return -2;
    const uint64_t at = state().rip - 1;
    return at >= kHandlers && at < kHandlers + 32 ? static_cast<int>(at - kHandlers) : -1;
  }
};

/** Features whose instructions user mode cannot run, or that are bits elsewhere. */
TEST(systemFeaturesOfEveryModelFollowItsCpuid) {
  std::set<Feature> checked;
  for (unsigned n = 0; n < kCpuModelCount; ++n) {
    const CpuModel& model = kCpuModels[n];
    const auto check = [&](Feature f, const char* what, bool works) {
      checked.insert(f);
      const bool offered = shown(model, f);
      if (works != offered) ::lodge::testing::fail(__FILE__, __LINE__, failure(model, kFeatureRows[static_cast<unsigned>(f)].name + std::string(", ") + what, offered));
    };
    struct Instruction { Feature feature; const char* name; std::initializer_list<unsigned> bytes; };
    const Instruction instructions[] = {
        {Feature::Msr, "RDMSR", {0x0f, 0x32}}, {Feature::Msr, "WRMSR", {0x0f, 0x30}}, {Feature::Tsc, "RDTSC", {0x0f, 0x31}},
        {Feature::Rdtscp, "RDTSCP", {0x0f, 0x01, 0xf9}}, {Feature::Lm, "SWAPGS", {0x0f, 0x01, 0xf8}}, {Feature::Smap, "STAC", {0x0f, 0x01, 0xcb}},
        {Feature::Syscall, "SYSCALL", {0x0f, 0x05}}, {Feature::Syscall, "SYSRET", {0x48, 0x0f, 0x07}},
        {Feature::Invpcid, "INVPCID", {0x66, 0x0f, 0x38, 0x82, 0x03}}, {Feature::Xsave, "XGETBV", {0x0f, 0x01, 0xd0}},
        {Feature::Xsave, "XSETBV", {0x0f, 0x01, 0xd1}}, {Feature::Cr8Legacy, "LOCK MOV CR", {0xf0, 0x0f, 0x20, 0xc0}},
        {Feature::Fsgsbase, "RDFSBASE", {0xf3, 0x0f, 0xae, 0xc0}}, {Feature::Rdpid, "RDPID", {0xf3, 0x0f, 0xc7, 0xf8}},
        {Feature::Rdrand, "RDRAND", {0x0f, 0xc7, 0xf0}}, {Feature::Rdseed, "RDSEED", {0x0f, 0xc7, 0xf8}},
        {Feature::Xsaveopt, "XSAVEOPT", {0x0f, 0xae, 0x33}}, {Feature::Xsavec, "XSAVEC", {0x0f, 0xc7, 0x23}},
        {Feature::Xsaves, "XSAVES", {0x0f, 0xc7, 0x2b}}, {Feature::Xsaves, "XRSTORS", {0x0f, 0xc7, 0x1b}},
        {Feature::Sse3, "MONITOR", {0x0f, 0x01, 0xc8}}, {Feature::Sse3, "MWAIT", {0x0f, 0x01, 0xc9}},
    };
    for (const Instruction& i : instructions) {
      ModelGuest g(model);
      const bool area = i.feature == Feature::Xsave || i.feature == Feature::Xsaveopt || i.feature == Feature::Xsavec ||
                        i.feature == Feature::Xsaves;
      g.state().cr4 |= (area ? 1u << 18 : 0) | (i.feature == Feature::Fsgsbase ? 1u << 16 : 0);
      g.state().gpr[kRbx] = 0x14000, g.state().gpr[kRcx] = area ? 0 : kCode;
      g.cpu->stateChanged();
      check(i.feature, i.name, g.vectorOf(i.bytes) != kUD);
    }
    {
      ModelGuest g(model);
      const bool amd = cpuVendor(model)[0] == 'A';  // leaves SYSENTER out in long mode
      const bool known = g.vectorOf({0x0f, 0x34}) != kUD;
      if (!amd) check(Feature::Sep, "SYSENTER", known);
      else CHECK(!known);
      checked.insert(Feature::Sep);
    }
    struct ControlBit { Feature feature; unsigned bit; };
    static constexpr ControlBit kBits[] = {{Feature::Vme, 0}, {Feature::Vme, 1}, {Feature::Tsc, 2}, {Feature::De, 3}, {Feature::Pse, 4}, {Feature::Mce, 6},
                                           {Feature::Pge, 7}, {Feature::Mmx, 8}, {Feature::Fxsr, 9}, {Feature::Sse, 10}, {Feature::Umip, 11},
                                           {Feature::Fsgsbase, 16}, {Feature::Pcid, 17}, {Feature::Xsave, 18}, {Feature::Smep, 20}, {Feature::Smap, 21}};
    for (const ControlBit& b : kBits) {
      ModelGuest g(model);
      // CR4.PAE, without which there is no long mode, would not be a 486's.
      const uint64_t extra = shown(model, Feature::Pae) ? 0 : 0x20;
      if (extra) continue;
      g.state().gpr[kRax] = g.state().cr4 | 1ull << b.bit;
      check(b.feature, "its bit of CR4", g.vectorOf({0x0f, 0x22, 0xe0}) == -1);
    }
    struct MsrRow { Feature feature; uint32_t index; };
    static constexpr MsrRow kMsrs[] = {{Feature::Tsc, 0x10}, {Feature::Apic, 0x1b}, {Feature::TscAdjust, 0x3b}, {Feature::Mtrr, 0xfe}, {Feature::Mtrr, 0x200},
                                       {Feature::Mtrr, 0x2ff}, {Feature::Sep, 0x174}, {Feature::Mca, 0x179}, {Feature::Pat, 0x277}, {Feature::Syscall, 0xc0000081},
                                       {Feature::Lm, 0xc0000082}, {Feature::Lm, 0xc0000100}, {Feature::Lm, 0xc0000102}};
    if (shown(model, Feature::Msr)) {
      for (const MsrRow& m : kMsrs) {
        ModelGuest g(model);
        g.state().gpr[kRcx] = m.index;
        check(m.feature, "its MSR", g.vectorOf({0x0f, 0x32}) == -1);
      }
    }
    struct EferBit { Feature feature; unsigned bit; };
    for (const EferBit& b : {EferBit{Feature::Syscall, 0}, {Feature::Lm, 8}, {Feature::Nx, 11}}) {
      Guest g(kRamBytes, makeTestCpu, &model);
      check(b.feature, "its bit of EFER", g.cpu->writeMsr(0xc0000080, 1ull << b.bit));
    }
    {
      // A page of 1 GiB, and a 4 MiB page above 4 GiB: reserved bits elsewhere.
      ModelGuest g(model);
      const Gpa pdpt = g.get<uint64_t>(kTables) & ~0xfffull;
      g.put<uint64_t>(pdpt + 8, 0x83);
      g.put<uint32_t>(0x14000, 0x12345678);
      check(Feature::Page1G, "a page", g.vectorOf({0x8b, 0x04, 0x25, 0x00, 0x40, 0x01, 0x40}) == -1 && g.state().gpr[kRax] == 0x12345678);
      Guest legacy(kRamBytes, makeTestCpu, &model);
      legacy.enter32(kCode);
      legacy.put<uint64_t>(kIdt + kPF * 8, 0x2000 | uint64_t{kCode32} << 16 | 0x8eull << 40 | 1ull << 48);
      legacy.put<uint8_t>(kHandlers, 0xf4);
      legacy.put<uint32_t>(kTables, 0x83);
      legacy.put<uint32_t>(kTables + 4, 0x2083);
      State& s = legacy.state();
      s.cr3 = kTables, s.cr4 = 0x10, s.cr0 |= 1u << 31;
      legacy.cpu->stateChanged();
      legacy.code(kCode, {0xa1, 0x00, 0x00, 0x40, 0x00, 0xf4});
      CHECK(legacy.run() == RunExit::Halted);
      check(Feature::Pse36, "a page above 4 GiB", s.rip == kCode + 6);
    }
    // The hypervisor's leaves.
    uint32_t r[4];
    cpuidLookup({0x40000000, 0, 0, 1, &model, offeredFeatures(model), 2'000'000'000, false, true}, r);
    check(Feature::Hypervisor, "its leaves", r[0] != 0);
    // LZCNT and TZCNT are BSR and BSF without their feature: of 1 they make 31 and 0, or 0 and 0; of 0 nothing.
    ModelGuest lzcnt(model), tzcnt(model);
    lzcnt.state().gpr[kRcx] = 1;
    CHECK_EQ(lzcnt.vectorOf({0xf3, 0x0f, 0xbd, 0xc1}), -1);
    check(Feature::Lzcnt, "LZCNT", lzcnt.state().gpr[kRax] == 31);
    tzcnt.state().gpr[kRcx] = 0;
    CHECK_EQ(tzcnt.vectorOf({0xf3, 0x0f, 0xbc, 0xc1}), -1);
    check(Feature::Bmi1, "TZCNT", tzcnt.state().gpr[kRax] == 32);
  }
  // With those of instructions that user mode runs, and those that change nothing but what a guest may expect, that is all of them.
  static constexpr Feature kPromises[] = {Feature::Erms, Feature::Fsrm, Feature::InvariantTsc, Feature::Prefetchw, Feature::X2apic, Feature::TscDeadline,
                                          Feature::Xgetbv1, Feature::Pae};
  checked.insert(std::begin(kPromises), std::end(kPromises));
  checked.insert({Feature::Fpu, Feature::Avx, Feature::Cx8, Feature::Cx16, Feature::LahfLm});
  for (const Encoding& e : conformance::encodings()) {
    if (e.excluded) continue;
    if (e.simd) checked.insert(e.simd->feature);
    else if (e.vex) checked.insert({e.vex->feature[0], e.vex->feature[1]});
    else checked.insert(featureOf(e.op));
  }
  for (unsigned f = 0; f < kFeatureCount; ++f) {
    if (!checked.contains(static_cast<Feature>(f))) ::lodge::testing::fail(__FILE__, __LINE__, std::string("nothing checks ") + kFeatureRows[f].name);
  }
}

}  // namespace
}  // namespace lodge::x86
