// Random programs of functions that call one another across pages: what traces compute is what the interpreter computes, wherever
// they are left, whatever becomes of the stack, and when the code changes or comes to lie elsewhere.
#include <array>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "testing/test.h"
#include "translator/emitter.h"
#include "translator/translator.h"
#include "x86/interpreter/guest_fixture.h"

namespace lodge::translator {
namespace {

using namespace x86;
using namespace x86::testing;

constexpr uint64_t kCode = 0x30000;  ///< identity-mapped, but for the case in which its second page moves
constexpr size_t kCodeBytes = 4 * kPageBytes;
constexpr Gpa kMoved = 0x48000;      ///< where that page lies then
constexpr uint64_t kStacks = 0x100000, kData = 0x110000;
constexpr uint64_t kTable = 0x1e00;  ///< in the data: of functions
constexpr unsigned kStackPages = 4;
constexpr Gpa kMemory = 0x200000;
constexpr unsigned kMemoryPages = 32;
constexpr Gpa kHandler = 0x5000;

template <bool Exact>
std::unique_ptr<Cpu> makeTraced(const CpuConfig& config, PhysicalMemory& memory, Environment& env) {
  Options options;
  options.cacheBytes = 16 << 20;
  options.exactFlags = Exact;
  options.traceHeat = 2;
  options.traceKernels = true;
  return makeTranslator(config, memory, env, options);
}

/** R12 counts the calls that the main loop makes; RDI and RSI point at data; functions use RAX, RBX, RCX, RDX, RBP, R8 and R14. */
class Program {
 public:
  explicit Program(std::mt19937_64& random) : random_(random), e_(bytes.data(), bytes.data() + kCodeBytes) {
    for (unsigned n = 0; n < kFunctions; ++n) function();
    entry = static_cast<size_t>(e_.position() - bytes.data());
    uint8_t* const top = e_.position();
    if (random_() % 4 == 0) {  // the immediate operand of an instruction changes each time
      e_.move64(kRdx, 12);
      e_.encode(0, kMap1, 0x88, kRdx, at(kR15, static_cast<int32_t>(patched_ - bytes.data())));
    }
    // One function is called directly, and one of four through a register.
    e_.callTo(functions_[pick(kFunctions)]);
    e_.move64(kRdx, 12);
    e_.alu64(4, inRegister(kRdx), 3);
    e_.load64(kRdx, at(kRsi, kRdx, 3, 0));
    e_.lea64(kRdx, at(kRdx, kR15, 0, 0));
    e_.encode(0, kMap1, 0xff, 2, inRegister(kRdx));
    e_.encode(kRexW, kMap1, 0xff, 0, inRegister(kRbx));
    e_.alu64(5, inRegister(12), 1);
    e_.jumpIfTo(5, top);
    e_.u8(0xf4);
  }
  std::array<uint8_t, kCodeBytes> bytes{};
  size_t entry = 0;
  /** Where an immediate operand is that may be anything. */
  uint64_t patched() const { return static_cast<uint64_t>(patched_ - bytes.data()); }
  uint64_t target(unsigned n) const { return static_cast<uint64_t>(functions_[kFunctions - 1 - n] - bytes.data()); }

 private:
  static constexpr unsigned kFunctions = 10;

  unsigned pick(unsigned n) { return static_cast<unsigned>(random_() % n); }
  uint8_t data() { return std::array<uint8_t, 7>{kRax, kRbx, kRcx, kRdx, kRbp, 8, kR14}[pick(7)]; }
  Operand operand() { return at(pick(2) ? +kRdi : +kRsi, 64 + static_cast<int32_t>(pick(12)) * (pick(4) ? 8 : 24)); }

