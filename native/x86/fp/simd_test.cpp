// Every SIMD row against the instruction it stands for, run on the host CPU with the same registers and memory.
#include <cstdio>

#include "testing/test.h"
#include "testing/row_runner.h"

namespace lodge::x86 {
namespace {

using oracle::Context;
using oracle::Operands;
using oracle::Random;

void hideProcessorDependent(const FpRow& row, const Operands& op, Context& c) {
  const std::string name = row.mnemonic;
  if (name == "fxsave") {  // saved pointers and the mask of supported MXCSR bits
    std::memset(c.memory + op.offset + 6, 0, 18);
    std::memset(c.memory + op.offset + 28, 0, 4);
  }
  if (name == "cvtpi2ps" && op.memory) {  // whether it enters MMX state without an MMX operand
    c.fx[3] &= 0xc7;
    c.fx[4] = 0;
  }
  // With an unmasked overflow or underflow, #P reports a rounding with unbounded exponent, which is not modelled.
  uint32_t mxcsr;
  std::memcpy(&mxcsr, c.fx + 24, 4);
  if (c.signal && (mxcsr & ~(mxcsr >> 7) & (fpbits::kOe | fpbits::kUe))) c.fx[24] &= static_cast<uint8_t>(~fpbits::kPe);
}

void compareRow(oracle::Host& host, Random& random, const FpRow& row, unsigned cases, bool unmasked) {
  if (!implementedFeatures().has(row.feature)) {
    std::fprintf(stderr, "skipped %s: the host does not execute it\n", row.mnemonic);
    return;
  }
  const std::string name = row.mnemonic;
  unsigned reported = 0;
  static State state;
  for (unsigned n = 0; n < cases && reported < 3; ++n) {
    Context before;
    oracle::randomise(random, before, unmasked, false);
    const Operands op = oracle::randomOperands(random, row);
    uint8_t* operand = before.memory + op.offset;
    if (name == "fxrstor") {
      Context image;
      oracle::randomise(random, image, unmasked, true);
      std::memcpy(operand, image.fx, 512);
      std::memset(operand + 6, 0, 18);
      const uint16_t noise = static_cast<uint16_t>(random.bits());
      if (random.oneIn(2)) std::memcpy(operand, &noise, 2);
      if (random.oneIn(2)) operand[2] = static_cast<uint8_t>(random.bits()), operand[3] = static_cast<uint8_t>(random.bits());
      if (random.oneIn(8)) operand[26] |= static_cast<uint8_t>(1u << (2 + random.below(6)));  // reserved MXCSR bits
    }
    if (name == "ldmxcsr" && !random.oneIn(4)) std::memset(operand + 2, 0, 2);
    if (name == "ldmxcsr") operand[2] &= 0xfd;  // bit 17 exists on some processors
    before.gpr[kR14] = reinterpret_cast<uint64_t>(operand);
    const bool maskStore = row.form == FpForm::XmmMaskStore || row.form == FpForm::MmxMaskStore;
    if (maskStore) before.gpr[kRdi] = reinterpret_cast<uint64_t>(operand);

    Context expected = before, actual = before;
    for (Context* c : {&expected, &actual}) {
      const uint64_t moved = reinterpret_cast<uint64_t>(c->memory) - reinterpret_cast<uint64_t>(before.memory);
      c->gpr[kR14] += moved;
      if (maskStore) c->gpr[kRdi] += moved;
    }
    host.run(encode(row, op), expected);

    state = State{};
    oracle::toState(actual, state);
    state.efer = 1u << 10;
    state.seg[kCs].attributes = 1u << 13;
    int fault;
    {
      HostFpScope scope(state);
      fault = oracle::execute(row, op, state, actual.memory, n & 1);
    }
    oracle::fromState(state, actual);
    actual.signal = fault < 0 ? 0 : fault == kXM ? 8 : fault == kGP ? 11 : 4;
    for (Context* c : {&expected, &actual}) {
      const uint64_t moved = reinterpret_cast<uint64_t>(c->memory) - reinterpret_cast<uint64_t>(before.memory);
      c->gpr[kR14] -= moved;
      if (maskStore) c->gpr[kRdi] -= moved;
      hideProcessorDependent(row, op, *c);
    }
    const std::string what = oracle::difference(expected, actual);
    if (what.empty()) continue;
    ++reported;
    char where[200];
    uint32_t mxcsr;
    std::memcpy(&mxcsr, before.fx + 24, 4);
    std::snprintf(where, sizeof where, "%s (prefix %u opcode %02x) %s reg %u rm %u w %d imm %02x mxcsr %04x case %u: ",
                  row.mnemonic, static_cast<unsigned>(row.prefix), row.opcode, op.memory ? "memory" : "register", op.reg, op.rm,
                  op.wide, op.imm, mxcsr, n);
    testing::fail(__FILE__, __LINE__, where + what);
  }
}

TEST(simd_rows_agree_with_the_host) {
  oracle::Host host;
  Random random(0x51d0);
  for (unsigned i = 0; i < kSimdRowCount; ++i) compareRow(host, random, kSimdRows[i], oracle::scaled(200), false);
}

TEST(simd_rows_agree_with_the_host_when_exceptions_are_unmasked) {
  oracle::Host host;
  Random random(0x51d1);
  for (unsigned i = 0; i < kSimdRowCount; ++i) compareRow(host, random, kSimdRows[i], oracle::scaled(150), true);
}

}  // namespace
}  // namespace lodge::x86
