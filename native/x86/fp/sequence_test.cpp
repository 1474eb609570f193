// Random sequences of x87, MMX and SSE instructions in one HostFpScope against the same sequence on the host: what gathers in
// the host's registers between functions must come out as if each instruction had stored it.
#include <cstdio>

#include "testing/test.h"
#include "testing/row_runner.h"

namespace lodge::x86 {
namespace {

using oracle::Context;
using oracle::Operands;
using oracle::Random;
using oracle::X87Instruction;

struct Step {
  const FpRow* simd = nullptr;
  Operands operands{};
  X87Instruction x87{};
};

/** Rows whose result depends on the processor (saved pointers, C1 of FCOMI) or that address memory in another way. */
bool excluded(const char* mnemonic) {
  for (const char* name : {"fxsave", "fnstenv", "fnsave", "fcomi", "fcomip", "fucomi", "fucomip", "maskmovq", "maskmovdqu",
                           "cvtpi2ps"})
    if (!std::strcmp(name, mnemonic)) return true;
  return false;
}

Step randomStep(Random& random, unsigned offset) {
  Step step;
  for (;;) {
    if (random.oneIn(2)) {
      const X87Row& row = kX87Rows[random.below(kX87RowCount)];
      if (excluded(row.mnemonic)) continue;
      step.x87 = oracle::randomInstruction(random, row);
      return step;
    }
    const FpRow& row = kSimdRows[random.below(kSimdRowCount)];
    if (excluded(row.mnemonic) || !implementedFeatures().has(row.feature)) continue;
    step.simd = &row;
    step.operands = oracle::randomOperands(random, row);
    step.operands.offset = offset;
    return step;
  }
}

/** One step as the core does it: the vector, or -1. */
int run(const Step& step, State& state, uint8_t* memory, unsigned offset) {
  constexpr uint16_t kPending = fpbits::kErrorSummary;
  if (step.simd) {
    const bool mmx = (step.simd->attributes & kFpMmx) && !(step.simd->form == FpForm::XmmMmx && step.operands.memory);
    if (mmx && (state.x87.status & kPending)) return kMF;
    return oracle::execute(*step.simd, step.operands, state, memory, true);
  }
  if (!(step.x87.row->attributes & kX87NoWait) && (state.x87.status & kPending)) return kMF;
  oracle::execute(step.x87, state, memory + offset);
  return -1;
}

void compareSequences(uint64_t seed, unsigned cases, bool unmasked) {
  oracle::Host host;
  Random random(seed);
  static State state;
  unsigned reported = 0;
  for (unsigned n = 0; n < cases && reported < 3; ++n) {
    Context before;
    oracle::randomise(random, before, unmasked, unmasked);
    constexpr unsigned kOffset = 64;
    // A loadable image for FXRSTOR, FRSTOR, FLDENV, FLDCW and LDMXCSR alike, now and then one that unmasks exceptions.
    Context image;
    oracle::randomise(random, image, unmasked, unmasked);
    if (random.oneIn(2)) std::memcpy(before.memory + kOffset, image.fx, 512);
    before.gpr[kR14] = reinterpret_cast<uint64_t>(before.memory + kOffset);

    std::vector<Step> steps(2 + random.below(10));
    std::vector<uint8_t> code;
    std::string names;
    for (Step& step : steps) {
      step = randomStep(random, kOffset);
      const std::vector<uint8_t> bytes = step.simd ? encode(*step.simd, step.operands) : encode(step.x87);
      code.insert(code.end(), bytes.begin(), bytes.end());
      names += std::string(" ") + (step.simd ? step.simd->mnemonic : step.x87.row->mnemonic);
    }

    Context expected = before, actual = before;
    expected.gpr[kR14] = reinterpret_cast<uint64_t>(expected.memory + kOffset);
    host.run(code, expected);
    expected.gpr[kR14] = before.gpr[kR14];

    state = State{};
    oracle::toState(actual, state);
    state.cr0 = 1;
    state.efer = 1u << 10;
    state.seg[kCs].attributes = 1u << 13;
    int fault = -1;
    {
      HostFpScope scope(state);
      for (unsigned i = 0; i < steps.size() && fault < 0; ++i) fault = run(steps[i], state, actual.memory, kOffset);
    }
    oracle::fromState(state, actual);
    actual.signal = fault < 0 ? 0 : fault == kXM || fault == kMF ? SIGFPE : SIGSEGV;
    uint32_t mxcsr;
    std::memcpy(&mxcsr, actual.fx + 24, 4);
    if (fault == kXM && (mxcsr & ~(mxcsr >> 7) & (fpbits::kOe | fpbits::kUe)))  // see hideProcessorDependent in simd_test.cpp
      for (Context* c : {&expected, &actual}) c->fx[24] &= static_cast<uint8_t>(~fpbits::kPe);
    const std::string what = oracle::difference(expected, actual);
    if (what.empty()) continue;
    ++reported;
    testing::fail(__FILE__, __LINE__, "case " + std::to_string(n) + ":" + names + ": " + what);
  }
}

TEST(fp_sequences_agree_with_the_host) { compareSequences(0x5e9, oracle::scaled(5000), false); }
TEST(fp_sequences_agree_with_the_host_when_exceptions_are_unmasked) { compareSequences(0x5ea, oracle::scaled(5000), true); }

}  // namespace
}  // namespace lodge::x86
