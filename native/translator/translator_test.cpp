#include "translator/translator.h"

#include "testing/test.h"
#include "x86/interpreter/guest_fixture.h"

namespace lodge::x86 {
namespace {

using testing::Guest;
using testing::kFree;

void useTranslator(Guest& g, size_t cacheBytes) {
  translator::Options options;
  options.cacheBytes = cacheBytes;
  g.cpu = translator::makeTranslator(CpuConfig{0, 1, 1'000'000'000}, g.memory, g.env, options);
  g.cpu->reset();
}

TEST(translated_loop_with_calls_and_memory) {
  Guest g;
  useTranslator(g, 8 << 20);
  // mov ecx,1000; l: call f; add [rdi],eax; dec ecx; jnz l; hlt   f: lea eax,[rcx+rcx*2]; push rax; pop r14; mov eax,r14d; ret
  g.code(kFree, {0xb9, 0xe8, 0x03, 0, 0, 0xe8, 0x07, 0, 0, 0, 0x01, 0x07, 0xff, 0xc9, 0x75, 0xf5, 0xf4,
                 0x8d, 0x04, 0x49, 0x50, 0x41, 0x5e, 0x44, 0x89, 0xf0, 0xc3});
  g.enter64(kFree);
  g.state().gpr[kRdi] = kFree + 0x2000;
  CHECK(g.run() == RunExit::Halted);
  CHECK_EQ(g.get<uint32_t>(kFree + 0x2000), 3u * 1000 * 1001 / 2);
  CHECK_EQ(g.state().gpr[kR14], 3ull);
  CHECK_EQ(g.state().gpr[kRsp], 0x10000ull);
  const uint64_t units = g.cpu->tierCounters()->units.value();
  CHECK(units >= 3 && units < 20);
}

TEST(code_cache_that_is_full_starts_afresh) {
  Guest g;
  useTranslator(g, 192 << 10);
  // A chain of blocks, one in each 64 bytes: inc eax; jmp next. Run twice, the second time through links.
  constexpr unsigned kBlocks = 2048;
  for (unsigned n = 0; n < kBlocks; ++n) g.code(kFree + 64 * n, {0xff, 0xc0, 0xe9, 57, 0, 0, 0});
  g.code(kFree + 64 * kBlocks, {0xff, 0xcb, 0x0f, 0x85, 0xf8, 0xff, 0xfd, 0xff, 0xf4});  // dec ebx; jnz first; hlt
  g.enter64(kFree);
  g.state().gpr[kRax] = 0;
  g.state().gpr[kRbx] = 2;
  CHECK(g.run() == RunExit::Halted);
  CHECK_EQ(g.state().gpr[kRax], 2ull * kBlocks);
  CHECK(g.cpu->tierCounters()->flushes.value() > 0);
}

TEST(translation_dies_with_its_bytes) {
  Guest g;
  useTranslator(g, 8 << 20);
  // mov eax,1 (patched to 7 by the store on the first pass); mov byte [rip-…],7; dec ecx; jnz; hlt
  g.code(kFree, {0xb8, 1, 0, 0, 0, 0x01, 0xc2, 0xc6, 0x05, 0xf3, 0xff, 0xff, 0xff, 7, 0xff, 0xc9, 0x75, 0xee, 0xf4});
  g.enter64(kFree);
  g.state().gpr[kRdx] = 0;
  g.state().gpr[kRcx] = 3;
  CHECK(g.run() == RunExit::Halted);
  CHECK_EQ(g.state().gpr[kRdx], 1ull + 7 + 7);
  CHECK(g.cpu->tierCounters()->invalidations.value() > 0);
}

TEST(translation_outlives_stores_beside_its_bytes) {
  Guest g;
  useTranslator(g, 8 << 20);
  // mov ecx,1000; l: inc dword [rip+6]; dec ecx; jnz l; hlt; a byte unused, and the counter: in the loop's 64 bytes.
  g.code(kFree, {0xb9, 0xe8, 0x03, 0, 0, 0xff, 0x05, 6, 0, 0, 0, 0xff, 0xc9, 0x75, 0xf6, 0xf4, 0x90, 0, 0, 0, 0});
  g.enter64(kFree);
  CHECK(g.run() == RunExit::Halted);
  CHECK_EQ(g.get<uint32_t>(kFree + 17), 1000u);
  CHECK_EQ(g.cpu->tierCounters()->invalidations.value(), 0ull);
}

TEST(code_that_writes_itself_each_time_is_not_translated_each_time) {
  Guest g;
  useTranslator(g, 8 << 20);
  // l: add eax,1; inc dword [rip+n], which is the number added; dec ecx; jnz l; hlt
  g.code(kFree, {0x05, 1, 0, 0, 0, 0xff, 0x05, 0xf6, 0xff, 0xff, 0xff, 0xff, 0xc9, 0x75, 0xf1, 0xf4});
  g.enter64(kFree);
  g.state().gpr[kRax] = 0;
  g.state().gpr[kRcx] = 10'000;
  CHECK(g.run() == RunExit::Halted);
  CHECK_EQ(g.state().gpr[kRax], 10'000ull * 10'001 / 2);
  CHECK(g.cpu->tierCounters()->invalidations.value() > 0);
  CHECK(g.cpu->tierCounters()->units.value() < 500);
}

TEST(accesses_behind_a_branch_fault_only_when_they_happen) {
  Guest g;
  useTranslator(g, 8 << 20);
  // l: mov eax,[rdi]; test eax,eax; jz n; mov ebx,[rdi+8]; n: dec ecx; jnz l; hlt, with the second operand in another page
  g.code(kFree, {0x8b, 0x07, 0x85, 0xc0, 0x74, 0x03, 0x8b, 0x5f, 0x08, 0xff, 0xc9, 0x75, 0xf3, 0xf4});
  g.code(kFree + 0x100, {0xf4});
  constexpr Gpa kEnd = kFree + 0x3000;
  for (const uint32_t wanted : {0u, 1u}) {
    g.put<uint32_t>(kEnd - 4, wanted);
    g.enter64(kFree);
    g.mapPage(kEnd, 0, 0);
    g.gate(kPF, kFree + 0x100);
    g.state().gpr[kRdi] = kEnd - 4;
    g.state().gpr[kRcx] = 100;
    CHECK(g.run() == RunExit::Halted);
    CHECK_EQ(g.state().rip, wanted ? kFree + 0x101 : kFree + 14);
    CHECK_EQ(g.state().gpr[kRcx], wanted ? 100ull : 0ull);
  }
  CHECK_EQ(g.state().cr2, kEnd + 4);
  CHECK_EQ(g.get<uint64_t>(g.state().gpr[kRsp] + 8), kFree + 6);
}

TEST(accesses_that_keep_lying_across_two_pages_are_checked_one_by_one) {
  Guest g;
  useTranslator(g, 8 << 20);
  // l: push rax; push rcx; push rdi; push rcx; pop rsi; pop rdx; pop rsi; pop rdi; add rax,rdx; dec ecx; jnz l; hlt
  g.code(kFree, {0x50, 0x51, 0x57, 0x51, 0x5e, 0x5a, 0x5e, 0x5f, 0x48, 0x01, 0xd0, 0xff, 0xc9, 0x75, 0xf1, 0xf4});
  const auto unitsOf = [&](uint64_t stack) {
    const uint64_t before = g.cpu->tierCounters()->units.value();
    g.enter64(kFree);
    g.state().gpr[kRax] = g.state().gpr[kRdi] = 0;
    g.state().gpr[kRsp] = stack;
    g.state().gpr[kRcx] = 10'000;
    CHECK(g.run() == RunExit::Halted);
    CHECK_EQ(g.state().gpr[kRsp], stack);
    return g.cpu->tierCounters()->units.value() - before;
  };
  CHECK(unitsOf(kFree + 0x3000) <= 3);
  const uint64_t remade = unitsOf(kFree + 0x3010);
  CHECK(remade >= 1 && remade <= 8);
  CHECK_EQ(unitsOf(kFree + 0x3010), 0ull);
  CHECK_EQ(g.cpu->tierCounters()->invalidations.value(), 0ull);
}

TEST(writing_a_high_byte_moves_the_address_that_the_register_holds) {
  Guest g;
  useTranslator(g, 8 << 20);
  constexpr uint64_t kNear = kFree + 0x2000, kFar = kFree + 0x1000;
  // l: mov ah,…; mov [rax],ecx; mov ah,…; mov [rax+1],cl; dec ecx; jnz l; hlt
  g.code(kFree, {0xb4, static_cast<uint8_t>(kNear >> 8), 0x89, 0x08, 0xb4, static_cast<uint8_t>(kFar >> 8), 0x88, 0x48, 0x01,
                 0xff, 0xc9, 0x75, 0xf3, 0xf4});
  g.enter64(kFree);
  g.mapPage(kFar, kFree + 0x5000, 3);
  g.state().gpr[kRax] = kNear;
  g.state().gpr[kRcx] = 100;
  CHECK(g.run() == RunExit::Halted);
  CHECK_EQ(g.get<uint32_t>(kNear), 1u);
  CHECK_EQ(g.get<uint8_t>(kFree + 0x5001), 1u);
}

TEST(windows_move_with_their_registers_and_close_when_these_are_unknown) {
  Guest g;
  useTranslator(g, 8 << 20);
  constexpr uint64_t kData = kFree + 0x2000, kOther = kFree + 0x4000, kFar = kFree + 0x1000;
  // l: mov rdi,rbx; mov [rdi],eax; mov [rsi],eax; add rdi,8; mov [rdi],ecx; mov [rsi+4],ecx; mov rdi,rbp; mov [rsi+8],edx;
  // mov [rdi],cl; dec ecx; jnz l; hlt
  g.code(kFree, {0x48, 0x89, 0xdf, 0x89, 0x07, 0x89, 0x06, 0x48, 0x83, 0xc7, 0x08, 0x89, 0x0f, 0x89, 0x4e, 0x04,
                 0x48, 0x89, 0xef, 0x89, 0x56, 0x08, 0x88, 0x0f, 0xff, 0xc9, 0x75, 0xe4, 0xf4});
  // The second time across the end of a page: first the interpreter serves it, then a careful unit.
  for (const uint64_t data : {kData, kData + 0xffc}) {
    g.enter64(kFree);
    g.mapPage(kFar, kFree + 0x5000, 3);
    g.state().gpr[kRbx] = data;
    g.state().gpr[kRsi] = kOther;
    g.state().gpr[kRbp] = kFar + 1;
    g.state().gpr[kRax] = 3, g.state().gpr[kRcx] = 1000, g.state().gpr[kRdx] = data;
    g.put<uint8_t>(kFar + 1, 0);
    CHECK(g.run() == RunExit::Halted);
    CHECK_EQ(g.get<uint32_t>(data), 3u);
    CHECK_EQ(g.get<uint32_t>(data + 8), 1u);
    CHECK_EQ(g.get<uint32_t>(kOther + 4), 1u);
    CHECK_EQ(g.get<uint32_t>(kOther + 8), data);
    CHECK_EQ(g.get<uint8_t>(kFree + 0x5001), 1u);
    CHECK_EQ(g.get<uint8_t>(kFar + 1), 0u);
  }
}

TEST(flags_that_code_behind_an_exit_did_not_want_are_there_once_it_does) {
  Guest g;
  useTranslator(g, 8 << 20);
  constexpr Gpa kNext = kFree + 0x400, kPatch = kFree + 0x1000;
  // xor ebx,ebx; mov eax,80000000h; mov edx,[rsi]; add eax,eax; mov edx,[rdi]; jmp kNext: add ebx,0; hlt
  g.code(kFree, {0x31, 0xdb, 0xb8, 0, 0, 0, 0x80, 0x8b, 0x16, 0x01, 0xc0, 0x8b, 0x17, 0xe9, 0xee, 0x03, 0, 0});
  g.code(kNext, {0x83, 0xc3, 0x00, 0xf4});
  g.code(kPatch, {0xc6, 0x01, 0xd3, 0xf4});  // mov byte [rcx],d3h; hlt: it is ADC then
  g.state().gpr[kRsi] = g.state().gpr[kRdi] = kFree + 0x2000;
  g.state().gpr[kRcx] = kNext + 1;
  const auto run = [&](Gpa from) {
    g.enter64(from);
    CHECK(g.run() == RunExit::Halted);
    return g.state().gpr[kRbx];
  };
  run(kNext);  // so that what jumps there is a unit of its own
  CHECK_EQ(run(kFree), 0ull);
  CHECK_EQ(run(kFree), 0ull);
  run(kPatch);
  CHECK_EQ(run(kFree), 1ull);
  CHECK_EQ(run(kFree), 1ull);
}

TEST(translated_code_ends_behind_a_control_word_that_unmasks) {
  Guest g;
  useTranslator(g, 8 << 20);
  // fldcw [rdi]; fincstp; hlt. The first access of a page is the interpreter's, and the second is not.
  g.code(kFree, {0xd9, 0x2f, 0xd9, 0xf7, 0xf4});
  g.code(kFree + 0x100, {0xf4});
  for (unsigned pass = 0; pass < 2; ++pass) {
    g.enter64(kFree);
    g.gate(kMF, kFree + 0x100);
    g.put<uint16_t>(kFree + 0x2000, 0x0340);
    g.state().gpr[kRdi] = kFree + 0x2000;
    g.state().x87.control = 0x037f;
    g.state().x87.status = 1;  // an invalid operation, not taken so far
    CHECK(g.run() == RunExit::Halted);
    CHECK_EQ(g.state().rip, kFree + 0x101);
    CHECK_EQ(g.state().x87.control, 0x0340);
  }
}

TEST(code_that_runs_past_the_last_canonical_address_faults_there) {
  Guest g;
  useTranslator(g, 8 << 20);
  constexpr uint64_t kLast = 0x7ffffffff000, kEnd = kLast + kPageBytes;
  constexpr Gpa kFrame = 0xf000 - 48;  // error code, RIP, CS, RFLAGS, RSP, SS
  // add eax,1; add ebx,1, which end with the page: they are executed once, and what is behind them not at all.
  g.code(kFree + kPageBytes - 6, {0x83, 0xc0, 0x01, 0x83, 0xc3, 0x01});
  g.code(kFree + 0x2000, {0xf4});
  g.enter64(kEnd - 6, 3);
  g.mapPage(kLast, kFree, 7);
  g.gate(kGP, kFree + 0x2000);
  g.state().gpr[kRax] = g.state().gpr[kRbx] = 0;
  CHECK(g.run() == RunExit::Halted);
  CHECK_EQ(g.state().gpr[kRax], 1ull);
  CHECK_EQ(g.state().gpr[kRbx], 1ull);
  CHECK_EQ(g.get<uint64_t>(kFrame + 8), kEnd);
}

}  // namespace
}  // namespace lodge::x86
