// Address spaces: what CR3, PCIDs, INVLPG and INVPCID keep and drop, of data and of code (SDM vol. 3 §4.10).
#include "testing/test.h"
#include "x86/interpreter/guest_fixture.h"

namespace lodge::x86 {
namespace {

using namespace testing;

constexpr uint64_t kWindow = 0x40000000;  ///< linear page the tests map as they please
constexpr Gpa kCode = 0x11000;
constexpr Gpa kRootB = 0x1f0000, kFrames = 0x200000;
constexpr uint64_t kCr4 = 0x620 | 1u << 7 | 1u << 17;  ///< with PGE and PCIDE
constexpr uint64_t kKeep = 1ull << 63;
constexpr uint64_t kGlobal = 1u << 8;

/** A second root that differs from the first one in what lies at kWindow alone. */
Gpa secondSpace(Guest& g) {
  constexpr Gpa pdpt = kRootB + 0x1000, directory = kRootB + 0x2000, table = kRootB + 0x3000;
  const Gpa first = g.get<uint64_t>(kTables) & ~0xfffull;
  for (unsigned n = 0; n < 512; ++n) {
    g.put<uint64_t>(kRootB + n * 8, g.get<uint64_t>(kTables + n * 8));
    g.put<uint64_t>(pdpt + n * 8, g.get<uint64_t>(first + n * 8));
    g.put<uint64_t>(directory + n * 8, 0);
    g.put<uint64_t>(table + n * 8, 0);
  }
  g.put<uint64_t>(kRootB, pdpt | 7);
  g.put<uint64_t>(pdpt + (kWindow >> 30 & 511) * 8, directory | 7);
  g.put<uint64_t>(directory + (kWindow >> 21 & 511) * 8, table | 7);
  return table + (kWindow >> 12 & 511) * 8;
}

struct Spaces {
  Guest g;
  Gpa pteB = 0;
  Spaces() {
    g.enter64(kCode);
    g.mapPage(kWindow, kFrames, 7);
    pteB = secondSpace(g);
    g.put<uint64_t>(pteB, (kFrames + 0x1000) | 7);
    for (unsigned n = 0; n < 4; ++n) {
      g.code(kFrames + 0x1000 * n, {0xb8, n, 0, 0, 0, 0xc3});  // mov eax,n; ret
      g.put<uint32_t>(kFrames + 0x1000 * n + 0x800, n);
    }
    g.state().cr4 = kCr4;
    g.cpu->stateChanged();
  }
  uint64_t run(std::initializer_list<unsigned> code, uint64_t rax) {
    g.code(kCode, code);
    State& s = g.state();
    s.rip = kCode;
    s.gpr[kRax] = rax;
    s.gpr[kRcx] = 1;
    s.gpr[kRdi] = kWindow;
    s.gpr[kRsp] = 0x10000;
    s.activity = Activity::Runnable;
    CHECK(g.run() == RunExit::Halted);
    return s.gpr[kRax];
  }
  uint64_t readUnder(uint64_t cr3) { return run({0x0f, 0x22, 0xd8, 0x8b, 0x87, 0, 8, 0, 0, 0xf4}, cr3); }  // mov eax,[rdi+800h]
  uint64_t callUnder(uint64_t cr3) { return run({0x0f, 0x22, 0xd8, 0xff, 0xd7, 0xf4}, cr3); }
};

TEST(pcids_keep_translations_only_while_asked_to) {
  Spaces s;
  constexpr uint64_t a = kTables | 1, b = kRootB | 2;
  CHECK_EQ(s.readUnder(a), 0ull);
  CHECK_EQ(s.readUnder(b), 1ull);
  s.g.put<uint64_t>(s.g.pteOf(kWindow), (kFrames + 0x2000) | 7);
  CHECK_EQ(s.readUnder(a | kKeep), 0ull);
  CHECK_EQ(s.readUnder(a), 2ull);
  // INVLPG is about the space at hand.
  s.g.put<uint64_t>(s.pteB, (kFrames + 0x3000) | 7);
  s.run({0x0f, 0x01, 0x3f, 0xf4}, 0);  // invlpg [rdi]
  CHECK_EQ(s.readUnder(b | kKeep), 1ull);
  CHECK_EQ(s.readUnder(a | kKeep), 2ull);
  // INVPCID names another: type 1 (ECX), descriptor on the stack.
  s.run({0x6a, 0, 0x6a, 2, 0x66, 0x0f, 0x38, 0x82, 0x0c, 0x24, 0xf4}, 0);
  CHECK_EQ(s.readUnder(b | kKeep), 3ull);
}

TEST(more_pcids_than_are_kept_are_all_right) {
  Spaces s;
  for (unsigned round = 0; round < 3; ++round) {
    for (uint64_t pcid = 1; pcid < 20; ++pcid) {
      const bool first = pcid & 1;
      CHECK_EQ(s.readUnder((first ? +kTables : +kRootB) | pcid | (round ? kKeep : 0)), first ? 0ull : 1ull);
      CHECK_EQ(s.callUnder((first ? +kTables : +kRootB) | pcid | kKeep), first ? 0ull : 1ull);
    }
  }
}

TEST(code_follows_its_address_space) {
  Spaces s;
  for (unsigned n = 0; n < 3; ++n) {
    CHECK_EQ(s.callUnder(kTables | 1 | kKeep), 0ull);
    CHECK_EQ(s.callUnder(kRootB | 2 | kKeep), 1ull);
  }
  s.g.put<uint64_t>(s.g.pteOf(kWindow), (kFrames + 0x2000) | 7);
  CHECK_EQ(s.callUnder(kTables | 1), 2ull);
}

/** A page that jumps into the next one, mapped twice, with different pages behind it. */
TEST(jumps_between_pages_follow_the_linear_address_and_invlpg) {
  Spaces s;
  Guest& g = s.g;
  constexpr uint64_t second = kWindow + 0x10000;
  g.code(kFrames + 0x4000, {0xe9, 0xfb, 0x0f, 0, 0});  // jmp to the next page's start
  for (const uint64_t page : {kWindow, second}) g.mapPage(page, kFrames + 0x4000, 3 | kGlobal);
  g.mapPage(kWindow + 0x1000, kFrames + 0x1000, 3 | kGlobal);
  g.mapPage(second + 0x1000, kFrames + 0x2000, 3 | kGlobal);
  for (uint64_t p = 0; p < 0x80000; p += 4096) g.put<uint64_t>(g.pteOf(p), p | 7 | kGlobal);
  g.cpu->stateChanged();
  const auto callAt = [&](uint64_t where) { return s.run({0x48, 0x89, 0xc7, 0xff, 0xd7, 0xff, 0xd7, 0xff, 0xd7, 0xf4}, where); };
  for (unsigned n = 0; n < 3; ++n) {
    CHECK_EQ(callAt(kWindow), 1ull);
    CHECK_EQ(callAt(second), 2ull);
  }
  g.put<uint64_t>(g.pteOf(kWindow + 0x1000), (kFrames + 0x3000) | 3 | kGlobal);
  s.run({0x0f, 0x01, 0xbf, 0x00, 0x10, 0, 0, 0xf4}, 0);  // invlpg [rdi+1000h]
  CHECK_EQ(callAt(kWindow), 3ull);
  CHECK_EQ(callAt(second), 2ull);
}

/** An instruction across two pages, whose second one is another in each address space, and is written to. */
TEST(an_instruction_across_pages_is_what_both_hold_now) {
  Spaces s;
  Guest& g = s.g;
  // Page 0 ends with the first two bytes of mov eax,imm32; the rest, and a RET, lie in the page behind it.
  const Gpa nextA = g.pteOf(kWindow) + 8, nextB = s.pteB + 8;
  for (const Gpa pte : {g.pteOf(kWindow), s.pteB}) g.put<uint64_t>(pte, kFrames | 7);
  g.put<uint64_t>(nextA, (kFrames + 0x1000) | 7);
  g.put<uint64_t>(nextB, (kFrames + 0x2000) | 7);
  g.code(kFrames + 0xffc, {0x90, 0x90, 0xb8, 0x11});
  g.code(kFrames + 0x1000, {0xaa, 0, 0, 0xc3});
  g.code(kFrames + 0x2000, {0xbb, 0, 0, 0xc3});
  // mov cr3,rax; add rdi,0ffch; call rdi; call rdi; hlt
  const auto under = [&](uint64_t cr3) {
    return s.run({0x0f, 0x22, 0xd8, 0x48, 0x81, 0xc7, 0xfc, 0x0f, 0, 0, 0xff, 0xd7, 0xff, 0xd7, 0xf4}, cr3);
  };
  for (unsigned n = 0; n < 3; ++n) {
    CHECK_EQ(under(kTables | 1 | kKeep), 0xaa11ull);
    CHECK_EQ(under(kRootB | 2 | kKeep), 0xbb11ull);
  }
  g.put<uint8_t>(kFrames + 0x1000, 0xcc);
  CHECK_EQ(under(kTables | 1 | kKeep), 0xcc11ull);
  g.put<uint8_t>(kFrames + 0xfff, 0x22);
  CHECK_EQ(under(kRootB | 2 | kKeep), 0xbb22ull);
  CHECK_EQ(under(kTables | 1 | kKeep), 0xcc22ull);
}

/** INVLPG of a global page is for all address spaces, wherever it was used (SDM vol. 3 §4.10.4.1). */
TEST(global_pages_go_from_every_space) {
  Spaces s;
  Guest& g = s.g;
  g.put<uint64_t>(g.pteOf(kWindow), kFrames | 7 | kGlobal);
  g.put<uint64_t>(s.pteB, kFrames | 7 | kGlobal);
  CHECK_EQ(s.readUnder(kTables | 1), 0ull);
  CHECK_EQ(s.readUnder(kRootB | 2), 0ull);
  g.put<uint64_t>(g.pteOf(kWindow), (kFrames + 0x2000) | 7 | kGlobal);
  g.put<uint64_t>(s.pteB, (kFrames + 0x2000) | 7 | kGlobal);
  s.run({0x0f, 0x01, 0x3f, 0xf4}, 0);
  CHECK_EQ(s.readUnder(kRootB | 2 | kKeep), 2ull);
  CHECK_EQ(s.readUnder(kTables | 1 | kKeep), 2ull);
}

}  // namespace
}  // namespace lodge::x86
