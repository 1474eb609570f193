// Rules of the system's side that no table row says: fast system calls by vendor, alignment checks, locked accesses across pages and to
// devices, which of two faults is reported, what becomes of faults in the delivery of faults, and MSRs that are only there to be asked.
#include "testing/test.h"
#include "x86/cpuid.h"
#include "x86/interpreter/guest_fixture.h"

namespace lodge::x86 {
namespace {

using namespace testing;

constexpr Gpa kCode = 0x11000, kHandlers = 0x12000, kTarget = 0x13000, kWhere = 0x14000;
constexpr uint16_t kStarKernel = 0x08, kStarUser = 0x10;

CpuModel model(const char* vendor) {
  return {"test", "", vendor, 0, 0xd, 0x80000008, findCpuModel("x86-64-v3")->features};
}

/** All vectors halt at kHandlers + vector, on a stack of their own (IST 1), so that the frame tells who was interrupted. */
struct RulesGuest : Guest {
  explicit RulesGuest(const CpuModel* m = nullptr, unsigned cpl = 0) : Guest(kRamBytes, makeTestCpu, m) {
    enter64(kCode, cpl);
    for (unsigned v = 0; v < 32; ++v) {
      gate(v, kHandlers + v, 0xe, 3, 1);
      put<uint8_t>(kHandlers + v, 0xf4);
    }
    put<uint8_t>(kTarget, 0xf4);
    put<uint64_t>(kGdt + 0x48, descriptor(0, 0xfffff, 0xfb, 0xc));  // 32-bit user code
    put<uint64_t>(kGdt + 0x50, descriptor(0, 0xfffff, 0x9b, 0xc));
    state().gdtr.limit = 0xff;
  }
  /** To 32-bit compatibility mode. */
  void narrow(unsigned cpl) {
    state().seg[kCs] = flat(cpl ? 0x4b : 0x50, cpl ? 0xc0fb : 0xc09b);
    cpu->stateChanged();
  }
  void reserveMsr(uint32_t index, uint64_t value) { CHECK(cpu->writeMsr(index, value)); }
  int vectorOf(std::initializer_list<unsigned> bytes) {
    code(kCode, bytes);
    put<uint8_t>(kCode + bytes.size(), 0xf4);
    if (run() != RunExit::Halted) return -2;
    const uint64_t at = state().rip - 1;
    return at >= kHandlers && at < kHandlers + 32 ? static_cast<int>(at - kHandlers) : -1;
  }
  uint64_t frame(unsigned n) { return get<uint64_t>(state().gpr[kRsp] + 8 * n); }
};

TEST(syscallFollowsTheVendorsRules) {
  for (const bool intel : {true, false}) {
    const CpuModel m = model(intel ? "GenuineIntel" : "AuthenticAMD");
    RulesGuest compat(&m), wide(&m);
    for (RulesGuest* g : {&compat, &wide}) {
      g->reserveMsr(0xc0000081, uint64_t{kStarKernel} << 32 | uint64_t{kStarUser} << 48);
      g->reserveMsr(0xc0000082, kTarget);
      g->reserveMsr(0xc0000083, kTarget + 0x100);
      g->put<uint8_t>(kTarget + 0x100, 0xf4);
    }
    CHECK_EQ(wide.vectorOf({0x0f, 0x05}), -1);
    CHECK_EQ(wide.state().rip, kTarget + 1);
    compat.narrow(3);
    CHECK_EQ(compat.vectorOf({0x0f, 0x05}), intel ? int{kUD} : -1);
    if (!intel) CHECK_EQ(compat.state().rip, kTarget + 0x101);
    // SYSRET from compatibility mode.
    RulesGuest back(&m);
    back.reserveMsr(0xc0000081, uint64_t{kStarUser} << 48);
    back.narrow(0);
    back.state().gpr[kRcx] = kTarget;
    CHECK_EQ(back.vectorOf({0x0f, 0x07}), intel ? int{kUD} : int{kGP});  // HLT in user mode
  }
}

TEST(sysretChecksItsTargetAndLoadsSsByVendor) {
  for (const bool intel : {true, false}) {
    const CpuModel m = model(intel ? "GenuineIntel" : "AuthenticAMD");
    RulesGuest far(&m);
    far.reserveMsr(0xc0000081, uint64_t{kStarUser} << 48);
    far.state().gpr[kRcx] = 0x0000800000000000;
    CHECK_EQ(far.vectorOf({0x48, 0x0f, 0x07}), int{kGP});
    // Intel: by the kernel, at the instruction. AMD: by the user, at the target.
    CHECK_EQ(far.frame(2) & 3, intel ? 0u : 3u);
    CHECK_EQ(far.frame(1), intel ? kCode : 0x0000800000000000);
    CHECK_EQ(far.frame(0), 0u);

    RulesGuest stack(&m);
    stack.reserveMsr(0xc0000081, uint64_t{kStarUser} << 48);
    SegmentRegister null;
    null.selector = 0;
    stack.state().seg[kSs] = null;
    stack.cpu->stateChanged();
    stack.state().gpr[kRcx] = kTarget;
    stack.put<uint8_t>(kTarget, 0xeb);  // jmp $
    stack.put<uint8_t>(kTarget + 1, 0xfe);
    stack.put<uint8_t>(kCode, 0x48), stack.put<uint8_t>(kCode + 1, 0x0f), stack.put<uint8_t>(kCode + 2, 0x07);
    stack.cpu->setStep(true);
    CHECK(stack.run() == RunExit::Debug);
    CHECK_EQ(stack.state().rip, kTarget);
    CHECK_EQ(stack.state().seg[kSs].selector, (kStarUser + 8) | 3u);
    CHECK_EQ(stack.state().seg[kSs].attributes >> 5 & 3, 3);
    CHECK_EQ(stack.state().seg[kSs].attributes & 0x80, intel ? 0x80 : 0);  // present: AMD's keep what was there
  }
}

TEST(sysenterFollowsTheVendorsRules) {
  for (const bool intel : {true, false}) {
    const CpuModel m = model(intel ? "GenuineIntel" : "AuthenticAMD");
    RulesGuest wide(&m), none(&m), exit(&m), user(&m, 3);
    for (RulesGuest* g : {&wide, &exit, &user}) {
      g->reserveMsr(0x174, 0x48);
      g->reserveMsr(0x175, 0xc000);
      g->reserveMsr(0x176, kTarget);
    }
    CHECK_EQ(wide.vectorOf({0x0f, 0x34}), intel ? -1 : int{kUD});
    if (intel) {
      CHECK_EQ(wide.state().rip, kTarget + 1);
      CHECK_EQ(wide.state().gpr[kRsp], 0xc000u);
      CHECK_EQ(wide.state().seg[kSs].selector, 0x50u);
    }
    CHECK_EQ(none.vectorOf({0x0f, 0x34}), intel ? int{kGP} : int{kUD});
    exit.state().gpr[kRdx] = kTarget, exit.state().gpr[kRcx] = 0xd000;
    CHECK_EQ(exit.vectorOf({0x48, 0x0f, 0x35}), intel ? int{kGP} : int{kUD});
    if (intel) CHECK_EQ(exit.frame(2), 0x48u + 32 + 3);  // HLT in user mode
    CHECK_EQ(user.vectorOf({0x0f, 0x35}), int{kGP});

    // Both have it in legacy protected mode, and neither in real mode.
    Guest legacy(kRamBytes, makeTestCpu, &m);
    legacy.enter32(kCode);
    CHECK(legacy.cpu->writeMsr(0x174, kCode32) && legacy.cpu->writeMsr(0x175, 0xc000) && legacy.cpu->writeMsr(0x176, kTarget));
    legacy.code(kCode, {0x0f, 0x34});
    legacy.put<uint8_t>(kTarget, 0xf4);
    CHECK(legacy.run() == RunExit::Halted);
    CHECK_EQ(legacy.state().rip, kTarget + 1);
    Guest real(kRamBytes, makeTestCpu, &m);
    real.enterReal(0x1100, 0);
    CHECK(real.cpu->writeMsr(0x174, kCode32));
    real.code(kCode, {0x0f, 0x34});
    real.put<uint32_t>(kGP * 4, 0x1300 << 16);
    real.put<uint8_t>(kTarget, 0xf4);
    CHECK(real.run() == RunExit::Halted);
    CHECK_EQ(real.state().seg[kCs].selector, 0x1300u);
  }
}

TEST(alignmentIsCheckedForUserModeThatAsksForIt) {
  struct Row { const char* what; std::initializer_list<unsigned> code; unsigned alignment; };
  const Row rows[] = {{"mov ax,[rbx]", {0x66, 0x8b, 0x03}, 2},     {"mov eax,[rbx]", {0x8b, 0x03}, 4},        {"mov [rbx],rax", {0x48, 0x89, 0x03}, 8},
                      {"lock inc dword [rbx]", {0xf0, 0xff, 0x03}, 4}, {"movsd xmm0,[rbx]", {0xf2, 0x0f, 0x10, 0x03}, 8},
                      {"fld dword [rbx]", {0xd9, 0x03}, 4},        {"push qword [rbx]", {0xff, 0x33}, 8},      {"movsb", {0xa4}, 1}};
  for (const Row& row : rows) {
    for (unsigned offset = 0; offset < 8; ++offset) {
      for (const unsigned how : {0u, 1u, 2u, 3u}) {  // all of AM, AC and CPL 3; one of them missing
        RulesGuest g(nullptr, how == 3 ? 0 : 3);
        g.state().cr0 = (g.state().cr0 & ~uint64_t{1u << 18}) | (how != 1 ? 1u << 18 : 0);
        if (how != 2) g.state().rflags |= kAc;
        g.state().gpr[kRbx] = g.state().gpr[kRsi] = g.state().gpr[kRdi] = kWhere + offset;
        g.cpu->stateChanged();
        g.code(kCode, row.code);
        g.code(kCode + row.code.size(), {0x0f, 0x0b});
        CHECK(g.run() == RunExit::Halted);
        const bool faults = how == 0 && offset % row.alignment != 0;
        CHECK_EQ(g.state().rip - 1 - kHandlers, faults ? uint64_t{kAC} : uint64_t{kUD});
        if (faults) CHECK_EQ(g.frame(0), 0u);
      }
    }
  }
}

TEST(lockedAccessesAcrossPagesAreOneOrNone) {
  RulesGuest whole, absent, readOnly;
  for (RulesGuest* g : {&whole, &absent, &readOnly}) {
    g->put<uint64_t>(kWhere + 0xffc, 0x00000001ffffffff);
    g->state().gpr[kRbx] = kWhere + 0xffc;
    g->state().gpr[kRax] = 1;
  }
  CHECK_EQ(whole.vectorOf({0xf0, 0x48, 0x0f, 0xc1, 0x03}), -1);  // lock xadd [rbx],rax
  CHECK_EQ(whole.get<uint64_t>(kWhere + 0xffc), 0x0000000200000000u);
  CHECK_EQ(whole.state().gpr[kRax], 0x00000001ffffffffu);
  absent.put<uint64_t>(absent.pteOf(kWhere + 0x1000), 0);
  readOnly.put<uint64_t>(readOnly.pteOf(kWhere + 0x1000), (kWhere + 0x1000) | 5);
  for (RulesGuest* g : {&absent, &readOnly}) {
    g->state().cr0 |= 1u << 16;
    g->cpu->stateChanged();
    CHECK_EQ(g->vectorOf({0xf0, 0x48, 0x0f, 0xc1, 0x03}), int{kPF});
    CHECK_EQ(g->state().cr2, kWhere + 0x1000);
    CHECK_EQ(g->frame(0), g == &absent ? 2u : 3u);
    CHECK_EQ(g->get<uint64_t>(kWhere + 0xffc), 0x00000001ffffffffu);
    CHECK_EQ(g->state().gpr[kRax], 1u);
  }
}

TEST(lockedAccessesToDevicesReadAndWriteOnce) {
  for (const auto& code : {std::initializer_list<unsigned>{0xf0, 0x0f, 0xc1, 0x03}, {0x87, 0x03}, {0xf0, 0xff, 0x03}, {0xf0, 0x0f, 0xba, 0x2b, 0x04}}) {
    RulesGuest g;
    constexpr Gpa kDevice = 0xe0000000;
    g.mapPage(0x40000000, kDevice, 3);
    g.cpu->stateChanged();
    g.state().gpr[kRbx] = 0x40000000, g.state().gpr[kRax] = 3;
    g.env.answer = 5;
    CHECK_EQ(g.vectorOf(code), -1);
    CHECK_EQ(g.env.mmio.size(), 2u);
    CHECK(!g.env.mmio[0].write && g.env.mmio[1].write);
    CHECK_EQ(g.env.mmio[0].address, kDevice);
    CHECK_EQ(g.env.mmio[1].address, kDevice);
  }
}

TEST(theRightOneOfTwoFaultsIsReported) {
  struct Row { const char* what; std::initializer_list<unsigned> code; int vector; unsigned cpl; uint64_t cr0; };
  constexpr uint64_t kTs = 8, kEm = 4;
  const Row rows[] = {
      {"LOCK that cannot be, on what needs ring 0", {0xf0, 0x0f, 0x30}, kUD, 3, 0},
      {"a control register that does not exist, in ring 3", {0x0f, 0x20, 0xc8}, kUD, 3, 0},
      {"privilege before a bad value", {0x0f, 0x22, 0xd8}, kGP, 3, 0},
      {"no FPU before a bad address", {0x0f, 0x28, 0x03}, kNM, 3, kTs},
      {"emulation before task switched", {0x0f, 0x28, 0x03}, kUD, 3, kTs | kEm},
      {"x87: task switched before the operand", {0xd9, 0x03}, kNM, 3, kTs},
      {"a bad address before its page", {0x8b, 0x01}, kGP, 3, 0},
      {"alignment of SSE before the page", {0x0f, 0x28, 0x43, 0x01}, kGP, 3, 0},
      {"the page of the operand before division by zero", {0xf7, 0x33}, kPF, 3, 0},
      {"an instruction of 16 bytes", {0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x90}, kGP, 3, 0},
  };
  for (const Row& row : rows) {
    RulesGuest g(nullptr, row.cpl);
    g.state().gpr[kRbx] = 0x7000000, g.state().gpr[kRcx] = 0x8000000000000000, g.state().gpr[kRax] = 1;
    g.state().cr0 |= row.cr0;
    g.cpu->stateChanged();
    const int vector = g.vectorOf(row.code);
    if (vector != row.vector) ::lodge::testing::fail(__FILE__, __LINE__, std::string(row.what) + ": " + std::to_string(vector));
  }
}

TEST(faultsInTheDeliveryOfFaults) {
  // First fault, what its gate is like, and the vector that is delivered in the end.
  enum Gate { kAbsent, kNoSegment, kUnmapped };
  struct Row { int first; Gate gate; int second; uint64_t error; };
  const Row rows[] = {
      {kUD, kAbsent, kNP, kUD * 8 + 2 + 1},  // benign, then contributory: one after the other
      {kGP, kAbsent, kDF, 0},                // contributory twice
      {kDE, kNoSegment, kDF, 0},
      {kPF, kAbsent, kDF, 0},                // a page fault, then contributory
      {kPF, kUnmapped, kDF, 0},              // or another
      {kUD, kUnmapped, kPF, 0},
      {kGP, kUnmapped, kPF, 0},              // contributory, then a page fault: one after the other
  };
  for (const Row& row : rows) {
    RulesGuest g;
    const Gpa gate = kIdt + static_cast<unsigned>(row.first) * 16;
    if (row.gate == kAbsent) g.put<uint8_t>(gate + 5, 0x6e);
    if (row.gate == kNoSegment) g.put<uint16_t>(gate + 2, 0xf8);  // beyond the table
    if (row.gate == kUnmapped) {
      // Its interrupt stack is not there.
      g.put<uint8_t>(gate + 4, 2);
      g.put<uint64_t>(kTss + 44, 0x7000000);
    }
    g.state().gpr[kRbx] = 0x7000000, g.state().gpr[kRcx] = 0;
    int vector = -3;
    if (row.first == kUD) vector = g.vectorOf({0x0f, 0x0b});
    if (row.first == kGP) vector = g.vectorOf({0x0f, 0x22, 0xe3});  // mov cr4,rbx: reserved bits
    if (row.first == kDE) vector = g.vectorOf({0xf7, 0xf1});
    // A second page fault has to meet another gate than the first.
    if (row.first == kPF) vector = g.vectorOf({0x8b, 0x03});
    if (vector != row.second) ::lodge::testing::fail(__FILE__, __LINE__, std::to_string(row.first) + " then " + std::to_string(row.gate) + ": " + std::to_string(vector));
    if (row.second != kPF) CHECK_EQ(g.frame(0), row.error);
    CHECK_EQ(g.frame(1), kCode);
  }
  // A fault in the delivery of a double fault ends it all.
  RulesGuest g;
  g.put<uint8_t>(kIdt + kGP * 16 + 5, 0x6e);
  g.put<uint8_t>(kIdt + kDF * 16 + 5, 0x6e);
  g.code(kCode, {0x0f, 0x22, 0xe3});  // rbx is 0: CR4.PAE would go
  CHECK(g.run() == RunExit::TripleFault);
}

TEST(countersAndMachineChecksAreThereToBeAsked) {
  const CpuModel amd = model("AuthenticAMD"), intel = model("GenuineIntel");
  struct Row { uint32_t index; uint64_t value; };
  // Machine checks without banks, MTRRs that are on, the PAT of power-on.
  for (const Row& row : {Row{0x179, 0}, {0x17a, 0}, {0xfe, 0x508}, {0x2ff, 0x806}, {0x277, 0x0007040600070406}, {0x0, 0}, {0x1, 0}, {0x1d9, 0}}) {
    RulesGuest g(&amd);
    g.state().gpr[kRcx] = row.index;
    CHECK_EQ(g.vectorOf({0x0f, 0x32}), -1);
    CHECK_EQ(g.state().gpr[kRax] | g.state().gpr[kRdx] << 32, row.value);
  }
  for (const uint32_t index : {0x200u, 0x20fu, 0x250u, 0x26fu}) {
    RulesGuest g(&amd);
    g.state().gpr[kRcx] = index, g.state().gpr[kRax] = 0x06060606, g.state().gpr[kRdx] = 0x12;
    CHECK_EQ(g.vectorOf({0x0f, 0x30, 0x31, 0xc0, 0x31, 0xd2, 0x0f, 0x32}), -1);  // wrmsr; xor eax,eax; xor edx,edx; rdmsr
    CHECK_EQ(g.state().gpr[kRax] | g.state().gpr[kRdx] << 32, 0x1206060606u);
  }
  // RDPMC: AMD's four counters stand still, for ring 3 with CR4.PCE; Intel's say by CPUID that there are none.
  for (const auto& [m, index, cpl, pce, vector] : {std::tuple<const CpuModel*, unsigned, unsigned, bool, int>{&amd, 3, 0, false, -1}, {&amd, 4, 0, false, kGP},
                                                   {&amd, 0, 3, false, kGP}, {&amd, 0, 3, true, kUD}, {&intel, 0, 0, true, kGP}}) {
    RulesGuest g(m, cpl);
    g.state().cr4 |= pce ? 1u << 8 : 0;
    g.cpu->stateChanged();
    g.state().gpr[kRcx] = index;
    g.state().gpr[kRax] = g.state().gpr[kRdx] = 7;
    if (cpl) CHECK_EQ(g.vectorOf({0x0f, 0x33, 0x0f, 0x0b}), vector);
    else CHECK_EQ(g.vectorOf({0x0f, 0x33}), vector);
    CHECK_EQ(g.state().gpr[kRax], vector == kGP ? 7u : 0u);
  }
  // Not offered: protection keys, VMX.
  for (const auto& code : {std::initializer_list<unsigned>{0x0f, 0x01, 0xee}, {0x0f, 0xc7, 0x33}, {0x0f, 0x78, 0xc0}}) {
    RulesGuest g;
    g.state().gpr[kRbx] = kWhere;
    CHECK_EQ(g.vectorOf(code), int{kUD});
  }
  uint32_t r[4];
  cpuidLookup({1, 0, 0, 1, &defaultCpuModel(), offeredFeatures(defaultCpuModel()), 2'000'000'000, false, true}, r);
  CHECK_EQ(r[2] & (1u << 3 | 1u << 5), 0u);
}

/** MONITOR reads a byte at DS:rAX and MWAIT goes on at once (SDM vol. 2); their extensions in ECX are none of those CPUID offers. */
TEST(monitorAndMwaitDoNothingButFault) {
  static constexpr std::initializer_list<unsigned> kMonitor{0x0f, 0x01, 0xc8}, kMwait{0x0f, 0x01, 0xc9}, kMonitorGs{0x65, 0x0f, 0x01, 0xc8},
      kMonitor32{0x67, 0x0f, 0x01, 0xc8};
  constexpr uint64_t kAbsent = 0x7000000, kNoAddress = 1ull << 60;
  struct Row { std::initializer_list<unsigned> code; uint64_t rax, rcx; unsigned cpl; bool narrow; int vector; };
  for (const Row& row : {Row{kMonitor, kWhere, 0, 0, false, -1}, {kMwait, 0xff, 0, 0, false, -1}, {kMonitor, kWhere, 0, 3, false, kUD},
                         {kMwait, 0, 0, 3, false, kUD}, {kMonitor, kWhere, 2, 0, false, kGP}, {kMwait, 0, 1, 0, false, kGP},
                         {kMwait, 0, 1ull << 32, 0, false, kGP}, {kMwait, 0, 1ull << 32, 0, true, -1}, {kMonitor, kAbsent, 0, 0, false, kPF},
                         {kMonitor, kNoAddress, 0, 0, false, kGP}, {kMonitor32, kNoAddress | kWhere, 0, 0, false, -1},
                         {kMonitorGs, kWhere, 0, 0, false, kPF}, {kMonitor, kNoAddress | kWhere, 0, 0, true, -1}}) {
    RulesGuest g(nullptr, row.cpl);
    g.state().seg[kGs].base = kAbsent;
    if (row.narrow) g.narrow(row.cpl);
    g.state().gpr[kRax] = row.rax, g.state().gpr[kRcx] = row.rcx;
    g.cpu->stateChanged();
    CHECK_EQ(g.vectorOf(row.code), row.vector);
    CHECK_EQ(g.state().gpr[kRax], row.rax);
    if (row.vector == kPF) CHECK_EQ(g.state().cr2, row.rax + (row.code.size() == 4 ? kAbsent : 0));
  }
  // One that waits for a write that has been made goes on with it.
  RulesGuest g;
  g.state().gpr[kRax] = kWhere, g.state().gpr[kRcx] = 0;
  CHECK_EQ(g.vectorOf({0x0f, 0x01, 0xc8, 0xff, 0x00, 0x0f, 0x01, 0xc9, 0x83, 0x38, 0x01, 0x75, 0xf5}), -1);  // monitor; inc [rax]; mwait; cmp [rax],1; jne
  CHECK_EQ(g.get<uint32_t>(kWhere), 1u);
}

}  // namespace
}  // namespace lodge::x86
