// Page walks, page faults and their error codes, the TLB's upkeep, and the slow paths of memory access.
#include "testing/test.h"
#include "x86/interpreter/guest_fixture.h"

namespace lodge::x86 {
namespace {

using namespace testing;

constexpr uint64_t kWindow = 0x40000000;  ///< linear page the tests map as they please
constexpr Gpa kTarget = 0x200000;
constexpr Gpa kCode = 0x11000, kHandler = 0x12000;

/** A guest in long mode whose exceptions all end at HLT instructions: vector n at kHandler + n. */
void prepare(Guest& g, unsigned cpl = 0) {
  g.enter64(kCode, cpl);
  for (unsigned v = 0; v < 32; ++v) {
    g.gate(v, kHandler + v);
    g.put<uint8_t>(kHandler + v, 0xf4);
  }
  g.gate(kDF, kHandler + kDF, 0xe, 0, 1);
}
struct Outcome {
  int vector;
  uint64_t error, rip;
};
/** Runs to a HLT; the vector tells which handler it was (-1: none). Error code and RIP from the handler's stack. */
Outcome outcome(Guest& g) {
  g.state().activity = Activity::Runnable;
  const RunExit exit = g.run();
  if (exit != RunExit::Halted) return {-2, 0, 0};
  const uint64_t rip = g.state().rip - 1;
  if (rip < kHandler || rip >= kHandler + 32) return {-1, 0, rip};
  const int vector = static_cast<int>(rip - kHandler);
  const bool hasError = vector == kDF || (vector >= kTS && vector <= kPF) || vector == kAC;
  const uint64_t sp = g.state().gpr[kRsp];
  return {vector, hasError ? g.get<uint64_t>(sp) : 0, g.get<uint64_t>(sp + (hasError ? 8 : 0))};
}
void restart(Guest& g, unsigned cpl = 0, uint64_t rip = kCode) {
  State& s = g.state();
  const unsigned dpl = cpl << 5;
  s.seg[kCs] = g.flat(cpl ? kUserCode64 : kCode64, static_cast<uint16_t>(0xa09b | dpl));
  s.seg[kSs] = g.flat(cpl ? kUserData : kData, static_cast<uint16_t>(0xc093 | dpl));
  s.gpr[kRsp] = 0x10000;
  s.rip = rip;
  s.rflags = 2;
  s.activity = Activity::Runnable;
  g.cpu->stateChanged();
}
void load(Guest& g) { g.code(kCode, {0x8b, 0x03, 0xf4}); }       // mov eax,[rbx]; hlt
void storeCode(Guest& g) { g.code(kCode, {0x89, 0x03, 0xf4}); }  // mov [rbx],eax; hlt

TEST(pageFaultErrorCodesFollowAccessAndPermission) {
  struct Case {
    uint64_t pte;
    bool write;
    unsigned cpl;
    bool wp;
    int vector;
    uint64_t error;
  };
  const Case cases[] = {
      {0, false, 0, true, kPF, 0}, {0, true, 0, true, kPF, 2},
      {0, true, 3, true, kPF, 6},  {0, false, 3, true, kPF, 4},
      {1, false, 0, true, -1, 0},  {1, true, 0, true, kPF, 3},
      {1, true, 0, false, -1, 0},  {1, false, 3, true, kPF, 5},
      {3, true, 3, true, kPF, 7},  {5, true, 3, true, kPF, 7},
      {5, false, 3, true, -1, 0},  {7, true, 3, true, -1, 0},
      {5, true, 3, false, kPF, 7}, {1ull << 45 | 7, false, 0, true, kPF, 9},
  };
  for (const Case& t : cases) {
    Guest g;
    prepare(g);
    g.mapPage(kWindow, kTarget, 0);
    g.put<uint64_t>(g.pteOf(kWindow), t.pte & 1 ? kTarget | t.pte : 0);
    if (!t.wp) g.state().cr0 &= ~uint64_t{1u << 16};
    if (t.write)
      storeCode(g);
    else
      load(g);
    restart(g, t.cpl);
    g.state().gpr[kRbx] = kWindow + 0x123;
    if (t.cpl) {  // HLT is not for users: end with an INT3 that may be called from there
      g.put<uint8_t>(kCode + 2, 0xcc);
      g.gate(kBP, kHandler + kBP, 0xe, 3);
    }
    const Outcome o = outcome(g);
    const int none = t.cpl ? static_cast<int>(kBP) : -1;
    CHECK_EQ(o.vector, t.vector < 0 ? none : t.vector);
    if (t.vector == kPF) {
      CHECK_EQ(o.error, t.error);
      CHECK_EQ(g.state().cr2, kWindow + 0x123);
      CHECK_EQ(o.rip, kCode);
    }
  }
}

TEST(accessedAndDirtyBits) {
  Guest g;
  prepare(g);
  g.mapPage(kWindow, kTarget, 3);
  load(g);
  restart(g);
  g.state().gpr[kRbx] = kWindow;
  CHECK_EQ(outcome(g).vector, -1);
  CHECK_EQ(g.get<uint64_t>(g.pteOf(kWindow)) & 0x60, 0x20u);
  storeCode(g);
  restart(g);
  CHECK_EQ(outcome(g).vector, -1);
  CHECK_EQ(g.get<uint64_t>(g.pteOf(kWindow)) & 0x60, 0x60u);
}

TEST(readThenWriteSetsDirtyWithoutFlush) {
  Guest g;
  prepare(g);
  g.mapPage(kWindow, kTarget, 3);
  g.code(kCode, {0x8b, 0x03, 0x89, 0x03, 0xf4});
  restart(g);
  g.state().gpr[kRbx] = kWindow;
  CHECK_EQ(outcome(g).vector, -1);
  CHECK_EQ(g.get<uint64_t>(g.pteOf(kWindow)) & 0x60, 0x60u);
}

TEST(noExecuteSmepAndFetchErrors) {
  Guest g;
  prepare(g);
  g.mapPage(kWindow, kTarget, 1ull << 63 | 3);
  g.put<uint8_t>(kTarget, 0xf4);
  restart(g, 0, kWindow);
  Outcome o = outcome(g);
  CHECK_EQ(o.vector, static_cast<int>(kPF));
  CHECK_EQ(o.error, 0x11u);
  CHECK_EQ(o.rip, kWindow);
  // A user page, executed by the supervisor: only SMEP objects.
  g.put<uint64_t>(g.pteOf(kWindow), kTarget | 7);
  restart(g, 0, kWindow);
  CHECK_EQ(outcome(g).vector, -1);
  // The fixture's low memory consists of user pages, and so do the handlers: with SMEP only the window's page may run.
  for (uint64_t p = 0; p < 0x80000; p += 4096) g.put<uint64_t>(g.pteOf(p), p | 3);
  g.state().cr4 |= 1u << 20;
  restart(g, 0, kWindow);
  o = outcome(g);
  CHECK_EQ(o.vector, static_cast<int>(kPF));
  CHECK_EQ(o.error, 0x11u);
}

TEST(smapLiftedByAc) {
  Guest g;
  prepare(g);
  for (uint64_t p = 0; p < 0x80000; p += 4096) g.put<uint64_t>(g.pteOf(p), p | 3);
  g.mapPage(kWindow, kTarget, 7);
  g.put<uint64_t>(g.pteOf(kWindow), kTarget | 7);
  g.state().cr4 |= 1u << 21;
  load(g);
  restart(g);
  g.state().gpr[kRbx] = kWindow;
  Outcome o = outcome(g);
  CHECK_EQ(o.vector, static_cast<int>(kPF));
  CHECK_EQ(o.error, 1u);
  g.code(kCode, {0x0f, 0x01, 0xcb, 0x8b, 0x03, 0x0f, 0x01, 0xca, 0x8b, 0x0b, 0xf4});  // stac; load; clac; load
  restart(g);
  o = outcome(g);
  CHECK_EQ(o.vector, static_cast<int>(kPF));
  CHECK_EQ(o.rip, kCode + 8);
}

TEST(staleTranslationsLastUntilInvlpg) {
  Guest g;
  prepare(g);
  g.mapPage(kWindow, kTarget, 3);
  g.put<uint32_t>(kTarget, 0x11111111);
  g.put<uint32_t>(kTarget + 4096, 0x22222222);
  // mov eax,[rbx]; mov [rcx],rdx (the PTE); invlpg [rbx]; mov esi,[rbx]; hlt
  g.code(kCode, {0x8b, 0x03, 0x48, 0x89, 0x11, 0x0f, 0x01, 0x3b, 0x8b, 0x33, 0xf4});
  restart(g);
  g.state().gpr[kRbx] = kWindow;
  g.state().gpr[kRcx] = g.pteOf(kWindow);
  g.state().gpr[kRdx] = (kTarget + 4096) | 3;
  CHECK_EQ(outcome(g).vector, -1);
  CHECK_EQ(g.state().gpr[kRax], 0x11111111u);
  CHECK_EQ(g.state().gpr[kRsi], 0x22222222u);
}

TEST(globalPagesSurviveCr3Loads) {
  Guest g;
  prepare(g);
  g.mapPage(kWindow, kTarget, 0x103);
  g.mapPage(kWindow + 4096, kTarget, 3);
  g.put<uint32_t>(kTarget, 0x11111111);
  g.put<uint32_t>(kTarget + 4096, 0x22222222);
  g.state().cr4 |= 0x80;
  // load both; redirect both PTEs; mov rax,cr3; mov cr3,rax; load both again
  g.code(kCode, {0x8b, 0x03, 0x8b, 0x83, 0x00, 0x10, 0x00, 0x00, 0x48, 0x89, 0x11, 0x48, 0x89, 0x51, 0x08,
                 0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8, 0x8b, 0x33, 0x8b, 0xbb, 0x00, 0x10, 0x00, 0x00, 0xf4});
  restart(g);
  g.state().gpr[kRbx] = kWindow;
  g.state().gpr[kRcx] = g.pteOf(kWindow);
  g.state().gpr[kRdx] = (kTarget + 4096) | 3;
  CHECK_EQ(outcome(g).vector, -1);
  CHECK_EQ(g.state().gpr[kRsi], 0x11111111u);
  CHECK_EQ(g.state().gpr[kRdi], 0x22222222u);
}

TEST(largePages) {
  Guest g;
  prepare(g);
  // 2 MiB at linear 0x80000000 and 1 GiB at 0xc0000000, both over low memory.
  g.mapPage(0x80000000, 0, 0);
  const Gpa pdpt = g.get<uint64_t>(kTables) & ~0xfffull;
  const Gpa pd = g.get<uint64_t>(pdpt + 2 * 8) & 0xffffffffff000;
  g.put<uint64_t>(pd, 0x200000 | 0x83);
  g.put<uint64_t>(pdpt + 3 * 8, 0x83);
  g.put<uint32_t>(0x212344, 0xabcdef01);
  load(g);
  restart(g);
  g.state().gpr[kRbx] = 0x80012344;
  CHECK_EQ(outcome(g).vector, -1);
  CHECK_EQ(g.state().gpr[kRax], 0xabcdef01u);
  g.state().gpr[kRax] = 0;
  restart(g);
  g.state().gpr[kRbx] = 0xc0212344;
  CHECK_EQ(outcome(g).vector, -1);
  CHECK_EQ(g.state().gpr[kRax], 0xabcdef01u);
  // Address bits below the page size are reserved.
  g.put<uint64_t>(pd, 0x200000 | 0x2083);
  restart(g);
  g.state().gpr[kRbx] = 0x80012344;
  const Outcome o = outcome(g);
  CHECK_EQ(o.vector, static_cast<int>(kPF));
  CHECK_EQ(o.error, 9u);
}

TEST(paging32AndPae) {
  Guest g;
  g.enter32(kCode);
  // Two-level: a 4 MiB page for low memory, one 4 KiB page at 0x40000000.
  constexpr Gpa kDirectory = 0x20000, kTable = 0x21000;
  g.put<uint32_t>(kDirectory, 0x83);
  g.put<uint32_t>(kDirectory + 0x100 * 4, kTable | 7);
  g.put<uint32_t>(kTable + 0x123 * 4, static_cast<uint32_t>(kTarget) | 3);
  g.put<uint32_t>(kTarget + 0x10, 0x5eed);
  g.code(kCode, {0xa1, 0x10, 0x30, 0x12, 0x40, 0xf4});  // mov eax,[0x40123010]; hlt
  g.state().cr3 = kDirectory;
  g.state().cr4 = 0x10;
  g.state().cr0 |= 0x80010000;
  g.cpu->stateChanged();
  CHECK(g.run() == RunExit::Halted);
  CHECK_EQ(g.state().gpr[kRax], 0x5eedu);
  CHECK_EQ(g.get<uint32_t>(kTable + 0x123 * 4) & 0x60, 0x20u);

  Guest p;
  p.enter32(kCode);
  // PAE: four entries at any 32-byte boundary.
  p.put<uint64_t>(0x20020, 0x22001);
  p.put<uint64_t>(0x20028, 0x23001);
  p.put<uint64_t>(0x22000, 0x83);
  p.put<uint64_t>(0x23000, 0x24000 | 7);
  p.put<uint64_t>(0x24000 + 0x123 * 8, kTarget | 3);
  p.put<uint32_t>(kTarget + 0x10, 0x5eed);
  p.code(kCode, {0xa1, 0x10, 0x30, 0x12, 0x40, 0xf4});
  p.state().cr3 = 0x20020;
  p.state().cr4 = 0x20;
  p.state().cr0 |= 0x80010000;
  p.cpu->stateChanged();
  CHECK(p.run() == RunExit::Halted);
  CHECK_EQ(p.state().gpr[kRax], 0x5eedu);
}

TEST(nonCanonicalAddresses) {
  Guest g;
  prepare(g);
  load(g);
  restart(g);
  g.state().gpr[kRbx] = 0x0000900000000000;
  Outcome o = outcome(g);
  CHECK_EQ(o.vector, static_cast<int>(kGP));
  CHECK_EQ(o.error, 0u);
  g.code(kCode, {0x50, 0xf4});  // push rax
  g.gate(kSS, kHandler + kSS, 0xe, 0, 1);
  restart(g);
  g.state().gpr[kRsp] = 0x0000900000000000;
  CHECK_EQ(outcome(g).vector, static_cast<int>(kSS));
}

TEST(pageCrossingStoreIsAllOrNothing) {
  Guest g;
  prepare(g);
  g.mapPage(kWindow, kTarget, 3);
  g.mapPage(kWindow + 4096, kTarget + 0x10000, 0);
  g.put<uint64_t>(kTarget + 4088, 0x1111111111111111);
  g.code(kCode, {0x48, 0x89, 0x03, 0xf4});  // mov [rbx],rax
  restart(g);
  g.state().gpr[kRbx] = kWindow + 4092;
  g.state().gpr[kRax] = 0x8877665544332211;
  Outcome o = outcome(g);
  CHECK_EQ(o.vector, static_cast<int>(kPF));
  CHECK_EQ(g.state().cr2, kWindow + 4096);
  CHECK_EQ(g.get<uint64_t>(kTarget + 4088), 0x1111111111111111u);
  g.put<uint64_t>(g.pteOf(kWindow + 4096), (kTarget + 0x10000) | 3);
  restart(g);
  CHECK_EQ(outcome(g).vector, -1);
  CHECK_EQ(g.get<uint32_t>(kTarget + 4092), 0x44332211u);
  CHECK_EQ(g.get<uint32_t>(kTarget + 0x10000), 0x88776655u);
}

TEST(instructionAcrossPagesFaultsAtTheSecond) {
  Guest g;
  prepare(g);
  g.mapPage(kWindow, kTarget, 3);
  g.mapPage(kWindow + 4096, kTarget + 0x10000, 0);
  g.code(kTarget + 4093, {0x90, 0xb8, 0x44});  // nop; mov eax, imm32 cut after one byte
  g.code(kTarget + 0x10000, {0x33, 0x22, 0x11, 0xf4});
  restart(g, 0, kWindow + 4093);
  Outcome o = outcome(g);
  CHECK_EQ(o.vector, static_cast<int>(kPF));
  CHECK_EQ(o.rip, kWindow + 4094);
  CHECK_EQ(g.state().cr2, kWindow + 4096);
  g.put<uint64_t>(g.pteOf(kWindow + 4096), (kTarget + 0x10000) | 3);
  restart(g, 0, kWindow + 4093);
  CHECK_EQ(outcome(g).vector, -1);
  CHECK_EQ(g.state().gpr[kRax], 0x11223344u);
  // The same first page before another second page is another instruction.
  g.code(kTarget + 0x20000, {0x66, 0x77, 0x88, 0xf4});
  g.put<uint64_t>(g.pteOf(kWindow + 4096), (kTarget + 0x20000) | 3);
  restart(g, 0, kWindow + 4093);
  CHECK_EQ(outcome(g).vector, -1);
  CHECK_EQ(g.state().gpr[kRax], 0x88776644u);
}

TEST(mmioGoesToTheEnvironmentOnceAndCanBeAbandoned) {
  Guest g;
  prepare(g);
  g.mapPage(kWindow, 0xfd000000, 3);
  g.env.answer = 0x12345678;
  g.code(kCode, {0x01, 0x43, 0x08, 0x8b, 0x43, 0x0c, 0xf4});  // add [rbx+8],eax; mov eax,[rbx+12]
  restart(g);
  g.state().gpr[kRbx] = kWindow;
  g.state().gpr[kRax] = 2;
  CHECK_EQ(outcome(g).vector, -1);
  CHECK_EQ(g.env.mmio.size(), 3u);
  CHECK_EQ(g.env.mmio[1].value, 0x1234567au);
  CHECK(g.env.mmio[1].write && g.env.mmio[1].address == 0xfd000008 && g.env.mmio[1].width == 4);
  CHECK_EQ(g.state().gpr[kRax], 0x12345678u);

  restart(g);
  g.state().gpr[kRax] = 2;
  g.env.abandon = true;
  const uint64_t before = g.state().rflags;
  CHECK(g.run() == RunExit::Abandoned);
  CHECK_EQ(g.state().rip, kCode);
  CHECK_EQ(g.state().gpr[kRax], 2u);
  CHECK_EQ(g.state().rflags, before);
}

TEST(romDropsWrites) {
  Guest g;
  prepare(g);
  RegionId rom;
  CHECK(g.memory.addRegion(RegionKind::Rom, 4096, rom).empty());
  CHECK(g.memory.map(rom, 0, 0xe0000000, 4096).empty());
  g.put<uint32_t>(0xe0000000, 0xfeedface);
  g.mapPage(kWindow, 0xe0000000, 3);
  g.code(kCode, {0x89, 0x03, 0x8b, 0x0b, 0xf4});
  restart(g);
  g.state().gpr[kRbx] = kWindow;
  g.state().gpr[kRax] = 1;
  CHECK_EQ(outcome(g).vector, -1);
  CHECK_EQ(g.state().gpr[kRcx], 0xfeedfaceu);
}

TEST(flashIsReadDirectlyUntilACommandTakesItAway) {
  Guest g;
  prepare(g);
  RegionId flash;
  CHECK(g.memory.addRegion(RegionKind::Flash, 4096, flash).empty());
  const auto show = [&] { CHECK(g.memory.map(flash, 0, 0xe0000000, 4096).empty()); };
  show();
  g.put<uint32_t>(0xe0000000, 0xfeedface);
  g.mapPage(kWindow, 0xe0000000, 3);
  g.env.answer = 0x80;
  g.env.onMmioWrite = [&](uint64_t command) {
    if (command == 0xff) show();
    else CHECK(g.memory.unmap(0xe0000000, 4096).empty());
    g.cpu->request(kRequestTlbFlush);
  };
  // In one block: mov ecx,[rbx]; mov [rbx],eax; mov edx,[rbx]; mov [rbx],ebp; mov esi,[rbx]; or [rbx],eax; mov edi,[rbx]; hlt
  g.code(kCode, {0x8b, 0x0b, 0x89, 0x03, 0x8b, 0x13, 0x89, 0x2b, 0x8b, 0x33, 0x09, 0x03, 0x8b, 0x3b, 0xf4});
  for (int round = 0; round < 2; ++round) {
    show();
    g.env.mmio.clear();
    restart(g);
    g.state().gpr[kRbx] = kWindow;
    g.state().gpr[kRax] = 0x70;
    g.state().gpr[kRbp] = 0xff;
    CHECK_EQ(outcome(g).vector, -1);
    CHECK_EQ(g.state().gpr[kRcx], 0xfeedfaceu);
    CHECK_EQ(g.state().gpr[kRdx], 0x80u);
    CHECK_EQ(g.state().gpr[kRsi], 0xfeedfaceu);
    CHECK_EQ(g.state().gpr[kRdi], 0x80u);
    CHECK_EQ(g.env.mmio.size(), 5u);
    CHECK_EQ(g.env.mmio[3].value, 0xfeedface | 0x70u);
    CHECK_EQ(*reinterpret_cast<uint32_t*>(g.memory.regionHost(flash)), 0xfeedfaceu);
  }
}

TEST(trackedPagesAreMarkedDirtyAgainAfterEachTake) {
  Guest g;
  prepare(g);
  RegionId vram;
  CHECK(g.memory.addRegion(RegionKind::Vram, 8192, vram).empty());
  CHECK(g.memory.map(vram, 0, 0xe0000000, 8192).empty());
  g.mapPage(kWindow, 0xe0001000, 3);
  storeCode(g);
  uint8_t bits[8] = {};
  for (int round = 0; round < 3; ++round) {
    restart(g);
    g.state().gpr[kRbx] = kWindow;
    CHECK_EQ(outcome(g).vector, -1);
    CHECK(g.memory.takeDirty(vram, bits, sizeof bits));
    CHECK_EQ(bits[0], 2);
  }
}

TEST(repMovsStopsAtTheFaultAndGoesOn) {
  Guest g;
  prepare(g);
  g.mapPage(kWindow, kTarget, 3);
  g.mapPage(kWindow + 4096, kTarget + 0x10000, 0);
  for (unsigned n = 0; n < 64; ++n) g.put<uint8_t>(0x15000 + n, static_cast<uint8_t>(n));
  g.code(kCode, {0xf3, 0xa4, 0xf4});
  restart(g);
  g.state().gpr[kRsi] = 0x15000;
  g.state().gpr[kRdi] = kWindow + 4096 - 24;
  g.state().gpr[kRcx] = 64;
  const Outcome o = outcome(g);
  CHECK_EQ(o.vector, static_cast<int>(kPF));
  CHECK_EQ(o.rip, kCode);
  CHECK_EQ(o.error, 2u);
  CHECK_EQ(g.state().gpr[kRcx], 40u);
  CHECK_EQ(g.state().gpr[kRsi], 0x15018u);
  CHECK_EQ(g.state().gpr[kRdi], kWindow + 4096);
  g.put<uint64_t>(g.pteOf(kWindow + 4096), (kTarget + 0x10000) | 3);
  restart(g);
  CHECK_EQ(outcome(g).vector, -1);
  CHECK_EQ(g.state().gpr[kRcx], 0u);
  for (unsigned n = 0; n < 64; ++n) CHECK_EQ(g.get<uint8_t>(n < 24 ? kTarget + 4096 - 24 + n : kTarget + 0x10000 + n - 24), n);
}

}  // namespace
}  // namespace lodge::x86
