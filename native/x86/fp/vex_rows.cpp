#include "x86/fp/vex_thunks.h"

namespace lodge::x86 {

#define VEX(map, opcode, prefix, reg, w, l, mnemonic, form, bytes128, bytes256, imm8, feature128, feature256, attributes) \
  {FpMap::map, opcode, FpPrefix::prefix, reg, VexW::w, VexL::l, mnemonic, VexForm::form, {bytes128, bytes256}, imm8, \
   {Feature::feature128, Feature::feature256}, attributes},
extern constexpr VexRow kVexRows[] = {
#include "x86/tables/vex.inc"
};
#undef VEX

extern constexpr unsigned kVexRowCount = sizeof kVexRows / sizeof kVexRows[0];

namespace {

constexpr bool overlap(const VexRow& a, const VexRow& b) {
  if (a.map != b.map || a.opcode != b.opcode || a.prefix != b.prefix) return false;
  if (a.extension >= 0 && b.extension >= 0 && a.extension != b.extension) return false;
  if (a.w != VexW::Any && b.w != VexW::Any && a.w != b.w) return false;
  const auto l = [](const VexRow& r) { return r.l == VexL::L0 ? 1 : r.l == VexL::L1 ? 2 : 3; };
  if (!(l(a) & l(b))) return false;
  const auto operand = [](const VexRow& r) { return r.attributes & kFpNoMemory ? 1 : r.attributes & kFpNoRegister ? 2 : 3; };
  return (operand(a) & operand(b)) != 0;
}

consteval bool sortedAndDisjoint() {
  for (unsigned i = 1; i < kVexRowCount; ++i) {
    const VexRow &p = kVexRows[i - 1], &r = kVexRows[i];
    if (p.map > r.map || (p.map == r.map && p.opcode > r.opcode)) return false;
    for (unsigned k = i; k-- > 0 && kVexRows[k].map == r.map && kVexRows[k].opcode == r.opcode;) {
      if (overlap(kVexRows[k], r)) return false;
    }
  }
  return true;
}
static_assert(sortedAndDisjoint(), "rows of tables/vex.inc overlap or are out of order");

consteval size_t mostEntries() {
  size_t entries = 0;
  for (unsigned i = 0; i < kVexRowCount; ++i) {
    const VexRow& r = kVexRows[i];
    if (!hasThunk(r.form)) continue;
    const size_t lengths = r.l == VexL::Both ? 2 : 1, widths = r.memoryBytes[0] == 0 || r.form == VexForm::RmGpr ? 2 : 1;
    const size_t kinds = r.attributes & (kFpNoMemory | kFpNoRegister) ? 1 : 2;
    entries += lengths * widths * kinds * (r.imm8 && r.form != VexForm::Rvmr ? 256 : 1);
  }
  return entries;
}
static_assert(mostEntries() <= VexThunks::kMaxEntries);

}  // namespace
}  // namespace lodge::x86
