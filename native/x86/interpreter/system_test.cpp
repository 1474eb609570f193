// Modes, segments, interrupts, system calls, single-stepping, self-modifying code.
#include "testing/test.h"
#include "x86/cpuid.h"
#include "x86/interpreter/guest_fixture.h"

namespace lodge::x86 {
namespace {

using namespace testing;

constexpr Gpa kCode = 0x11000, kHandler = 0x12000;

TEST(resetState) {
  Guest g;
  const State& s = g.state();
  CHECK_EQ(s.rip, 0xfff0u);
  CHECK_EQ(s.seg[kCs].base, 0xffff0000u);
  CHECK_EQ(s.rflags, 2u);
  CHECK_EQ(s.cr0, 0x60000010u);
}

TEST(realModeInterruptAndReturn) {
  Guest g;
  g.put<uint16_t>(0x21 * 4, 0x0040);
  g.put<uint16_t>(0x21 * 4 + 2, 0x1200);
  g.code(0x11000, {0xb8, 0x34, 0x12, 0xf9, 0xcd, 0x21, 0x72, 0x01, 0x40, 0xf4});  // mov ax,1234; stc; int 21h; jc +1; inc ax; hlt
  g.code(0x12040, {0xf8, 0x05, 0x01, 0x00, 0xcf});                                // clc; add ax,1; iret
  g.enterReal(0x1000, 0x1000);
  g.state().seg[kSs].base = 0;
  CHECK(g.run() == RunExit::Halted);
  CHECK_EQ(g.state().gpr[kRax], 0x1235u);  // CF came back with the flags: INC was jumped over
  CHECK_EQ(g.state().gpr[kRsp], 0xf000u);
  CHECK_EQ(g.state().rip, 0x100au);
}

TEST(realToProtectedToLongMode) {
  Guest g;
  g.enter64(0);  // builds tables and GDT
  g.cpu->reset();
  g.put<uint16_t>(0x10800, 0x7f);
  g.put<uint32_t>(0x10802, kGdt);
  g.code(0x11000, {0x0f, 0x01, 0x16, 0x00, 0x08,                              // lgdt [0800]
                   0x0f, 0x20, 0xc0, 0x0c, 0x01, 0x0f, 0x22,    0xc0,         // cr0.PE
                   0x66, 0xea, 0x00, 0x20, 0x01, 0x00, kCode32, 0x00});       // jmp 28:12000
  g.code(0x12000, {0xb8, kData, 0,    0,    0,    0x8e,    0xd8, 0x8e, 0xd0,  // mov eax,10; mov ds,ax; mov ss,ax
                   0xbc, 0x00,  0x00, 0x01, 0x00,                             // mov esp,10000
                   0x0f, 0x20,  0xe0, 0x83, 0xc8, 0x20,    0x0f, 0x22, 0xe0,  // cr4.PAE
                   0xb8, 0x00,  0x00, 0x06, 0x00, 0x0f,    0x22, 0xd8,        // cr3 = kTables
                   0xb9, 0x80,  0x00, 0x00, 0xc0, 0x0f,    0x32, 0x0d, 0x00, 0x01, 0x00, 0x00, 0x0f, 0x30,  // efer.LME
                   0x0f, 0x20,  0xc0, 0x0d, 0x00, 0x00,    0x00, 0x80, 0x0f, 0x22, 0xc0,  // cr0.PG: compatibility mode
                   0xea, 0x00,  0x30, 0x01, 0x00, kCode64, 0x00});                        // jmp 08:13000
  g.code(0x13000, {0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8, 0x50, 0x5b, 0xf4});                // mov rax,imm64; push rax; pop rbx; hlt
  g.enterReal(0x1000, 0x1000);
  g.state().seg[kDs].base = 0x10000;
  CHECK(g.run() == RunExit::Halted);
  CHECK_EQ(g.state().gpr[kRbx], 0x0807060504030201u);
  CHECK_EQ(g.state().efer & 0x500, 0x500u);
  CHECK_EQ(g.state().rip, 0x1300du);
}

TEST(syscallAndSysret) {
  Guest g;
  g.enter64(kCode, 3);
  State& s = g.state();
  s.star = 0x0013000800000000;  // SYSCALL: CS 08, SS 10; SYSRET: CS 23, SS 1B
  s.lstar = kHandler;
  s.sfmask = 0x200 | kDf;
  s.rflags = 0x202 | kDf;
  g.cpu->stateChanged();
  g.code(kCode, {0x0f, 0x05, 0x90, 0x0f, 0x0b});           // syscall; nop; ud2
  g.code(kHandler, {0x48, 0x89, 0xc8, 0x48, 0x0f, 0x07});  // mov rax,rcx; sysretq
  g.gate(kUD, kHandler + 0x100);
  g.put<uint8_t>(kHandler + 0x100, 0xf4);
  CHECK(g.run() == RunExit::Halted);
  CHECK_EQ(s.gpr[kRax], kCode + 2);
  CHECK_EQ(s.gpr[kR11] & 0x600, 0x600u);
  const uint64_t sp = s.gpr[kRsp];  // #UD frame: RIP, CS, RFLAGS, RSP, SS
  CHECK_EQ(g.get<uint64_t>(sp), kCode + 3);
  CHECK_EQ(g.get<uint64_t>(sp + 8), kUserCode64);
  CHECK_EQ(g.get<uint64_t>(sp + 16) & 0x600, 0x600u);
  CHECK_EQ(g.get<uint64_t>(sp + 24), 0x10000u);
  CHECK_EQ(g.get<uint64_t>(sp + 32), kUserData);
  CHECK_EQ(sp, 0xf000u - 40);
}

TEST(iretqToUserAndBackThroughIst) {
  Guest g;
  g.enter64(kCode);
  State& s = g.state();
  s.gpr[kRsp] = 0xe800;
  const uint64_t frame[] = {kCode + 0x100, kUserCode64, 0x202, 0x20000, kUserData};
  for (unsigned n = 0; n < 5; ++n) g.put<uint64_t>(0xe800 + n * 8, frame[n]);
  g.code(kCode, {0x48, 0xcf});
  g.code(kCode + 0x100, {0xcd, 0x80});
  g.gate(0x80, kHandler, 0xe, 3, 1);
  g.put<uint8_t>(kHandler, 0xf4);
  CHECK(g.run() == RunExit::Halted);
  CHECK_EQ(s.gpr[kRsp], 0xe000u - 40);
  CHECK_EQ(g.get<uint64_t>(s.gpr[kRsp]), kCode + 0x102);
  CHECK_EQ(g.get<uint64_t>(s.gpr[kRsp] + 24), 0x20000u);
  CHECK_EQ(s.seg[kSs].selector, 0);
  CHECK_EQ(s.rflags & kIf, 0u);
}

TEST(privilegedInstructionsFaultInUserMode) {
  for (auto bytes : {std::initializer_list<unsigned>{0xf4},
                     {0x0f, 0x22, 0xd8},
                     {0x0f, 0x30},
                     {0xfa},
                     {0xe4, 0x10},
                     {0x0f, 0x01, 0x38},
                     {0x0f, 0x09},
                     {0x0f, 0x06},
                     {0x0f, 0x01, 0xf8},
                     {0xcd, 0x21}}) {
    Guest g;
    g.enter64(kCode, 3);
    g.code(kCode, bytes);
    g.gate(kGP, kHandler);
    g.gate(0x21, kHandler + 1);  // DPL 0
    g.put<uint8_t>(kHandler, 0xf4);
    g.put<uint16_t>(kTss + 0x66, 0x1000);  // no I/O permission bitmap
    CHECK(g.run() == RunExit::Halted);
    CHECK_EQ(g.state().rip, kHandler + 1);
    CHECK_EQ(g.get<uint64_t>(g.state().gpr[kRsp] + 8), kCode);
  }
}

TEST(doubleAndTripleFault) {
  Guest g;
  g.enter64(kCode);
  g.code(kCode, {0x0f, 0x0b});
  CHECK(g.run() == RunExit::TripleFault);  // no gates at all
  CHECK_EQ(g.state().rip, kCode);

  Guest d;
  d.enter64(kCode);
  d.code(kCode, {0x8b, 0x04, 0x25, 0, 0, 0, 0x40});  // mov eax,[0x40000000]: #PF without a gate → #GP while delivering → #DF
  d.gate(kDF, kHandler);
  d.put<uint8_t>(kHandler, 0xf4);
  CHECK(d.run() == RunExit::Halted);
  CHECK_EQ(d.state().rip, kHandler + 1);
  CHECK_EQ(d.get<uint64_t>(d.state().gpr[kRsp]), 0u);
}

TEST(interruptsWaitForIfAndTheShadowOfSti) {
  Guest g;
  g.enter64(kCode);
  g.code(kCode, {0x90, 0xfb, 0xff, 0xc0, 0xff, 0xc0, 0xf4});  // nop; sti; inc eax; inc eax; hlt
  g.gate(0x30, kHandler);
  g.code(kHandler, {0xf4});
  g.state().gpr[kRax] = 0;
  g.env.vector = 0x30;
  g.cpu->request(kRequestInterrupt);
  CHECK(g.run() == RunExit::Halted);
  CHECK_EQ(g.state().rip, kHandler + 1);
  CHECK_EQ(g.state().gpr[kRax], 1u);
  CHECK_EQ(g.get<uint64_t>(g.state().gpr[kRsp]), kCode + 4);
}

TEST(haltWakesForAnInterruptAndStopIsHonoured) {
  Guest g;
  g.enter64(kCode);
  g.code(kCode, {0xfb, 0xf4, 0xeb, 0xfe});
  g.gate(0x30, kHandler);
  g.code(kHandler, {0xff, 0xc3, 0x48, 0xcf});  // inc ebx; iretq
  CHECK(g.run() == RunExit::Halted);
  CHECK(g.run() == RunExit::Halted);
  g.env.vector = 0x30;
  g.cpu->request(kRequestInterrupt);
  g.cpu->request(kRequestStop);
  CHECK(g.run() == RunExit::StopRequested);
  g.cpu->clearRequest(kRequestStop);
  g.state().gpr[kRbx] = 0;
  // It would loop for ever now: let the handler's own end be a stop.
  g.code(kHandler, {0xff, 0xc3, 0x48, 0x83, 0xec, 0x00, 0xf4});
  CHECK(g.run() == RunExit::Halted);
  CHECK_EQ(g.state().gpr[kRbx], 1u);
  CHECK_EQ(g.get<uint64_t>(g.state().gpr[kRsp]), kCode + 2);
}

TEST(singleStepTrapsAfterEachInstruction) {
  Guest g;
  g.enter64(kCode);
  g.code(kCode, {0x9c, 0x80, 0x4c, 0x24, 0x01, 0x01, 0x9d, 0x90, 0x90, 0xf4});  // pushfq; or byte [rsp+1],1; popfq; nop; nop; hlt
  g.gate(kDB, kHandler);
  // inc ebx; mov rcx,[rsp]; cmp ebx,2; jb out; and byte [rsp+17],0xfe; out: iretq
  g.code(kHandler, {0xff, 0xc3, 0x48, 0x8b, 0x0c, 0x24, 0x83, 0xfb, 0x02, 0x72, 0x05, 0x80, 0x64, 0x24, 0x11, 0xfe, 0x48, 0xcf});
  g.state().gpr[kRbx] = 0;
  CHECK(g.run() == RunExit::Halted);
  CHECK_EQ(g.state().gpr[kRbx], 2u);
  CHECK_EQ(g.state().gpr[kRcx], kCode + 9);
  CHECK_EQ(g.state().dr[6] & 0x4000, 0x4000u);
}

TEST(softwareInterruptsAndStackSegmentLoadsAreNotSteppedInto) {
  Guest g;
  g.enter64(kCode);
  // int 21h; nop; mov ss,edx; nop; hlt, with TF set
  g.code(kCode, {0xcd, 0x21, 0x90, 0x8e, 0xd2, 0x90, 0xf4});
  g.gate(kDB, kHandler);
  g.gate(0x21, 0x13000);
  g.code(kHandler, {0xff, 0xc3, 0x48, 0x8b, 0x0c, 0x24, 0x48, 0x89, 0x0c, 0xdd, 0x00, 0x40, 0x01, 0x00, 0x48, 0xcf});
  g.code(0x13000, {0xff, 0xc6, 0x48, 0xcf});  // inc esi; iretq
  g.state().gpr[kRbx] = g.state().gpr[kRsi] = 0;
  g.state().gpr[kRdx] = kData;
  g.state().rflags |= kTf;
  CHECK(g.run() == RunExit::Halted);
  CHECK_EQ(g.state().gpr[kRsi], 1u);
  // #DB counts in EBX and notes where it came from: behind the first NOP, and behind the one after MOV SS.
  CHECK_EQ(g.state().gpr[kRbx], 2u);
  CHECK_EQ(g.get<uint64_t>(0x14008), kCode + 3);
  CHECK_EQ(g.get<uint64_t>(0x14010), kCode + 6);

  Guest r;
  r.put<uint32_t>(0x21 * 4, 0x10000040);  // 1000:0040
  r.put<uint32_t>(1 * 4, 0x10000050);
  r.code(0x11000, {0xcd, 0x21, 0x90, 0xf4});
  r.code(0x10040, {0x46, 0xcf});
  r.code(0x10050, {0x43, 0xcf});
  r.enterReal(0x1000, 0x1000);
  r.state().gpr[kRbx] = r.state().gpr[kRsi] = 0;
  r.state().rflags |= kTf;
  CHECK(r.run() == RunExit::Halted);
  CHECK_EQ(r.state().gpr[kRsi], 1u);
  CHECK_EQ(r.state().gpr[kRbx], 1u);
}

TEST(cr4RefusesWhatCpuidDoesNotOffer) {
  for (const uint32_t bit : {1u << 12, 1u << 13, 1u << 22, 1u << 23, 1u << 24}) {
    Guest g;
    g.enter64(kCode);
    g.gate(kGP, kHandler);
    g.code(kHandler, {0xf4});
    g.code(kCode, {0x0f, 0x20, 0xe0, 0x48, 0x09, 0xd8, 0x0f, 0x22, 0xe0, 0xf4});  // mov rax,cr4; or rax,rbx; mov cr4,rax; hlt
    const uint64_t before = g.state().cr4;
    g.state().gpr[kRbx] = bit;
    CHECK(g.run() == RunExit::Halted);
    CHECK_EQ(g.state().rip, kHandler + 1);
    CHECK_EQ(g.state().cr4, before);
  }
  Guest g;
  g.enter64(kCode);
  g.code(kCode, {0x0f, 0x20, 0xe0, 0x48, 0x09, 0xd8, 0x0f, 0x22, 0xe0, 0xf4});
  g.state().gpr[kRbx] = 0x1cf;  // VME, PVI, TSD, DE, MCE, PGE, PCE
  CHECK(g.run() == RunExit::Halted);
  CHECK_EQ(g.state().rip, kCode + 10);
  CHECK_EQ(g.state().cr4 & 0x1cf, 0x1cfull);
}

TEST(codeThatRewritesTheNextInstruction) {
  Guest g;
  g.enter64(kCode);
  // mov byte [rip+1],7 ; mov eax,1 (its immediate is rewritten just before it runs); hlt
  g.code(kCode, {0xc6, 0x05, 0x01, 0x00, 0x00, 0x00, 0x07, 0xb8, 0x01, 0x00, 0x00, 0x00, 0xf4});
  CHECK(g.run() == RunExit::Halted);
  CHECK_EQ(g.state().gpr[kRax], 7u);
}

TEST(rewrittenCodeIsDecodedAgainThroughLinksAndCalls) {
  Guest g;
  g.enter64(kCode);
  // loop: call f; add ebx,eax; mov byte [f+1],5; dec ecx; jnz loop; hlt       f: mov eax,1; ret   (in another page)
  g.code(kCode, {0xe8, 0xfb, 0x0f, 0x00, 0x00, 0x01, 0xc3, 0xc6, 0x04, 0x25,
                 0x01, 0x20, 0x01, 0x00, 0x05, 0xff, 0xc9, 0x75, 0xed, 0xf4});
  g.code(0x12000, {0xb8, 0x01, 0x00, 0x00, 0x00, 0xc3});
  g.state().gpr[kRbx] = 0;
  g.state().gpr[kRcx] = 4;
  CHECK(g.run() == RunExit::Halted);
  CHECK_EQ(g.state().gpr[kRbx], 16u);
}

TEST(codeWrittenByDmaIsDecodedAgain) {
  Guest g;
  g.enter64(kCode);
  g.code(kCode, {0xb8, 0x01, 0x00, 0x00, 0x00, 0xf4});
  CHECK(g.run() == RunExit::Halted);
  g.put<uint8_t>(kCode + 1, 9);
  g.state().rip = kCode;
  g.state().activity = Activity::Runnable;
  CHECK(g.run() == RunExit::Halted);
  CHECK_EQ(g.state().gpr[kRax], 9u);
}

TEST(stringPortOutputIsOneExitAPage) {
  Guest g;
  g.enter64(kCode);
  g.code(kCode, {0xf3, 0x6f, 0xf4});  // rep outsd
  g.state().gpr[kRsi] = 0x15ff0;
  g.state().gpr[kRcx] = 16;
  g.state().gpr[kRdx] = 0x1234;
  CHECK(g.run() == RunExit::Halted);
  CHECK_EQ(g.env.ports.size(), 2u);
  CHECK_EQ(g.env.ports[0].count, 4u);
  CHECK_EQ(g.env.ports[1].count, 12u);
  CHECK_EQ(g.state().gpr[kRcx], 0u);
}

TEST(fpuInstructionsObeyTheControlRegisters) {
  struct Case {
    uint64_t cr0, cr4;
    std::initializer_list<unsigned> bytes;
    int vector;
  };
  const Case cases[] = {
      {8, 0x620, {0xd9, 0xe8}, kNM},       {8, 0x620, {0x0f, 0x57, 0xc0}, kNM},
      {4, 0x620, {0xd9, 0xe8}, kNM},       {4, 0x620, {0x0f, 0x57, 0xc0}, kUD},
      {0, 0x020, {0x0f, 0x57, 0xc0}, kUD}, {0, 0x620, {0x0f, 0x28, 0x04, 0x25, 0x01, 0x00, 0x02, 0x00}, kGP},
  };
  for (const Case& t : cases) {
    Guest g;
    g.enter64(kCode);
    g.code(kCode, t.bytes);
    for (unsigned v = 0; v < 32; ++v) g.gate(v, kHandler + v);
    g.put<uint64_t>(kHandler, 0xf4f4f4f4f4f4f4f4);
    g.put<uint64_t>(kHandler + 8, 0xf4f4f4f4f4f4f4f4);
    g.state().cr0 |= t.cr0;
    g.state().cr4 = t.cr4;
    g.cpu->stateChanged();
    CHECK(g.run() == RunExit::Halted);
    CHECK_EQ(static_cast<int>(g.state().rip - kHandler - 1), t.vector);
  }
}

TEST(sseThroughTheDecoder) {
  Guest g;
  g.enter64(kCode);
  // movdqu xmm1,[rsi]; paddd xmm1,xmm1; pshufd xmm2,xmm1,0x1b; movdqa [rdi],xmm2; pmovmskb eax,xmm2; fld1; fadd st0,st0; fistp
  // dword [rdi+16]; hlt
  g.code(kCode, {0xf3, 0x0f, 0x6f, 0x0e, 0x66, 0x0f, 0xfe, 0xc9, 0x66, 0x0f, 0x70, 0xd1, 0x1b, 0x66, 0x0f,
                 0x7f, 0x17, 0x66, 0x0f, 0xd7, 0xc2, 0xd9, 0xe8, 0xd8, 0xc0, 0xdb, 0x5f, 0x10, 0xf4});
  for (unsigned n = 0; n < 4; ++n) g.put<uint32_t>(0x15001 + n * 4, 0x40000000u + n);
  g.state().gpr[kRsi] = 0x15001;
  g.state().gpr[kRdi] = 0x16000;
  CHECK(g.run() == RunExit::Halted);
  for (unsigned n = 0; n < 4; ++n) CHECK_EQ(g.get<uint32_t>(0x16000 + n * 4), 0x80000000u + 2 * (3 - n));
  CHECK_EQ(g.state().gpr[kRax], 0x8888u);
  CHECK_EQ(g.get<uint32_t>(0x16010), 2u);
}

TEST(callGateAndFarReturnBetweenRings) {
  Guest g;
  g.enter32(kCode);
  State& s = g.state();
  // GDT: 48 = code DPL 3, 50 = data DPL 3, 58 = 32-bit call gate DPL 3 → 28:kHandler with one parameter; TSS at 38.
  g.put<uint64_t>(kGdt + 0x48, Guest::descriptor(0, 0xfffff, 0xfb, 0xc));
  g.put<uint64_t>(kGdt + 0x50, Guest::descriptor(0, 0xfffff, 0xf3, 0xc));
  g.put<uint64_t>(kGdt + 0x58,
                  (kHandler & 0xffff) | uint64_t{kCode32} << 16 | 1ull << 32 | 0xecull << 40 | (kHandler >> 16) << 48);
  g.put<uint32_t>(kTss + 4, 0xf000);
  g.put<uint16_t>(kTss + 8, kData);
  s.seg[kTr] = {kTss, 0xfff, kTssSelector, 0x8b};
  s.seg[kCs] = g.flat(0x4b, 0xc0fb);
  s.seg[kSs] = g.flat(0x53, 0xc0f3);
  s.seg[kDs] = g.flat(0x53, 0xc0f3);
  g.cpu->stateChanged();
  g.code(kCode, {0x6a, 0x2a, 0x9a, 0, 0, 0, 0, 0x58, 0x00, 0x0f, 0x0b});     // push 42; call 58:0; ud2
  g.code(kHandler, {0x8b, 0x44, 0x24, 0x08, 0x89, 0xe3, 0xca, 0x04, 0x00});  // mov eax,[esp+8]; mov ebx,esp; retf 4
  g.put<uint64_t>(kIdt + kUD * 8, 0x100 | uint64_t{kCode32} << 16 | 0x8eull << 40 | 1ull << 48);  // 28:10100
  g.code(0x10100, {0xf4});
  CHECK(g.run() == RunExit::Halted);
  CHECK_EQ(s.gpr[kRax], 42u);
  CHECK_EQ(s.gpr[kRbx], 0xf000u - 20);
  CHECK_EQ(g.get<uint32_t>(s.gpr[kRsp] + 4), 0x4bu);  // came back to ring 3 before the #UD
  CHECK_EQ(g.get<uint32_t>(s.gpr[kRsp] + 12), 0x10000u);
}

TEST(taskSwitchSavesAndRestores) {
  Guest g;
  g.enter32(kCode);
  State& s = g.state();
  constexpr Gpa kOther = 0x20000;
  g.put<uint64_t>(kGdt + 0x48, Guest::descriptor(kOther, 0x67, 0x89, 0));
  s.seg[kTr] = {kTss, 0xfff, kTssSelector, 0x8b};
  g.put<uint32_t>(kOther + 0x20, kHandler);  // EIP
  g.put<uint32_t>(kOther + 0x24, 2);
  g.put<uint32_t>(kOther + 0x38, 0xe000);  // ESP
  g.put<uint32_t>(kOther + 0x28, 0x77);    // EAX
  for (unsigned n = 0; n < 6; ++n) g.put<uint32_t>(kOther + 0x48 + n * 4, n == 1 ? kCode32 : kData);
  g.cpu->stateChanged();
  s.gpr[kRax] = 5;
  g.code(kCode, {0x9a, 0, 0, 0, 0, 0x48, 0x00, 0x40, 0xf4});           // call 48:0; inc eax; hlt
  g.code(kHandler, {0x89, 0x04, 0x25, 0x00, 0x50, 0x01, 0x00, 0xcf});  // mov [15000],eax; iretd (back to the caller)
  CHECK(g.run() == RunExit::Halted);
  CHECK_EQ(g.get<uint32_t>(0x15000), 0x77u);
  CHECK_EQ(s.gpr[kRax], 6u);
  CHECK_EQ(s.seg[kTr].selector, kTssSelector);
  CHECK_EQ(g.get<uint8_t>(kGdt + 0x48 + 5), 0x89);
}

TEST(virtual8086TrapsToItsMonitor) {
  Guest g;
  g.enter32(kCode);
  State& s = g.state();
  g.put<uint32_t>(kTss + 4, 0xf000);
  g.put<uint16_t>(kTss + 8, kData);
  s.seg[kTr] = {kTss, 0xfff, kTssSelector, 0x8b};
  s.gpr[kRsp] = 0xe000;
  const uint32_t frame[] = {0x0100, 0x1500, 0x00020202, 0x0800, 0x1600, 0x1111, 0x2222, 0x3333, 0x4444};
  for (unsigned n = 0; n < 9; ++n) g.put<uint32_t>(0xe000 + n * 4, frame[n]);
  g.cpu->stateChanged();
  g.code(kCode, {0xcf});
  g.code(0x15100, {0xb8, 0x34, 0x12, 0x50, 0xfa});  // mov ax,1234; push ax; cli → #GP (IOPL 0)
  g.put<uint64_t>(kIdt + kGP * 8, 0x100 | uint64_t{kCode32} << 16 | 0x8eull << 40 | 1ull << 48);
  g.code(0x10100, {0xf4});
  CHECK(g.run() == RunExit::Halted);
  CHECK_EQ(g.get<uint16_t>(0x16000 + 0x7fe), 0x1234u);
  const uint64_t sp = s.gpr[kRsp];
  CHECK_EQ(sp, 0xf000u - 40);
  CHECK_EQ(g.get<uint32_t>(sp + 4), 0x104u);
  CHECK_EQ(g.get<uint32_t>(sp + 8), 0x1500u);
  CHECK_EQ(g.get<uint32_t>(sp + 12) & kVm, static_cast<uint32_t>(kVm));
  CHECK_EQ(g.get<uint32_t>(sp + 16), 0x7feu);
  CHECK_EQ(g.get<uint32_t>(sp + 28), 0x2222u);  // ES, DS, FS, GS above SS
  CHECK_EQ(s.seg[kDs].attributes, 0);
}

TEST(msrsRefuseWhatTheyMust) {
  Guest g;
  uint64_t v = 0;
  CHECK(!g.cpu->readMsr(0x12345678, v));
  CHECK(!g.cpu->writeMsr(0xc0000082, 0x0000900000000000));  // LSTAR: canonical
  CHECK(!g.cpu->writeMsr(0x277, 2));                        // PAT: type 2 does not exist
  CHECK(!g.cpu->writeMsr(0xc0000080, 1ull << 40));          // EFER
  CHECK(g.cpu->writeMsr(0x250, 0x0606060606060606) && g.cpu->readMsr(0x250, v));
  CHECK_EQ(v, 0x0606060606060606u);
}

TEST(kvmClockDescribesTheTsc) {
  Guest g;  // TSC at 1 GHz, 10 ticks a reading
  CHECK(g.cpu->writeMsr(0x4b564d01, 0x20000 | 1));
  const auto at = [&](uint64_t tsc) {
    const auto shift = g.get<int8_t>(0x2001c);
    const uint64_t delta = tsc - g.get<uint64_t>(0x20008);
    const uint64_t shifted = shift < 0 ? delta >> -shift : delta << shift;
    return g.get<uint64_t>(0x20010) +
           static_cast<uint64_t>(static_cast<unsigned __int128>(shifted) * g.get<uint32_t>(0x20018) >> 32);
  };
  CHECK_EQ(g.get<uint32_t>(0x20000) & 1, 0u);
  CHECK(at(5'000'000'000) >= 4'999'999'990 && at(5'000'000'000) <= 5'000'000'000);
  // Setting the TSC back does not set time back.
  g.env.tsc = 7'000'000'000;
  CHECK(g.cpu->writeMsr(0x10, 0));
  CHECK(at(0) >= 6'999'999'990 && at(0) <= 7'000'000'100);
}

TEST(cpuidLeavesWithoutSubleavesDoNotLookAtEcx) {
  const CpuModel& model = defaultCpuModel();
  for (const uint32_t leaf : {0x1u, 0x80000001u, 0x80000007u, 0x40000001u}) {
    uint32_t plain[4], other[4];
    cpuidLookup({leaf, 0, 0, 1, &model, offeredFeatures(model), 2'000'000'000, false, true}, plain);
    cpuidLookup({leaf, 0x6c65746e, 0, 1, &model, offeredFeatures(model), 2'000'000'000, false, true}, other);
    for (unsigned i = 0; i < 4; ++i) CHECK_EQ(other[i], plain[i]);
  }
}

TEST(cpuidTellsTheTopologyItWasGiven) {
  uint32_t r[4];
  const CpuModel& model = defaultCpuModel();
  cpuidLookup({1, 0, 3, 4, &model, offeredFeatures(model), 2'000'000'000, false, true}, r);
  CHECK_EQ(r[1] >> 24, 3u);
  CHECK_EQ(r[1] >> 16 & 0xff, 4u);
  // Most leaves take no notice of ECX.
  for (const uint32_t leaf : {1u, 0x80000001u}) {
    uint32_t other[4];
    cpuidLookup({leaf, 0, 3, 4, &model, offeredFeatures(model), 2'000'000'000, false, true}, r);
    cpuidLookup({leaf, 0xdeadbeef, 3, 4, &model, offeredFeatures(model), 2'000'000'000, false, true}, other);
    for (unsigned i = 0; i < 4; ++i) CHECK_EQ(r[i], other[i]);
    CHECK(r[3] != 0 && r[2] != 0);
  }
  cpuidLookup({0xb, 1, 3, 4, &model, offeredFeatures(model), 2'000'000'000, false, true}, r);
  CHECK_EQ(r[0], 2u);
  CHECK_EQ(r[1], 4u);
  CHECK_EQ(r[3], 3u);
}

TEST(countersFollowWhatTheProcessorDid) {
  Guest g(testing::kRamBytes, makeInterpreter);
  g.enter64(kCode);
  g.gate(0x40, kHandler);
  g.gate(kUD, kHandler);
  g.code(kHandler, {0x48, 0x83, 0x04, 0x24, 0x02, 0x48, 0xcf});  // add qword [rsp],2; iretq
  g.code(kCode, {0x0f, 0x0b, 0xc6, 0x04, 0x25, 0x00, 0x18, 0x01, 0x00, 0xf4, 0xf4});  // ud2; mov byte [kFar],f4; hlt
  g.code(0x11800, {0x90, 0xf4});
  g.state().rip = 0x11800;
  CHECK(g.run() == RunExit::Halted);
  const CpuCounters& counters = g.cpu->counters();
  CHECK_EQ(counters.blocksDecoded.value(), 1u);
  CHECK_EQ(counters.exceptions.value(), 0u);
  const uint64_t walks = counters.pageWalks.value();
  CHECK(walks > 0);
  g.state().rip = kCode;
  g.state().activity = Activity::Runnable;
  g.cpu->stateChanged();
  CHECK(g.run() == RunExit::Halted);
  CHECK_EQ(counters.exceptions.value(), 1u);
  CHECK_EQ(counters.interrupts.value(), 0u);
  CHECK_EQ(counters.blocksInvalidated.value(), 1u);
  CHECK_EQ(counters.blocksCached.value(), counters.blocksDecoded.value() - 1);
  CHECK(counters.pageWalks.value() > walks);
  CHECK(counters.tlbMisses.value() > 0);
}

TEST(aSampleIsTakenAtTheNextBoundary) {
  struct Sampled final : FakeEnvironment {
    std::vector<Place> places;
    Cpu* cpu = nullptr;
    void sample() noexcept override { places.push_back(cpu->place()); }
  } env;
  PhysicalMemory memory;
  RegionId region;
  memory.addRegion(RegionKind::Ram, kRamBytes, region);
  memory.map(region, 0, 0, kRamBytes);
  const auto cpu = makeInterpreter(CpuConfig{0, 1, 1'000'000'000}, memory, env);
  env.cpu = cpu.get();
  cpu->reset();
  State& s = cpu->state();
  s.seg[kCs].base = 0x10000;  // real mode
  s.seg[kCs].selector = 0x1000;
  s.rip = 0x20;
  cpu->stateChanged();
  const uint8_t halt[] = {0x40, 0xf4};
  memory.write(0x10020, halt, sizeof halt);
  cpu->request(kRequestSample);
  CHECK(cpu->run() == RunExit::Halted);
  cpu->request(kRequestSample);
  CHECK(cpu->run() == RunExit::Halted);
  CHECK_EQ(env.places.size(), 2u);
  CHECK_EQ(env.places[0].linear, 0x10020u);
  CHECK(!env.places[0].halted && !env.places[0].user);
  CHECK(env.places[1].halted);
  CHECK_EQ(cpu->requests(), 0u);
}

TEST(cpuidLooksAtEcxOnlyForLeavesThatHaveSubleaves) {
  const CpuModel& model = defaultCpuModel();
  for (uint32_t leaf : {1u, 0x80000001u, 0x80000007u, 0x80000008u}) {
    uint32_t clean[4], dirty[4];
    cpuidLookup({leaf, 0, 0, 1, &model, offeredFeatures(model), 2'000'000'000, false, true}, clean);
    cpuidLookup({leaf, 0xc0000101, 0, 1, &model, offeredFeatures(model), 2'000'000'000, false, true}, dirty);
    for (int i = 0; i < 4; ++i) CHECK_EQ(dirty[i], clean[i]);
  }
}

TEST(chainedVexInstructionsUseNoStack) {
  const CpuModel* const model = findCpuModel("");
  if (!model || !offeredFeatures(*model).has(Feature::Avx)) {
    std::fprintf(stderr, "skipped: this host has no AVX\n");
    return;
  }
  Guest g;
  g.enter64(0x11000);
  g.state().cr4 |= 1u << 18;
  g.state().xcr0 = 7;
  g.cpu->stateChanged();
  g.state().gpr[kRcx] = 500'000;
  g.state().gpr[kRbx] = 0x12000;
  // again: vaddps xmm0,xmm0,xmm1; vaddps xmm0,xmm0,[rbx]; vmovlps [rbx],xmm0; loop again; hlt
  g.code(0x11000, {0xc5, 0xf8, 0x58, 0xc1, 0xc5, 0xf8, 0x58, 0x03, 0xc5, 0xf8, 0x13, 0x03, 0xe2, 0xf2, 0xf4});
  CHECK(g.run() == RunExit::Halted);
  CHECK_EQ(g.state().gpr[kRcx], 0u);
}

}  // namespace
}  // namespace lodge::x86
