// Host code of a strip; see strip.h for what that is.
#include <bit>
#include <cstdlib>

#include "translator/lowering.h"
#include "translator/strip.h"

namespace lodge::translator {

using namespace x86;

namespace {

/** Iterations before a loop is taken for a long one, and between attempts. */
constexpr int32_t kTurns = 3;
/** Iterations in a strip at most: a request waits for so many. */
constexpr int32_t kMaxStrip = 256;
constexpr int32_t kPage = static_cast<int32_t>(kPageBytes);
static_assert(sizeof TierFrame::borrowed / 8 > 6);  // windows and the counter; see strip.cpp
constexpr unsigned kEqual = 4, kAbove = 7, kSign = 8, kNotBelow = 3, kNotAbove = 6;

}  // namespace

void Lowering::startTurns() {
  e_.encode(0, kMap1, 0xc7, 0, frame(at_.turns));
  e_.u32(kTurns);
}

void Lowering::restoreBorrowed() {
  int32_t where = at_.borrowed;
  for (const uint8_t reg : strip_->borrowed) e_.load64(reg, frame(where)), where += 8;
}

Operand Lowering::operandInStrip(const Access& access) {
  const StripWindow& w = strip_->windows[strip_->windowOf[index_]];
  const Address& a = access.address;
  const auto disp = static_cast<int32_t>(access.disp);
  const auto inRegister = [&](uint8_t gpr) {
    if (inHost(gpr)) return hostOf(gpr);
    e_.load64(kR14, slot(gpr));
    return kR14;
  };
  if (inSplit_ && w.element) {
    const uint8_t base = a.base == kNoRegister ? kNoReg : hostOf(a.base);
    e_.lea64(kR14, {true, 0, base, inRegister(a.index), a.scale, disp});
    e_.load64(kR15, frame(at_.splitLow));
    e_.op64(0x3b, kR14, frame(at_.splitAt));
    e_.encode(kRexW, kMap0F, 0x40 | kNotBelow, kR15, frame(at_.splitHigh));  // CMOVAE
    return at(kR14, kR15, 0, 0);
  }
  switch (w.through) {
    case StripWindow::Through::Whole:
      return at(w.reg, disp);
    case StripWindow::Through::Base:
      return at(w.reg, inRegister(a.index), a.scale, disp);
    case StripWindow::Through::Linear:
      break;
  }
  const uint8_t base = inRegister(a.base);
  if (a.index == kNoRegister) return at(base, w.reg, 0, disp);
  e_.lea64(kR14, at(base, hostOf(a.index), a.scale, 0));
  return at(kR14, w.reg, 0, disp);
}

/** Checks a window, lowers frame.turns to the iterations that it has room for behind the first, and loads its register. */
void Lowering::openWindow(const StripWindow& w) {
  const Operand tag = tlbWord(w.write ? TlbEntry::kWrite : TlbEntry::kRead), addend = tlbWord(TlbEntry::kAddend);
  const auto span = static_cast<int32_t>(w.high - w.low);
  const auto lookUp = [&](int64_t offset, uint8_t page) {  // R15 := distance of the entry, after its tag was compared
    uint8_t* const retry = e_.position();
    effective(kR14, w.address, offset);
    tlbIndex(kR14);
    if (page != kR14) e_.move64(page, kR14);
    e_.alu64(4, inRegister(page), -kPage);
    e_.op64(0x3b, page, tag);
    Access access;
    access.address = w.address;
    access.write = w.write;
    stubs_.push_back({e_.jumpIf(kNotEqual), 0, nullptr, FlagsIn::Dead, 0, Stub::Kind::StripMiss, retry, access, offset});
  };
  lookUp(w.low, w.reg);
  e_.load64(w.reg, addend);
  if (w.aligned) {
    e_.lea32(kR15, at(kR14, static_cast<int32_t>(w.alignedAt - w.low)));
    e_.encode(kRex, kMap1, 0xf6, 0, inRegister(kR15)), e_.u8(w.aligned - 1u);
    e_.jumpIfTo(kNotEqual, stripFailed_);
  }
  e_.alu32(4, inRegister(kR14), kPage - 1);
  if (w.stride == 0) {
    // Two pages will do when the host has them side by side.
    e_.alu32(7, inRegister(kR14), kPage - span);
    uint8_t* const inOne = e_.jumpIf(kNotAbove);
    lookUp(w.high - 1, kR14);
    e_.op64(0x3b, w.reg, addend);
    if (w.element) {
      uint8_t* const sideBySide = e_.jumpIf(kEqual);
      e_.store64(frame(at_.splitAt), kR14);
      e_.store64(frame(at_.splitLow), w.reg);
      e_.load64(kR14, addend);
      e_.store64(frame(at_.splitHigh), kR14);
      e_.encode(0, kMap1, 0xc7, 0, frame(at_.split)), e_.u32(1);
      effective(kR14, w.address, w.low);
      e_.encode(kRex, kMap1, 0xf6, 0, inRegister(kR14)), e_.u8(w.element - 1u);
      e_.jumpIfTo(kNotEqual, stripFailed_);
      e_.land(sideBySide);
    } else {
      e_.jumpIfTo(kNotEqual, stripFailed_);
    }
    e_.land(inOne);
  } else {
    if (w.stride > 0) {
      e_.encode(0, kMap1, 0xf7, 3, inRegister(kR14));  // NEG
      e_.alu32(0, inRegister(kR14), kPage - span);
      e_.jumpIfTo(kSign, stripFailed_);
    } else {
      e_.alu32(7, inRegister(kR14), kPage - span);
      e_.jumpIfTo(kAbove, stripFailed_);
    }
    // Divided by the stride; rounding goes down.
    const auto by = static_cast<uint32_t>(std::abs(w.stride));
    unsigned shift = static_cast<unsigned>(std::countr_zero(by));
    if (!std::has_single_bit(by)) {
      shift = 16;
      e_.encode(0, kMap1, 0x69, kR14, inRegister(kR14)), e_.u32(0x10000 / by);
    }
    if (shift) e_.encode(0, kMap1, 0xc1, 5, inRegister(kR14)), e_.u8(shift);
    e_.op32(0x3b, kR14, frame(at_.turns));
    uint8_t* const more = e_.jumpIf(kNotBelow);
    e_.op32(0x89, kR14, frame(at_.turns));
    e_.land(more);
  }
  // What accesses add is left out.
  Address kept = w.address;
  if (w.through == StripWindow::Through::Base) kept.index = kNoRegister;
  if (w.through != StripWindow::Through::Linear) {
    if (kept.base == kNoRegister && kept.index == kNoRegister && kept.segment == 0) return;
    effective(kR14, kept, 0);
    e_.op64(0x03, w.reg, inRegister(kR14));
  } else if (w.address.segment) {
    e_.op64(0x03, w.reg, frame(segmentUnit(w.address.segment) * 8));
  }
}

void Lowering::emitStrip() {
  // The guest's registers again, then an iteration of the ordinary kind.
  stripFailed_ = e_.position();
  restoreBorrowed();
  startTurns();
  e_.jumpTo(again_);

  e_.land(jumpBack_);
  e_.alu32(5, frame(at_.turns), 1);
  e_.jumpIfTo(kNotEqual, again_);
  int32_t where = at_.borrowed;
  for (const uint8_t reg : strip_->borrowed) e_.store64(frame(where), reg), where += 8;
  uint8_t* const next = e_.position();
  e_.alu32(7, frame(at_.requests), 0);
  e_.jumpIfTo(kNotEqual, stripFailed_);
  e_.encode(0, kMap1, 0xc7, 0, frame(at_.turns)), e_.u32(kMaxStrip - 1);
  if (strip_->split != kNoWindow) e_.encode(0, kMap1, 0xc7, 0, frame(at_.split)), e_.u32(0);
  for (const StripWindow& w : strip_->windows) openWindow(w);
  if (strip_->counter != kNoReg) e_.op32(0x8b, strip_->counter, frame(at_.turns));
  if (strip_->split != kNoWindow) {
    e_.alu32(7, frame(at_.split), 0);
    uint8_t* const whole = e_.jumpIf(kEqual);
    inSplit_ = true;
    stripBody(next);
    inSplit_ = false;
    e_.land(whole);
  }
  stripBody(next);
}

/** The loop itself. `next`: where strips begin. */
void Lowering::stripBody(const uint8_t* next) {
  const Operand counter = strip_->counter != kNoReg ? inRegister(strip_->counter) : frame(at_.turns);
  e_.align16();
  uint8_t* const top = e_.position();
  flags_ = FlagsIn::Dead;
  inStrip_ = true;
  for (index_ = 0; index_ < strip_->last; ++index_) {
    const Item& it = unit_->items[index_];
    if (it.kind == Kind::Jcc) {
      const int64_t target = it.offset + it.d.length + static_cast<int64_t>(it.d.immediate);
      stubs_.push_back({e_.jumpIf(it.d.opcode & 15), 0, nullptr, FlagsIn::Host, target, Stub::Kind::StripExit});
    } else if (it.kind != Kind::Jmp) {
      item(index_);
    }
  }
  inStrip_ = false;
  const Item& back = unit_->items[strip_->last];
  uint8_t* const past = back.kind == Kind::Jcc ? e_.jumpIf((back.d.opcode & 15) ^ 1) : nullptr;
  e_.alu32(5, counter, 1);
  e_.jumpIfTo(kNotBelow, top);
  e_.jumpTo(next);
  if (past) {
    e_.land(past);
    restoreBorrowed();
    if (pastLoopFlags_ != FlagsIn::Host) saveFlags();
    e_.jumpTo(pastLoop_);
  }
}

}  // namespace lodge::translator
