// Loops of random instructions on arrays: what strips compute is what the interpreter computes, whatever pages the arrays
// lie in, whichever of these are absent or read-only, and wherever a loop is left.
#include "translator/strip.h"

#include <cstring>
#include <random>

#include "testing/test.h"
#include "translator/translator.h"
#include "x86/interpreter/guest_fixture.h"

namespace lodge::translator {
namespace {

using namespace x86;
using namespace x86::testing;

constexpr uint64_t kArrays = 0x100000;  ///< linear; the pages behind it are shuffled
constexpr unsigned kArrayPages = 16;
constexpr Gpa kCode = 0x20000;

std::unique_ptr<Cpu> makeStripped(const CpuConfig& config, PhysicalMemory& memory, Environment& env) {
  Options options;
  options.cacheBytes = 16 << 20;
  return makeTranslator(config, memory, env, options);
}

class Loop {
 public:
  explicit Loop(std::mt19937_64& random) : random_(random), e_(code_, code_ + sizeof code_) {
    uint8_t* const top = e_.position();
    const unsigned length = 1 + pick(10);
    for (unsigned n = 0; n < length; ++n) instruction();
    e_.alu64(5, inRegister(kRcx), 1);
    e_.jumpIfTo(5, top);
    for (uint8_t* exit : exits_) e_.land(exit);
    e_.u8(0xf4);
    std::memcpy(bytes.data(), code_, sizeof code_);
    size = static_cast<size_t>(e_.position() - code_);
  }
  std::array<uint8_t, 512> bytes{};
  size_t size;

 private:
  unsigned pick(unsigned n) { return static_cast<unsigned>(random_() % n); }
  /** Pointers: some move, some do not; one lives in the Core. */
  uint8_t pointer() { return std::array<uint8_t, 5>{kRsi, kRdi, kRbx, kR13, kR8}[pick(5)]; }
  uint8_t data() { return std::array<uint8_t, 4>{kRax, kRdx, kRbp, kR14}[pick(4)]; }
  int32_t disp() { return pick(8) == 0 ? static_cast<int32_t>(pick(700)) - 350 : static_cast<int32_t>(pick(5)) * 8 - 16; }
  /** r9 holds still and r10 may move; r11 is an index of few values. */
  Operand operand() {
    switch (pick(6)) {
      case 0:
        return at(9, 10, static_cast<uint8_t>(pick(3)), disp());
      case 1:
        return at(pointer(), 10, 0, disp());
      default:
        return at(pointer(), disp());
    }
  }
  void instruction() {
    const unsigned wide = pick(2) ? kRexW : 0;
    switch (pick(14)) {
      case 0:
      case 1:
        e_.encode(wide, kMap1, 0x8b, data(), operand());
        break;
      case 2:
        e_.encode(wide, kMap1, 0x89, data(), operand());
        break;
      case 3:
        e_.encode(wide, kMap1, pick(2) ? 0x01 : 0x31, data(), operand());
        break;
      case 4:
        e_.encode(wide, kMap1, 0x03, data(), operand());
        break;
      case 5:  // MOVDQU and PADDQ
        e_.encode(pick(2) ? kF3 : k66, kMap0F, pick(2) ? 0x6f : 0x7f, static_cast<uint8_t>(pick(4)), operand());
        break;
      case 6:
        e_.encode(k66, kMap0F, 0xd4, static_cast<uint8_t>(pick(4)), inRegister(static_cast<uint8_t>(pick(4))));
        break;
      case 7:
      case 8:
        e_.alu64(pick(3) ? 0 : 5, inRegister(pointer()), static_cast<int32_t>(pick(9)) * 8);
        break;
      case 9:
        e_.alu64(0, inRegister(10), static_cast<int32_t>(pick(5)) * 8);
        break;
      case 10:  // a table
        e_.encode(0, kMap0F, 0xb6, 11, inRegister(kRax));
        e_.encode(wide, kMap1, 0x33, kRdx, at(9, 11, static_cast<uint8_t>(pick(4)), disp()));
        break;
      case 11:
        e_.lea64(data(), at(pointer(), 10, 1, disp()));
        break;
      case 12:  // a way out, seldom taken
        e_.alu32(7, inRegister(data()), static_cast<int32_t>(pick(4)));
        exits_.push_back(e_.jumpIf(pick(2) ? 4 : 2));
        break;
      default:
        e_.encode(0, kMap1, 0xff, pick(2), inRegister(data()));
    }
  }

