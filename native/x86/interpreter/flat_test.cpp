// 32-bit code with flat segments runs on a fast path that checks no segment. Here: that it is taken only when there is nothing
// to check, that a change of any segment is noticed, and what happens where 32-bit addresses wrap.
#include "testing/test.h"
#include "x86/interpreter/guest_fixture.h"

namespace lodge::x86 {
namespace {

using namespace lodge::x86::testing;

constexpr Gpa kCode = 0x11000, kFunction = 0x11100, kHandler = 0x10100, kHere = 0x12000;
constexpr uint16_t kOther = 0x50;  ///< a descriptor of the test's own

void gate32(Guest& g, unsigned vector) {
  g.put<uint64_t>(kIdt + vector * 8, (kHandler & 0xffff) | uint64_t{kCode32} << 16 | 0x8eull << 40 | (kHandler >> 16) << 48);
}

struct Outcome { uint32_t here, above; bool fault; };

/** INC of a dword at kHere with flat segments, then again by the same code with the other descriptor in `segment`. */
Outcome twice(unsigned segmentOpcode, int override, uint64_t descriptor) {
  Guest g;
  g.enter32(kCode);
  gate32(g, kGP);
  gate32(g, kSS);
  g.put<uint64_t>(kGdt + kOther, descriptor);
  // call f; mov eax,kOther; mov sreg,eax; call f; hlt
  g.code(kCode, {0xe8, 0xfb, 0x00, 0x00, 0x00, 0xb8, kOther, 0x00, 0x00, 0x00, 0x8e, 0xc0 | segmentOpcode << 3,
                 0xe8, 0xef, 0x00, 0x00, 0x00, 0xf4});
  if (override >= 0)
    g.code(kFunction, {static_cast<unsigned>(override), 0xff, 0x05, 0x00, 0x20, 0x01, 0x00, 0xc3});  // inc dword [kHere]; ret
  else
    g.code(kFunction, {0xff, 0x05, 0x00, 0x20, 0x01, 0x00, 0xc3});
  g.code(kHandler, {0xf4});
  CHECK(g.run() == RunExit::Halted);
  const bool fault = g.state().rip == kHandler + 1;
  if (fault) {
    CHECK_EQ(g.get<uint32_t>(g.state().gpr[kRsp] + 4), static_cast<uint32_t>(kFunction));  // above the error code
    CHECK_EQ(g.get<uint32_t>(g.state().gpr[kRsp]), 0u);
  }
  return {g.get<uint32_t>(kHere), g.get<uint32_t>(kHere + 0x1000), fault};
}

TEST(segmentLoadsLeaveTheFlatPathAtOnce) {
  struct Row { const char* what; uint64_t descriptor; Outcome expected; };
  const Row rows[] = {
      {"flat again", Guest::descriptor(0, 0xfffff, 0x93, 0xc), {2, 0, false}},
      {"base", Guest::descriptor(0x1000, 0xfffff, 0x93, 0xc), {1, 1, false}},
      {"limit one short", Guest::descriptor(0, 0x12002, 0x93, 0x4), {1, 0, true}},
      {"limit just enough", Guest::descriptor(0, 0x12003, 0x93, 0x4), {2, 0, false}},
      {"read-only", Guest::descriptor(0, 0xfffff, 0x91, 0xc), {1, 0, true}},
      {"code", Guest::descriptor(0, 0xfffff, 0x9b, 0xc), {1, 0, true}},
      {"expand-down, below the limit", Guest::descriptor(0, 0x12, 0x97, 0xc), {1, 0, true}},
      {"expand-down, above the limit", Guest::descriptor(0, 0x11, 0x97, 0xc), {2, 0, false}},
      {"expand-down, the limit everything", Guest::descriptor(0, 0xfffff, 0x97, 0xc), {1, 0, true}},
  };
  struct Segment { const char* name; unsigned number; int prefix; };
  const Segment segments[] = {{"ds", 3, -1}, {"es", 0, 0x26}, {"fs", 4, 0x64}, {"gs", 5, 0x65}};
  for (const Row& row : rows) {
    for (const Segment& s : segments) {
      const Outcome o = twice(s.number, s.prefix, row.descriptor);
      if (o.here != row.expected.here || o.above != row.expected.above || o.fault != row.expected.fault)
        ::lodge::testing::fail(__FILE__, __LINE__, std::string(s.name) + ": " + row.what);
    }
  }
}

TEST(stackSegmentWithBaseIsNotFlat) {
  Guest g;
  g.enter32(kCode);
  g.put<uint64_t>(kGdt + kOther, Guest::descriptor(0x2000, 0xfffff, 0x93, 0xc));
  // push 5; pop eax; mov ecx,kOther; mov ss,ecx; push 5 (the same code again); hlt when ebx = 2
  g.code(kCode, {0x43, 0x6a,   0x05, 0x58, 0x40, 0x50, 0x83, 0xfb, 0x02, 0x74, 0x09,
                 0xb9, kOther, 0x00, 0x00, 0x00, 0x8e, 0xd1, 0xeb, 0xec, 0xf4});
  g.state().gpr[kRbx] = 0;
  CHECK(g.run() == RunExit::Halted);
  CHECK_EQ(g.state().rip, kCode + 21);
  CHECK_EQ(g.get<uint32_t>(0xfffc), 6u);          // pushed with base 0
  CHECK_EQ(g.get<uint32_t>(0x10000 + 0x1ff8), 6u);  // and 4 lower with base 2000h
  CHECK_EQ(g.state().gpr[kRsp], 0xfff8u);
}

TEST(sixteenBitStackInFlatCodeKeepsTheUpperHalfOfEsp) {
  Guest g;
  g.enter32(kCode);
  g.state().seg[kSs].attributes = 0x8093;  // B clear
  g.state().gpr[kRsp] = 0xabcd0000;
  g.cpu->stateChanged();
  g.code(kCode, {0x6a, 0x07, 0xf4});  // push 7; hlt
  CHECK(g.run() == RunExit::Halted);
  CHECK_EQ(g.state().gpr[kRsp], 0xabcdfffcu);
  CHECK_EQ(g.get<uint32_t>(0xfffc), 7u);
}

TEST(flatAddressesWrapAt4GiB) {
  Guest g;
  g.enter32(kCode);
  gate32(g, kGP);
  g.put<uint32_t>(kHere, 0x5eed);
  g.state().gpr[kRbx] = 0xfffff000;
  g.state().gpr[kRcx] = 0xfffffff0;
  // mov eax,[ebx+13000h]; lea edx,[ebx+ecx*8]; mov esi,[ebx+ecx*4+13040h]; hlt
  g.code(kCode, {0x8b, 0x83, 0x00, 0x30, 0x01, 0x00, 0x8d, 0x14, 0xcb, 0x8b, 0xb4, 0x8b, 0x40, 0x30, 0x01, 0x00, 0xf4});
  CHECK(g.run() == RunExit::Halted);
  CHECK_EQ(g.state().gpr[kRax], 0x5eedu);
  CHECK_EQ(g.state().gpr[kRdx], 0xffffef80u);
  CHECK_EQ(g.state().gpr[kRsi], 0x5eedu);

  // The last byte below 4 GiB is there; a word that would go on at 0 is beyond the limit. Both pages are plain RAM here.
  Guest p;
  p.enter32(kCode);
  gate32(p, kGP);
  constexpr Gpa kDirectory = 0x20000, kTable = 0x21000;
  p.put<uint32_t>(kDirectory, 0x83);
  p.put<uint32_t>(kDirectory + 1023 * 4, kTable | 3);
  p.put<uint32_t>(kTable + 1023 * 4, 0x22003);
  p.put<uint8_t>(0x22fff, 0x42);
  p.state().cr3 = kDirectory;
  p.state().cr4 = 0x10;
  p.state().cr0 |= 0x80010000;
  p.cpu->stateChanged();
  p.code(kCode,
         {0xa0, 0xff, 0xff, 0xff, 0xff, 0x8a, 0x1d, 0xff, 0xff, 0xff, 0xff, 0x66, 0x8b, 0x0d, 0xff, 0xff, 0xff, 0xff, 0xf4});
  p.code(kHandler, {0xf4});
  p.state().gpr[kRax] = p.state().gpr[kRbx] = 0;
  CHECK(p.run() == RunExit::Halted);
  CHECK_EQ(p.state().gpr[kRax], 0x42u);
  CHECK_EQ(p.state().gpr[kRbx], 0x42u);
  CHECK_EQ(p.state().rip, kHandler + 1);
  CHECK_EQ(p.get<uint32_t>(p.state().gpr[kRsp] + 4), static_cast<uint32_t>(kCode + 11));
}

TEST(flatSegmentBaseOfFsIsReadEachTime) {
  Guest g;
  g.enter32(kCode);
  g.put<uint32_t>(kHere + 4, 1);
  g.put<uint32_t>(kHere + 0x104, 2);
  g.put<uint64_t>(kGdt + kOther, Guest::descriptor(kHere + 0x100, 0xfffff, 0x93, 0xc));
  g.state().seg[kFs].base = kHere;
  // again: mov edx,fs:[4]; lea esi,fs:[4]; add eax,edx; dec ecx; jz out; mov ebx,kOther; mov fs,ebx; jmp again; out: hlt
  g.code(kCode, {0x64, 0x8b, 0x15, 0x04, 0x00, 0x00, 0x00, 0x64, 0x8d, 0x35, 0x04, 0x00, 0x00, 0x00, 0x01, 0xd0, 0x49, 0x74, 0x09,
                 0xbb, kOther, 0x00, 0x00, 0x00, 0x8e, 0xe3, 0xeb, 0xe4, 0xf4});
  g.cpu->stateChanged();
  g.state().gpr[kRax] = 0;
  g.state().gpr[kRcx] = 2;
  CHECK(g.run() == RunExit::Halted);
  CHECK_EQ(g.state().gpr[kRax], 3u);
  CHECK_EQ(g.state().gpr[kRsi], 4u);
}

TEST(flatCallsReturnsAndIndirectJumps) {
  Guest g;
  g.enter32(kCode);
  g.put<uint32_t>(kHere, 0x13ff0);
  g.put<uint32_t>(kHere + 4, 0x15000);
  // again: push 9; call [kHere]; add esp,4; mov eax,kHere+4; call [eax]; dec ecx; jnz again; hlt
  g.code(kCode, {0x6a, 0x09, 0xff, 0x15, 0x00, 0x20, 0x01, 0x00, 0x83, 0xc4, 0x04, 0xb8, 0x04, 0x20, 0x01, 0x00, 0xff, 0x10,
                 0x49, 0x75, 0xeb, 0xf4});
  // at the end of a page: push ebp; mov ebp,esp; push [ebp+8]; pop edx; add ebx,edx; jmp to the next page
  g.code(0x13ff0, {0x55, 0x89, 0xe5, 0xff, 0x75, 0x08, 0x5a, 0x01, 0xd3, 0xe9, 0x10, 0x00, 0x00, 0x00});
  g.code(0x1400e, {0xc9, 0xc3});  // leave; ret
  // push esp; pop eax; sub eax,esp; mov esi,15010; jmp esi      15010: push 1; push 2; ret's caller cleans: call 15100; ret
  g.code(0x15000, {0x54, 0x58, 0x29, 0xe0, 0xbe, 0x10, 0x50, 0x01, 0x00, 0xff, 0xe6});
  g.code(0x15010, {0x6a, 0x01, 0x6a, 0xfe, 0xe8, 0xe7, 0x00, 0x00, 0x00, 0xc3});
  g.code(0x15100, {0x03, 0x7c, 0x24, 0x04, 0xc2, 0x08, 0x00});  // add edi,[esp+4]; ret 8
  g.state().gpr[kRbx] = g.state().gpr[kRdi] = 0;
  g.state().gpr[kRcx] = 5;
  g.state().gpr[kRbp] = 0x12345678;
  CHECK(g.run() == RunExit::Halted);
  CHECK_EQ(g.state().gpr[kRbx], 45u);
  CHECK_EQ(g.state().gpr[kRdi], 0xfffffff6u);
  CHECK_EQ(g.state().gpr[kRax], 0u);
  CHECK_EQ(g.state().gpr[kRbp], 0x12345678u);
  CHECK_EQ(g.state().gpr[kRsp], 0x10000u);
  CHECK_EQ(g.state().rip, kCode + 22);
}

}  // namespace
}  // namespace lodge::x86