  void function() {
    if (pick(3) == 0) {  // near the end of a page, as far as there is room for it
      const auto at = static_cast<size_t>(e_.position() - bytes.data());
      const size_t to = (at | kPageMask) - pick(60);
      if (to > at && to + 2 * kPageBytes < kCodeBytes) while (static_cast<size_t>(e_.position() - bytes.data()) < to) e_.u8(0xcc);
    }
    uint8_t* const start = e_.position();
    std::vector<uint8_t> saved;
    for (unsigned n = pick(4); n-- > 0;) {
      saved.push_back(data());
      push(saved.back());
    }
    const int32_t frame = pick(2) ? static_cast<int32_t>(pick(40)) * 8 : 0;
    if (frame) e_.alu64(5, inRegister(kRsp), frame);
    for (unsigned n = 1 + pick(6); n-- > 0;) statement(frame);
    if (frame) pick(2) ? e_.alu64(0, inRegister(kRsp), frame) : e_.lea64(kRsp, at(kRsp, frame));
    while (!saved.empty()) {
      if (pick(8)) pop(saved.back());
      else e_.lea64(kRsp, at(kRsp, 8));
      saved.pop_back();
    }
    if (pick(6) == 0) {  // returns behind the three bytes that follow each call, now and then
      e_.encode(0, kMap1, 0xf6, 0, inRegister(12)), e_.u8(static_cast<uint8_t>(1 + pick(7)));
      uint8_t* const not_ = e_.jumpIf(pick(2) ? 5 : 4);
      e_.alu64(0, at(kRsp, 0), 3);
      e_.land(not_);
    }
    pick(8) ? e_.u8(0xc3) : (e_.u8(0xc2), e_.u8(0), e_.u8(0));
    functions_.push_back(start);
  }
  void push(uint8_t gpr) {
    if (gpr >= 8) e_.u8(0x41);
    e_.u8(0x50u | (gpr & 7));
  }
  void pop(uint8_t gpr) {
    if (gpr >= 8) e_.u8(0x41);
    e_.u8(0x58u | (gpr & 7));
  }
  void statement(int32_t frame) {
    const unsigned wide = pick(2) ? kRexW : 0;
    switch (pick(12)) {
      case 0:
        e_.encode(wide, kMap1, 0x8b, data(), operand());
        break;
      case 1:
        e_.encode(wide, kMap1, 0x89, data(), operand());
        break;
      case 2:
        e_.encode(wide, kMap1, pick(2) ? 0x01 : 0x31, data(), operand());
        break;
      case 3:  // ADC, SBB: flags that come from far
        e_.encode(wide, kMap1, pick(2) ? 0x13 : 0x1b, data(), inRegister(data()));
        break;
      case 4:
        e_.alu64(static_cast<uint8_t>(pick(8)), inRegister(data()), static_cast<int32_t>(pick(100)));
        patched_ = e_.position() - 1;
        break;
      case 5:
        if (frame) e_.encode(wide, kMap1, pick(2) ? 0x89 : 0x8b, data(), at(kRsp, static_cast<int32_t>(pick(static_cast<unsigned>(frame)))));
        break;
      case 6:
        e_.lea64(data(), at(data(), data(), 1, static_cast<int32_t>(pick(50))));
        break;
      case 7: {  // a branch that now and then goes the other way
        e_.encode(0, kMap1, 0xf6, 0, inRegister(pick(2) ? 12 : +kRax)), e_.u8(static_cast<uint8_t>(1 << pick(5)));
        uint8_t* const over = e_.jumpIf(pick(2) ? 5 : 4);
        for (unsigned n = 1 + pick(2); n-- > 0;) e_.encode(wide, kMap1, 0x03, data(), inRegister(data()));
        e_.land(over);
        break;
      }
      case 8: {  // a jump through a register to what follows
        const auto here = static_cast<int32_t>(e_.position() - bytes.data());
        e_.lea64(kRdx, at(kR15, here + 0x1010));  // both with 32 bits: seven bytes each, and two of the jump
        e_.alu64(5, inRegister(kRdx), 0x1000);
        e_.encode(0, kMap1, 0xff, 4, inRegister(kRdx));
        break;
      }
      default:
        if (functions_.empty()) break;
        e_.callTo(functions_[pick(static_cast<unsigned>(functions_.size()))]);
        e_.encode(kRexW, kMap1, 0xff, 0, inRegister(kRbx));  // INC: three bytes
    }
  }

