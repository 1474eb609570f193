// Host code of what kernels do often: flags, segment bases, the door to user pages, bit strings.
#include "translator/lowering.h"

namespace lodge::translator {

using namespace x86;

/** Behind an instruction without a group: what it left to the interpreter comes back here. */
void Lowering::closePending() {
  for (Stub& s : group_.pending) {
    s.resume = e_.position();
    stubs_.push_back(s);
  }
  group_.pending.clear();
}

SiteSpec Lowering::siteOf(const Item& it, SiteKind kind) {
  SiteSpec site{kind};
  site.offset = it.offset;
  site.count = 1;
  site.endOffset = static_cast<int32_t>(it.offset + it.d.length);
  return site;
}

void Lowering::leaveToStep(uint8_t* from, const Item& it, SiteKind kind) {
  group_.pending.push_back({from, addSite(siteOf(it, kind)), nullptr, FlagsIn::Dead, 0, Stub::Kind::Run});
}

/** CLI, CLD, STD. */
void Lowering::flagBit(const Item& it) {
  clobberFlags(live_[index_]);
  if (it.d.op == Op::Std) e_.alu64(1, frame(at_.rflags), static_cast<int32_t>(kDf));
  else e_.alu64(4, frame(at_.rflags), ~static_cast<int32_t>(it.d.op == Op::Cli ? kIf : kDf));
}

/**
 * While nothing waits, STI's shadow needs nothing: the next request is looked for behind the instruction that follows, which is in
 * this unit. What waits already, and an STI that is the unit's last, is the interpreter's.
 */
void Lowering::sti(const Item& it) {
  if (index_ + 1 == unit_->items.size()) {
    step(it, SiteKind::End);
    unit_->open = false;
    return;
  }
  clobberFlags(live_[index_]);
  e_.encode(0, kMap1, 0xf7, 0, frame(at_.rflags)), e_.u32(kIf);  // TEST
  uint8_t* const set = e_.jumpIf(kNotEqual);
  e_.alu32(7, frame(at_.requests), 0);
  leaveToStep(e_.jumpIf(kNotEqual), it, SiteKind::End);
  e_.encode(0, kMap1, 0x80, 7, frame(at_.interruptMaybe)), e_.u8(0);
  leaveToStep(e_.jumpIf(kNotEqual), it, SiteKind::End);
  e_.alu64(1, frame(at_.rflags), static_cast<int32_t>(kIf));
  e_.land(set);
  closePending();
}

void Lowering::swapGs() {
  const int32_t gs = static_cast<int32_t>(segmentUnit(kGs) * 8);
  e_.load64(kR14, frame(gs));
  e_.load64(kR15, frame(at_.kernelGsBase));
  e_.store64(frame(gs), kR15);
  e_.store64(frame(at_.kernelGsBase), kR14);
}

/** STAC and CLAC. Under CR4.SMAP they choose another TLB, and so another mode for what follows. */
void Lowering::userDoor(const Item& it) {
  const bool open = it.d.op == Op::Stac;
  clobberFlags(unit_->doors ? +kArith : live_[index_]);
  if (open) e_.alu64(1, frame(at_.rflags), static_cast<int32_t>(kAc));
  else e_.alu64(4, frame(at_.rflags), ~static_cast<int32_t>(kAc));
  if (!unit_->doors) return;
  const Privilege who = open ? kSupervisorUserAllowed : kSupervisor;
  for (const int32_t key : {at_.key, at_.gate}) {  // a closed gate stays closed: no generation is all ones
    e_.encode(0, kMap1, 0xc6, 0, frame(key + 1)), e_.u8((unit_->mode & ~kModePrivilege) >> 8 | who);
  }
  e_.lea64(kR15, frame(at_.tlb[who]));
  e_.store64(frame(at_.tlbPointer), kR15);
  unit_->open = false;
  exitTo(it.offset + it.d.length);
}

void Lowering::readSegment(const Item& it) {
  const Operand selector = frame(at_.selectors[it.d.reg & 7]);
  const bool narrow = it.d.operandSize == 2;
  const uint8_t to = inHost(it.d.rm) ? hostOf(it.d.rm) : kR15;
  if (narrow && to == kR15) loadGpr(kR15, it.d.rm);
  if (narrow) e_.encode(k66, kMap1, 0x8b, to, selector);
  else e_.encode(0, kMap0F, 0xb7, to, selector);
  if (to == kR15) storeGpr(it.d.rm, kR15);
}

/** The arithmetic flags are taken from Core::ax. */
void Lowering::pushFlags(size_t i) {
  const Item& it = unit_->items[i];
  const bool wide = unit_->size == CodeSize::k64;
  if (flags_ == FlagsIn::Host) saveFlags();
  flags_ = live_[i] ? FlagsIn::Saved : FlagsIn::Dead;
  e_.load64(kR15, frame(at_.rflags));
  e_.alu64(4, inRegister(kR15), ~static_cast<int32_t>(kArith | kVm | kRf));
  e_.alu64(1, inRegister(kR15), 2);
  e_.store64(frame(at_.temporary), kR15);
  e_.encode(0, kMap0F, 0xb6, kR15, frame(at_.ax + 1));
  e_.alu32(4, inRegister(kR15), 0xd5);
  e_.encode(kRexW, kMap1, 0x09, kR15, frame(at_.temporary));  // OR
  e_.encode(0, kMap0F, 0xb6, kR15, frame(at_.ax));
  e_.encode(0, kMap1, 0xc1, 4, inRegister(kR15)), e_.u8(11);  // SHL: OF
  e_.op64(0x0b, kR15, frame(at_.temporary));
  e_.encode(wide ? kRexW : 0, kMap1, 0x89, kR15, operandAt(it.access));
  if (wide) e_.lea64(kStack, at(kStack, -8));
  else e_.lea32(kStack, at(kStack, -4));
}

/**
 * BT and its kin with the bit's number in a register, which reaches beyond the operand: the host does the same, off the operand's
 * host address, once the page of the bit has been looked up.
 */
void Lowering::bitString(size_t i) {
  const Item& it = unit_->items[i];
  const Decoded& d = it.d;
  const Address& a = it.access.address;
  const bool wide = d.operandSize == 8, write = d.op != Op::Bt;
  clobberFlags(i == 0 ? unit_->liveIn : live_[i - 1]);
  effective(kR14, a, it.access.disp);
  if (wide) e_.move64(kR15, hostOf(d.reg));
  else e_.encode(kRexW, kMap1, 0x63, kR15, inRegister(hostOf(d.reg)));  // MOVSXD
  e_.encode(kRexW, kMap1, 0xc1, 7, inRegister(kR15)), e_.u8(wide ? 6 : 5);
  e_.lea64(kR14, at(kR14, kR15, wide ? 3 : 2, 0));
  tlbIndex(kR14);
  e_.lea64(kR14, at(kR14, d.operandSize - 1));
  e_.alu64(4, inRegister(kR14), -4096);
  e_.op64(0x3b, kR14, tlbWord(write ? TlbEntry::kWrite : TlbEntry::kRead));
  leaveToStep(e_.jumpIf(kNotEqual), it, SiteKind::Run);
  e_.load64(kR15, tlbWord(TlbEntry::kAddend));
  e_.store64(frame(at_.temporary), kR15);
  effective(kR14, a, it.access.disp);
  e_.op64(0x03, kR14, frame(at_.temporary));
  // The other flags stay as they were.
  if (live_[i] & ~it.flagsKilled) restoreFlags();
  e_.encode((wide ? kRexW : 0) | (d.lock ? kLock : 0), kMap0F, d.opcode, hostOf(d.reg), at(kR14, 0));
  flags_ = FlagsIn::Host;  // which is where the interpreter's are, too, when it comes back
  closePending();
}

}  // namespace lodge::translator
