// Virtual-8086 mode, with and without its extensions (CR4.VME), and protected-mode virtual interrupts (CR4.PVI): who sees an
// instruction that is sensitive to IOPL, and what it does to IF, VIF and VIP. SDM vol. 3, chapter 21.
#include <string>

#include "testing/test.h"
#include "x86/interpreter/guest_fixture.h"

namespace lodge::x86 {
namespace {

using namespace testing;

constexpr Gpa kCode = 0x15100, kMonitor = 0x12000, kStack = 0x16000;
constexpr uint16_t kCodeSegment = 0x1500, kStackSegment = 0x1600;
constexpr uint16_t kHandlerSegment = 0x1400, kHandlerOffset = 0x30;
constexpr uint64_t kVme = 1, kPvi = 2;

/** A V86 task at 1500:0100 with its stack at 1600:0800. Each vector of the monitor's halts at kMonitor + vector. */
struct V86Guest : Guest {
  V86Guest(uint64_t cr4, unsigned ioPrivilege, uint64_t flags) {
    enter32(0);
    State& s = state();
    s.cr4 |= cr4;
    for (unsigned v = 0; v < 64; ++v) {
      put<uint64_t>(kIdt + v * 8, ((kMonitor + v) & 0xffff) | uint64_t{kCode32} << 16 | 0xeeull << 40 | 1ull << 48);  // DPL 3
      put<uint8_t>(kMonitor + v, 0xf4);
    }
    put<uint32_t>(kTss + 4, 0xf000);
    put<uint16_t>(kTss + 8, kData);
    // The redirection bitmap is at 80h, what lies behind at A0h refuses ports 60h–67h but 61h.
    put<uint16_t>(kTss + 0x66, 0xa0);
    for (unsigned n = 0; n < 32; ++n) put<uint8_t>(kTss + 0x80 + n, 0);
    for (unsigned n = 0; n < 32; ++n) put<uint8_t>(kTss + 0xa0 + n, 0);
    put<uint8_t>(kTss + 0xa0 + 0x60 / 8, 0xfd);
    s.seg[kTr] = {kTss, 0xff, kTssSelector, 0x8b};
    const auto real = [](uint16_t selector) {
      SegmentRegister r;
      r.selector = selector;
      r.base = selector << 4;
      r.limit = 0xffff;
      r.attributes = 0xf3;
      return r;
    };
    s.seg[kCs] = real(kCodeSegment);
    s.seg[kSs] = real(kStackSegment);
    for (Seg seg : {kDs, kEs, kFs, kGs}) s.seg[seg] = real(0x1700);
    s.rip = 0x100;
    s.gpr[kRsp] = 0xabcd0800;
    s.rflags = 2 | kVm | ioPrivilege << 12 | flags;
    // INT 21h of the task itself.
    put<uint16_t>(0x21 * 4, kHandlerOffset);
    put<uint16_t>(0x21 * 4 + 2, kHandlerSegment);
    put<uint8_t>((kHandlerSegment << 4) + kHandlerOffset, 0x0f);  // ud2
    put<uint8_t>((kHandlerSegment << 4) + kHandlerOffset + 1, 0x0b);
    cpu->stateChanged();
  }
  /** Runs `bytes`, then UD2; the vector that reaches the monitor. */
  unsigned vectorOf(std::initializer_list<unsigned> bytes) {
    code(kCode, bytes);
    code(kCode + bytes.size(), {0x0f, 0x0b});
    CHECK(run() == RunExit::Halted);
    return static_cast<unsigned>(state().rip - 1 - kMonitor);
  }
  uint32_t frame(unsigned n, bool error) { return get<uint32_t>(state().gpr[kRsp] + 4 * (n + error)); }
};

TEST(v86IoplSensitiveInstructionsGoToTheMonitor) {
  struct Row { const char* what; std::initializer_list<unsigned> code; };
  const Row rows[] = {{"cli", {0xfa}}, {"sti", {0xfb}}, {"pushf", {0x9c}}, {"popf", {0x9d}}, {"iret", {0xcf}}, {"int 21h", {0xcd, 0x21}},
                      {"pushfd", {0x66, 0x9c}}, {"popfd", {0x66, 0x9d}}, {"iretd", {0x66, 0xcf}}, {"hlt", {0xf4}}, {"mov eax,cr0", {0x0f, 0x20, 0xc0}},
                      {"clts", {0x0f, 0x06}}, {"lmsw ax", {0x0f, 0x01, 0xf0}}};
  for (const Row& row : rows) {
    V86Guest g(0, 0, kIf);
    CHECK_EQ(g.vectorOf(row.code), unsigned{kGP});
    CHECK_EQ(g.frame(0, false), 0u);              // error code
    CHECK_EQ(g.frame(0, true), 0x100u);           // EIP: at the instruction
    CHECK_EQ(g.frame(1, true), uint32_t{kCodeSegment});
    CHECK_EQ(g.frame(2, true), uint32_t{2 | kVm | kIf | kRf});
    CHECK_EQ(g.frame(3, true), 0xabcd0800u);
    CHECK_EQ(g.state().seg[kGs].selector, 0u);
  }
  // Not sensitive: INT3 and INTO have gates of their own, ports the bitmap.
  V86Guest g(0, 0, kOf);
  CHECK_EQ(g.vectorOf({0xcc}), unsigned{kBP});
  V86Guest into(0, 0, kOf);
  CHECK_EQ(into.vectorOf({0xce}), unsigned{kOF});
}

TEST(v86PortsAskTheBitmapWhateverIoplIs) {
  for (const unsigned level : {0u, 3u}) {
    V86Guest allowed(0, level, 0), refused(0, level, 0), wide(0, level, 0), beyond(0, level, 0);
    CHECK_EQ(allowed.vectorOf({0xe4, 0x61}), unsigned{kUD});
    CHECK_EQ(allowed.env.ports.size(), 1u);
    CHECK_EQ(refused.vectorOf({0xe4, 0x60}), unsigned{kGP});
    CHECK_EQ(wide.vectorOf({0xe5, 0x61}), unsigned{kGP});  // a word: 62h is refused
    CHECK_EQ(beyond.vectorOf({0xba, 0x00, 0x10, 0xec}), unsigned{kGP});  // behind the end of the TSS
    CHECK_EQ(refused.env.ports.size() + wide.env.ports.size() + beyond.env.ports.size(), 0u);
  }
}

TEST(v86WithIopl3HasTheRealFlags) {
  V86Guest cli(kVme, 3, kIf);
  CHECK_EQ(cli.vectorOf({0xfa, 0x9c}), unsigned{kUD});  // cli; pushf
  CHECK_EQ(cli.get<uint16_t>(kStack + 0x7fe) & (kIf | kIopl), kIopl + 0u);
  V86Guest popf(0, 3, 0);
  CHECK_EQ(popf.vectorOf({0x68, 0x00, 0x02, 0x9d}), unsigned{kUD});  // push 200h; popf: IF, and IOPL stays
  CHECK_EQ(popf.frame(2, false) & (kIf | kIopl), unsigned{kIf | kIopl});
  // INT n through the monitor's gate; with a DPL below 3 it is refused.
  V86Guest gate(0, 3, 0);
  CHECK_EQ(gate.vectorOf({0xcd, 0x21}), 0x21u);
  CHECK_EQ(gate.frame(0, false), 0x102u);
  V86Guest refused(0, 3, 0);
  refused.put<uint8_t>(kIdt + 0x21 * 8 + 5, 0x8e);
  CHECK_EQ(refused.vectorOf({0xcd, 0x21}), unsigned{kGP});
  CHECK_EQ(refused.frame(0, false), 0x21u * 8 + 2);
  // A gate to a conforming segment, or one of DPL 3, cannot be entered from here.
  V86Guest conforming(0, 3, 0);
  conforming.put<uint8_t>(kGdt + kCode32 + 5, 0x9f);
  CHECK(conforming.cpu->run() == RunExit::TripleFault);
}

TEST(vmeGivesTheTaskAnInterruptFlagOfItsOwn) {
  V86Guest set(kVme, 0, kIf);
  CHECK_EQ(set.vectorOf({0xfb, 0x9c}), unsigned{kUD});  // sti; pushf
  CHECK_EQ(set.frame(2, false) & (kIf | kVif | kIopl), unsigned{kIf | kVif});
  CHECK_EQ(set.get<uint16_t>(kStack + 0x7fe) & (kIf | kIopl), unsigned{kIf | kIopl});
  V86Guest cleared(kVme, 0, kIf | kVif);
  CHECK_EQ(cleared.vectorOf({0xfa, 0x9c}), unsigned{kUD});  // cli; pushf
  CHECK_EQ(cleared.frame(2, false) & (kIf | kVif), unsigned{kIf});
  CHECK_EQ(cleared.get<uint16_t>(kStack + 0x7fe) & (kIf | kIopl), kIopl + 0u);
  // POPF and IRET load VIF, and leave IF and IOPL alone.
  V86Guest popf(kVme, 1, kIf);
  CHECK_EQ(popf.vectorOf({0x68, 0x01, 0x32, 0x9d}), unsigned{kUD});  // push 3201h; popf
  CHECK_EQ(popf.frame(2, false) & (kIf | kVif | kIopl | kCf), unsigned{kIf | kVif | 1 << 12 | kCf});
  V86Guest iret(kVme, 0, kIf | kVif);
  iret.code(kCode + 0x20, {0x0f, 0x0b});
  CHECK_EQ(iret.vectorOf({0x6a, 0x01, 0x68, 0x00, 0x15, 0x68, 0x20, 0x01, 0xcf}), unsigned{kUD});  // flags 1, 1500:0120
  CHECK_EQ(iret.state().gpr[kRsp], 0xf000u - 36);
  CHECK_EQ(iret.frame(2, false) & (kIf | kVif | kCf), unsigned{kIf | kCf});
  // 32-bit forms stay the monitor's, and so do a trap flag and an interrupt that waits.
  for (const auto& code : {std::initializer_list<unsigned>{0x66, 0x9c}, {0x66, 0x9d}, {0x66, 0xcf}}) {
    V86Guest wide(kVme, 0, kIf);
    CHECK_EQ(wide.vectorOf(code), unsigned{kGP});
  }
  V86Guest waits(kVme, 0, kIf | kVip);
  CHECK_EQ(waits.vectorOf({0xfb}), unsigned{kGP});
  V86Guest popWaits(kVme, 0, kIf | kVip);
  CHECK_EQ(popWaits.vectorOf({0x68, 0x00, 0x02, 0x9d}), unsigned{kGP});
  CHECK_EQ(popWaits.frame(3, true), 0xabcd07feu);  // nothing was popped
  V86Guest popLater(kVme, 0, kIf | kVip);
  CHECK_EQ(popLater.vectorOf({0x6a, 0x00, 0x9d}), unsigned{kUD});
  V86Guest trap(kVme, 0, kIf);
  CHECK_EQ(trap.vectorOf({0x68, 0x00, 0x01, 0x9d}), unsigned{kGP});
}

TEST(vmeRedirectsSoftwareInterrupts) {
  for (const unsigned level : {0u, 3u}) {
    V86Guest own(kVme, level, kIf | kCf | (level == 0 ? +kVif : 0u));
    CHECK_EQ(own.vectorOf({0xcd, 0x21}), unsigned{kUD});
    CHECK_EQ(own.frame(0, false), uint32_t{kHandlerOffset});
    CHECK_EQ(own.frame(1, false), uint32_t{kHandlerSegment});
    CHECK_EQ(own.frame(2, false) & (kIf | kVif | kIopl), level == 0 ? unsigned{kIf} : unsigned{kIopl});
    CHECK_EQ(own.get<uint16_t>(kStack + 0x7fa), 0x102u);
    CHECK_EQ(own.get<uint16_t>(kStack + 0x7fc), kCodeSegment + 0u);
    CHECK_EQ(own.get<uint16_t>(kStack + 0x7fe), 2u | kIf | kIopl | kCf);
    // Not when its bit is set: then as without VME.
    V86Guest set(kVme, level, kIf);
    set.put<uint8_t>(kTss + 0x80 + 0x21 / 8, 1 << (0x21 % 8));
    CHECK_EQ(set.vectorOf({0xcd, 0x21}), level == 3 ? 0x21u : unsigned{kGP});
  }
  // INT3 and INTO are never redirected.
  V86Guest breakpoint(kVme, 0, 0);
  CHECK_EQ(breakpoint.vectorOf({0xcc}), unsigned{kBP});
  // A bitmap beyond the end of the TSS is a fault.
  V86Guest shorter(kVme, 0, 0);
  shorter.put<uint16_t>(kTss + 0x66, 0x200);
  CHECK_EQ(shorter.vectorOf({0xcd, 0x21}), unsigned{kGP});
}

TEST(pviGivesRing3AnInterruptFlagOfItsOwn) {
  const auto make = [](V86Guest& g, uint64_t flags) {
    State& s = g.state();
    g.put<uint64_t>(kGdt + 0x48, Guest::descriptor(0, 0xfffff, 0xfb, 0xc));
    g.put<uint64_t>(kGdt + 0x50, Guest::descriptor(0, 0xfffff, 0xf3, 0xc));
    s.seg[kCs] = g.flat(0x4b, 0xc0fb);
    for (Seg seg : {kSs, kDs, kEs, kFs, kGs}) s.seg[seg] = g.flat(0x53, 0xc0f3);
    s.rflags = 2 | flags;
    s.rip = kCode;
    s.gpr[kRsp] = 0xe000;
    g.cpu->stateChanged();
  };
  V86Guest plain(0, 0, 0), set(kPvi, 0, 0), cleared(kPvi, 0, 0), waits(kPvi, 0, 0), popf(kPvi, 0, 0);
  make(plain, kIf);
  CHECK_EQ(plain.vectorOf({0xfa}), unsigned{kGP});
  make(set, kIf);
  CHECK_EQ(set.vectorOf({0xfb}), unsigned{kUD});
  CHECK_EQ(set.frame(2, false) & (kIf | kVif), unsigned{kIf | kVif});
  make(cleared, kIf | kVif);
  CHECK_EQ(cleared.vectorOf({0xfa}), unsigned{kUD});
  CHECK_EQ(cleared.frame(2, false) & (kIf | kVif), unsigned{kIf});
  make(waits, kIf | kVip);
  CHECK_EQ(waits.vectorOf({0xfb}), unsigned{kGP});
  // PUSHF and POPF do not know of it.
  make(popf, kIf | kVif);
  CHECK_EQ(popf.vectorOf({0x6a, 0x00, 0x9d}), unsigned{kUD});  // push 0; popf
  CHECK_EQ(popf.frame(2, false) & (kIf | kVif), unsigned{kIf | kVif});
}

}  // namespace
}  // namespace lodge::x86