  std::mt19937_64& random_;
  Emitter e_;
  std::vector<uint8_t*> functions_;
  uint8_t* patched_ = bytes.data() + kCodeBytes - 1;
};

/** Puts a program, data and registers into a guest, all of it the same for the same seed. */
void prepare(Guest& g, const Program& program, uint64_t seed, bool moved) {
  std::mt19937_64 same(seed);
  const bool user = same() % 2;
  g.enter64(kCode + program.entry, user ? 3 : 0);
  g.code(kHandler, {0xf4});
  for (const unsigned vector : {0u, 6u, 12u, 13u, 14u}) g.gate(vector, kHandler);
  for (unsigned page = 0; page < kMemoryPages; ++page) {
    for (unsigned at = 0; at < kPageBytes; at += 8) g.put<uint64_t>(kMemory + page * kPageBytes + at, same() & 0xffff00ff00ff);
  }
  for (unsigned page = 0; page < kStackPages; ++page) {
    const bool absent = page == 0 && same() % 4 == 0;
    g.mapPage(kStacks + page * kPageBytes, kMemory + (same() % 4 + 4 * page) * kPageBytes, absent ? 6 : 7);
  }
  for (unsigned page = 0; page < 2; ++page) g.mapPage(kData + page * kPageBytes, kMemory + (16 + same() % 4 + 4 * page) * kPageBytes, 7);
  g.memory.write(kCode, program.bytes.data(), kCodeBytes);
  g.memory.write(kMoved, program.bytes.data() + kPageBytes, kPageBytes);
  if (moved) {
    g.mapPage(kCode + kPageBytes, kMoved, 7);
    if (program.patched() / kPageBytes == 1) g.put<uint8_t>(kMoved + program.patched() % kPageBytes, 0x35);
  }
  State& s = g.state();
  for (uint8_t r : {kRax, kRbx, kRcx, kRdx, kRbp}) s.gpr[r] = same() >> same() % 60;
  s.gpr[8] = same();
  s.gpr[kR14] = same();
  s.gpr[12] = 3 + same() % (same() % 2 ? 20 : 400);
  s.gpr[kR15] = kCode;
  s.gpr[kRdi] = kData + same() % 16 * 256 + same() % 16;
  s.gpr[kRsi] = kData + kTable;
  for (unsigned n = 0; n < 4; ++n) {
    const uint64_t target = program.target(n);
    std::memcpy(g.at(g.get<uint64_t>(g.pteOf(kData + kTable)) & 0xffffffffff000) + kTable % kPageBytes + 8 * n, &target, 8);
  }
  s.gpr[kRsp] = kStacks + kPageBytes * (1 + same() % 2) + same() % 128 * 8;
  g.cpu->stateChanged();
}

/** `flags`: those that exceptions pushed, too. */
bool alike(Guest& a, Guest& b, bool flags) {
  const State &s = a.state(), &t = b.state();
  if (flags && ((s.rflags ^ t.rflags) & kArith)) return false;
  if (!flags && s.rip == kHandler + 1) return s.rip == t.rip && s.cr2 == t.cr2 && std::memcmp(&s.gpr, &t.gpr, sizeof(State::gpr)) == 0;
  return std::memcmp(&s.gpr, &t.gpr, sizeof(State::gpr)) == 0 && s.rip == t.rip && s.cr2 == t.cr2 &&
         std::memcmp(a.at(kMemory), b.at(kMemory), kMemoryPages * kPageBytes) == 0 && std::memcmp(a.at(kCode), b.at(kCode), kCodeBytes) == 0;
}

TEST(traces_compute_what_the_interpreter_does) {
  std::mt19937_64 random(20261124);
  const char* const more = std::getenv("LODGE_TRACE_CASES");
  const unsigned cases = more ? static_cast<unsigned>(std::atoi(more)) : 300;
  uint64_t traces = 0;
  unsigned finished = 0;
  for (unsigned n = 0; n < cases; ++n) {
    const Program program(random);
    const uint64_t seed = random();
    Guest interpreted(kRamBytes, makeInterpreter), translated(kRamBytes, n % 2 ? makeTraced<true> : makeTraced<false>);
    // The second time the traces are there from the start; the third, a page of them lies elsewhere.
    for (const bool moved : {false, false, true}) {
      for (Guest* g : {&interpreted, &translated}) prepare(*g, program, seed, moved);
      const RunExit a = interpreted.run(), b = translated.run();
      finished += interpreted.state().rip != kHandler + 1;
      const bool same = a == b && alike(interpreted, translated, n % 2);
      CHECK(same);
      if (!same) {
        std::fprintf(stderr, "case %u%s\n", n, moved ? ", moved" : "");
        return;
      }
    }
    traces += translated.cpu->tierCounters()->traces.value();
  }
  CHECK(traces > cases);
  CHECK(finished > cases);
}

}  // namespace
}  // namespace lodge::translator
