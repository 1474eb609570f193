// String instructions in both directions over page boundaries and overlaps, beside the host's own.
#include <algorithm>
#include <array>
#include <random>

#include "testing/test.h"
#include "x86/interpreter/guest_fixture.h"

namespace lodge::x86 {
namespace {

using testing::Guest;
using testing::kFree;

constexpr Gpa kBuffer = kFree + 0x2000;
constexpr unsigned kBytes = 4 * 4096;

struct Case {
  uint8_t opcode;  ///< of the form for bytes: A4h MOVS, AAh STOS, ACh LODS
  unsigned size;
  bool down, repeated;
  unsigned from, to, count;  ///< offsets in the buffer
};

std::vector<uint8_t> codeOf(const Case& c) {
  std::vector<uint8_t> code;
  if (c.down) code.push_back(0xfd);
  if (c.repeated) code.push_back(0xf3);
  if (c.size == 2) code.push_back(0x66);
  if (c.size == 8) code.push_back(0x48);
  code.push_back(static_cast<uint8_t>(c.opcode | (c.size > 1)));
  // One by one, a loop does what the prefix would have done.
  if (!c.repeated) code.insert(code.end(), {0xff, 0xc9, 0x75, static_cast<uint8_t>(0 - (c.size == 2 || c.size == 8 ? 6 : 5))});
  code.push_back(0xfc);
  return code;
}

/** What the manual says, an element at a time. */
void model(const Case& c, uint8_t* buffer, uint64_t& rax) {
  const int64_t step = c.down ? -static_cast<int64_t>(c.size) : c.size;
  int64_t from = c.from, to = c.to;
  for (unsigned n = 0; n < c.count; ++n, from += step, to += step) {
    if (c.opcode == 0xa4) std::memmove(buffer + to, buffer + from, c.size);
    if (c.opcode == 0xaa) std::memcpy(buffer + to, &rax, c.size);
    if (c.opcode == 0xac && c.size == 4) rax = 0;
    if (c.opcode == 0xac) std::memcpy(&rax, buffer + from, c.size);
  }
}

TEST(string_runs_are_what_their_elements_are) {
  Guest g;
  std::mt19937 random(1);
  const auto below = [&](unsigned n) { return static_cast<unsigned>(random() % n); };
  std::vector<uint8_t> expected(kBytes);
  for (unsigned round = 0; round < 2000; ++round) {
    Case c;
    c.opcode = std::array<uint8_t, 3>{0xa4, 0xaa, 0xac}[below(3)];
    const bool wide = below(2);
    c.size = 1u << below(wide ? 4 : 3);
    c.down = below(2);
    c.repeated = below(2);
    c.count = 1 + below(below(2) ? 8 : 5000 / c.size);
    const unsigned reach = c.count * c.size, low = c.down ? reach - c.size : 0, room = kBytes - reach;
    c.from = low + below(room + 1);
    // Often so close that a run overlaps itself.
    const int near = static_cast<int>(c.from) + static_cast<int>(below(32)) - 16;
    c.to = below(2) ? low + below(room + 1)
                    : static_cast<unsigned>(std::clamp(near, static_cast<int>(low), static_cast<int>(low + room)));
    for (uint8_t& b : expected) b = static_cast<uint8_t>(random());
    std::memcpy(g.at(kBuffer), expected.data(), kBytes);
    uint64_t rax = random() * (wide ? 0x1'0000'0001ull : 1);
    std::vector<uint8_t> code = codeOf(c);
    code.push_back(0xf4);
    g.memory.write(kFree, code.data(), code.size());
    if (wide) g.enter64(kFree);
    else g.enter32(kFree);
    g.state().gpr[kRax] = rax;
    g.state().gpr[kRcx] = c.count;
    g.state().gpr[kRsi] = kBuffer + c.from;
    g.state().gpr[kRdi] = kBuffer + c.to;
    model(c, expected.data(), rax);
    CHECK(g.run() == RunExit::Halted);
    const int64_t moved = (c.down ? -1 : 1) * static_cast<int64_t>(reach);
    const uint64_t source = kBuffer + c.from + (c.opcode == 0xaa ? 0 : moved);
    const uint64_t target = kBuffer + c.to + (c.opcode == 0xac ? 0 : moved);
    CHECK(std::memcmp(g.at(kBuffer), expected.data(), kBytes) == 0);
    CHECK_EQ(g.state().gpr[kRax], rax);
    CHECK_EQ(g.state().gpr[kRcx], 0ull);
    CHECK_EQ(g.state().gpr[kRsi], source);
    CHECK_EQ(g.state().gpr[kRdi], target);
  }
}

TEST(downward_run_in_16_bit_code_stops_at_offset_zero) {
  Guest g;
  // std; rep movsb; hlt, with SI = 2, DI = 0x8002 and CX = 5: the fourth byte comes from offset FFFFh.
  g.code(kFree, {0xfd, 0xf3, 0xa4, 0xf4});
  g.enterReal(kFree >> 4, 0);
  for (unsigned n = 0; n < 3; ++n) *g.at(n) = static_cast<uint8_t>(0x10 + n);
  *g.at(0xffff) = 0x77;
  *g.at(0xfffe) = 0x66;
  g.state().gpr[kRsi] = 2;
  g.state().gpr[kRdi] = 0x8002;
  g.state().gpr[kRcx] = 5;
  CHECK(g.run() == RunExit::Halted);
  const uint8_t expected[] = {0x66, 0x77, 0x10, 0x11, 0x12};
  CHECK(std::memcmp(g.at(0x7ffe), expected, sizeof expected) == 0);
  CHECK_EQ(g.state().gpr[kRsi] & 0xffff, 0xfffdull);
}

}  // namespace
}  // namespace lodge::x86
