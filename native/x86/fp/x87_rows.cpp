#include "x86/fp/x87_support.h"

namespace lodge::x86 {

#define MEM(op, reg, mnemonic, bytes, attributes, fn) {op, 0xff, 0xff, reg, mnemonic, bytes, attributes, x87::fn},
#define REG(op, first, last, mnemonic, attributes, fn) {op, first, last, -1, mnemonic, 0, attributes, x87::fn},
extern constexpr X87Row kX87Rows[] = {
#include "x86/tables/x87.inc"
};
#undef MEM
#undef REG

extern constexpr unsigned kX87RowCount = sizeof kX87Rows / sizeof kX87Rows[0];

namespace {

/** Memory forms come before register forms; within those, ModRM ranges ascend without overlap. */
consteval bool sortedAndDisjoint() {
  for (unsigned i = 0; i < kX87RowCount; ++i) {
    const X87Row& b = kX87Rows[i];
    if (b.opcode < 0xd8 || b.opcode > 0xdf) return false;
    if (b.extension < 0 && (b.modrmFirst < 0xc0 || b.modrmLast < b.modrmFirst)) return false;
    if (b.extension > 7) return false;
    if (i == 0) continue;
    const X87Row& a = kX87Rows[i - 1];
    if (a.opcode > b.opcode) return false;
    if (a.opcode < b.opcode) continue;
    const bool registers = a.extension < 0;
    if (b.extension >= 0 ? registers || a.extension >= b.extension : registers && a.modrmLast >= b.modrmFirst) return false;
  }
  return true;
}
static_assert(sortedAndDisjoint(), "rows of tables/x87.inc overlap or are out of order");

}  // namespace
}  // namespace lodge::x86
