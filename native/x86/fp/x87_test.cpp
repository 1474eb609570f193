// Every x87 row against the instruction it stands for, run on the host CPU from the same register stack.
#include <cstdio>

#include "testing/test.h"
#include "x86/fp/host_oracle.h"

namespace lodge::x86 {
namespace {

using namespace fpbits;
using oracle::Context;
using oracle::Random;

unsigned memoryBytes(const X87Row& row, unsigned operandSize) {
  if (row.memoryBytes == kX87Environment) return operandSize == 2 ? 14 : 28;
  if (row.memoryBytes == kX87Image) return operandSize == 2 ? 94 : 108;
  return row.memoryBytes;
}

/** What the interpreter core does around a row's function. */
void execute(const X87Row& row, uint8_t modrm, unsigned operandSize, State& state, uint8_t* memory) {
  alignas(64) uint8_t buffer[512];
  std::memset(buffer, 0xcc, sizeof buffer);
  const bool hasMemory = row.extension >= 0;
  const unsigned bytes = memoryBytes(row, operandSize);
  std::vector<uint8_t> source(memory, memory + bytes);
  FpOperands o{state, buffer, source.data(), modrm, static_cast<uint8_t>(operandSize), hasMemory, 0,
               static_cast<uint32_t>(state.rflags & kArith), 0, 0};
  row.function(o);
  if ((row.attributes & kFpStore) && hasMemory) std::memcpy(memory, buffer, row.attributes & kFpVariableStore ? o.storeBytes : bytes);
  if ((row.attributes & kFpWritesFlags) && o.flags != kFpFlagsKept) state.rflags = (state.rflags & ~uint64_t{kArith}) | o.flags;
}

bool is(const X87Row& row, const char* name) { return std::strcmp(row.mnemonic, name) == 0; }

/** Condition codes the SDM leaves undefined, and pointers, which hosts save or do not save as they please. */
void hideUndefined(const X87Row& row, unsigned operandSize, unsigned offset, Context& c) {
  if (is(row, "fcomi") || is(row, "fcomip") || is(row, "fucomi") || is(row, "fucomip")) c.fx[3] &= 0xfd;  // C1: 0 or as it was
  if (row.attributes & kFpStore && (row.memoryBytes == kX87Environment || row.memoryBytes == kX87Image)) {
    const unsigned unit = operandSize == 2 ? 2 : 4;
    std::memset(c.memory + offset + 3 * unit, 0, 4 * unit);
  }
}

void operandFor(const X87Row& row, Random& random, uint8_t* to) {
  const auto put = [&](auto value) { std::memcpy(to, &value, sizeof value); };
  if (row.memoryBytes == kX87Environment || row.memoryBytes == kX87Image) {
    for (unsigned i = 0; i < 28; ++i) to[i] = static_cast<uint8_t>(random.bits());
    for (unsigned at : {14u, 28u})
      if (row.memoryBytes == kX87Image)
        for (unsigned i = 0; i < 8; ++i) random.float80(to + at + 10 * i);
    return;
  }
  if (is(row, "fldcw")) return put(static_cast<uint16_t>(random.bits()));
  if (is(row, "fbld")) {
    for (unsigned i = 0; i < 9; ++i) to[i] = static_cast<uint8_t>(random.below(10) << 4 | random.below(10));
    to[9] = random.oneIn(2) ? 0x80 : 0;
    return;
  }
  const bool integer = row.opcode & 1 && !is(row, "fld");
  if (row.memoryBytes == 10) return random.float80(to);
  if (row.memoryBytes == 8 && !integer) return put(random.float64());
  if (row.memoryBytes == 4 && (row.opcode == 0xd8 || row.opcode == 0xd9)) return put(random.float32());
  if (random.oneIn(2)) return put(uint64_t{random.below(7)} - 3);
  put(random.bits());
}

void compareRow(oracle::Host& host, Random& random, const X87Row& row, unsigned cases, bool unmasked) {
  static State state;
  unsigned reported = 0;
  for (unsigned n = 0; n < cases && reported < 3; ++n) {
    Context before;
    oracle::randomise(random, before, false, unmasked);
    const bool hasMemory = row.extension >= 0;
    const unsigned offset = random.below(64);
    const unsigned operandSize = (row.memoryBytes == kX87Environment || row.memoryBytes == kX87Image) && random.oneIn(2) ? 2 : 4;
    const uint8_t modrm =
        hasMemory ? static_cast<uint8_t>(row.extension << 3 | 6) : static_cast<uint8_t>(row.modrmFirst + random.below(row.modrmLast - row.modrmFirst + 1u));
    if (hasMemory) operandFor(row, random, before.memory + offset);
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
    std::vector<uint8_t> code;
    if (operandSize == 2) code.push_back(0x66);
    if (hasMemory) code.push_back(0x41);
    code.push_back(row.opcode);
    code.push_back(modrm);
    host.run(code, expected);
    expected.gpr[kR14] = before.gpr[kR14];

    state = State{};
    oracle::toState(actual, state);
    state.cr0 = 1;
    {
      HostFpScope scope(state);
      execute(row, modrm, operandSize, state, actual.memory + offset);
    }
    oracle::fromState(state, actual);
    hideUndefined(row, operandSize, offset, expected);
    hideUndefined(row, operandSize, offset, actual);
    const std::string what = oracle::difference(expected, actual);
    if (what.empty()) continue;
    ++reported;
    char where[400];
    uint16_t control, status;
    std::memcpy(&control, before.fx, 2);
    std::memcpy(&status, before.fx + 2, 2);
    int at = std::snprintf(where, sizeof where, "%s (%02x %02x) control %04x status %04x tags %02x st0 ", row.mnemonic, row.opcode, modrm, control,
                           status, before.fx[4]);
    for (unsigned r = 0; r < 2; ++r) {
      for (int i = 9; i >= 0; --i) at += std::snprintf(where + at, sizeof where - static_cast<unsigned>(at), "%02x", before.fx[32 + 16 * r + static_cast<unsigned>(i)]);
      at += std::snprintf(where + at, sizeof where - static_cast<unsigned>(at), r ? "" : " st1 ");
    }
    std::snprintf(where + at, sizeof where - static_cast<unsigned>(at), " case %u: ", n);
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
