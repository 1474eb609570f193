// Which arithmetic flags something may still read.
#include "translator/lowering.h"

namespace lodge::translator {

using namespace x86;

std::vector<uint32_t> liveFlags(Unit& unit) {
  std::vector<uint32_t> after(unit.items.size());
  uint32_t live = unit.liveOut;
  if (unit.keepFlags) {
    unit.liveIn = kArith;
    return std::vector<uint32_t>(unit.items.size(), +kArith);
  }
  for (size_t n = unit.items.size(); n-- > 0;) {
    const Item& item = unit.items[n];
    after[n] = live;
    // A branch may leave, and so may a return in a trace.
    const bool leaves = item.kind == Kind::Jcc || (item.kind >= Kind::JmpFar && item.kind <= Kind::Ret);
    live = leaves ? kArith : (live & ~item.flagsKilled) | item.flagsRead;
  }
  unit.liveIn = live;
  return after;
}

uint32_t flagsNeeded(const uint8_t* page, unsigned offset, const Setting& setting, unsigned& end) {
  constexpr unsigned kLookAhead = 4;
  uint32_t read = 0, unwritten = kArith;
  end = offset;
  for (unsigned n = 0; n < kLookAhead && unwritten; ++n) {
    Item item;
    if (end >= kPageBytes || !describe(page + end, static_cast<unsigned>(kPageBytes) - end, static_cast<int32_t>(end), setting, item)) break;
    read |= item.flagsRead & unwritten;
    unwritten &= ~item.flagsKilled;
    end += item.d.length;
    if (item.kind >= Kind::Jcc && item.kind <= Kind::Ret) break;
  }
  return read | unwritten;
}

}  // namespace lodge::translator
