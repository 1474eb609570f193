// Where an instruction's memory operand is, and the TLB checks that instructions share.
#include <algorithm>

#include "translator/lowering.h"
#include "translator/strip.h"

namespace lodge::translator {

using namespace x86;

namespace {

/** Accesses further apart share no check: the wider they lie, the more often a page ends in between. */
constexpr int64_t kMaxSpan = 256;
/** Instructions behind the first of a group. */
constexpr size_t kMaxGroup = 31;

int64_t pageNumber(int64_t at) { return at >> 12; }

}  // namespace

/** Computed by one LEA from registers. */
bool Lowering::simple(const Address& a) const {
  return a.segment == 0 && a.base != kRipRegister && (a.base == kNoRegister || inHost(a.base)) &&
         (a.index == kNoRegister || inHost(a.index)) && a.bytes == (unit_->size == CodeSize::k64 ? 8 : 4);
}

/** Linear address; may use R15 when the index is not in a register. */
void Lowering::effective(uint8_t to, const Address& a, int64_t disp) {
  uint8_t base = kNoReg, index = kNoReg;
  if (a.base == kRipRegister) {
    e_.load64(to, frame(at_.codePage));
    base = to;
  } else if (a.base != kNoRegister) {
    if (inHost(a.base)) {
      base = hostOf(a.base);
    } else {
      e_.load64(to, slot(a.base));
      base = to;
    }
  }
  if (a.index != kNoRegister) {
    if (inHost(a.index)) {
      index = hostOf(a.index);
    } else {
      e_.load64(kR15, slot(a.index));
      index = kR15;
    }
  }
  if (base == kNoReg && index == kNoReg) {
    e_.moveImm64(to, a.bytes == 4 ? static_cast<uint32_t>(disp) : static_cast<uint64_t>(disp));
  } else {
    const Operand m{true, 0, base, index, a.scale, static_cast<int32_t>(disp)};
    if (a.bytes == 4) {
      e_.lea32(to, m);
    } else if (index == kNoReg && disp == 0) {
      if (base != to) e_.move64(to, base);
    } else {
      e_.lea64(to, m);
    }
  }
  if (a.segment) {
    const int32_t segmentBase = static_cast<int32_t>(segmentUnit(a.segment) * 8);
    if (unit_->size == CodeSize::k64) e_.op64(0x03, to, frame(segmentBase));
    else e_.op32(0x03, to, frame(segmentBase));
  }
}

/** R15D := number of the TLB entry for the address in a register. */
void Lowering::tlbIndex(uint8_t linear) {
  if (at_.extracts) {
    e_.encodeVex(2, false, false, kMap0F38, 0xf5, kR15, linear, frame(at_.pageNumber));  // PEXT
    return;
  }
  if (linear != kR15) e_.op32(0x8b, kR15, inRegister(linear));
  e_.encode(0, kMap1, 0xc1, 5, inRegister(kR15)), e_.u8(12);  // SHR
  e_.alu32(4, inRegister(kR15), kTlbEntries - 1);
}

/** Of the entry whose number is in R15: TlbEntry::kRead … */
Operand Lowering::tlbWord(int32_t word) const { return at(kCoreReg, kR15, 3, at_.tlb[unit_->privilege] + word); }

/** A failed check: the TLB may only have forgotten; else the interpreter takes over. */
void Lowering::miss(uint8_t* from, const SiteSpec& site, uint8_t* retry, const Access& access, int64_t low) {
  group_.pending.push_back({from, addSite(site), nullptr, FlagsIn::Dead, 0, Stub::Kind::Run, retry, access, low});
}

/** The same for a check that often fails because its accesses lie in two pages: a careful unit, where none shares one, takes over. */
void Lowering::missCarefully(uint8_t* from, int32_t offset, uint8_t* retry, const Access& access, int64_t low, int64_t high) {
  SiteSpec site{SiteKind::Link};
  site.offset = offset;
  site.saved = site.careful = true;
  site.live = index_ == 0 ? unit_->liveIn : live_[index_ - 1];
  Stub stub{from, addSite(site), nullptr, FlagsIn::Saved, high - low, Stub::Kind::Careful, retry, access, low};
  stubs_.push_back(stub);
}

/** Its base and the TLB's addend alone make the host address. */
bool Lowering::offBase(const Address& a) const { return simple(a) && a.bytes == 8 && a.base != kNoRegister && a.index == kNoRegister; }

bool Lowering::windowable(const Address& a) const { return offBase(a) || offCore(a); }

/** Where offCore() finds that value. */
Operand Lowering::originOf(const Address& a) const {
  if (a.segment) return frame(static_cast<int32_t>(segmentUnit(a.segment) * 8));
  return a.base == kRipRegister ? frame(at_.codePage) : slot(a.base & 15);
}

/** A displacement from one value in the Core: of a register that is kept there, of the page at hand, or of a segment in 64-bit code. */
bool Lowering::offCore(const Address& a) const {
  if (a.bytes != 8 || a.index != kNoRegister) return false;
  if (a.base == kNoRegister) return a.segment != 0;
  return a.segment == 0 && (a.base == kRipRegister || !inHost(a.base));
}

/**
 * R14 := host address of [address + low, + span); when that is offCore(), of what it is a displacement from, and when it is offBase(),
 * what the base is away from the host address it stands for. All of it in one page that may be accessed so. Returns the distance field of the jump that is taken otherwise.
 */
uint8_t* Lowering::check(const Access& access, int64_t low, unsigned span, unsigned aligned) {
  const Address& a = access.address;
  const bool plain = simple(a), inOne = aligned != 0, core = offCore(a);
  const Operand origin = originOf(a);
  if (plain) {
    if (low == 0 && a.base != kNoRegister && a.index == kNoRegister) {
      tlbIndex(hostOf(a.base));
    } else {
      Address low32 = a;
      low32.bytes = 4;
      effective(kR15, low32, low);
      tlbIndex(kR15);
    }
    effective(kR14, a, low + (inOne ? 0 : span - 1));
  } else if (core) {
    e_.load64(kR14, origin);
    if (low) e_.lea32(kR15, at(kR14, static_cast<int32_t>(low)));
    tlbIndex(low ? kR15 : kR14);
    e_.lea64(kR14, at(kR14, static_cast<int32_t>(low + (inOne ? 0 : span - 1))));
  } else {
    effective(kR14, a, low);
    tlbIndex(kR14);
    e_.store64(frame(at_.temporary), kR14);
    if (!inOne && span > 1) {
      if (unit_->size == CodeSize::k64) e_.lea64(kR14, at(kR14, static_cast<int32_t>(span - 1)));
      else e_.lea32(kR14, at(kR14, static_cast<int32_t>(span - 1)));
    }
  }
  e_.alu64(4, inRegister(kR14), inOne ? -4096 | static_cast<int32_t>(aligned - 1) : -4096);
  e_.op64(0x3b, kR14, tlbWord(access.write ? TlbEntry::kWrite : TlbEntry::kRead));
  uint8_t* const miss = e_.jumpIf(kNotEqual);
  const Operand addend = tlbWord(TlbEntry::kAddend);
  if (offBase(a) || core) {
    e_.load64(kR14, addend);
    if (core) e_.op64(0x03, kR14, origin);
    return miss;
  }
  if (plain) effective(kR14, a, low);
  else e_.load64(kR14, frame(at_.temporary));
  e_.op64(0x03, kR14, addend);
  return miss;
}

Operand Lowering::operandAt(const Access& access) {
  if (inStrip_) return operandInStrip(access);
  if (offBase(access.address)) return aloneAt(access);
  return at(kR14, static_cast<int32_t>(access.disp + group_.drift - (offCore(access.address) ? 0 : group_.low)));
}

/** Behind checkAlone(). */
Operand Lowering::aloneAt(const Access& access) const {
  const auto disp = static_cast<int32_t>(access.disp);
  if (offBase(access.address)) return at(kR14, hostOf(access.address.base), 0, disp);
  return at(kR14, offCore(access.address) ? disp : 0);
}

/** Emitting it takes R14. */
bool Lowering::usesGroupRegister(const Item& item) const {
  switch (item.kind) {
    case Kind::Same: {
      if (item.raw || item.access.present) return false;
      const bool slotReg = item.regBank == Bank::Gpr && !inHost(item.d.reg);
      return slotReg && item.rmBank == Bank::Gpr && !inHost(item.d.rm);
    }
    case Kind::Lea: {
      const Address& a = item.access.address;
      const auto inCore = [](uint8_t gpr) { return gpr < 16 && !inHost(gpr); };
      return item.d.operandSize == 2 || (inCore(a.base) && inCore(a.index));
    }
    case Kind::Nop:
    case Kind::FlagBit:
    case Kind::ReadSegment:
    case Kind::Pop:
    case Kind::Jcc:
    case Kind::Jmp:
      return false;
    case Kind::Push:
      return item.source.present;
    default:
      return true;
  }
}

/** Whether the next item's access may be one of those that begin with `first`: in its group, or at least through its window. */
bool Lowering::shares(const Item& next, const Address& address, const Item& first, bool grouped) const {
  if (next.access.aligned || !(next.access.address == address)) return false;
  if (!grouped) return true;
  return (!next.x87 || first.x87) && !next.source.present && next.kind != Kind::Divide && next.kind != Kind::CallFar &&
         next.kind != Kind::LoadControl;
}

/** Its check has often failed because the accesses that shared it lay in two pages. */
bool Lowering::apart(const Item& item) const {
  return std::find(unit_->apart.begin(), unit_->apart.end(), item.offset) != unit_->apart.end();
}

/**
 * Which accesses share the check of item i's. Those of the group follow one another, so R14 serves them all; others come through a
 * window. What lies behind a branch that may leave is among them when it asks for no more than accesses before it did.
 */
Lowering::Reach Lowering::reach(size_t i) const {
  const Item& first = unit_->items[i];
  const Address& a = first.access.address;
  Reach r{i, 0, first.access.disp, first.access.disp + first.access.size, first.access.write};
  if (unit_->careful || (unit_->trace && apart(first)) || first.kind == Kind::CallFar || first.kind == Kind::LoadControl || first.source.present || first.access.aligned)
    return r;
  const bool windowed = windowable(a);
  // Where pages end is known of the page at hand, and most often of a trace's stack.
  const bool here = a.base == kRipRegister && windowed, placed = here || (stack_ && a.base == kRsp && windowed);
  const int64_t origin = here ? 0 : stack_.value_or(0);
  const int64_t page = pageNumber(origin + first.access.disp);
  bool grouped = true, branched = false;
  int64_t drift = 0;
  for (size_t j = i; j + 1 < unit_->items.size(); ++j) {
    // What item j does to the address, then whether item j + 1 may follow.
    const Item& item = unit_->items[j];
    const bool follows = item.kind > Kind::Jmp && item.kind <= Kind::Ret;  // of a trace, whose guard may leave it
    if (follows) {
      branched = true;
      grouped = false;
    } else if (item.kind == Kind::Jcc || item.kind == Kind::Jmp) {
      if (strip_ && j == strip_->last) break;  // strips come in behind it
      if (!branched && grouped) r.branch = j;
      branched = true;
    } else if (item.kind == Kind::Step) {
      break;
    } else if (item.kind >= Kind::Divide && item.kind != Kind::FlagBit) {
      grouped = false;
    }
    if (a.base != kNoRegister && a.base != kRipRegister) {
      const Change change = changeOf(item, a.base);
      if (!change.known) break;
      drift += change.by;
    }
    if (a.index != kNoRegister && (item.gprsWritten >> a.index & 1)) break;
    const Item& next = unit_->items[j + 1];
    if (j + 1 - i > kMaxGroup) grouped = false;
    if (next.access.present ? !shares(next, a, first, true) : usesGroupRegister(next) || (next.x87 && !first.x87)) grouped = false;
    if (!grouped && !windowed) break;
    if (!next.access.present || !shares(next, a, first, grouped)) continue;
    const int64_t from = next.access.disp + drift, behind = from + next.access.size;
    const int64_t low = std::min(r.low, from), high = std::max(r.high, behind);
    // A stack may always be written.
    const bool asksMore = branched && next.access.write && !r.write && a.base != kRsp;
    const bool apart = placed ? pageNumber(origin + from) != page || pageNumber(origin + behind - 1) != page : high - low > kMaxSpan;
    if (asksMore || apart) {
      if (!windowed) break;
      grouped = false;
      continue;
    }
    r.low = low;
    r.high = high;
    r.write |= next.access.write;
    if (grouped) r.last = j + 1;
    else r.again = true;
  }
  if (r.branch >= r.last) r.branch = 0;
  return r;
}

/** Emits the check that the access of item i shares with others; should it fail, the interpreter executes what lies before a branch. */
void Lowering::openGroup(size_t i) {
  if (reuseWindow(i)) return;
  const Item& first = unit_->items[i];
  const Reach r = reach(i);
  Access shared = first.access;
  shared.write = r.write;
  clobberFlags(i == 0 ? unit_->liveIn : live_[i - 1]);
  uint8_t* const retry = e_.position();
  uint8_t* const failed = check(shared, r.low, static_cast<unsigned>(r.high - r.low), shared.aligned);
  group_.active = true;
  group_.low = r.low;
  group_.drift = 0;
  group_.last = r.last;
  const size_t firstSite = sites.size();
  const bool several = r.last != i || r.again;
  if (several && apart(first)) {
    missCarefully(failed, first.offset, retry, shared, r.low, r.high);
    if (r.again) keepWindow({shared.address, r.low, r.high, r.write, 0, firstSite});
    return;
  }
  const size_t last = r.branch ? r.branch - 1 : r.last;
  // A control word that the interpreter loads may unmask exceptions, and this unit is for code that has them masked.
  SiteSpec site{first.kind == Kind::LoadControl || r.branch ? SiteKind::End : SiteKind::Run};
  site.offset = first.offset;
  site.count = static_cast<uint8_t>(last - i + 1);
  site.x87 = first.x87;
  site.shared = several;
  site.endOffset = static_cast<int32_t>(unit_->items[last].offset + unit_->items[last].d.length);
  miss(failed, site, retry, shared, r.low);
  if (r.again) keepWindow({shared.address, r.low, r.high, r.write, 0, firstSite});
}

/** Behind a check: what it has shown is kept. */
void Lowering::keepWindow(Window window) {
  const auto apart = [&](const Window& w) { return w.high <= window.low || window.high <= w.low; };
  std::erase_if(windows_, [&](const Window& w) { return w.address == window.address && !apart(w); });
  constexpr unsigned kSlots = sizeof TierFrame::windows / sizeof *TierFrame::windows;
  if (windows_.size() == kSlots) windows_.erase(windows_.begin());
  const auto taken = [&](const Window& w) { return w.slot == window.slot; };
  while (std::any_of(windows_.begin(), windows_.end(), taken)) ++window.slot;
  windows_.push_back(window);
  // Of an address off the Core, R14 has the value there added already.
  if (offCore(window.address)) e_.load64(kR15, tlbWord(TlbEntry::kAddend));
  e_.store64(frame(at_.windows + static_cast<int32_t>(window.slot * 8)), offCore(window.address) ? kR15 : kR14);
}

/**
 * The group of item i through a window, when there is one for it. What the interpreter does may close windows, so no site since it was
 * opened comes back to this unit.
 */
bool Lowering::reuseWindow(size_t i) {
  const Access& access = unit_->items[i].access;
  if (access.aligned) return false;
  const auto found = std::find_if(windows_.begin(), windows_.end(), [&](const Window& w) {
    return w.address == access.address && access.disp >= w.low && access.disp + access.size <= w.high && (w.write || !access.write);
  });
  if (found == windows_.end()) return false;
  for (size_t n = found->firstSite; n < sites.size(); ++n) {
    if (sites[n].kind == SiteKind::Run) sites[n].kind = SiteKind::End;
  }
  const Operand addend = frame(at_.windows + static_cast<int32_t>(found->slot * 8));
  e_.load64(kR14, addend);
  if (offCore(access.address)) {  // the flags stay as they are
    e_.load64(kR15, originOf(access.address));
    e_.lea64(kR14, at(kR14, kR15, 0, 0));
  }
  const Reach r = reach(i);
  group_.active = true;
  group_.low = group_.drift = 0;
  group_.last = r.low >= found->low && r.high <= found->high && (found->write || !r.write) ? r.last : i;
  return true;
}

/** Behind an item: windows follow what it did to their bases. */
void Lowering::moveWindows(const Item& item) {
  if (item.kind == Kind::Step) windows_.clear();
  std::erase_if(windows_, [&](Window& w) {
    if (w.address.segment) return item.kind == Kind::SwapGs;
    if (w.address.base == kRipRegister) return false;
    const Change change = changeOf(item, w.address.base);
    w.low -= change.by;
    w.high -= change.by;
    return !change.known;
  });
}

void Lowering::moveStack(const Item& item) {
  const Change change = changeOf(item, kRsp);
  if (!change.known) stack_.reset();
  else if (stack_) *stack_ += change.by;
}

/** Behind item i: the slow path joins here. */
void Lowering::closeGroup(size_t i) {
  if (!group_.active || i != group_.last) return;
  for (Stub& s : group_.pending) {
    s.resume = e_.position();
    stubs_.push_back(s);
  }
  group_.pending.clear();
  group_.active = false;
}

void Lowering::checkAlone(size_t i, const Access& access) {
  const Item& item = unit_->items[i];
  clobberFlags(i == 0 ? unit_->liveIn : live_[i - 1]);
  uint8_t* const retry = e_.position();
  uint8_t* const failed = check(access, access.disp, access.size, 0);
  miss(failed, siteOf(item, SiteKind::Run), retry, access, access.disp);
}

}  // namespace lodge::translator