  std::mt19937_64& random_;
  uint8_t code_[512] = {};
  Emitter e_;
  std::vector<uint8_t*> exits_;
};

bool hasStrip(const Loop& loop) {
  static uint8_t page[kPageBytes];
  std::memcpy(page, loop.bytes.data(), loop.size);
  Setting setting;
  setting.features = implementedFeatures();
  Unit unit;
  for (unsigned at = 0; at < loop.size;) {
    Item item;
    if (!describe(page + at, static_cast<unsigned>(kPageBytes) - at, static_cast<uint16_t>(at), setting, item)) return false;
    unit.items.push_back(item);
    at += item.d.length;
  }
  liveFlags(unit);
  return planStrip(unit).has_value();
}

TEST(strips_compute_what_the_interpreter_does) {
  std::mt19937_64 random(20261123);
  const char* const more = std::getenv("LODGE_STRIP_CASES");
  const unsigned cases = more ? static_cast<unsigned>(std::atoi(more)) : 400;
  unsigned stripped = 0;
  for (unsigned n = 0; n < cases; ++n) {
    const Loop loop(random);
    stripped += hasStrip(loop);
    const uint64_t seed = random();
    Guest interpreted(kRamBytes, makeInterpreter), translated(kRamBytes, makeStripped);
    for (Guest* g : {&interpreted, &translated}) {
      std::mt19937_64 same(seed);
      g->enter64(kCode);
      for (unsigned page = 0; page < kArrayPages; ++page) {
        // Every other one follows its neighbour in physical memory, too.
        const Gpa gpa = 0x200000 + 4096 * (same() % 2 ? page : 64 + 2 * page);
        g->mapPage(kArrays + 4096 * page, gpa, same() % 12 == 0 ? (same() % 2 ? 6 : 5) : 7);
        for (unsigned at = 0; at < 4096; at += 8) g->put<uint64_t>(gpa + at, same() & 0xffff00ff);
      }
      g->memory.write(kCode, loop.bytes.data(), loop.size);
      State& s = g->state();
      for (uint8_t r : {kRsi, kRdi, kRbx, kR13, kR8, kR9}) {
        s.gpr[r] = kArrays + 4096 * kArrayPages / 2 + same() % 0x3000 / (same() % 4 ? 8 : 1) * (same() % 4 ? 8 : 1);
        if (same() % 3 == 0) s.gpr[r] &= ~15ull;
      }
      s.gpr[kR10] = same() % 64 * 8;
      s.gpr[kRcx] = 1 + same() % (same() % 2 ? 12 : 1500);
      s.gpr[kR12] = same();
      g->cpu->stateChanged();
    }
    const RunExit a = interpreted.run(), b = translated.run();
    bool alike = a == b && std::memcmp(&interpreted.state().gpr, &translated.state().gpr, sizeof(State::gpr)) == 0 &&
                 interpreted.state().rip == translated.state().rip && interpreted.state().cr2 == translated.state().cr2;
    if (a == RunExit::Halted) alike = alike && ((interpreted.state().rflags ^ translated.state().rflags) & kArith) == 0;
    for (unsigned r = 0; r < 16; ++r)
      alike = alike && std::memcmp(&interpreted.state().vec[r], &translated.state().vec[r], 16) == 0;
    alike = alike && std::memcmp(interpreted.at(0x200000), translated.at(0x200000), 4096 * (64 + 2 * kArrayPages)) == 0;
    CHECK(alike);
    if (!alike) {
      std::fprintf(stderr, "case %u:", n);
      for (size_t at = 0; at < loop.size; ++at) std::fprintf(stderr, " %02x", loop.bytes[at]);
      std::fprintf(stderr, "\n");
      break;
    }
  }
  CHECK(stripped > cases / 4);
}

}  // namespace
}  // namespace lodge::translator
