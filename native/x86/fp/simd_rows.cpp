#include "x86/fp/simd_support.h"

namespace lodge::x86 {

#define ROW(map, op, prefix, reg, mnemonic, form, bytes, imm8, feature, attributes, fn) \
  {FpMap::map, FpPrefix::prefix, op, reg, mnemonic, FpForm::form, bytes, imm8, attributes, simd::fn, FpFeature::feature, nullptr},
#define IMM_ROW(map, op, prefix, reg, mnemonic, form, bytes, imm8, feature, attributes, fn)                                \
  {FpMap::map, FpPrefix::prefix, op, reg, mnemonic, FpForm::form, bytes, imm8, attributes, simd::fn, FpFeature::feature, \
   simd::fn##Table},
extern constexpr FpRow kSimdRows[] = {
#include "x86/tables/simd.inc"
};
#undef ROW
#undef IMM_ROW

extern constexpr unsigned kSimdRowCount = sizeof kSimdRows / sizeof kSimdRows[0];

namespace {

constexpr uint64_t order(const FpRow& row) {
  return static_cast<uint64_t>(row.map) << 32 | static_cast<uint64_t>(row.opcode) << 16 |
         static_cast<uint64_t>(row.prefix) << 8 | static_cast<uint8_t>(row.extension + 1);
}

/** Strictly ascending, and an opcode either has rows for single ModRM.reg values or one for all of them. */
consteval bool sortedAndDisjoint() {
  for (unsigned i = 1; i < kSimdRowCount; ++i) {
    const FpRow &a = kSimdRows[i - 1], &b = kSimdRows[i];
    if (order(a) >= order(b)) return false;
    if (a.map == b.map && a.opcode == b.opcode && a.prefix == b.prefix && a.extension < 0) return false;
  }
  return true;
}
static_assert(sortedAndDisjoint(), "rows of tables/simd.inc overlap or are out of order");

consteval bool consistent() {
  for (const FpRow& row : kSimdRows) {
    const uint32_t only = row.attributes & (kFpNoMemory | kFpNoRegister);
    if (only == (kFpNoMemory | kFpNoRegister)) return false;
    if ((row.attributes & kFpAligned) && row.memoryBytes % 16) return false;
    if (row.map == FpMap::M0F3A && !row.imm8) return false;
    if (row.form == FpForm::Memory && !(row.attributes & kFpNoRegister)) return false;
  }
  return true;
}
static_assert(consistent(), "a row of tables/simd.inc contradicts itself");

}  // namespace
}  // namespace lodge::x86
