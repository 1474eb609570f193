#include "translator/lowering.h"

#include <algorithm>

#include "translator/refill.h"
#include "translator/strip.h"

namespace lodge::translator {

using namespace x86;

namespace {

int32_t distance(const Core& core, const void* member) {
  return static_cast<int32_t>(static_cast<const uint8_t*>(member) - reinterpret_cast<const uint8_t*>(&core));
}

}  // namespace

CoreLayout::CoreLayout(const Core& c)
    : ax(distance(c, &c.ax)), requests(distance(c, &c.requests)), codePage(distance(c, &c.frame.codePage)),
      key(distance(c, &c.frame.key)), gate(distance(c, &c.frame.gate)), temporary(distance(c, &c.frame.temporary)),
      argument(distance(c, &c.frame.argument)),
      rip(distance(c, &c.state.rip)), rflags(distance(c, &c.state.rflags)), vectors(distance(c, &c.state.vec)),
      jumps(distance(c, &c.tierJumps)), hostStack(distance(c, &c.frame.hostStack)),
      x87Loaded(distance(c, &c.frame.x87Loaded)), x87Control(distance(c, &c.state.x87.control)), budget(distance(c, &c.frame.budget)),
      turns(distance(c, &c.frame.turns)), borrowed(distance(c, &c.frame.borrowed)), split(distance(c, &c.frame.split)),
      splitAt(distance(c, &c.frame.splitAt)), splitLow(distance(c, &c.frame.splitLow)), splitHigh(distance(c, &c.frame.splitHigh)),
      windows(distance(c, &c.frame.windows)), pageNumber(distance(c, &c.frame.pageNumber)),
      negated(distance(c, &c.frame.negated)), heat(distance(c, &c.frame.heat)),
      interruptMaybe(distance(c, &c.interruptMaybe)), kernelGsBase(distance(c, &c.state.kernelGsBase)), tlbPointer(distance(c, &c.tlb)),
      extracts(__builtin_cpu_supports("bmi2") && !__builtin_cpu_is("bdver4") && !__builtin_cpu_is("znver1") &&
               !__builtin_cpu_is("znver2")) {
  static_assert(offsetof(Tlb, words) == 0);
  for (unsigned n = 0; n < kPrivileges; ++n) tlb[n] = distance(c, &c.tlbs[n]);
  for (unsigned n = 0; n < 6; ++n) selectors[n] = distance(c, &c.state.seg[n].selector);
}

Lowering::Lowering(Emitter& out, const CoreLayout& layout, const Routines& routines, uint32_t firstSite)
    : e_(out), at_(layout), routines_(routines), firstSite_(firstSite) {}
Lowering::~Lowering() = default;

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

// ---- the run ----------------------------------------------------------------------------------------------------------

/** A request is looked for here, and so in every loop. */
void Lowering::entry() {
  SiteSpec site{SiteKind::Poll};
  site.offset = unit_->start;
  if (flags_ != FlagsIn::Host || unit_->liveIn == 0) {
    if (unit_->counted) e_.alu32(5, frame(at_.budget), 1);
    else e_.alu32(7, frame(at_.requests), 0);
    uint8_t* const waiting = e_.jumpIf(unit_->counted ? kNotEqual ^ 1 : kNotEqual);
    stubs_.push_back({waiting, addSite(site), nullptr, FlagsIn::Saved, 0, Stub::Kind::Poll});
  } else {
    // Without touching the flags.
    e_.move64(kR15, kRcx);
    if (unit_->counted) {
      e_.op32(0x8b, kRcx, frame(at_.budget));
      e_.lea32(kRcx, at(kRcx, -1));
      e_.op32(0x89, kRcx, frame(at_.budget));
      e_.u8(0xe3), e_.u8(2);  // JRCXZ to the jump
      e_.u8(0xeb), e_.u8(5);  // JMP over it
    } else {
      e_.op32(0x8b, kRcx, frame(at_.requests));
      e_.u8(0xe3), e_.u8(5);  // JRCXZ over the jump
    }
    uint8_t* const waiting = e_.jump();
    e_.move64(kRcx, kR15);
    stubs_.push_back({waiting, addSite(site), nullptr, FlagsIn::Host, 0, Stub::Kind::Poll});
  }
}

void Lowering::lower(Unit& unit, FlagsIn flags) {
  unit_ = &unit;
  entered_ = e_.position();
  live_ = liveFlags(unit);
  stack_ = unit.stack;
  flags_ = unit.liveIn == 0 ? FlagsIn::Dead : flags;
  // A strip counts no iterations, so it has no place where the budget does.
  if (auto plan = unit.counted || unit.trace ? std::nullopt : planStrip(unit, live_)) {
    strip_ = std::make_unique<StripPlan>(*std::move(plan));
    startTurns();
    again_ = e_.position();
  }
  if (unit.trace) again_ = e_.position();
  entry();
  if (!unit.counted && !strip_) entered_ = e_.position();
  if (unit.trace) {
    e_.load64(kR15, frame(at_.codePage));
    e_.encode(kRexW, kMap1, 0xf7, 3, inRegister(kR15));  // NEG: flags are saved, or dead
    e_.store64(frame(at_.negated), kR15);
  }
  for (size_t i = 0; i < unit.items.size(); ++i) {
    index_ = i;
    item(i);
    closeGroup(i);
    moveWindows(unit_->items[i]);
    moveStack(unit_->items[i]);
    if (strip_ && i == strip_->last) {
      windows_.clear();  // strips, which have opened none, come here, too
      pastLoop_ = e_.position();
      pastLoopFlags_ = flags_;
    }
  }
  if (unit.open && unit.tail) {
    clobberFlags(kArith);
    returnAddress(kR15, unit.end);
    jumpCached(addSite(SiteSpec{SiteKind::Lookup}));
  } else if (unit.open) {
    exitTo(unit.end);
  }
  if (strip_) emitStrip();
  if (unit.heat >= 0 && (flags == FlagsIn::Saved || unit.liveIn == 0)) countEntries();
  emitStubs();
}

void Lowering::item(size_t i) {
  const Item& it = unit_->items[i];
  if (it.x87 && !x87Loaded_ && !group_.active) x87(i);
  if (it.access.present && !group_.active && !inStrip_) openGroup(i);

  // These see to the flags themselves.
  const bool own = it.kind == Kind::Step || it.kind == Kind::StepEnd || it.kind == Kind::PushFlags || it.kind == Kind::BitString;
  const uint32_t preserved = it.flagsWritten ? live_[i] & ~it.flagsKilled : 0;
  const bool needs = !own && (it.flagsRead | preserved);
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
    case Kind::FlagBit:
      flagBit(it);
      break;
    case Kind::Sti:
      sti(it);
      break;
    case Kind::SwapGs:
      swapGs();
      break;
    case Kind::UserDoor:
      userDoor(it);
      break;
    case Kind::ReadSegment:
      readSegment(it);
      break;
    case Kind::PushFlags:
      pushFlags(i);
      break;
    case Kind::BitString:
      bitString(i);
      break;
    case Kind::LoadControl:
      loadControl(it);
      break;
    case Kind::String:
      string(it);
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
      const int64_t behind = it.offset + it.d.length;
      const bool followed = target != behind && i + 1 < unit_->items.size() && unit_->items[i + 1].offset == target;
      const int64_t away = followed ? behind : target;
      uint8_t* const taken = e_.jumpIf((it.d.opcode & 15) ^ (followed ? 1 : 0));
      if (strip_ && i == strip_->last) {
        jumpBack_ = taken;
      } else if (away >= 0 && away < static_cast<int64_t>(kPageBytes) && !unit_->trace) {
        SiteSpec site{SiteKind::Link};
        site.offset = static_cast<int32_t>(away);
        site.saved = false;
        site.patch = taken;
        stubs_.push_back({taken, addSite(site), nullptr, FlagsIn::Host, 0, Stub::Kind::Link});
      } else {
        stubs_.push_back({taken, 0, nullptr, FlagsIn::Host, away, Stub::Kind::Jump});
      }
      break;
    }
    case Kind::Jmp: {
      // Within the unit when its target is the next item.
      const int64_t target = it.offset + it.d.length + static_cast<int64_t>(it.d.immediate);
      if (i + 1 < unit_->items.size()) break;
      unit_->open = false;
      if (strip_ && i == strip_->last) jumpBack_ = e_.jump();
      else exitTo(target);
      break;
    }
    case Kind::Call:
      call(i);
      break;
    case Kind::CallFar:
      callFar(i);
      break;
    case Kind::JmpFar: {
      if (i + 1 == unit_->items.size()) clobberFlags(live_[i]);
      if (it.access.present) {
        e_.encode(wide ? kRexW : 0, kMap1, 0x8b, kR15, operandAt(it.access));
      } else {
        loadGpr(kR15, it.d.rm);
        if (!wide) e_.op32(0x8b, kR15, inRegister(kR15));
      }
      goTo(i);
      break;
    }
    case Kind::Ret: {
      if (i + 1 == unit_->items.size()) clobberFlags(live_[i]);
      e_.encode(wide ? kRexW : 0, kMap1, 0x8b, kR15, operandAt(it.access));
      const int32_t by = static_cast<int32_t>(word + static_cast<uint16_t>(it.d.immediate));
      if (wide) e_.lea64(kStack, at(kStack, by));
      else e_.lea32(kStack, at(kStack, by));
      goTo(i);
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

// ---- leaving ----------------------------------------------------------------------------------------------------------

/** Goes on at a distance from the page's start. */
void Lowering::exitTo(int64_t target) {
  if (returnsTo(target)) {
    clobberFlags(unit_->liveIn);
    return e_.jumpTo(again_);
  }
  if (!unit_->trace && target >= 0 && target < static_cast<int64_t>(kPageBytes)) {
    SiteSpec site{SiteKind::Link};
    site.offset = static_cast<int32_t>(target);
    site.live = live_[index_];
    site.saved = flags_ != FlagsIn::Host;
    site.patch = e_.jump();
    stubs_.push_back({site.patch, addSite(site), nullptr, site.saved ? FlagsIn::Saved : FlagsIn::Host, 0, Stub::Kind::Link});
    return;
  }
  if (unit_->privilege != kUser && !unit_->trace) return exitFar(target);
  clobberFlags(kArith);
  returnAddress(kR15, target);
  jumpCached(addSite(SiteSpec{SiteKind::Lookup}));
}

/** A trace that goes back to its start. */
bool Lowering::returnsTo(int64_t target) const { return unit_->trace && target == unit_->start; }

/** Kernels keep their pages where they are: a link into another page holds until the generation of their fetches ends. */
void Lowering::exitFar(int64_t target) {
  SiteSpec site{SiteKind::Link};
  site.far = true;
  site.offset = static_cast<int32_t>(target & static_cast<int64_t>(kPageMask));
  returnAddress(kR15, target & ~static_cast<int64_t>(kPageMask));
  e_.store64(frame(at_.codePage), kR15);
  site.saved = flags_ != FlagsIn::Host;
  site.patch = e_.jump();
  stubs_.push_back({site.patch, addSite(site), nullptr, site.saved ? FlagsIn::Saved : FlagsIn::Host, 0, Stub::Kind::Link});
}

/** Goes to the linear address in R15: in a trace, where the next item is, or it is left. */
void Lowering::goTo(size_t i) {
  if (i + 1 < unit_->items.size()) return guard(i);
  jumpCached(addSite(lookupSite(unit_->items[i])));
  unit_->open = false;
}

/** Of an indirect jump, call or return, which faults when its target is no canonical address. */
SiteSpec Lowering::lookupSite(const Item& item) const {
  SiteSpec site{SiteKind::Lookup};
  site.offset = item.offset;
  site.indirect = true;
  site.undo = static_cast<int32_t>(changeOf(item, kRsp).by);
  return site;
}

/** Goes on when the linear address in R15 is where the item behind item i lies. Keeps the flags where they are. */
void Lowering::guard(size_t i) {
  Stub stub{nullptr, addSite(lookupSite(unit_->items[i])), nullptr, flags_, 0, Stub::Kind::Guard};
  const int32_t subtracted = -unit_->items[i + 1].offset;
  if (flags_ == FlagsIn::Host) {
    e_.move64(kR14, kRcx);
    e_.load64(kRcx, frame(at_.negated));
    e_.lea64(kRcx, at(kRcx, kR15, 0, subtracted));
    e_.u8(0xe3), e_.u8(5);  // JRCXZ over the jump
    stub.from = e_.jump();
    e_.move64(kRcx, kR14);
  } else {
    e_.load64(kR14, frame(at_.negated));
    e_.lea64(kR14, at(kR14, kR15, 0, subtracted));
    e_.op64(0x85, kR14, inRegister(kR14));
    stub.from = e_.jumpIf(kNotEqual);
    if (flags_ == FlagsIn::Both) flags_ = FlagsIn::Saved;
  }
  stubs_.push_back(stub);
}

/** A way in that counts. The flags are saved, or dead. */
void Lowering::countEntries() {
  counted_ = e_.position();
  e_.alu32(5, frame(at_.heat + unit_->heat * 4), 1);
  e_.jumpIfTo(kNotEqual, entered_);
  SiteSpec site{SiteKind::Hot};
  site.offset = unit_->start;
  e_.encode(kRexW, kMap1, 0xc7, 0, frame(at_.argument)), e_.u32(addSite(site));
  e_.jumpTo(routines_.exitSaved);
}

/** To the linear address in R15, by way of the table of known targets. Flags are saved. */
void Lowering::jumpCached(uint32_t site) {
  static_assert(sizeof(TierJump) == 32 && offsetof(TierJump, key) == 8 && offsetof(TierJump, code) == 16);
  e_.encode(0, kMap1, 0x69, kR14, inRegister(kR15)), e_.u32(kTierJumpFactor);  // IMUL
  e_.alu32(4, inRegister(kR14), (kTierJumps - 1) << 5);
  e_.op64(0x3b, kR15, at(kCoreReg, kR14, 0, at_.jumps));
  uint8_t* const other = e_.jumpIf(kNotEqual);
  e_.alu64(4, inRegister(kR15), -4096);
  e_.store64(frame(at_.codePage), kR15);
  e_.load64(kR15, frame(at_.gate));
  e_.op64(0x3b, kR15, at(kCoreReg, kR14, 0, at_.jumps + 8));
  uint8_t* const stale = e_.jumpIf(kNotEqual);
  e_.encode(0, kMap1, 0xff, 4, at(kCoreReg, kR14, 0, at_.jumps + 16));
  e_.land(stale);
  e_.load64(kR15, at(kCoreReg, kR14, 0, at_.jumps));
  e_.land(other);
  e_.store64(frame(at_.rip), kR15);
  e_.encode(kRexW, kMap1, 0xc7, 0, frame(at_.argument)), e_.u32(site);
  e_.jumpTo(routines_.lookup);
}

/** Has the TLB know the page of a failed check, and that begin once more. Goes on when it does not help. */
void Lowering::refillFor(const Stub& s) {
  effective(kR14, s.access.address, s.low);
  e_.moveImm32(kR15, unit_->privilege | (s.access.write ? kRefillWrite : 0));
  e_.callTo(routines_.refill);
  e_.jumpIfTo(kNotEqual, s.retry);
}

/** Out of translated code, to have the site seen to. */
void Lowering::leave(const Stub& s) {
  e_.encode(kRexW, kMap1, 0xc7, 0, frame(at_.argument)), e_.u32(s.site);
  e_.jumpTo(s.flags == FlagsIn::Host ? routines_.exitHost : routines_.exitSaved);
}

void Lowering::emitStubs() {
  for (size_t n = 0; n < stubs_.size(); ++n) {
    const Stub s = stubs_[n];
    e_.land(s.from);
    switch (s.kind) {
      case Stub::Kind::Run:
        if (s.retry) refillFor(s);
        e_.moveImm32(kR15, s.site);
        e_.callTo(routines_.step);
        e_.jumpTo(s.resume);
        break;
      case Stub::Kind::Careful: {
        effective(kR14, s.access.address, s.low);
        e_.lea64(kR15, at(kR14, static_cast<int32_t>(s.target) - 1));
        e_.op64(0x33, kR15, inRegister(kR14));
        e_.encode(kRexW, kMap1, 0xc1, 5, inRegister(kR15)), e_.u8(12);
        uint8_t* const across = e_.jumpIf(kNotEqual);
        refillFor(s);
        e_.land(across);
        SiteSpec& site = sites[s.site - firstSite_];
        site.patch = e_.jump();
        e_.land(site.patch);
        site.stub = e_.position();
        leave(s);
        break;
      }
      case Stub::Kind::StripMiss:
        refillFor(s);
        e_.jumpTo(stripFailed_);
        break;
      case Stub::Kind::StripExit:
        restoreBorrowed();
        flags_ = s.flags;
        exitTo(s.target);
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
        leave(s);
        break;
      case Stub::Kind::Jump:
        flags_ = s.flags;
        exitTo(s.target);
        break;
      case Stub::Kind::Guard:
        if (s.flags == FlagsIn::Host) {
          e_.move64(kRcx, kR14);
          e_.store64(frame(at_.temporary), kR15);
          saveFlags();
          e_.load64(kR15, frame(at_.temporary));
        }
        jumpCached(s.site);
        break;
    }
  }
}

}  // namespace lodge::translator
