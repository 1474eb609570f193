// Breakpoints, watchpoints and steps of a debugger outside the guest.
#include "testing/test.h"
#include "x86/interpreter/guest_fixture.h"

namespace lodge::x86 {
namespace {

using namespace lodge::x86::testing;
using Cause = DebugStop::Cause;

constexpr Gpa kCode = 0x11000, kFar = 0x13000, kData = 0x12000;

DebugPoints breakAt(std::initializer_list<uint64_t> at) { return {at, {}}; }
DebugPoints watch(uint64_t address, uint32_t bytes, bool onRead, bool onWrite) { return {{}, {{address, bytes, onRead, onWrite}}}; }

TEST(breakpointsStopBeforeTheirInstructionEachTime) {
  Guest g;
  g.enter64(kCode);
  g.state().gpr[kRcx] = 3;
  g.code(kCode, {0xff, 0xc0, 0xe2, 0xfc, 0xf4});  // again: inc eax; loop again; hlt
  g.cpu->setDebugPoints(breakAt({kCode + 2}));
  for (unsigned round = 1; round <= 3; ++round) {
    CHECK(g.run() == RunExit::Debug);
    CHECK(g.cpu->debugStop().cause == Cause::Breakpoint);
    CHECK_EQ(g.cpu->debugStop().address, kCode + 2);
    CHECK_EQ(g.state().rip, kCode + 2);
    CHECK_EQ(g.state().gpr[kRax], static_cast<uint64_t>(round));
    // It would stop here for ever: a debugger steps over it.
    CHECK(g.run() == RunExit::Debug);
    CHECK_EQ(g.state().rip, kCode + 2);
    g.cpu->setStep(true);
    CHECK(g.run() == RunExit::Debug);
    CHECK(g.cpu->debugStop().cause == Cause::Step);
    CHECK_EQ(g.state().rip, round == 3 ? kCode + 4 : kCode);
  }
  CHECK(g.run() == RunExit::Halted);
  CHECK_EQ(g.state().gpr[kRax], 3u);
}

TEST(breakpointsAreMetInCodeThatWasChainedBefore) {
  Guest g;
  g.enter64(kCode);
  // call far; loop; hlt — the callee in another page
  g.code(kCode, {0xe8, 0xfb, 0x1f, 0x00, 0x00, 0xe2, 0xf9, 0xf4});
  g.code(kFar, {0xff, 0xc0, 0xff, 0xc3, 0xc3});  // inc eax; inc ebx; ret
  g.state().gpr[kRcx] = 100;
  CHECK(g.run() == RunExit::Halted);
  CHECK_EQ(g.state().gpr[kRbx], 100u);
  const auto again = [&] {
    g.state().rip = kCode;
    g.state().gpr[kRcx] = 2;
    g.state().gpr[kRax] = g.state().gpr[kRbx] = 0;
    g.state().activity = Activity::Runnable;
    g.cpu->stateChanged();
  };
  again();
  g.cpu->setDebugPoints(breakAt({kFar + 2}));
  CHECK(g.run() == RunExit::Debug);
  CHECK_EQ(g.state().rip, kFar + 2);
  CHECK_EQ(g.state().gpr[kRax], 1u);
  CHECK_EQ(g.state().gpr[kRbx], 0u);
  g.cpu->setDebugPoints({});
  CHECK(g.run() == RunExit::Halted);
  CHECK_EQ(g.state().gpr[kRbx], 2u);
}

TEST(breakpointsAreLinearAddresses) {
  Guest g;
  g.enterReal(0x1100, 0x10);  // linear 11010
  g.code(kCode + 0x10, {0x40, 0x43, 0xf4});  // inc ax; inc bx; hlt
  g.cpu->setDebugPoints(breakAt({kCode + 0x11}));
  CHECK(g.run() == RunExit::Debug);
  CHECK_EQ(g.state().rip, 0x11u);
  CHECK_EQ(g.state().gpr[kRax] & 0xffff, 1u);
}

TEST(watchpointsStopBehindTheAccess) {
  struct Row { const char* what; std::initializer_list<unsigned> code; bool reads, writes; };
  const Row rows[] = {
      {"mov eax,[kData]", {0x8b, 0x04, 0x25, 0x00, 0x20, 0x01, 0x00}, true, false},
      {"mov [kData],eax", {0x89, 0x04, 0x25, 0x00, 0x20, 0x01, 0x00}, false, true},
      {"inc dword [kData]", {0xff, 0x04, 0x25, 0x00, 0x20, 0x01, 0x00}, true, true},
      {"lock xadd [kData],eax", {0xf0, 0x0f, 0xc1, 0x04, 0x25, 0x00, 0x20, 0x01, 0x00}, true, true},
      {"movups [kData],xmm0", {0x0f, 0x11, 0x04, 0x25, 0x00, 0x20, 0x01, 0x00}, false, true},
      {"push qword [kData]", {0xff, 0x34, 0x25, 0x00, 0x20, 0x01, 0x00}, true, false},
      {"rep stosb", {0xf3, 0xaa}, false, true},
      {"rep movsb", {0xf3, 0xa4}, false, true},
  };
  for (const Row& row : rows) {
    for (const bool onRead : {false, true}) {
      Guest g;
      g.enter64(kCode);
      g.state().gpr[kRdx] = 0, g.state().gpr[kRdi] = kData - 4, g.state().gpr[kRsi] = kData - 0x800, g.state().gpr[kRcx] = 8;
      g.code(kCode, {0xff, 0xc2});  // inc edx
      g.code(kCode + 2, row.code);
      g.code(kCode + 2 + row.code.size(), {0xff, 0xc2, 0xf4});
      // One byte inside the operand.
      g.cpu->setDebugPoints(watch(kData + 1, 1, onRead, !onRead));
      const bool expected = onRead ? row.reads : row.writes;
      const RunExit exit = g.run();
      CHECK(exit == (expected ? RunExit::Debug : RunExit::Halted));
      if (exit != RunExit::Debug) continue;
      CHECK(g.cpu->debugStop().cause == Cause::Watchpoint);
      CHECK_EQ(g.cpu->debugStop().address, kData + 1);
      CHECK_EQ(g.state().gpr[kRdx], 1u);
      if (row.code.size() > 2) CHECK_EQ(g.state().rip, kCode + 2 + row.code.size());
      // What it did, it did once.
      if (row.reads && row.writes && row.code.size() == 7) CHECK_EQ(g.get<uint32_t>(kData), 1u);
      g.cpu->setDebugPoints({});
      CHECK(g.run() == RunExit::Halted);
      CHECK_EQ(g.state().gpr[kRdx], 2u);
    }
  }
}

TEST(watchpointsLeaveTheirNeighboursAlone) {
  Guest g;
  g.enter64(kCode);
  g.code(kCode, {0xc6, 0x04, 0x25, 0x03, 0x20, 0x01, 0x00, 0x5a,    // mov byte [kData+3],5ah
                 0xc6, 0x04, 0x25, 0x08, 0x20, 0x01, 0x00, 0x5b,    // mov byte [kData+8],5bh
                 0x8a, 0x04, 0x25, 0x04, 0x20, 0x01, 0x00, 0xf4});  // mov al,[kData+4]; hlt
  g.cpu->setDebugPoints(watch(kData + 4, 4, false, true));
  CHECK(g.run() == RunExit::Halted);
  CHECK_EQ(g.get<uint8_t>(kData + 3), 0x5au);
  CHECK_EQ(g.get<uint8_t>(kData + 8), 0x5bu);
}

TEST(anAccessThatFaultsTouchesNoWatchpoint) {
  Guest g;
  g.enter64(kCode);
  g.gate(kPF, kFar);
  g.put<uint64_t>(g.pteOf(kData), 0);
  g.cpu->stateChanged();
  g.code(kCode, {0x89, 0x04, 0x25, 0x00, 0x20, 0x01, 0x00});
  g.code(kFar, {0xf4});
  g.cpu->setDebugPoints(watch(kData, 4, true, true));
  CHECK(g.run() == RunExit::Halted);
  CHECK_EQ(g.state().rip, kFar + 1);
}

TEST(stepsExecuteOneInstructionAndHoldInterruptsBack) {
  Guest g;
  g.enter64(kCode);
  g.gate(0x40, kFar);
  g.code(kCode, {0xff, 0xc0, 0xff, 0xc0, 0xf4, 0xff, 0xc0, 0xf4});  // inc eax; inc eax; hlt; inc eax; hlt
  g.code(kFar, {0xff, 0xc3, 0x48, 0xcf});                        // inc ebx; iretq
  g.state().rflags |= kIf;
  g.cpu->stateChanged();
  g.env.vector = 0x40;
  g.cpu->request(kRequestInterrupt);
  for (const uint64_t expected : {kCode + 2, kCode + 4, kCode + 5}) {
    g.cpu->setStep(true);
    CHECK(g.run() == RunExit::Debug);
    CHECK_EQ(g.state().rip, expected);
    CHECK_EQ(g.state().gpr[kRbx], 0u);
  }
  // Halted, only the interrupt moves it on.
  CHECK(g.state().activity == Activity::Halted);
  g.cpu->setStep(true);
  CHECK(g.run() == RunExit::Debug);
  CHECK_EQ(g.state().rip, kFar + 2);
  CHECK(g.run() == RunExit::Halted);
  CHECK_EQ(g.state().rip, kCode + 8);
  CHECK_EQ(g.state().gpr[kRax], 3u);
}

TEST(stepsIntoFaultsEndAtTheHandler) {
  Guest g;
  g.enter64(kCode);
  g.gate(kUD, kFar);
  g.code(kCode, {0x0f, 0x0b});
  g.code(kFar, {0x90, 0xf4});
  g.cpu->setStep(true);
  CHECK(g.run() == RunExit::Debug);
  CHECK_EQ(g.state().rip, kFar);
  CHECK(g.run() == RunExit::Halted);
}

}  // namespace
}  // namespace lodge::x86
