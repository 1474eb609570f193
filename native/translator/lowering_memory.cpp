// Where an instruction's memory operand is, and the TLB checks that instructions share.
#include <algorithm>

#include "translator/lowering.h"
#include "translator/strip.h"

namespace lodge::translator {

using namespace x86;

namespace {

/** Accesses further apart share no check: the wider they lie, the more often a page ends in between. */
constexpr int64_t kMaxSpan = 256;

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

/** R15D := distance of the TLB entry for the address in R15D. */
void Lowering::tlbIndexOfR15() {
  e_.encode(0, kMap1, 0xc1, 5, inRegister(kR15)), e_.u8(7);  // SHR R15D, 7
  e_.alu32(4, inRegister(kR15), (kTlbEntries - 1) << 5);
}

/** A failed check: the TLB may only have forgotten; else the interpreter takes over. */
void Lowering::miss(uint8_t* from, const SiteSpec& site, uint8_t* retry, const Access& access, int64_t low) {
  group_.pending.push_back({from, addSite(site), nullptr, FlagsIn::Dead, 0, Stub::Kind::Run, retry, access, low});
}

/** Its base and the TLB's addend alone make the host address. */
bool Lowering::offBase(const Address& a) const { return simple(a) && a.bytes == 8 && a.base != kNoRegister && a.index == kNoRegister; }

/** A displacement from one value in the Core: of a register that is kept there, or of the page at hand. */
bool Lowering::offCore(const Address& a) const {
  return a.segment == 0 && a.bytes == 8 && a.index == kNoRegister && a.base != kNoRegister &&
         (a.base == kRipRegister || !inHost(a.base));
}

/**
 * R14 := host address of [address + low, + span); when that is offCore(), of what it is a displacement from, and when it is offBase(),
 * what the base is away from the host address it stands for. All of it in one page that may be accessed so. Returns the distance field of the jump that is taken otherwise.
 */
uint8_t* Lowering::check(const Access& access, int64_t low, unsigned span, unsigned aligned) {
  const Address& a = access.address;
  const bool plain = simple(a), inOne = aligned != 0, core = offCore(a);
  const Operand origin = a.base == kRipRegister ? frame(at_.codePage) : slot(a.base & 15);
  const int32_t tlb = at_.tlb[unit_->privilege];
  if (plain) {
    Address low32 = a;
    low32.bytes = 4;
    effective(kR15, low32, low);
    tlbIndexOfR15();
    effective(kR14, a, low + (inOne ? 0 : span - 1));
  } else if (core) {
    e_.load64(kR14, origin);
    e_.lea32(kR15, at(kR14, static_cast<int32_t>(low)));
    tlbIndexOfR15();
    e_.lea64(kR14, at(kR14, static_cast<int32_t>(low + (inOne ? 0 : span - 1))));
  } else {
    effective(kR14, a, low);
    e_.op32(0x8b, kR15, inRegister(kR14));
    tlbIndexOfR15();
    e_.store64(frame(at_.temporary), kR14);
    if (!inOne && span > 1) {
      if (unit_->size == CodeSize::k64) e_.lea64(kR14, at(kR14, static_cast<int32_t>(span - 1)));
      else e_.lea32(kR14, at(kR14, static_cast<int32_t>(span - 1)));
    }
  }
  static_assert(sizeof(TlbEntry) == 32 && offsetof(TlbEntry, write) == 8 && offsetof(TlbEntry, addend) == 16);
  e_.alu64(4, inRegister(kR14), inOne ? -4096 | static_cast<int32_t>(aligned - 1) : -4096);
  e_.op64(0x3b, kR14, at(kCoreReg, kR15, 0, tlb + (access.write ? 8 : 0)));
  uint8_t* const miss = e_.jumpIf(kNotEqual);
  const Operand addend = at(kCoreReg, kR15, 0, tlb + 16);
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

/**
 * Collects what shares a check with the access of item i, and emits the check. What lies behind a branch that may leave shares it,
 * too, when it asks for no more than accesses before it did: should the check fail, the interpreter executes what lies before.
 */
void Lowering::openGroup(size_t i) {
  const Item& first = unit_->items[i];
  Access shared = first.access;
  const Address& a = shared.address;
  int64_t low = shared.disp, high = shared.disp + shared.size, drift = 0;
  size_t last = i, branch = 0;
  const bool alone = first.kind == Kind::CallFar || first.kind == Kind::LoadControl || first.source.present || shared.aligned ||
                     std::find(unit_->apart.begin(), unit_->apart.end(), first.offset) != unit_->apart.end();
  for (size_t j = i; !alone && j + 1 < unit_->items.size(); ++j) {
    // What item j does to the address, then whether item j + 1 may follow.
    const Item& item = unit_->items[j];
    if (item.kind == Kind::Jcc || item.kind == Kind::Jmp) {
      if (strip_ && j == strip_->last) break;  // strips come in behind it
      if (branch == 0) branch = j;
    } else if (item.kind >= Kind::Divide && item.kind != Kind::FlagBit) {
      break;
    }
    if (a.base != kNoRegister && a.base != kRipRegister) {
      const Change change = changeOf(item, a.base);
      if (!change.known) break;
      drift += change.by;
    }
    if (a.index != kNoRegister && (item.gprsWritten >> a.index & 1)) break;
    const Item& next = unit_->items[j + 1];
    if (next.access.present) {
      if (next.x87 && !first.x87) break;
      if (next.source.present || next.access.aligned || !(next.access.address == a) || next.kind == Kind::Divide ||
          next.kind == Kind::CallFar || next.kind == Kind::LoadControl)
        break;
      // A stack may always be written.
      if (branch && next.access.write && !shared.write && a.base != kRsp) break;
      const int64_t from = next.access.disp + drift;
      const int64_t newLow = std::min(low, from), newHigh = std::max<int64_t>(high, from + next.access.size);
      if (newHigh - newLow > kMaxSpan) break;
      low = newLow;
      high = newHigh;
      shared.write |= next.access.write;
      last = j + 1;
    } else if (usesGroupRegister(next) || (next.x87 && !first.x87)) {
      break;
    }
    if (j + 1 - i >= 31) break;
  }
  const unsigned span = static_cast<unsigned>(high - low);
  clobberFlags(i == 0 ? unit_->liveIn : live_[i - 1]);
  uint8_t* const retry = e_.position();
  uint8_t* const failed = check(shared, low, span, shared.aligned);
  group_.active = true;
  group_.low = low;
  group_.drift = 0;
  group_.last = last;
  // A control word that the interpreter loads may unmask exceptions, and this unit is for code that has them masked.
  SiteSpec site{first.kind == Kind::LoadControl ? SiteKind::End : SiteKind::Run};
  site.offset = first.offset;
  if (branch && branch < last) {
    site.kind = SiteKind::End;
    last = branch - 1;
  }
  site.count = static_cast<uint8_t>(last - i + 1);
  site.x87 = first.x87;
  site.shared = group_.last != i;
  site.endOffset = static_cast<uint16_t>(unit_->items[last].offset + unit_->items[last].d.length);
  miss(failed, site, retry, shared, low);
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
