// What the host cannot be asked from 64-bit user mode: images of other modes, pointers, and the scope's promises.
#include <cstring>

#include "testing/test.h"
#include "x86/fp/host_fp.h"

namespace lodge::x86 {
namespace {

const FpRow& simdRow(const char* mnemonic) {
  for (unsigned i = 0; i < kSimdRowCount; ++i)
    if (!std::strcmp(kSimdRows[i].mnemonic, mnemonic)) return kSimdRows[i];
  testing::fail(__FILE__, __LINE__, mnemonic);
  return kSimdRows[0];
}
const X87Row& x87Row(const char* mnemonic) {
  for (unsigned i = 0; i < kX87RowCount; ++i)
    if (!std::strcmp(kX87Rows[i].mnemonic, mnemonic)) return kX87Rows[i];
  testing::fail(__FILE__, __LINE__, mnemonic);
  return kX87Rows[0];
}

struct Machine {
  State state{};
  uint8_t image[512] = {};
  uint32_t stored = 0;

  Machine() {
    state.mxcsr = 0x1f80;
    state.x87.instructionPointer = 0x123456789abc;
    state.x87.dataPointer = 0x7654321cba98;
    state.x87.codeSelector = 0x1234;
    state.x87.dataSelector = 0x5678;
    state.x87.opcode = 0x5a5;
  }
  int call(FpFn function, unsigned operandSize) {
    FpOperands o{state, image, image, 0, static_cast<uint8_t>(operandSize), true, 0, 0, 0, 0};
    HostFpScope scope(state);
    const int fault = function(o);
    stored = o.storeBytes;
    return fault;
  }
  unsigned half(unsigned offset) const { return image[offset] | image[offset + 1] << 8; }
  unsigned word(unsigned offset) const { return half(offset) | half(offset + 2) << 16; }
};

TEST(fnstenv_protected_32) {
  Machine m;
  m.state.cr0 = 1;
  m.call(x87Row("fnstenv").function, 4);
  CHECK_EQ(m.stored, 28u);
  CHECK_EQ(m.word(0), 0xffff037fu);
  CHECK_EQ(m.word(8), 0xffffffffu);
  CHECK_EQ(m.word(12), 0x56789abcu);
  CHECK_EQ(m.word(16), 0x05a51234u);
  CHECK_EQ(m.word(20), 0x321cba98u);
  CHECK_EQ(m.word(24), 0xffff5678u);
}

TEST(fnstenv_protected_16) {
  Machine m;
  m.state.cr0 = 1;
  m.call(x87Row("fnstenv").function, 2);
  CHECK_EQ(m.stored, 14u);
  CHECK_EQ(m.half(6), 0x9abcu);
  CHECK_EQ(m.half(8), 0x1234u);
  CHECK_EQ(m.half(10), 0xba98u);
  CHECK_EQ(m.half(12), 0x5678u);
}

TEST(fnstenv_real_mode_folds_the_selector_into_a_linear_address) {
  for (const bool virtual8086 : {false, true}) {
    Machine m;
    m.state.cr0 = virtual8086;
    m.state.rflags = virtual8086 ? uint64_t{kVm} : 0;
    m.state.x87.instructionPointer = 0xfff0;  // 1234:fff0 = 22330
    m.state.x87.dataPointer = 0x0004;         // 5678:0004 = 56784
    m.call(x87Row("fnstenv").function, 4);
    CHECK_EQ(m.word(12), 0xffff2330u);
    CHECK_EQ(m.word(16), 0x000025a5u);
    CHECK_EQ(m.word(20), 0xffff6784u);
    CHECK_EQ(m.word(24), 0x00005000u);
    m.call(x87Row("fnstenv").function, 2);
    CHECK_EQ(m.half(6), 0x2330u);
    CHECK_EQ(m.half(8), 0x25a5u);
    CHECK_EQ(m.half(10), 0x6784u);
    CHECK_EQ(m.half(12), 0x5000u);
  }
}

TEST(fldenv_restores_what_fnstenv_saved_in_every_layout) {
  for (const bool real : {false, true})
    for (const unsigned size : {2u, 4u}) {
      Machine m;
      m.state.cr0 = !real;
      m.state.x87.instructionPointer = 0xabc;
      m.state.x87.dataPointer = 0xde;
      m.state.x87.status = 0x3a00;
      m.state.x87.tagValid = 0x5a;
      for (X87Register& r : m.state.x87.r) r.bytes[7] = 0x80, r.bytes[9] = 0x3f;
      const X87State before = m.state.x87;
      m.call(x87Row("fnstenv").function, size);
      m.state.x87 = X87State{};
      m.call(x87Row("fldenv").function, size);
      CHECK_EQ(m.state.x87.control, before.control);
      CHECK_EQ(m.state.x87.status, before.status);
      CHECK_EQ(m.state.x87.tagValid, before.tagValid);
      const uint64_t base = real ? 0x12340 : 0;
      CHECK_EQ(m.state.x87.instructionPointer, base + 0xabc);
      CHECK_EQ(m.state.x87.dataPointer, (real ? 0x56780u : 0u) + 0xde);
      CHECK_EQ(m.state.x87.codeSelector, real ? 0 : 0x1234);
      CHECK_EQ(m.state.x87.opcode, real || size == 4 ? 0x5a5 : 0);
    }
}

TEST(fxsave_writes_the_registers_of_the_mode_and_both_kinds_of_pointers) {
  Machine m;
  std::memset(m.state.vec[15].bytes, 0x77, 16);
  m.call(simdRow("fxsave").function, 4);
  CHECK_EQ(m.stored, 288u);
  CHECK_EQ(m.word(8), 0x56789abcu);
  CHECK_EQ(m.half(12), 0x1234u);
  CHECK_EQ(m.word(16), 0x321cba98u);
  CHECK_EQ(m.half(20), 0x5678u);
  CHECK_EQ(m.half(6), 0x5a5u);
  CHECK_EQ(m.word(28), 0xffffu);
  m.state.efer = 1u << 10;
  m.state.seg[kCs].attributes = 1u << 13;
  m.call(simdRow("fxsave").function, 8);
  CHECK_EQ(m.stored, 416u);
  CHECK_EQ(m.half(12), 0x1234u);
  CHECK_EQ(m.word(8), 0x56789abcu);
  CHECK_EQ(m.image[415], 0x77);
}

TEST(fxrstor_outside_64_bit_mode_leaves_the_upper_registers) {
  Machine m;
  std::memset(m.state.vec[8].bytes, 0x77, 16);
  std::memset(m.image + 160, 0x33, 256);
  m.image[24] = 0x80;
  m.image[25] = 0x1f;
  CHECK_EQ(m.call(simdRow("fxrstor").function, 4), -1);
  CHECK_EQ(m.state.vec[7].bytes[15], 0x33);
  CHECK_EQ(m.state.vec[8].bytes[0], 0x77);
}

TEST(reserved_mxcsr_bits_fault_and_change_nothing) {
  Machine m;
  m.image[2] = 1;
  CHECK_EQ(m.call(simdRow("ldmxcsr").function, 4), static_cast<int>(kGP));
  CHECK_EQ(m.state.mxcsr, 0x1f80u);
  m.image[26] = 1;
  m.image[4] = 0xff;
  CHECK_EQ(m.call(simdRow("fxrstor").function, 8), static_cast<int>(kGP));
  CHECK_EQ(m.state.x87.tagValid, 0);
  CHECK_EQ(m.state.mxcsr, 0x1f80u);
}

TEST(the_scope_gives_the_host_its_own_modes_back) {
  const uint32_t before = hostMxcsr();
  uint16_t control = 0, controlAfter = 0;
  asm volatile("fnstcw %0" : "=m"(control));
  State state{};
  state.mxcsr = 0x7f80 & ~0x1000u;  // round to zero, #P unmasked
  state.x87.control = 0x0c40;
  {
    HostFpScope scope(state);
    CHECK_EQ(hostMxcsr(), 0x7f80u);
    volatile double third = 1.0;
    third = third / 3.0;
  }
  CHECK_EQ(hostMxcsr(), before);
  asm volatile("fnstcw %0" : "=m"(controlAfter));
  CHECK_EQ(controlAfter, control);
  CHECK_EQ(state.mxcsr, 0x6fa0u);  // #P gathered
}

}  // namespace
}  // namespace lodge::x86
