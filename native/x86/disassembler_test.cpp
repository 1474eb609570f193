// Instructions as text; the expected lines are what the GNU assembler's disassembler says, spaces and letters apart.
#include "x86/disassembler.h"

#include <algorithm>

#include "testing/conformance/encodings.h"
#include "testing/conformance/generator.h"
#include "testing/test.h"

namespace lodge::x86 {
namespace {

std::string text(std::initializer_list<unsigned> bytes, CodeSize mode = CodeSize::k64, uint64_t address = 0x1000) {
  const std::vector<uint8_t> code(bytes.begin(), bytes.end());
  std::string all;
  for (const DisassembledLine& line : disassemble(code.data(), code.size(), mode, address)) all += (all.empty() ? "" : "; ") + line.text;
  return all;
}

void expect(const std::string& is, const std::string& wanted) {
  if (is != wanted) ::lodge::testing::fail(__FILE__, __LINE__, is + " should be " + wanted);
}

TEST(disassemblesTheIntegerSet) {
  expect(text({0x48, 0x89, 0x44, 0x24, 0x10}), "mov qword ptr [rsp+0x10], rax");
  expect(text({0x64, 0x8b, 0x04, 0x8d, 0xf0, 0xff, 0xff, 0xff}), "mov eax, dword ptr fs:[rcx*4-0x10]");
  expect(text({0x8b, 0x05, 0x10, 0, 0, 0}), "mov eax, dword ptr [rip+0x10]");
  expect(text({0x80, 0xc4, 0x7f, 0x40, 0x80, 0xc4, 0x7f}), "add ah, 0x7f; add spl, 0x7f");
  expect(text({0x83, 0xc8, 0xff, 0xc1, 0xe0, 0x05, 0xd1, 0xe0, 0xd3, 0xe8}), "or eax, 0xffffffff; shl eax, 0x5; shl eax, 1; shr eax, cl");
  expect(text({0x75, 0xfe, 0x0f, 0x84, 0, 1, 0, 0, 0xe8, 0, 0, 0, 0}), "jne 0x1000; je 0x1108; call 0x100d");
  expect(text({0xf0, 0x48, 0x0f, 0xb1, 0x0f}), "lock cmpxchg qword ptr [rdi], rcx");
  expect(text({0xf3, 0x48, 0xa5, 0xf2, 0xae, 0xf3, 0xa6}), "rep movsq; repne scasb; repe cmpsb");
  expect(text({0x0f, 0x22, 0xd8, 0x0f, 0x20, 0xe0, 0x8e, 0xd8, 0x0f, 0x01, 0xc8}), "mov cr3, rax; mov rax, cr4; mov ds, ax; monitor");
  expect(text({0xe4, 0x60, 0xef, 0xcd, 0x80, 0xc2, 8, 0}), "in al, 0x60; out dx, eax; int 0x80; ret 0x8");
  expect(text({0xf3, 0x0f, 0x1e, 0xfa, 0x48, 0x0f, 0xc7, 0x0f, 0x48, 0x98, 0x48, 0xcf}), "endbr64; cmpxchg16b xmmword ptr [rdi]; cdqe; iretq");
  expect(text({0xea, 0x5b, 0xe0, 0x00, 0xf0}, CodeSize::k16, 0xfff0), "jmp far 0xf000:0xe05b");
  expect(text({0xeb, 0x0e, 0x8b, 0x47, 0x02, 0xff, 0x2e, 0x34, 0x12}, CodeSize::k16, 0xfff8), "jmp 0x8; mov ax, word ptr [bx+0x2]; jmp far dword ptr [0x1234]");
  expect(text({0x60, 0x1e, 0x0f, 0xa8, 0xa1, 0x78, 0x56, 0x34, 0x12}, CodeSize::k32), "pushad; push ds; push gs; mov eax, dword ptr [0x12345678]");
  expect(text({0xc1, 0xf8, 0xf0, 0x0f, 0xae, 0xf0, 0x0f, 0x02, 0x00}), "sar eax, 0xf0; mfence; lar eax, word ptr [rax]");
  expect(text({0xc4, 0xe2, 0xf0, 0xf2, 0xc2}), "andn rax, rcx, rdx");
  expect(text({0x48, 0x0f, 0xc7, 0x2f, 0x0f, 0xc7, 0x1e, 0x0f, 0xae, 0x21}), "xsaves64 [rdi]; xrstors [rsi]; xsave [rcx]");
}

TEST(disassemblesX87AndVectors) {
  expect(text({0xd8, 0xc1, 0xdc, 0xc1, 0xdd, 0x00, 0xdf, 0xe0, 0xdd, 0xd9}), "fadd st, st(1); fadd st(1), st; fld qword ptr [rax]; fnstsw ax; fstp st(1)");
  expect(text({0x0f, 0x6f, 0xc1, 0x66, 0x0f, 0x6f, 0x01, 0x66, 0x48, 0x0f, 0x7e, 0xc0}), "movq mm0, mm1; movdqa xmm0, xmmword ptr [rcx]; movq rax, xmm0");
  expect(text({0xf2, 0x48, 0x0f, 0x2a, 0xc0, 0x66, 0x0f, 0x70, 0xc1, 0x1b}), "cvtsi2sd xmm0, rax; pshufd xmm0, xmm1, 0x1b");
  expect(text({0xc5, 0xf5, 0xfe, 0x00, 0xc5, 0xf9, 0x5a, 0xc1, 0xc5, 0xfd, 0x5a, 0xc1}), "vpaddd ymm0, ymm1, ymmword ptr [rax]; vcvtpd2ps xmm0, xmm1; vcvtpd2ps xmm0, ymm1");
  expect(text({0x0f, 0x12, 0xc1, 0x0f, 0x12, 0x00, 0x0f, 0x16, 0xc1}), "movhlps xmm0, xmm1; movlps xmm0, qword ptr [rax]; movlhps xmm0, xmm1");
  expect(text({0xc4, 0xe3, 0x75, 0x38, 0xc2, 0x01}), "vinserti128 ymm0, ymm1, xmm2, 0x1");
  expect(text({0xc4, 0xe2, 0xed, 0x90, 0x04, 0x88}), "vpgatherdq ymm0, [rax+xmm1*4], ymm2");
}

TEST(disassemblesWhatItCanOfAnyBytes) {
  expect(text({0x06, 0x90}), "(no instruction); nop");
  expect(text({0x90, 0x48, 0xb8, 0x01}), "nop");  // the last is not all there
  // Every row of the tables is called something, and has no more operands than an instruction can have.
  conformance::Generator generator(11);
  for (const conformance::Encoding& e : conformance::encodings()) {
    for (const CodeSize size : {CodeSize::k64, CodeSize::k32}) {
      conformance::Case c;
      if (!e.exists(size) || !generator.make(e, size, c) || !c.decoded.row) continue;
      const std::string line = disassemble(c.decoded, 0x1000);
      const bool named = !line.empty() && line[0] >= 'a' && line[0] <= 'z' && line.find('?') == std::string::npos;
      if (!named || std::count(line.begin(), line.end(), ',') > 3) ::lodge::testing::fail(__FILE__, __LINE__, e.name + ": " + line);
    }
  }
}

}  // namespace
}  // namespace lodge::x86
