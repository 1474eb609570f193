// Every SIMD row against the instruction it stands for, run on the host CPU with the same registers and memory.
#include <cstdio>

#include "testing/test.h"
#include "x86/fp/host_oracle.h"

namespace lodge::x86 {
namespace {

using oracle::Context;
using oracle::Random;

struct Operands {
  bool memory;
  unsigned reg, rm;   ///< register numbers; rm is unused with memory
  bool wide;          ///< REX.W
  uint8_t imm;
  unsigned offset;    ///< of the memory operand in Context::memory
};

bool regIsGpr(FpForm f) { return f == FpForm::GprXmm || f == FpForm::GprMmx || f == FpForm::RmGpr; }
bool rmIsGpr(FpForm f) {
  return f == FpForm::XmmGpr || f == FpForm::MmxGpr || f == FpForm::RmGprXmm || f == FpForm::RmGprMmx;
}
bool regIsMmx(FpForm f) {
  return f == FpForm::MmxRm || f == FpForm::RmMmx || f == FpForm::MmxXmm || f == FpForm::MmxGpr || f == FpForm::RmGprMmx ||
         f == FpForm::MmxMaskStore;
}
bool rmIsMmx(FpForm f) {
  return f == FpForm::MmxRm || f == FpForm::RmMmx || f == FpForm::XmmMmx || f == FpForm::GprMmx ||
         f == FpForm::MmxRmImmShift || f == FpForm::MmxMaskStore;
}

unsigned randomGpr(Random& random) {
  for (;;) {
    const unsigned r = random.below(16);
    if (r != kRsp && r != kR14 && r != kR15) return r;
  }
}

Operands randomOperands(Random& random, const FpRow& row) {
  Operands o{};
  o.memory = !(row.attributes & kFpNoMemory) && row.form != FpForm::None && ((row.attributes & kFpNoRegister) || random.oneIn(2));
  o.reg = regIsGpr(row.form) ? randomGpr(random) : random.below(regIsMmx(row.form) ? 8 : 16);
  o.rm = rmIsGpr(row.form) ? randomGpr(random) : random.below(rmIsMmx(row.form) ? 8 : 16);
  if (!rmIsGpr(row.form) && !regIsGpr(row.form) && random.oneIn(8)) o.rm = o.reg;
  if (rmIsMmx(row.form)) o.rm &= 7;
  o.wide = random.oneIn(3);
  o.imm = static_cast<uint8_t>(random.oneIn(3) ? random.below(20) : random.bits());
  o.offset = 16 * random.below(8) + ((row.attributes & kFpAligned) ? 0 : random.below(16));
  return o;
}

std::vector<uint8_t> encode(const FpRow& row, const Operands& o) {
  std::vector<uint8_t> code;
  constexpr uint8_t kPrefixes[] = {0, 0x66, 0xf3, 0xf2};
  if (row.prefix != FpPrefix::None) code.push_back(kPrefixes[static_cast<unsigned>(row.prefix)]);
  const unsigned reg = row.extension >= 0 ? static_cast<unsigned>(row.extension) : o.reg;
  const unsigned rm = o.memory ? unsigned{kR14} : o.rm;
  const uint8_t rex = static_cast<uint8_t>(0x40 | o.wide << 3 | (reg >> 3) << 2 | rm >> 3);
  if (rex != 0x40) code.push_back(rex);
  code.push_back(0x0f);
  if (row.map == FpMap::M0F38) code.push_back(0x38);
  if (row.map == FpMap::M0F3A) code.push_back(0x3a);
  code.push_back(row.opcode);
  const bool hasModRm = row.form != FpForm::None || row.extension >= 0;
  if (hasModRm) code.push_back(static_cast<uint8_t>((o.memory ? 0 : 0xc0) | (reg & 7) << 3 | (rm & 7)));
  if (row.imm8) code.push_back(o.imm);
  return code;
}

/** What the interpreter core does around a row's function. Returns the vector or -1. */
int execute(const FpRow& row, const Operands& op, State& state, uint8_t* memory, bool byImmediate) {
  alignas(64) uint8_t buffer[512];
  std::memset(buffer, 0xcc, sizeof buffer);
  FpOperands o{state, buffer, nullptr, op.imm, static_cast<uint8_t>(op.wide ? 8 : 4), op.memory, 0, 0, 0, 0};
  const unsigned bytes = row.memoryBytes ? row.memoryBytes : o.operandSize;
  // Exactly the operand's bytes are readable.
  std::vector<uint8_t> source(memory + op.offset, memory + op.offset + bytes);
  const auto xmm = [&](unsigned i) -> void* { return state.vec[i].bytes; };
  const auto mmx = [&](unsigned i) -> void* { return state.x87.r[i].bytes; };
  const auto gpr = [&](unsigned i) -> void* { return &state.gpr[i]; };
  const auto reg = regIsGpr(row.form) ? gpr(op.reg) : regIsMmx(row.form) ? mmx(op.reg & 7) : xmm(op.reg);
  const auto rm = rmIsGpr(row.form) ? gpr(op.rm) : rmIsMmx(row.form) ? mmx(op.rm & 7) : xmm(op.rm);
  const bool storing = row.attributes & kFpStore;
  switch (row.form) {
    case FpForm::XmmRmImmShift:
    case FpForm::MmxRmImmShift:
      o.dst = rm;
      o.src = rm;
      break;
    case FpForm::XmmMaskStore:
    case FpForm::MmxMaskStore:
      o.src = rm;
      o.imm = op.reg;
      break;
    case FpForm::Memory:
    case FpForm::None:
      o.src = source.data();
      break;
    default:
      if (storing) {
        o.src = reg;
        if (!op.memory) o.dst = rm;
      } else {
        o.dst = reg;
        o.src = op.memory ? source.data() : rm;
      }
  }
  const int fault = (byImmediate && row.byImmediate ? row.byImmediate[op.imm] : row.function)(o);
  if (fault >= 0) return fault;
  if (storing && op.memory) std::memcpy(memory + op.offset, buffer, row.attributes & kFpVariableStore ? o.storeBytes : bytes);
  if (row.form == FpForm::XmmMaskStore || row.form == FpForm::MmxMaskStore)
    for (unsigned i = 0; i < 16; ++i)
      if (o.storeMask >> i & 1) memory[op.offset + i] = buffer[i];
  if ((row.attributes & kFpWritesFlags) && o.flags != kFpFlagsKept) state.rflags = (state.rflags & ~uint64_t{kArith}) | o.flags;
  return -1;
}

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
  if (!(hostFpFeatures() >> static_cast<unsigned>(row.feature) & 1)) {
    std::fprintf(stderr, "skipped %s: the host does not execute it\n", row.mnemonic);
    return;
  }
  const std::string name = row.mnemonic;
  unsigned reported = 0;
  static State state;
  for (unsigned n = 0; n < cases && reported < 3; ++n) {
    Context before;
    oracle::randomise(random, before, unmasked, false);
    const Operands op = randomOperands(random, row);
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
      fault = execute(row, op, state, actual.memory, n & 1);
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
    std::snprintf(where, sizeof where, "%s (prefix %u opcode %02x) %s reg %u rm %u w %d imm %02x mxcsr %04x case %u: ", row.mnemonic,
                  static_cast<unsigned>(row.prefix), row.opcode, op.memory ? "memory" : "register", op.reg, op.rm, op.wide, op.imm,
                  mxcsr, n);
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
