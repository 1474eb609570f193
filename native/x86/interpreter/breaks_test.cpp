// The guest's own debug registers: what traps, when, and what DR6 and the saved flags say. SDM vol. 3, chapter 18.
#include "testing/test.h"
#include "x86/interpreter/guest_fixture.h"

namespace lodge::x86 {
namespace {

using namespace testing;

constexpr Gpa kCode = 0x11000, kHandler = 0x13000, kFar = 0x14000, kWhere = 0x12000, kLogEnd = 0x17ff8, kLog = 0x18000;
constexpr uint64_t kNothing = 0xffff0ff0, kBs = 1 << 14, kBd = 1 << 13;
/** DR7's R/W and LEN fields of breakpoint 0, and its local enable. */
constexpr uint64_t kLocal0 = 1, kOnWrite = 1 << 16, kOnPort = 2 << 16, kOnAccess = 3 << 16, kTwo = 1 << 18, kEight = 2 << 18, kFour = 3 << 18;

struct Trap { uint64_t dr6, rip, flags; };

/** 64-bit code whose #DB handler writes down DR6, RIP and the flags, clears DR6, sets RF in the flags it returns to, and goes on. */
struct BreakGuest : Guest {
  BreakGuest() {
    enter64(kCode);
    gate(kDB, kHandler);
    gate(kPF, kFar);
    gate(kGP, kFar);
    code(kFar, {0xf4});
    code(kHandler, {0x50, 0x53, 0x48, 0x8b, 0x1c, 0x25, 0xf8, 0x7f, 0x01, 0x00,  // push rax; push rbx; mov rbx,[kLogEnd]
                    0x0f, 0x21, 0xf0, 0x48, 0x89, 0x03,                          // mov rax,dr6; mov [rbx],rax
                    0x48, 0x8b, 0x44, 0x24, 0x10, 0x48, 0x89, 0x43, 0x08,        // mov rax,[rsp+16]; mov [rbx+8],rax
                    0x48, 0x8b, 0x44, 0x24, 0x20, 0x48, 0x89, 0x43, 0x10,        // mov rax,[rsp+32]; mov [rbx+16],rax
                    0x48, 0x83, 0xc3, 0x18, 0x48, 0x89, 0x1c, 0x25, 0xf8, 0x7f, 0x01, 0x00,  // add rbx,24; mov [kLogEnd],rbx
                    0x31, 0xc0, 0x0f, 0x23, 0xf0, 0x80, 0x4c, 0x24, 0x22, 0x01,  // xor eax,eax; mov dr6,rax; or byte [rsp+34],1
                    0x5b, 0x58, 0x48, 0xcf});                                    // pop rbx; pop rax; iretq
    put<uint64_t>(kLogEnd, kLog);
    state().gpr[kRbp] = 0x8000;
  }
  void arm(uint64_t dr7, uint64_t dr0, uint64_t dr1 = 0) {
    state().dr[0] = dr0, state().dr[1] = dr1, state().dr[7] = dr7 | 0x400;
    cpu->stateChanged();
  }
  std::vector<Trap> traps() {
    std::vector<Trap> all;
    for (uint64_t at = kLog; at < get<uint64_t>(kLogEnd); at += 24) all.push_back({get<uint64_t>(at), get<uint64_t>(at + 8), get<uint64_t>(at + 16)});
    return all;
  }
};

TEST(dataBreakpointsTrapBehindTheAccess) {
  struct Row { const char* what; std::initializer_list<unsigned> code; bool reads, writes; };
  const Row rows[] = {
      {"mov eax,[kWhere]", {0x8b, 0x04, 0x25, 0x00, 0x20, 0x01, 0x00}, true, false},
      {"mov [kWhere],eax", {0x89, 0x04, 0x25, 0x00, 0x20, 0x01, 0x00}, false, true},
      {"inc dword [kWhere]", {0xff, 0x04, 0x25, 0x00, 0x20, 0x01, 0x00}, true, true},
      {"lock xadd [kWhere],eax", {0xf0, 0x0f, 0xc1, 0x04, 0x25, 0x00, 0x20, 0x01, 0x00}, true, true},
      {"movups [kWhere],xmm0", {0x0f, 0x11, 0x04, 0x25, 0x00, 0x20, 0x01, 0x00}, false, true},
      {"push qword [kWhere]", {0xff, 0x34, 0x25, 0x00, 0x20, 0x01, 0x00}, true, false},
      {"fld dword [kWhere]", {0xd9, 0x04, 0x25, 0x00, 0x20, 0x01, 0x00}, true, false},
  };
  for (const Row& row : rows) {
    for (const uint64_t kind : {kOnWrite, kOnAccess}) {
      BreakGuest g;
      g.code(kCode, {0xff, 0xc2});  // inc edx
      g.code(kCode + 2, row.code);
      g.code(kCode + 2 + row.code.size(), {0xff, 0xc2, 0xf4});
      g.state().gpr[kRdx] = 0;
      g.arm(kLocal0 << 1 | kind | kTwo, kWhere + 3);  // global; bytes 2 and 3 of the operand
      CHECK(g.run() == RunExit::Halted);
      const auto traps = g.traps();
      const bool expected = row.writes || (row.reads && kind == kOnAccess);
      CHECK_EQ(traps.size(), expected ? 1u : 0u);
      CHECK_EQ(g.state().gpr[kRdx], 2u);
      if (row.reads && row.writes && row.code.size() == 7) CHECK_EQ(g.get<uint32_t>(kWhere), 1u);  // once
      if (traps.size() != 1) continue;
      CHECK_EQ(traps[0].dr6, kNothing | 1);
      CHECK_EQ(traps[0].rip, kCode + 2 + row.code.size());
      CHECK_EQ(traps[0].flags & kRf, 0u);
    }
  }
}

TEST(dataBreakpointsHaveALengthAndNeighbours) {
  for (const auto& [field, bytes] : {std::pair<uint64_t, unsigned>{0, 1}, {kTwo, 2}, {kFour, 4}, {kEight, 8}}) {
    BreakGuest g;
    // for (rdi = kWhere; rdi < kWhere + 24; ++rdi) [rdi] = 5ah
    g.code(kCode, {0xc6, 0x07, 0x5a, 0x48, 0xff, 0xc7, 0xe2, 0xf8, 0xf4});
    g.state().gpr[kRdi] = kWhere, g.state().gpr[kRcx] = 24;
    g.arm(kLocal0 | kOnWrite | field, kWhere + 8 + bytes - 1);  // low bits are ignored
    CHECK(g.run() == RunExit::Halted);
    CHECK_EQ(g.traps().size(), size_t{bytes});
    for (unsigned n = 0; n < 24; ++n) CHECK_EQ(g.get<uint8_t>(kWhere + n), 0x5au);
  }
}

TEST(twoBreakpointsOfOneInstructionAreOneTrap) {
  BreakGuest g;
  g.code(kCode, {0xa4, 0xf4});  // movsb; hlt
  g.state().gpr[kRsi] = kWhere, g.state().gpr[kRdi] = kWhere + 0x100;
  g.arm(kLocal0 | kOnAccess | kLocal0 << 2 | kOnWrite << 4, kWhere, kWhere + 0x100);
  CHECK(g.run() == RunExit::Halted);
  CHECK_EQ(g.traps().size(), 1u);
  CHECK_EQ(g.traps()[0].dr6, kNothing | 3);
  CHECK_EQ(g.traps()[0].rip, kCode + 1);
}

TEST(repeatsTrapBehindTheElementThatWasTouched) {
  BreakGuest g;
  g.code(kCode, {0xf3, 0xaa, 0xf4});  // rep stosb; hlt
  g.state().gpr[kRdi] = kWhere, g.state().gpr[kRcx] = 16, g.state().gpr[kRax] = 7;
  g.arm(kLocal0 | kOnWrite | kLocal0 << 2 | kOnWrite << 4, kWhere + 4, kWhere + 15);
  CHECK(g.run() == RunExit::Halted);
  const auto traps = g.traps();
  CHECK_EQ(traps.size(), 2u);
  CHECK_EQ(traps[0].rip, kCode);  // still at it
  CHECK_EQ(traps[0].dr6, kNothing | 1);
  CHECK_EQ(traps[1].rip, kCode + 2);
  CHECK_EQ(traps[1].dr6, kNothing | 2);
  for (unsigned n = 0; n < 16; ++n) CHECK_EQ(g.get<uint8_t>(kWhere + n), 7u);
  CHECK_EQ(g.state().gpr[kRcx], 0u);
}

TEST(instructionBreakpointsFaultOnceUnlessRfIsSet) {
  BreakGuest g;
  g.code(kCode, {0xff, 0xc0, 0xff, 0xc2, 0xe2, 0xfa, 0xf4});  // again: inc eax; inc edx; loop again; hlt
  // What is armed late is met in code that is chained already.
  g.state().gpr[kRcx] = 50, g.state().gpr[kRax] = g.state().gpr[kRdx] = 0;
  CHECK(g.run() == RunExit::Halted);
  g.state().rip = kCode, g.state().gpr[kRcx] = 3, g.state().activity = Activity::Runnable;
  g.arm(kLocal0 << 2, 0, kCode + 2);
  CHECK(g.run() == RunExit::Halted);
  const auto traps = g.traps();
  CHECK_EQ(traps.size(), 3u);
  for (const Trap& t : traps) {
    CHECK_EQ(t.rip, kCode + 2);
    CHECK_EQ(t.dr6, kNothing | 2);
    CHECK_EQ(t.flags & kRf, 0u);
  }
  CHECK_EQ(g.state().gpr[kRdx], 53u);
  CHECK_EQ(g.state().rflags & kRf, 0u);
}

TEST(instructionBreakpointsComeBeforeTheInstructionsFaults) {
  BreakGuest g;
  g.code(kCode, {0x0f, 0x0b});  // ud2
  g.gate(kUD, kFar);
  g.arm(kLocal0, kCode);
  CHECK(g.run() == RunExit::Halted);
  CHECK_EQ(g.traps().size(), 1u);
  CHECK_EQ(g.state().rip, kFar + 1);
  CHECK_EQ(g.get<uint64_t>(g.state().gpr[kRsp] + 16) & kRf, uint64_t{kRf});
}

TEST(aRepeatedInstructionIsOneToItsBreakpoint) {
  BreakGuest g;
  g.code(kCode, {0xf3, 0xaa, 0xf4});
  g.state().gpr[kRdi] = kWhere, g.state().gpr[kRcx] = 5;
  g.arm(kLocal0 | kLocal0 << 2 | kOnWrite << 4, kCode, kWhere + 2);
  CHECK(g.run() == RunExit::Halted);
  const auto traps = g.traps();
  CHECK_EQ(traps.size(), 2u);
  CHECK_EQ(traps[0].dr6, kNothing | 1);
  CHECK_EQ(traps[1].dr6, kNothing | 2);
  CHECK_EQ(traps[1].flags & kRf, uint64_t{kRf});  // not behind the last iteration
}

TEST(portBreakpointsNeedCr4De) {
  for (const bool de : {false, true}) {
    BreakGuest g;
    g.state().cr4 |= de ? 8 : 0;
    // in al,61h; out 62h,al; in ax,60h; in al,63h; rep outsb to 61h; hlt
    g.code(kCode, {0xe4, 0x61, 0xe6, 0x62, 0x66, 0xe5, 0x60, 0xe4, 0x63, 0xba, 0x61, 0x00, 0x00, 0x00, 0xf3, 0x6e, 0xf4});
    g.state().gpr[kRcx] = 2, g.state().gpr[kRsi] = kWhere;
    g.arm(kLocal0 | kOnPort, 0x61);
    CHECK(g.run() == RunExit::Halted);
    const auto traps = g.traps();
    const uint64_t expected[] = {kCode + 2, kCode + 7, kCode + 14, kCode + 16};
    CHECK_EQ(traps.size(), de ? 4u : 0u);
    for (size_t n = 0; n < traps.size() && n < 4; ++n) {
      CHECK_EQ(traps[n].rip, expected[n]);
      CHECK_EQ(traps[n].dr6, kNothing | 1);
    }
  }
}

TEST(aLoadOfSsHoldsTrapsBack) {
  BreakGuest g;
  g.state().gpr[kRbx] = kWhere;
  g.put<uint16_t>(kWhere, kData);
  g.code(kCode, {0x8e, 0x13, 0xff, 0xc0, 0xff, 0xc0, 0xf4});  // mov ss,[rbx]; inc eax; inc eax; hlt
  g.arm(kLocal0 | kOnAccess | kTwo | kLocal0 << 2, kWhere, kCode + 2);
  CHECK(g.run() == RunExit::Halted);
  const auto traps = g.traps();
  CHECK_EQ(traps.size(), 1u);
  CHECK_EQ(traps[0].dr6, kNothing | 1);
  CHECK_EQ(traps[0].rip, kCode + 4);  // and the breakpoint there is not met
}

TEST(singleStepAndDataBreakpointAreOneTrap) {
  BreakGuest g;
  g.code(kCode, {0x9c, 0x80, 0x4c, 0x24, 0x01, 0x01, 0x9d,               // pushf; or byte [rsp+1],1; popf
                 0xc6, 0x04, 0x25, 0x00, 0x20, 0x01, 0x00, 0x01, 0xf4});  // mov byte [kWhere],1; hlt
  g.arm(kLocal0 | kOnWrite, kWhere);
  CHECK(g.run() == RunExit::Halted);
  const auto traps = g.traps();
  CHECK_EQ(traps.size(), 1u);
  CHECK_EQ(traps[0].dr6, kNothing | kBs | 1);
  CHECK_EQ(traps[0].rip, kCode + 15);
}

TEST(anAccessThatFaultsTouchesNoBreakpoint) {
  BreakGuest g;
  g.code(kCode, {0x89, 0x04, 0x25, 0x00, 0x20, 0x01, 0x00});
  g.put<uint64_t>(g.pteOf(kWhere), 0);
  g.arm(kLocal0 | kOnWrite | kFour, kWhere);
  CHECK(g.run() == RunExit::Halted);
  CHECK_EQ(g.state().rip, kFar + 1);
  CHECK_EQ(g.traps().size(), 0u);
  CHECK_EQ(g.state().dr[6], kNothing);
}

TEST(generalDetectGuardsTheDebugRegisters) {
  BreakGuest g;
  g.code(kCode, {0x0f, 0x21, 0xc0, 0x90, 0xf4});  // mov rax,dr0; nop; hlt
  g.arm(1 << 13, 0x1234);
  CHECK(g.run() == RunExit::Halted);
  const auto traps = g.traps();
  // The handler could use them, so that the bit went when it was entered; and the instruction then ran.
  CHECK_EQ(traps.size(), 1u);
  CHECK_EQ(traps[0].dr6, kNothing | kBd);
  CHECK_EQ(traps[0].rip, kCode);
  CHECK_EQ(traps[0].flags & kRf, uint64_t{kRf});
  CHECK_EQ(g.state().dr[7], 0x400u);
  CHECK_EQ(g.state().gpr[kRax], 0x1234u);
}

/** DEBUGCTL.BTF (SDM vol. 3 §18.4.3): neither what does not branch nor REP's repetitions trap, and BTF is gone with the trap. */
TEST(singleStepsBranchByBranch) {
  BreakGuest g;
  CHECK(g.cpu->writeMsr(0x1d9, 2));
  // pushfq; or byte [rsp+1],1; popfq; nop; mov ecx,2; rep stosb; jz +0 is not taken; dec eax; jnz over a nop
  g.code(kCode, {0x9c, 0x80, 0x4c, 0x24, 0x01, 0x01, 0x9d, 0x90, 0xb9, 0x02, 0, 0, 0, 0xf3, 0xaa, 0x74, 0x00, 0xff, 0xc8, 0x75, 0x01, 0xf4, 0x90, 0xf4});
  g.state().gpr[kRdi] = kWhere, g.state().gpr[kRax] = 5;
  // The handler ends it: and byte [rsp+33],0feh, which is TF; pop rbx; pop rax; iretq
  g.code(kHandler + 56, {0x80, 0x64, 0x24, 0x21, 0xfe, 0x5b, 0x58, 0x48, 0xcf});
  CHECK(g.run() == RunExit::Halted);
  const auto traps = g.traps();
  CHECK_EQ(traps.size(), 1u);
  if (traps.empty()) return;
  CHECK_EQ(traps[0].dr6, kNothing | kBs);
  CHECK_EQ(traps[0].rip, kCode + 22);
  CHECK_EQ(g.state().rip, kCode + 24);
  uint64_t value = 7;
  CHECK(g.cpu->readMsr(0x1d9, value));
  CHECK_EQ(value, 0u);
  CHECK_EQ(g.get<uint16_t>(kWhere), 0x0505u);
}

TEST(debugRegistersKeepWhatTheyMay) {
  BreakGuest g;
  g.gate(kUD, kFar);
  // mov eax,-1; mov dr6,rax; and eax,0d400h; mov dr7,rax
  g.code(kCode, {0xb8, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x23, 0xf0, 0x25, 0x00, 0xd4, 0x00, 0x00, 0x0f, 0x23, 0xf8,
                 0x0f, 0x21, 0xf3, 0x0f, 0x21, 0xf9, 0xf4});  // mov rbx,dr6; mov rcx,dr7; hlt
  CHECK(g.run() == RunExit::Halted);
  CHECK_EQ(g.state().gpr[kRbx], 0xffffeffful);
  CHECK_EQ(g.state().gpr[kRcx], 0x400u);
  // DR4 is DR6 until CR4.DE takes it away; the upper half of DR7 cannot be set.
  for (const bool de : {false, true}) {
    BreakGuest alias;
    alias.gate(kUD, kFar);
    alias.state().cr4 |= de ? 8 : 0;
    alias.cpu->stateChanged();
    alias.code(kCode, {0x0f, 0x21, 0xe0, 0xf4});
    CHECK(alias.run() == RunExit::Halted);
    CHECK_EQ(alias.state().rip, de ? kFar + 1 : kCode + 4);
  }
  BreakGuest upper;
  upper.state().gpr[kRax] = 1ull << 32;
  upper.code(kCode, {0x0f, 0x23, 0xf8, 0x90});
  CHECK(upper.run() == RunExit::Halted);
  CHECK_EQ(upper.state().rip, kFar + 1);
}

}  // namespace
}  // namespace lodge::x86
