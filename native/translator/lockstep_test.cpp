#include <cstring>

#include "testing/test.h"
#include "translator/translator.h"
#include "x86/interpreter/guest_fixture.h"

namespace lodge::x86 {
namespace {

using testing::Guest;
using testing::kFree;

void useLockstep(Guest& g, void (*spoil)(uint8_t*, size_t)) {
  translator::Options options;
  options.cacheBytes = 8 << 20;
  options.lockstep = true;
  options.spoil = spoil;
  g.cpu = translator::makeTranslator(CpuConfig{0, 1, 1'000'000'000}, g.memory, g.env, options);
  g.cpu->reset();
}

/** Makes the first occurrence of a byte string in a unit another one. */
void replace(uint8_t* code, size_t bytes, std::initializer_list<uint8_t> from, uint8_t last) {
  for (size_t n = 0; n + from.size() <= bytes; ++n) {
    if (std::memcmp(code + n, from.begin(), from.size()) == 0) {
      code[n + from.size() - 1] = last;
      return;
    }
  }
}

/** mov ecx,1000; l: add eax,5; add [rdi],eax; cmp ecx,7; push rcx; pop rdx; in al,dx; dec ecx; jnz l; hlt */
void plantLoop(Guest& g) {
  g.code(kFree, {0xb9, 0xe8, 0x03, 0, 0, 0x83, 0xc0, 5, 0x01, 0x07, 0x83, 0xf9, 7, 0x51, 0x5a, 0xec, 0xff, 0xc9, 0x75, 0xf1, 0xf4});
  g.enter64(kFree);
  g.state().gpr[kRdi] = kFree + 0x2000;
  g.state().gpr[kRax] = 0;
}

TEST(lockstep_executes_everything_once) {
  Guest g;
  useLockstep(g, nullptr);
  plantLoop(g);
  g.env.answer = 0x11;
  CHECK(g.run() == RunExit::Halted);
  CHECK(g.cpu->message().empty());
  CHECK_EQ(g.env.ports.size(), 1000u);
  uint32_t al = 0, sum = 0;
  for (unsigned n = 0; n < 1000; ++n) {
    al += 5;
    sum += al;
    al = (al & ~0xffu) | 0x11;
  }
  CHECK_EQ(g.get<uint32_t>(kFree + 0x2000), sum);
  CHECK_EQ(g.state().gpr[kRsp], 0x10000ull);
  CHECK(g.cpu->tierCounters()->checks.value() >= 1000);
}

TEST(lockstep_knows_undefined_flags_of_an_instruction_across_pages) {
  // mov edx,8; xor edx,18h across the pages; in al,dx; hlt. Done as add edx,8, which differs in AF alone.
  Guest g;
  useLockstep(g, [](uint8_t* code, size_t bytes) {
    const uint8_t exclusive[] = {0x83, 0xf2, 0x18}, sum[] = {0x83, 0xc2, 8};
    for (size_t n = 0; n + 3 <= bytes; ++n) {
      if (std::memcmp(code + n, exclusive, 3) == 0) std::memcpy(code + n, sum, 3);
    }
  });
  g.code(kFree + 0xffe - 5, {0xba, 8, 0, 0, 0, 0x83, 0xf2, 0x18, 0xec, 0xf4});
  g.enter64(kFree + 0xffe - 5);
  CHECK(g.run() == RunExit::Halted);
  CHECK(g.cpu->message().empty());
  CHECK_EQ(g.state().gpr[kRdx], 0x10ull);
}

void expectDifference(void (*spoil)(uint8_t*, size_t), const char* shown) {
  Guest g;
  useLockstep(g, spoil);
  plantLoop(g);
  CHECK(g.run() == RunExit::InternalError);
  const std::string message = g.cpu->message();
  if (message.find(shown) == std::string::npos) ::lodge::testing::fail(__FILE__, __LINE__, "no \"" + std::string(shown) + "\" in " + message);
}

TEST(lockstep_finds_a_wrong_register) {
  expectDifference([](uint8_t* code, size_t bytes) { replace(code, bytes, {0x83, 0xc0, 5}, 6); }, "\n* rax                     0                 6                 5");
}

TEST(lockstep_finds_a_wrong_store) {
  // add [r14+rdi],eax becomes add [r14+rdi],ecx.
  expectDifference([](uint8_t* code, size_t bytes) { replace(code, bytes, {0x41, 0x01, 0x04}, 0x0c); }, "\n* page ");
}

TEST(lockstep_finds_a_wrong_branch) {
  // jnz becomes jz.
  expectDifference([](uint8_t* code, size_t bytes) {
    for (size_t n = 0; n + 4 < bytes; ++n) {
      if (code[n] == 0xff && code[n + 1] == 0xc9 && code[n + 2] == 0x0f && code[n + 3] == 0x85) code[n + 3] = 0x84;
    }
  }, "\n* rip ");
}

}  // namespace
}  // namespace lodge::x86
