#include "translator/lowering.h"

#include <algorithm>

#include "translator/refill.h"

namespace lodge::translator {

using namespace x86;

namespace {

constexpr uint8_t kR14 = 14, kR15 = 15, kStack = 13, kCoreReg = 4;
/** Accesses further apart share no check: the wider they lie, the more often a page ends in between. */
constexpr int64_t kMaxSpan = 256;
constexpr unsigned kNotEqual = 5;

int32_t distance(const Core& core, const void* member) {
  return static_cast<int32_t>(static_cast<const uint8_t*>(member) - reinterpret_cast<const uint8_t*>(&core));
}

}  // namespace

CoreLayout::CoreLayout(const Core& c)
    : ax(distance(c, &c.ax)), requests(distance(c, &c.requests)), codePage(distance(c, &c.frame.codePage)),
      key(distance(c, &c.frame.key)), temporary(distance(c, &c.frame.temporary)), argument(distance(c, &c.frame.argument)),
      rip(distance(c, &c.state.rip)), rflags(distance(c, &c.state.rflags)), vectors(distance(c, &c.state.vec)),
      jumps(distance(c, &c.tierJumps)), hostStack(distance(c, &c.frame.hostStack)),
      x87Loaded(distance(c, &c.frame.x87Loaded)), x87Control(distance(c, &c.state.x87.control)) {
  for (unsigned n = 0; n < kPrivileges; ++n) tlb[n] = distance(c, &c.tlbs[n].entry);
}

std::vector<uint32_t> liveFlags(Unit& unit) {
  std::vector<uint32_t> after(unit.items.size());
  uint32_t live = kArith;
  if (unit.keepFlags) {
    unit.liveIn = kArith;
    return std::vector<uint32_t>(unit.items.size(), +kArith);
  }
  for (size_t n = unit.items.size(); n-- > 0;) {
    const Item& item = unit.items[n];
    after[n] = live;
    live = item.kind == Kind::Jcc ? kArith : (live & ~item.flagsKilled) | item.flagsRead;  // a branch may leave
  }
  unit.liveIn = live;
  return after;
}

// ---- registers and flags ----------------------------------------------------------------------------------------------

void Lowering::loadGpr(uint8_t to, uint8_t gpr) {
  e_.load64(to, inHost(gpr) ? inRegister(hostOf(gpr)) : slot(gpr));
}
void Lowering::storeGpr(uint8_t gpr, uint8_t from) {
  e_.store64(inHost(gpr) ? inRegister(hostOf(gpr)) : slot(gpr), from);
}

void Lowering::saveFlags() {
  e_.move64(kR15, kRax);
  e_.u8(0x9f);                                                 // LAHF
  e_.encode(0, kMap0F, 0x90, 0, inRegister(kRax));             // SETO AL
  e_.encode(k66, kMap1, 0x89, kRax, frame(at_.ax));
  e_.move64(kRax, kR15);
}
void Lowering::restoreFlags() {
  e_.move64(kR15, kRax);
  e_.encode(0, kMap0F, 0xb7, kRax, frame(at_.ax));
  e_.u8(0x04), e_.u8(0x7f);                                    // ADD AL, 7Fh: overflows when AL is 1
  e_.u8(0x9e);                                                 // SAHF
  e_.move64(kRax, kR15);
}
void Lowering::clobberFlags(uint32_t live) {
  if (flags_ == FlagsIn::Host) {
    if (live) saveFlags();
    flags_ = live ? FlagsIn::Saved : FlagsIn::Dead;
  } else if (flags_ == FlagsIn::Both) {
    flags_ = FlagsIn::Saved;
  }
}

// ---- memory -----------------------------------------------------------------------------------------------------------

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

/**
 * R14 := host address of [address + low, + span), all of it in one page that may be accessed so. Returns the distance field of
 * the jump that is taken otherwise.
 */
uint8_t* Lowering::check(const Access& access, int64_t low, unsigned span, unsigned aligned) {
  const Address& a = access.address;
  const bool plain = simple(a), inOne = aligned != 0;
  const int32_t tlb = at_.tlb[unit_->privilege];
  if (plain) {
    Address low32 = a;
    low32.bytes = 4;
    effective(kR15, low32, low);
    tlbIndexOfR15();
    effective(kR14, a, low + (inOne ? 0 : span - 1));
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
  if (plain) effective(kR14, a, low);
  else e_.load64(kR14, frame(at_.temporary));
  e_.op64(0x03, kR14, at(kCoreReg, kR15, 0, tlb + 16));
  return miss;
}

Operand Lowering::operandAt(const Access& access) const {
  return at(kR14, static_cast<int32_t>(access.disp + group_.drift - group_.low));
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
    case Kind::Cli:
    case Kind::Pop:
      return false;
    case Kind::Push:
      return item.source.present;
    default:
      return true;
  }
}

/** Collects what shares a check with the access of item i, and emits the check. */
void Lowering::openGroup(size_t i) {
  const Item& first = unit_->items[i];
  Access shared = first.access;
  const Address& a = shared.address;
  int64_t low = shared.disp, high = shared.disp + shared.size, drift = 0;
  size_t last = i;
  const bool alone = first.kind == Kind::CallFar || first.kind == Kind::LoadControl || first.source.present || shared.aligned;
  for (size_t j = i; !alone && j + 1 < unit_->items.size(); ++j) {
    // What item j does to the address, then whether item j + 1 may follow.
    const Item& item = unit_->items[j];
    if (item.kind == Kind::Jcc || item.kind >= Kind::Divide) {
      if (item.kind != Kind::Cli) break;
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
  SiteSpec site{SiteKind::Run};
  site.offset = first.offset;
  site.count = static_cast<uint8_t>(last - i + 1);
  site.x87 = first.x87;
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
  SiteSpec site{SiteKind::Run};
  site.offset = item.offset;
  site.count = 1;
  site.endOffset = static_cast<uint16_t>(item.offset + item.d.length);
  miss(failed, site, retry, access, access.disp);
}

// ---- the run ----------------------------------------------------------------------------------------------------------

/** A request is looked for here, and so in every loop. */
void Lowering::entry() {
  SiteSpec site{SiteKind::Poll};
  site.offset = unit_->start;
  if (flags_ != FlagsIn::Host || unit_->liveIn == 0) {
    e_.alu32(7, frame(at_.requests), 0);
    uint8_t* const waiting = e_.jumpIf(kNotEqual);
    stubs_.push_back({waiting, addSite(site), nullptr, FlagsIn::Saved, 0, Stub::Kind::Poll});
  } else {
    // Without touching the flags.
    e_.move64(kR15, kRcx);
    e_.op32(0x8b, kRcx, frame(at_.requests));
    e_.u8(0xe3), e_.u8(5);  // JRCXZ over the jump
    uint8_t* const waiting = e_.jump();
    e_.move64(kRcx, kR15);
    stubs_.push_back({waiting, addSite(site), nullptr, FlagsIn::Host, 0, Stub::Kind::Poll});
  }
}

void Lowering::lower(Unit& unit, FlagsIn flags) {
  unit_ = &unit;
  live_ = liveFlags(unit);
  flags_ = unit.liveIn == 0 ? FlagsIn::Dead : flags;
  entry();
  for (size_t i = 0; i < unit.items.size(); ++i) {
    index_ = i;
    item(i);
    closeGroup(i);
  }
  if (unit.open) exitTo(unit.end);
  emitStubs();
}

void Lowering::item(size_t i) {
  const Item& it = unit_->items[i];
  if (it.x87 && !x87Loaded_ && !group_.active) x87(i);
  if (it.access.present && !group_.active) openGroup(i);

  const uint32_t preserved = it.flagsWritten && it.kind != Kind::Step && it.kind != Kind::StepEnd ? live_[i] & ~it.flagsKilled : 0;
  const bool needs = it.kind != Kind::Step && it.kind != Kind::StepEnd && (it.flagsRead | preserved);
  if (needs && flags_ == FlagsIn::Saved) {
    restoreFlags();
    flags_ = FlagsIn::Both;
  }
  const unsigned word = unit_->size == CodeSize::k64 ? 8 : 4;
  const bool wide = word == 8;
  switch (it.kind) {
    case Kind::Same:
      same(it);
      break;
    case Kind::Nop:
      if (it.d.op == Op::Pause) e_.u8(0xf3), e_.u8(0x90);
      break;
    case Kind::Lea:
      lea(it);
      break;
    case Kind::Push:
      push(i);
      break;
    case Kind::Pop:
      // The register is written last, as POP R13 … may name a slot.
      if (inHost(it.d.rm)) {
        e_.encode(wide ? kRexW : 0, kMap1, 0x8b, hostOf(it.d.rm), operandAt(it.access));
      } else {
        e_.load64(kR15, operandAt(it.access));
        storeGpr(it.d.rm, kR15);
      }
      if (wide) e_.lea64(kStack, at(kStack, 8));
      else e_.lea32(kStack, at(kStack, 4));
      break;
    case Kind::Leave:
      if (wide) e_.lea64(kStack, at(kRbp, 8));
      else e_.lea32(kStack, at(kRbp, 4));
      e_.encode(wide ? kRexW : 0, kMap1, 0x8b, kRbp, operandAt(it.access));
      break;
    case Kind::Divide:
      divide(it);
      break;
    case Kind::Cli:
      clobberFlags(live_[i]);
      e_.alu64(4, frame(at_.rflags), ~static_cast<int32_t>(kIf));
      break;
    case Kind::LoadControl:
      loadControl(it);
      break;
    case Kind::Repeat:
      repeat(it);
      break;
    case Kind::Step:
      step(it, SiteKind::Run);
      break;
    case Kind::StepEnd:
      step(it, SiteKind::End);
      unit_->open = false;
      break;
    case Kind::Jcc: {
      const int64_t target = it.offset + it.d.length + static_cast<int64_t>(it.d.immediate);
      uint8_t* const taken = e_.jumpIf(it.d.opcode & 15);
      if (target >= 0 && target < static_cast<int64_t>(kPageBytes)) {
        SiteSpec site{SiteKind::Link};
        site.offset = static_cast<uint16_t>(target);
        site.saved = false;
        site.patch = taken;
        stubs_.push_back({taken, addSite(site), nullptr, FlagsIn::Host, 0, Stub::Kind::Link});
      } else {
        stubs_.push_back({taken, 0, nullptr, FlagsIn::Host, target, Stub::Kind::Jump});
      }
      break;
    }
    case Kind::Jmp: {
      // Within the unit when its target is the next item.
      const int64_t target = it.offset + it.d.length + static_cast<int64_t>(it.d.immediate);
      if (i + 1 < unit_->items.size()) break;
      unit_->open = false;
      exitTo(target);
      break;
    }
    case Kind::Call:
      call(i);
      break;
    case Kind::CallFar:
      callFar(i);
      break;
    case Kind::JmpFar: {
      clobberFlags(live_[i]);
      if (it.access.present) {
        e_.encode(wide ? kRexW : 0, kMap1, 0x8b, kR15, operandAt(it.access));
      } else {
        loadGpr(kR15, it.d.rm);
        if (!wide) e_.op32(0x8b, kR15, inRegister(kR15));
      }
      SiteSpec site{SiteKind::Lookup};
      site.offset = it.offset;
      jumpCached(addSite(site));
      unit_->open = false;
      break;
    }
    case Kind::Ret: {
      clobberFlags(live_[i]);
      e_.encode(wide ? kRexW : 0, kMap1, 0x8b, kR15, operandAt(it.access));
      const int32_t by = static_cast<int32_t>(word + static_cast<uint16_t>(it.d.immediate));
      if (wide) e_.lea64(kStack, at(kStack, by));
      else e_.lea32(kStack, at(kStack, by));
      SiteSpec site{SiteKind::Lookup};
      site.offset = it.offset;
      jumpCached(addSite(site));
      unit_->open = false;
      break;
    }
  }
  if (it.kind == Kind::Same || it.kind == Kind::Divide) {
    if (it.flagsWritten) flags_ = FlagsIn::Host;
  }
  if (group_.active) {
    const Address& a = unit_->items[group_.last].access.address;
    if (a.base != kNoRegister && a.base != kRipRegister) group_.drift += changeOf(it, a.base).by;
  }
}

void Lowering::immediate(const Item& it) { e_.bytes(it.bytes + it.d.length - it.immediateBytes, it.immediateBytes); }

/** The guest's instruction with other operands. */
void Lowering::same(const Item& it) {
  const Decoded& d = it.d;
  const auto map = static_cast<Map>(it.map);
  unsigned prefixes = it.prefixes;
  if (it.x87) {
    if (d.memory) {
      e_.encode(0, kMap1, d.opcode, d.modrm >> 3 & 7, operandAt(it.access));
    } else {
      e_.u8(d.opcode);
      e_.u8(d.modrm);
    }
    return;
  }
  if (it.vex) return sameVex(it);
  if (it.raw) {
    if (prefixes & k66) e_.u8(0x66);
    if (prefixes & kRexW) e_.u8(0x48);
    if (map != kMap1) e_.u8(0x0f);
    e_.u8(d.opcode);
    immediate(it);
    return;
  }
  // Byte registers 4–7: SPL … DIL with any REX prefix, AH … BH without.
  if (d.rex && (it.byteReg || it.byteRm)) prefixes |= kRex;
  const bool stackByte = d.rex != 0;
  const auto gprOf = [&](uint8_t gpr, bool byte) -> uint8_t { return byte && !stackByte && gpr >= 4 && gpr < 8 ? gpr : hostOf(gpr); };

  if (!d.hasModRm) {  // register in the opcode: MOV r, imm and BSWAP
    const bool mapped = inHost(d.rm);
    const bool byte = d.opcode >= 0xb0 && d.opcode < 0xb8 && map == kMap1;
    const uint8_t host = mapped ? gprOf(d.rm, byte) : kR15;
    if (!mapped && (it.rmRead || d.operandSize < 4)) loadGpr(kR15, d.rm);
    if (prefixes & k66) e_.u8(0x66);
    const unsigned rex = (prefixes & kRexW ? 8u : 0u) | host >> 3;
    if (rex || (byte && d.rex)) e_.u8(0x40 | rex);
    if (map != kMap1) e_.u8(0x0f);
    e_.u8((d.opcode & 0xf8u) | (host & 7));
    immediate(it);
    if (!mapped) storeGpr(d.rm, kR15);
    return;
  }

  uint8_t reg = d.modrm >> 3 & 7;
  bool storeReg = false, storeRm = false;
  if (it.regBank == Bank::Vector) {
    reg = d.reg;
  } else if (it.regBank == Bank::Gpr) {
    if (inHost(d.reg)) {
      reg = gprOf(d.reg, it.byteReg);
    } else {
      reg = kR15;
      if (it.regRead || d.operandSize < 4) loadGpr(kR15, d.reg);
      storeReg = it.regWritten;
    }
  }
  Operand rm;
  uint8_t rmScratch = kR14;
  if (it.access.present) {
    rm = operandAt(it.access);
  } else if (it.rmBank == Bank::Vector) {
    rm = inRegister(d.rm);
  } else if (inHost(d.rm)) {
    rm = inRegister(gprOf(d.rm, it.byteRm));
  } else {
    const bool bits = d.op == Op::Bt || d.op == Op::Bts || d.op == Op::Btr || d.op == Op::Btc;
    if (it.rmWritten || bits) {
      rmScratch = it.regBank == Bank::Gpr && !inHost(d.reg) ? kR14 : kR15;
      if (it.rmRead || d.operandSize < 4) loadGpr(rmScratch, d.rm);
      // XCHG and XADD of one register with itself need one copy of it.
      if (it.regBank == Bank::Gpr && d.reg == d.rm && !inHost(d.reg)) rmScratch = kR15;
      rm = inRegister(rmScratch);
      storeRm = it.rmWritten;
    } else {
      rm = slot(d.rm);
    }
  }
  e_.encode(prefixes, map, d.opcode, reg, rm);
  immediate(it);
  if (storeReg) storeGpr(d.reg, kR15);
  if (storeRm) storeGpr(d.rm, rmScratch);
}

void Lowering::sameVex(const Item& it) {
  const Decoded& d = it.d;
  if (it.raw) {
    e_.bytes(it.bytes, d.length);
    return;
  }
  // Registers that are in the Core: a source in R15 may share it with the destination, which is written last.
  uint8_t reg = d.modrm >> 3 & 7, v = d.v;
  bool storeReg = false, storeV = false, storeRm = false;
  if (it.vBank == Bank::Gpr) {
    if (inHost(d.v)) {
      v = hostOf(d.v);
    } else {
      v = kR15;
      if (!it.vWritten) loadGpr(kR15, d.v);
      storeV = it.vWritten;
    }
  }
  if (it.regBank == Bank::Vector) {
    reg = d.reg;
  } else if (it.regBank == Bank::Gpr) {
    reg = inHost(d.reg) ? hostOf(d.reg) : kR15;
    storeReg = !inHost(d.reg);
  }
  Operand rm;
  if (it.access.present) {
    rm = operandAt(it.access);
  } else if (it.rmBank == Bank::Vector) {
    rm = inRegister(d.rm);
  } else if (inHost(d.rm)) {
    rm = inRegister(hostOf(d.rm));
  } else if (it.rmWritten) {
    rm = inRegister(kR15);
    storeRm = true;
  } else {
    rm = slot(d.rm);
  }
  e_.encodeVex(it.vexPrefix, it.vexW, d.vexL, static_cast<Map>(it.map), d.opcode, reg, v, rm);
  // The register in imm8 is one of eight outside 64-bit mode.
  if (d.op == Op::Vex && d.vex->form == VexForm::Rvmr && unit_->size != CodeSize::k64) e_.u8(d.immediate & 0x7f);
  else immediate(it);
  if (storeV) storeGpr(d.v, kR15);
  if (storeReg) storeGpr(d.reg, kR15);
  if (storeRm) storeGpr(d.rm, kR15);
}

void Lowering::lea(const Item& it) {
  const Decoded& d = it.d;
  const int64_t disp = it.access.disp;
  const Address& a = it.access.address;
  const bool mapped = inHost(d.reg);
  if (simple(a) && mapped && d.operandSize >= 4 && (a.base != kNoRegister || a.index != kNoRegister)) {
    const Operand m{true, 0, a.base == kNoRegister ? kNoReg : hostOf(a.base), a.index == kNoRegister ? kNoReg : hostOf(a.index),
                    a.scale, static_cast<int32_t>(disp)};
    // In 32-bit code both widths are 32 bits; in 64-bit code the operand's decides what is kept.
    e_.encode(d.operandSize == 8 ? kRexW : 0, kMap1, 0x8d, hostOf(d.reg), m);
    return;
  }
  const uint8_t to = usesGroupRegister(it) ? kR14 : kR15;
  effective(to, a, disp);
  if (d.operandSize == 2) {
    loadGpr(kR15, d.reg);
    e_.encode(k66, kMap1, 0x8b, kR15, inRegister(kR14));
    storeGpr(d.reg, kR15);
  } else {
    if (d.operandSize == 4) e_.op32(0x8b, to, inRegister(to));
    storeGpr(d.reg, to);
  }
}

/** What could raise #DE on the host is left to the interpreter: quotients too large, or possibly so. */
void Lowering::divide(const Item& it) {
  const Decoded& d = it.d;
  const unsigned wide = d.operandSize == 8 ? kRexW : 0;
  if (it.access.present) e_.encode(wide, kMap1, 0x8b, kR14, operandAt(it.access));
  else if (inHost(d.rm)) e_.encode(wide, kMap1, 0x8b, kR14, inRegister(hostOf(d.rm)));
  else e_.encode(wide, kMap1, 0x8b, kR14, slot(d.rm));
  const auto slow = [&](uint8_t* from) {
    SiteSpec site{SiteKind::Run};
    site.offset = it.offset;
    site.count = 1;
    site.endOffset = static_cast<uint16_t>(it.offset + d.length);
    group_.pending.push_back({from, addSite(site), nullptr, FlagsIn::Dead, 0, Stub::Kind::Run});
  };
  const bool grouped = group_.active;
  if (d.op == Op::Div) {
    e_.encode(wide, kMap1, 0x3b, kRdx, inRegister(kR14));
    slow(e_.jumpIf(3));  // not below
  } else {
    e_.encode(wide, kMap1, 0x8b, kR15, inRegister(kRax));
    e_.encode(wide, kMap1, 0xc1, 7, inRegister(kR15)), e_.u8(d.operandSize == 8 ? 63 : 31);
    e_.encode(wide, kMap1, 0x3b, kR15, inRegister(kRdx));
    slow(e_.jumpIf(kNotEqual));
    e_.encode(wide, kMap1, 0x8d, kR15, at(kR14, 1));
    e_.encode(wide, kMap1, 0x83, 7, inRegister(kR15)), e_.u8(1);
    slow(e_.jumpIf(6));  // divisor 0 or -1
  }
  e_.encode(wide, kMap1, 0xf7, d.op == Op::Div ? 6 : 7, inRegister(kR14));
  if (!grouped) {
    for (Stub& s : group_.pending) {
      s.resume = e_.position();
      stubs_.push_back(s);
    }
    group_.pending.clear();
  }
}

/** REP MOVS and REP STOS, upwards, with each operand inside one page: as the host does it. */
void Lowering::repeat(const Item& it) {
  const Decoded& d = it.d;
  const bool wide = unit_->size == CodeSize::k64, copies = d.op == Op::Movs;
  const uint8_t scale = static_cast<uint8_t>(d.operandSize == 8 ? 3 : d.operandSize >> 1);
  const int32_t tlb = at_.tlb[unit_->privilege];
  clobberFlags(live_[index_]);
  SiteSpec site{SiteKind::Run};
  site.offset = it.offset;
  site.count = 1;
  site.endOffset = static_cast<uint16_t>(it.offset + d.length);
  const auto slow = [&](uint8_t* from) {
    group_.pending.push_back({from, addSite(site), nullptr, FlagsIn::Dead, 0, Stub::Kind::Run});
  };
  e_.encode(0, kMap1, 0xf7, 0, frame(at_.rflags)), e_.u32(kDf);  // TEST
  slow(e_.jumpIf(kNotEqual));
  if (!wide) {
    // The upper halves of registers mean nothing in 32-bit code.
    for (uint8_t g : {kRcx, kRsi, kRdi}) e_.op32(0x8b, g, inRegister(g));
  }
  e_.op64(0x85, kRcx, inRegister(kRcx));
  uint8_t* const nothing = e_.jumpIf(4);
  e_.alu64(7, inRegister(kRcx), static_cast<int32_t>(kPageBytes));
  slow(e_.jumpIf(7));
  const auto translate = [&](uint8_t pointer, bool write) {
    // The first byte's entry must be of the last byte's page: a run is shorter than what the TLB spans. Each operand is retried
    // by itself, as both may want the same entry.
    uint8_t* const retry = e_.position();
    e_.op32(0x8b, kR15, inRegister(pointer));
    tlbIndexOfR15();
    e_.lea64(kR14, at(pointer, kRcx, scale, -1));
    e_.alu64(4, inRegister(kR14), -4096);
    e_.op64(0x3b, kR14, at(kCoreReg, kR15, 0, tlb + (write ? 8 : 0)));
    Access access;
    access.write = write;
    access.address.base = pointer;
    access.address.bytes = wide ? 8 : 4;
    miss(e_.jumpIf(kNotEqual), site, retry, access, 0);
    e_.load64(kR14, at(kCoreReg, kR15, 0, tlb + 16));
  };
  if (copies) {
    translate(kRsi, false);
    e_.store64(frame(at_.argument), kR14);
  }
  translate(kRdi, true);
  if (copies) {
    e_.load64(kR15, frame(at_.argument));
    e_.op64(0x03, kRsi, inRegister(kR15));
  }
  e_.op64(0x03, kRdi, inRegister(kR14));
  e_.u8(0xf3);
  if (d.operandSize == 2) e_.u8(0x66);
  if (d.operandSize == 8) e_.u8(0x48);
  e_.u8(d.opcode);
  if (copies) e_.op64(0x2b, kRsi, inRegister(kR15));
  e_.op64(0x2b, kRdi, inRegister(kR14));
  e_.land(nothing);
  for (Stub& s : group_.pending) {
    s.resume = e_.position();
    stubs_.push_back(s);
  }
  group_.pending.clear();
}

void Lowering::push(size_t i) {
  const Item& it = unit_->items[i];
  const bool wide = unit_->size == CodeSize::k64;
  const unsigned w = wide ? kRexW : 0;
  if (it.source.present) {
    // The stack is checked already; R14 is needed for the source. Its address is kept, as nothing can fail any more after it.
    e_.store64(frame(at_.argument), kR14);
    Access source = it.source;
    checkAlone(i, source);
    e_.encode(w, kMap1, 0x8b, kR15, at(kR14, 0));
    e_.load64(kR14, frame(at_.argument));
    e_.encode(w, kMap1, 0x89, kR15, operandAt(it.access));
  } else if (it.rmBank == Bank::Gpr) {
    uint8_t from = hostOf(it.d.rm);
    if (!inHost(it.d.rm)) {
      loadGpr(kR15, it.d.rm);
      from = kR15;
    }
    e_.encode(w, kMap1, 0x89, from, operandAt(it.access));
  } else {
    e_.encode(w, kMap1, 0xc7, 0, operandAt(it.access));
    e_.u32(static_cast<uint32_t>(it.d.immediate));
  }
  if (wide) e_.lea64(kStack, at(kStack, -8));
  else e_.lea32(kStack, at(kStack, -4));
}

void Lowering::returnAddress(uint8_t to, int64_t target) {
  e_.load64(to, frame(at_.codePage));
  if (unit_->size == CodeSize::k64) e_.lea64(to, at(to, static_cast<int32_t>(target)));
  else e_.lea32(to, at(to, static_cast<int32_t>(target)));
}

void Lowering::call(size_t i) {
  const Item& it = unit_->items[i];
  const bool wide = unit_->size == CodeSize::k64;
  returnAddress(kR15, it.offset + it.d.length);
  e_.encode(wide ? kRexW : 0, kMap1, 0x89, kR15, operandAt(it.access));
  if (wide) e_.lea64(kStack, at(kStack, -8));
  else e_.lea32(kStack, at(kStack, -4));
  unit_->open = false;
  exitTo(it.offset + it.d.length + static_cast<int64_t>(it.d.immediate));
}

void Lowering::callFar(size_t i) {
  const Item& it = unit_->items[i];
  const bool wide = unit_->size == CodeSize::k64;
  const unsigned w = wide ? kRexW : 0;
  clobberFlags(live_[i]);
  if (it.source.present) {
    e_.store64(frame(at_.argument), kR14);
    checkAlone(i, it.source);
    e_.encode(w, kMap1, 0x8b, kR15, at(kR14, 0));
    e_.store64(frame(at_.temporary), kR15);
    e_.load64(kR14, frame(at_.argument));
  } else {
    loadGpr(kR15, it.d.rm);
    if (!wide) e_.op32(0x8b, kR15, inRegister(kR15));
    e_.store64(frame(at_.temporary), kR15);
  }
  returnAddress(kR15, it.offset + it.d.length);
  e_.encode(w, kMap1, 0x89, kR15, operandAt(it.access));
  if (wide) e_.lea64(kStack, at(kStack, -8));
  else e_.lea32(kStack, at(kStack, -4));
  e_.load64(kR15, frame(at_.temporary));
  SiteSpec site{SiteKind::Lookup};
  site.offset = it.offset;
  jumpCached(addSite(site));
  unit_->open = false;
}

/** In front of the first x87 instruction of a unit, and of the first after the interpreter may have taken the state. */
void Lowering::x87(size_t i) {
  clobberFlags(i == 0 ? unit_->liveIn : live_[i - 1]);
  e_.alu32(7, frame(at_.x87Loaded), 0);
  Stub s{e_.jumpIf(4), 0, nullptr, FlagsIn::Dead, 0, Stub::Kind::LoadX87};
  s.resume = e_.position();
  stubs_.push_back(s);
  x87Loaded_ = true;
}

/** A control word that unmasks exceptions is the interpreter's. */
void Lowering::loadControl(const Item& it) {
  clobberFlags(live_[index_]);
  const Operand m = operandAt(it.access);
  e_.encode(0, kMap0F, 0xb7, kR15, m);
  e_.encode(0, kMap1, 0xf7, 2, inRegister(kR15));                        // NOT
  e_.encode(kRex, kMap1, 0xf6, 0, inRegister(kR15)), e_.u8(0x3f);        // TEST R15B
  SiteSpec site{SiteKind::End};
  site.offset = it.offset;
  site.count = 1;
  site.endOffset = static_cast<uint16_t>(it.offset + it.d.length);
  group_.pending.push_back({e_.jumpIf(kNotEqual), addSite(site), nullptr, FlagsIn::Dead, 0, Stub::Kind::Run});
  e_.encode(0, kMap1, 0xd9, 5, m);
  e_.encode(0, kMap1, 0xd9, 7, frame(at_.x87Control));  // FNSTCW: without the bits that do not exist
}

void Lowering::step(const Item& it, SiteKind kind) {
  x87Loaded_ = false;
  if (flags_ == FlagsIn::Host) saveFlags();
  SiteSpec site{kind};
  site.offset = it.offset;
  site.count = 1;
  site.endOffset = static_cast<uint16_t>(it.offset + it.d.length);
  e_.moveImm32(kR15, addSite(site));
  e_.callTo(routines_.step);
  flags_ = FlagsIn::Both;
}

// ---- leaving ----------------------------------------------------------------------------------------------------------

/** Goes on at a distance from the page's start. */
void Lowering::exitTo(int64_t target) {
  if (target >= 0 && target < static_cast<int64_t>(kPageBytes)) {
    SiteSpec site{SiteKind::Link};
    site.offset = static_cast<uint16_t>(target);
    site.saved = flags_ != FlagsIn::Host;
    site.patch = e_.jump();
    stubs_.push_back({site.patch, addSite(site), nullptr, site.saved ? FlagsIn::Saved : FlagsIn::Host, 0, Stub::Kind::Link});
    return;
  }
  clobberFlags(kArith);
  returnAddress(kR15, target);
  SiteSpec site{SiteKind::Lookup};
  jumpCached(addSite(site));
}

/** To the linear address in R15, by way of the table of known targets. Flags are saved. */
void Lowering::jumpCached(uint32_t site) {
  static_assert(sizeof(TierJump) == 32 && offsetof(TierJump, key) == 8 && offsetof(TierJump, code) == 16);
  e_.op32(0x33, kR14, inRegister(kR14));
  e_.encode(kF2 | kRexW, kMap0F38, 0xf1, kR14, inRegister(kR15));  // CRC32
  e_.alu32(4, inRegister(kR14), (kTierJumps - 1) << 5);
  e_.store64(frame(at_.rip), kR15);
  e_.op64(0x3b, kR15, at(kCoreReg, kR14, 0, at_.jumps));
  uint8_t* const other = e_.jumpIf(kNotEqual);
  e_.load64(kR15, frame(at_.key));
  e_.op64(0x3b, kR15, at(kCoreReg, kR14, 0, at_.jumps + 8));
  uint8_t* const stale = e_.jumpIf(kNotEqual);
  e_.load64(kR15, frame(at_.rip));
  e_.alu64(4, inRegister(kR15), -4096);
  e_.store64(frame(at_.codePage), kR15);
  e_.encode(0, kMap1, 0xff, 4, at(kCoreReg, kR14, 0, at_.jumps + 16));
  e_.land(other);
  e_.land(stale);
  e_.encode(kRexW, kMap1, 0xc7, 0, frame(at_.argument)), e_.u32(site);
  e_.jumpTo(routines_.exitSaved);
}

void Lowering::emitStubs() {
  for (size_t n = 0; n < stubs_.size(); ++n) {
    const Stub s = stubs_[n];
    e_.land(s.from);
    switch (s.kind) {
      case Stub::Kind::Run:
        if (s.retry) {
          effective(kR14, s.access.address, s.low);
          e_.moveImm32(kR15, unit_->privilege | (s.access.write ? kRefillWrite : 0));
          e_.callTo(routines_.refill);
          e_.jumpIfTo(kNotEqual, s.retry);
        }
        e_.moveImm32(kR15, s.site);
        e_.callTo(routines_.step);
        e_.jumpTo(s.resume);
        break;
      case Stub::Kind::LoadX87:
        e_.callTo(routines_.loadX87);
        e_.jumpTo(s.resume);
        break;
      case Stub::Kind::Link:
        sites[s.site - firstSite_].stub = e_.position();
        [[fallthrough]];
      case Stub::Kind::Poll:
        if (s.kind == Stub::Kind::Poll) {
          if (s.flags == FlagsIn::Host) e_.move64(kRcx, kR15);
          sites[s.site - firstSite_].stub = e_.position();
        }
        e_.encode(kRexW, kMap1, 0xc7, 0, frame(at_.argument)), e_.u32(s.site);
        e_.jumpTo(s.flags == FlagsIn::Host ? routines_.exitHost : routines_.exitSaved);
        break;
      case Stub::Kind::Jump:
        flags_ = s.flags;
        clobberFlags(kArith);
        returnAddress(kR15, s.target);
        jumpCached(addSite(SiteSpec{SiteKind::Lookup}));
        break;
    }
  }
}

}  // namespace lodge::translator
