// Every x87 row against the instruction it stands for, run on the host CPU from the same register stack.
#include <cstdio>

#include "testing/test.h"
#include "testing/row_runner.h"

namespace lodge::x86 {
namespace {

using namespace fpbits;
using oracle::Context;
using oracle::Random;

bool is(const X87Row& row, const char* name) { return std::strcmp(row.mnemonic, name) == 0; }

/** Condition codes the SDM leaves undefined, and pointers, which hosts save or do not save as they please. */
void hideUndefined(const X87Row& row, unsigned operandSize, unsigned offset, Context& c) {
  if (is(row, "fcomi") || is(row, "fcomip") || is(row, "fucomi") || is(row, "fucomip")) c.fx[3] &= 0xfd;  // C1: 0 or as it was
  if (row.attributes & kFpStore && (row.memoryBytes == kX87Environment || row.memoryBytes == kX87Image)) {
    const unsigned unit = operandSize == 2 ? 2 : 4;
    std::memset(c.memory + offset + 3 * unit, 0, 4 * unit);
  }
}

void compareRow(oracle::Host& host, Random& random, const X87Row& row, unsigned cases, bool unmasked) {
  static State state;
  unsigned reported = 0;
  for (unsigned n = 0; n < cases && reported < 3; ++n) {
    Context before;
    oracle::randomise(random, before, false, unmasked);
    const unsigned offset = random.below(64);
    const oracle::X87Instruction instruction = oracle::randomInstruction(random, row);
    if (instruction.memory()) oracle::operandFor(row, random, before.memory + offset);
    if (unmasked && (row.attributes & kX87NoWait) && random.oneIn(2)) {  // an exception is pending
      uint16_t control, status;
      std::memcpy(&control, before.fx, 2);
      std::memcpy(&status, before.fx + 2, 2);
      status |= random.bits() & kExceptions;
      if (status & ~control & kExceptions) status |= kErrorSummary | kBusy;
      std::memcpy(before.fx + 2, &status, 2);
    }
    const bool bcd = is(row, "fbstp");
    if (bcd && random.oneIn(2)) {  // near the 18 digits that fit
      const uint16_t exponent = static_cast<uint16_t>((random.bits() & 0x8000) | (0x3fff + random.below(62)));
      std::memcpy(before.fx + 32 + 8, &exponent, 2);
    }

    Context expected = before, actual = before;
    expected.gpr[kR14] = reinterpret_cast<uint64_t>(expected.memory + offset);
    host.run(encode(instruction), expected);
    expected.gpr[kR14] = before.gpr[kR14];

    state = State{};
    oracle::toState(actual, state);
    state.cr0 = 1;
    {
      HostFpScope scope(state);
      execute(instruction, state, actual.memory + offset);
    }
    oracle::fromState(state, actual);
    hideUndefined(row, instruction.operandSize, offset, expected);
    hideUndefined(row, instruction.operandSize, offset, actual);
    const std::string what = oracle::difference(expected, actual);
    if (what.empty()) continue;
    ++reported;
    char where[400];
    uint16_t control, status;
    std::memcpy(&control, before.fx, 2);
    std::memcpy(&status, before.fx + 2, 2);
    const auto number = [&](unsigned i) {
      uint64_t significand;
      uint16_t exponent;
      std::memcpy(&significand, before.fx + 32 + 16 * i, 8);
      std::memcpy(&exponent, before.fx + 40 + 16 * i, 2);
      char text[24];
      std::snprintf(text, sizeof text, "%04x%016llx", exponent, static_cast<unsigned long long>(significand));
      return std::string(text);
    };
    std::snprintf(where, sizeof where, "%s (%02x %02x) control %04x status %04x tags %02x st0 %s st1 %s case %u: ", row.mnemonic,
                  row.opcode, instruction.modrm, control, status, before.fx[4], number(0).c_str(), number(1).c_str(), n);
    testing::fail(__FILE__, __LINE__, where + what);
  }
}

TEST(x87_rows_agree_with_the_host) {
  oracle::Host host;
  Random random(0x8087);
  for (unsigned i = 0; i < kX87RowCount; ++i) compareRow(host, random, kX87Rows[i], oracle::scaled(400), false);
}

TEST(x87_rows_agree_with_the_host_when_exceptions_are_unmasked) {
  oracle::Host host;
  Random random(0x8088);
  for (unsigned i = 0; i < kX87RowCount; ++i) compareRow(host, random, kX87Rows[i], oracle::scaled(400), true);
}

}  // namespace
}  // namespace lodge::x86
